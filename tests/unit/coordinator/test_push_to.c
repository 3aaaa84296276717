/* Which registries a server names, and no others. */
#include "registry/push_to.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "err.h"

static void
bad(const char *list, const char *why)
{
	struct err e = ERR_INIT;

	assert_int_equal(push_to_check(list, &e), -1);
	assert_int_equal(e.kind, ERR_USAGE);
	if (strstr(e.text, why) == NULL)
		fail_msg("%s: %s", list, e.text);
}

static void
test_lists(void **state)
{
	char many[PUSH_TO_MAX * 8 + 16] = "a.b";
	struct err e = ERR_INIT;

	(void)state;
	assert_int_equal(push_to_check("registry.example.org", &e), 0);
	assert_int_equal(push_to_check("a.b:5000,localhost,docker.io", &e), 0);
	bad("", "registries are wanted");
	bad("a.b,", "registries are wanted");
	bad(",a.b", "''");
	bad("a.b,,c.d", "''");
	bad("registry", "is no registry");
	bad("a.b/team", "without a repository");
	bad("https://a.b", "without a repository");
	bad("a.b, c.d", "");
	for (int i = 1; i < PUSH_TO_MAX; i++)
		strcat(many, ",a.b");
	assert_int_equal(push_to_check(many, &e), 0);
	strcat(many, ",a.b");
	bad(many, "no more than 64");
}

static void
test_has(void **state)
{
	static const char list[] = "a.example,b.example:5000,127.0.0.1:5000,"
				   "docker.io";

	(void)state;
	assert_true(push_to_has(list, "https://a.example"));
	assert_true(push_to_has(list, "https://b.example:5000"));
	assert_true(push_to_has(list, "http://127.0.0.1:5000"));
	assert_true(push_to_has(list, "https://registry-1.docker.io"));
	/* Plain HTTP, another port, and all that only looks like it. */
	assert_false(push_to_has(list, "http://a.example"));
	assert_false(push_to_has(list, "http://127.0.0.1"));
	assert_false(push_to_has(list, "https://a.example:443"));
	assert_false(push_to_has(list, "https://b.example"));
	assert_false(push_to_has(list, "https://docker.io"));
	assert_false(push_to_has(list, "https://a.example@evil.example"));
	assert_false(push_to_has(list, "https://a.example/"));
	assert_false(push_to_has(list, "https://a.example,b.example:5000"));
	assert_false(push_to_has(list, "https://x.a.example"));
	assert_false(push_to_has(list, "https://"));
	assert_false(push_to_has(list, "ftp://a.example"));
	assert_false(push_to_has("", "https://a.example"));
	assert_false(push_to_has("", "https://"));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_lists),
	    cmocka_unit_test(test_has),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
