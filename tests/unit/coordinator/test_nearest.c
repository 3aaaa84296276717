#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "text/nearest.h"

static const char *const keys[] = {
    "name", "tag", "contents", "paths", "config", "maxLayers", "uid", "gid"};

static const char *
near(const char *word)
{
	return nearest_of(word, keys, sizeof(keys) / sizeof(keys[0]));
}

static void
misspelt(void **state)
{
	(void)state;
	assert_string_equal(near("nmae"), "name");
	assert_string_equal(near("content"), "contents");
	assert_string_equal(near("path"), "paths");
	assert_string_equal(near("max-layers"), "maxLayers");
	assert_string_equal(near("MAXLAYERS"), "maxLayers");
	assert_string_equal(near("gId"), "gid");
	assert_string_equal(near("guid"), "uid");
}

/* Two letters in the wrong order are one mistake. */
static void
swapped(void **state)
{
	static const char *const words[] = {"bxy", "ab"};

	(void)state;
	assert_string_equal(nearest_of("ba", words, 2), "ab");
}

static void
odd(void **state)
{
	char word[1000];

	(void)state;
	assert_string_equal(near(""), "tag"); /* the first of the shortest */
	memset(word, 'x', sizeof(word) - 1);
	word[sizeof(word) - 1] = '\0';
	assert_non_null(near(word));
	assert_string_equal(nearest_of("anything", keys + 1, 1), "tag");
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(misspelt),
	    cmocka_unit_test(swapped),
	    cmocka_unit_test(odd),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
