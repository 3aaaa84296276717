#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "registry_challenge.h"

static struct registry_challenge c;

static void
test_basic(void **state)
{
	(void)state;
	registry_challenge_parse("Basic realm=\"Registry Realm\"", &c);
	assert_true(c.basic);
	assert_false(c.bearer);
	assert_string_equal(c.realm, "");
}

static void
test_bearer(void **state)
{
	(void)state;
	registry_challenge_parse(
	    "Bearer realm=\"https://auth.x/token\",service=\"reg.x\","
	    "scope=\"repository:a/b:pull,push\",error=\"invalid_token\"",
	    &c);
	assert_true(c.bearer);
	assert_false(c.basic);
	assert_string_equal(c.realm, "https://auth.x/token");
	assert_string_equal(c.service, "reg.x");
	assert_string_equal(c.scope, "repository:a/b:pull,push");
}

static void
test_spellings(void **state)
{
	(void)state;
	registry_challenge_parse(
	    "bEARER  SERVICE = \"a\\\"b\" , Realm=https://x/t?y=1", &c);
	assert_true(c.bearer);
	assert_string_equal(c.service, "a\"b");
	assert_string_equal(c.realm, "https://x/t?y=1");
}

static void
test_several(void **state)
{
	(void)state;
	registry_challenge_parse(
	    "Negotiate YII=, Basic realm=\"no\"\nBearer realm=\"https://x\"",
	    &c);
	assert_true(c.basic);
	assert_true(c.bearer);
	assert_string_equal(c.realm, "https://x");
}

static void
test_damaged(void **state)
{
	static const char *const texts[] = {"", ",", "\n", "Bearer",
	    "Bearer realm", "Bearer realm=", "Bearer realm=\"x",
	    "Bearer realm=\"x\\", "=", "Bearer =\"x\"", "\"", "Bearer ,,,=,\"",
	    "Bearer \x80\xff", "Bearer realm=\"a\nb\""};

	(void)state;
	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
		registry_challenge_parse(texts[i], &c);
		assert_string_equal(c.realm, "");
	}
}

static void
test_too_long(void **state)
{
	char text[REGISTRY_CHALLENGE_VALUE_MAX + 200];
	size_t n;

	(void)state;
	n = (size_t)sprintf(text, "Bearer service=\"s\",realm=\"");
	memset(text + n, 'r', REGISTRY_CHALLENGE_VALUE_MAX);
	strcpy(text + n + REGISTRY_CHALLENGE_VALUE_MAX, "\",scope=\"z\"");
	registry_challenge_parse(text, &c);
	assert_true(c.bearer);
	assert_string_equal(c.realm, "");
	assert_string_equal(c.service, "s");
	assert_string_equal(c.scope, "z");
	/* The longest that fits. */
	memmove(text + n, text + n + 1,
	    strlen(text + n)); /* with its NUL, less one 'r' */
	registry_challenge_parse(text, &c);
	assert_int_equal(strlen(c.realm), REGISTRY_CHALLENGE_VALUE_MAX - 1);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_basic),
	    cmocka_unit_test(test_bearer),
	    cmocka_unit_test(test_spellings),
	    cmocka_unit_test(test_several),
	    cmocka_unit_test(test_damaged),
	    cmocka_unit_test(test_too_long),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
