/* Windows are sent and dropped in order; what was written stays as it was. */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <cmocka.h>

#include "err.h"
#include "write_behind.h"

enum { BLOCK = 1 << 20, BLOCKS = 150 };

static int
temp_file(void)
{
	char name[] = "/tmp/test-write-behind-XXXXXX";
	int fd = mkstemp(name);

	assert_true(fd >= 0);
	unlink(name);
	return fd;
}

static size_t
open_files(void)
{
	size_t n = 0;

	for (int fd = 0; fd < 1024; fd++)
		n += fcntl(fd, F_GETFD) >= 0;
	return n;
}

/* Pages of the file's first n bytes that are in the page cache. */
static size_t
pages_cached(int fd, size_t n)
{
	static unsigned char in[64 << 10];
	void *at = mmap(NULL, n, PROT_READ, MAP_SHARED, fd, 0);
	size_t found = 0;

	assert_ptr_not_equal(at, MAP_FAILED);
	assert_true(n / 4096 <= sizeof(in));
	assert_int_equal(mincore(at, n, in), 0);
	for (size_t i = 0; i < n / 4096; i++)
		found += in[i] & 1;
	munmap(at, n);
	return found;
}

static void
write_block(int fd, uint64_t at, int with)
{
	static unsigned char block[BLOCK];

	memset(block, with, sizeof(block));
	assert_int_equal(pwrite(fd, block, BLOCK, (off_t)at), BLOCK);
}

static void
long_file(void **state)
{
	static unsigned char block[BLOCK], back[BLOCK];
	struct write_behind *w = NULL;
	struct write_cursor c;
	struct err e = ERR_INIT;
	const uint64_t start =
	    512; /* as a layer in an archive: not on a page */
	int fd = temp_file();

	(void)state;
	assert_int_equal(write_behind_new(&w, &e), 0);
	write_cursor_init(&c, w, start);
	for (int i = 0; i < BLOCKS; i++) {
		uint64_t at = start + (uint64_t)i * BLOCK;

		write_block(fd, at, i);
		assert_int_equal(write_cursor_advance(&c, fd, at + BLOCK), 0);
		assert_true(write_behind_pending(w) <= WRITE_BEHIND_MAX);
		assert_true(at + BLOCK - c.start < WRITE_BEHIND_WINDOW);
	}
	write_cursor_end(&c, fd, start + (uint64_t)BLOCKS * BLOCK);
	for (int i = 0; i < BLOCKS; i++) {
		memset(block, i, sizeof(block));
		assert_int_equal(pread(fd, back, BLOCK,
				     (off_t)(start + (uint64_t)i * BLOCK)),
		    BLOCK);
		assert_memory_equal(block, back, BLOCK);
	}
	write_behind_free(w);
	close(fd);
}

/*
 * Files of middling size, none of which fills the list: the first ones are
 * out of the page cache by the time that the last are written (unless that is
 * where their file system keeps them), and nothing stays open.
 */
static void
many_files(void **state)
{
	enum { FILES = 40, EACH = 5 };
	struct write_behind *w = NULL;
	struct err e = ERR_INIT;
	size_t open_before;
	struct statfs fs;
	int fd[FILES];

	(void)state;
	for (int i = 0; i < FILES; i++)
		fd[i] = temp_file();
	open_before = open_files();
	assert_int_equal(write_behind_new(&w, &e), 0);
	for (int i = 0; i < FILES; i++) {
		struct write_cursor c;

		write_cursor_init(&c, w, 0);
		for (uint64_t at = 0; at < EACH * BLOCK; at += BLOCK) {
			write_block(fd[i], at, i);
			assert_int_equal(
			    write_cursor_advance(&c, fd[i], at + BLOCK), 0);
		}
		write_cursor_end(&c, fd[i], EACH * BLOCK);
		assert_true(write_behind_pending(w) <= WRITE_BEHIND_MAX);
	}
	assert_true(write_behind_pending(w) >= WRITE_BEHIND_MAX / 2);
	assert_int_equal(fstatfs(fd[0], &fs), 0);
	if (fs.f_type == 0xef53 /* ext4 */)
		assert_true(pages_cached(fd[0], EACH * BLOCK) <
		    EACH * BLOCK / 4096 / 2);
	write_behind_free(w);
	assert_int_equal(open_files(), open_before);
	for (int i = 0; i < FILES; i++)
		close(fd[i]);
}

/* What cannot be sent (a pipe) is left to the kernel; so is all without it. */
static void
no_file(void **state)
{
	struct write_behind *w = NULL;
	struct write_cursor c, alone;
	struct err e = ERR_INIT;
	int fd[2];

	(void)state;
	assert_int_equal(pipe(fd), 0);
	assert_int_equal(write_behind_new(&w, &e), 0);
	write_cursor_init(&c, w, 0);
	write_cursor_init(&alone, NULL, 0);
	for (uint64_t end = 0; end < 20 * WRITE_BEHIND_WINDOW; end += BLOCK) {
		assert_int_equal(write_cursor_advance(&c, fd[1], end), 0);
		assert_int_equal(write_cursor_advance(&alone, fd[1], end), 0);
	}
	assert_int_equal(write_behind_pending(w), 0);
	write_cursor_end(&c, fd[1], 20 * WRITE_BEHIND_WINDOW);
	write_cursor_end(&alone, fd[1], 20 * WRITE_BEHIND_WINDOW);
	write_behind_free(w);
	close(fd[0]);
	close(fd[1]);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(long_file),
	    cmocka_unit_test(many_files),
	    cmocka_unit_test(no_file),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
