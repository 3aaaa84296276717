/* Windows are sent and dropped in order; what was written stays as it was. */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "write_behind.h"

enum { BLOCK = 1 << 20, BLOCKS = 150 };

static void
long_file(void **state)
{
	char name[] = "/tmp/test-write-behind-XXXXXX";
	static unsigned char block[BLOCK], back[BLOCK];
	struct write_behind w;
	const uint64_t start =
	    512; /* as a layer in an archive: not on a page */
	int fd = mkstemp(name);

	(void)state;
	assert_true(fd >= 0);
	unlink(name);
	write_behind_init(&w, start);
	for (int i = 0; i < BLOCKS; i++) {
		uint64_t at = start + (uint64_t)i * BLOCK;

		memset(block, i, sizeof(block));
		assert_int_equal(pwrite(fd, block, BLOCK, (off_t)at), BLOCK);
		assert_int_equal(write_behind(&w, fd, at + BLOCK), 0);
		/* So many windows on their way, and one that is filled. */
		assert_true(at + BLOCK - w.sent <
		    (WRITE_BEHIND_DEPTH + 2) * WRITE_BEHIND_WINDOW);
		assert_true(w.sent <= w.start && w.start <= at + BLOCK);
	}
	for (int i = 0; i < BLOCKS; i++) {
		memset(block, i, sizeof(block));
		assert_int_equal(pread(fd, back, BLOCK,
				     (off_t)(start + (uint64_t)i * BLOCK)),
		    BLOCK);
		assert_memory_equal(block, back, BLOCK);
	}
	close(fd);
}

/* What cannot be sent (a pipe) is left to the kernel. */
static void
no_file(void **state)
{
	struct write_behind w;
	int fd[2];

	(void)state;
	assert_int_equal(pipe(fd), 0);
	write_behind_init(&w, 0);
	for (uint64_t end = 0; end < 20 * WRITE_BEHIND_WINDOW; end += BLOCK)
		assert_int_equal(write_behind(&w, fd[1], end), 0);
	close(fd[0]);
	close(fd[1]);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(long_file),
	    cmocka_unit_test(no_file),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
