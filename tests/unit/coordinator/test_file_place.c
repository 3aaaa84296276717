/* One place, however it is spelled, also of what is not there yet. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "own.h"
#include "process/file_place.h"

static char top[64], real_top[4096];

static int
setup(void **state)
{
	(void)state;
	strcpy(top, "/tmp/qt-place-XXXXXX");
	assert_non_null(mkdtemp(top));
	assert_non_null(realpath(top, real_top));
	assert_int_equal(chdir(top), 0);
	assert_int_equal(mkdir("a", 0755), 0);
	assert_int_equal(symlink("a", "to-a"), 0);
	assert_int_equal(symlink("nowhere", "dangling"), 0);
	return 0;
}

static int
teardown(void **state)
{
	(void)state;
	unlink("to-a");
	unlink("dangling");
	rmdir("a");
	return chdir("/") == 0 ? rmdir(top) : -1;
}

/* want: below the folder that we are in. */
static void
is(const char *path, const char *want)
{
	AUTO(own_freep) char *place = file_place_real(path);
	char whole[5000];

	snprintf(whole, sizeof(whole), "%s%s", real_top, want);
	assert_non_null(place);
	assert_string_equal(place, whole);
}

static void
places(void **state)
{
	AUTO(own_freep) char *root = NULL;

	(void)state;
	is("a", "/a");
	is("./a//", "/a");
	is("to-a", "/a");
	is("to-a/x", "/a/x");
	is("to-a/x/y/../z/./w/", "/a/x/z/w");
	is("x", "/x");
	is("x/../y", "/y");
	is(".", "");
	is("dangling", "/dangling");
	is("a/../to-a/../a", "/a");
	assert_null(file_place_real(""));
	root = file_place_real("/no/such/../../../folder");
	assert_string_equal(root, "/folder");
	own_freep(&root);
	root = file_place_real("/");
	assert_string_equal(root, "/");
	assert_true(file_place_same("new/x", "./new//y/../x"));
	assert_false(file_place_same("new/x", "new/y"));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(places, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
