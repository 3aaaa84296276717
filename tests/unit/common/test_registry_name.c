#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "err.h"
#include "registry_name.h"

static void
good(const char *text, const char *host, const char *repo, const char *tag)
{
	struct registry_name n;
	struct err e = ERR_INIT;

	if (registry_name_parse(text, &n, &e) < 0)
		fail_msg("%s: %s", text, e.text);
	assert_string_equal(n.host, host);
	assert_string_equal(n.repo, repo);
	assert_string_equal(n.tag, tag);
}

static void
bad(const char *text, const char *why)
{
	struct registry_name n;
	struct err e = ERR_INIT;

	if (registry_name_parse(text, &n, &e) == 0)
		fail_msg("%s was taken", text);
	assert_int_equal(e.kind, ERR_USAGE);
	if (strstr(e.text, why) == NULL)
		fail_msg("%s: '%s' is not in '%s'", text, why, e.text);
}

static void
test_good(void **state)
{
	(void)state;
	good("localhost/a", "localhost", "a", "");
	good("localhost:5000/a:b", "localhost:5000", "a", "b");
	good("r.example.org/a/b/c:1.0", "r.example.org", "a/b/c", "1.0");
	good("127.0.0.1:5000/a__b/c-d---e.f", "127.0.0.1:5000",
	    "a__b/c-d---e.f", "");
	good("[::1]:5000/x:y", "[::1]:5000", "x", "y");
	good("docker.io/alpine", "docker.io", "library/alpine", "");
	good("docker.io/me/x:T_1", "docker.io", "me/x", "T_1");
	good("r.example.org/a:t@sha256:"
	     "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
	    "r.example.org", "a", "t");
}

static void
test_bad(void **state)
{
	static const char *const repos[] = {"", "A", "a/", "/a", "a//b", "a..b",
	    "a___b", "a._b", "-a", "a-", "a b", "a%2f", "..", "a/../b"};
	char text[700];

	(void)state;
	bad("alpine", "is wanted");
	bad("me/alpine", "no registry");
	bad("", "is wanted");
	bad("/a", "no registry");
	bad("a_b:x/a", "no registry");
	bad("h.x:123456/a", "no registry");
	bad("user@h.x/a", "no registry");
	bad("[::1/a", "no registry");
	bad("[x]:1/a", "no registry");
	bad("h.x/a:", "no tag");
	bad("h.x/a:.b", "no tag");
	bad("h.x/a:b:c", "no tag");
	bad("h.x/a@sha256:12", "no sha256 digest");
	bad("h.x/a@md5:12", "no sha256 digest");
	for (size_t i = 0; i < sizeof(repos) / sizeof(repos[0]); i++) {
		snprintf(text, sizeof(text), "h.x/%s", repos[i]);
		bad(text, "no repository");
	}
}

static void
test_lengths(void **state)
{
	char text[1200], *p = text;

	(void)state;
	p += sprintf(p, "h.x/");
	memset(p, 'a', REGISTRY_REPO_MAX);
	p[REGISTRY_REPO_MAX] = '\0';
	{
		struct registry_name n;
		struct err e = ERR_INIT;

		assert_int_equal(registry_name_parse(text, &n, &e), 0);
		assert_int_equal(strlen(n.repo), REGISTRY_REPO_MAX);
	}
	strcat(text, "a");
	bad(text, "no repository");
	sprintf(text, "h.x/a:");
	memset(text + 6, 't', REGISTRY_TAG_MAX + 1);
	text[6 + REGISTRY_TAG_MAX + 1] = '\0';
	bad(text, "no tag");
	memset(text, 'h', 300);
	strcpy(text + 300, ".x/a");
	bad(text, "no registry");
	strcpy(text, "docker.io/");
	memset(text + 10, 'a', 250);
	text[260] = '\0';
	bad(text, "too long");
}

static void
test_server(void **state)
{
	(void)state;
	assert_string_equal(
	    registry_name_server("docker.io"), "registry-1.docker.io");
	assert_string_equal(registry_name_server("h.x:1"), "h.x:1");
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_good),
	    cmocka_unit_test(test_bad),
	    cmocka_unit_test(test_lengths),
	    cmocka_unit_test(test_server),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
