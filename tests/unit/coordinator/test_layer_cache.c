#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cmocka.h>

#include "cache/layer_cache.h"
#include "err.h"

/* Link seam: what some file systems do not offer. */
static bool no_links;

int
linkat(int from_dir, const char *from, int to_dir, const char *to, int flags)
{
	if (no_links) {
		errno = EPERM;
		return -1;
	}
	return (int)syscall(SYS_linkat, from_dir, from, to_dir, to, flags);
}

static char folder[] = "/tmp/test_layer_cache-XXXXXX";

static int
set_up(void **state)
{
	(void)state;
	return mkdtemp(folder) == NULL;
}

static int
tear_down(void **state)
{
	char command[100];

	(void)state;
	snprintf(command, sizeof(command), "rm -rf %s", folder);
	return system(command);
}

/* Nothing is in the pins' folder. */
static bool
is_clean(void)
{
	char command[200];

	snprintf(
	    command, sizeof(command), "test -z \"$(ls -A %s/pins)\"", folder);
	return system(command) == 0;
}

static void
test_pins(void **state)
{
	struct layer_cache *c = NULL;
	struct err e = ERR_INIT;
	char command[300];

	(void)state;
	assert_int_equal(layer_cache_open(folder, &c, &e), 0);
	snprintf(command, sizeof(command), "test -z \"$(ls -A %s)\"",
	    layer_cache_pins(c));
	assert_int_equal(system(command), 0);
	assert_false(is_clean());
	layer_cache_freep(&c);
	assert_true(is_clean());
}

/* A blob that cannot be pinned would be found out when it is made. */
static void
test_without_links(void **state)
{
	struct layer_cache *c = NULL;
	struct err e = ERR_INIT;

	(void)state;
	no_links = true;
	assert_int_equal(layer_cache_open(folder, &c, &e), -1);
	no_links = false;
	assert_null(c);
	assert_int_equal(e.kind, ERR_USAGE);
	assert_non_null(strstr(e.text, "hard link"));
	assert_non_null(strstr(e.text, folder));
	assert_true(is_clean());
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_pins),
	    cmocka_unit_test(test_without_links),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
