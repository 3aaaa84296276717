/* Which URLs of caches are taken, and what a cache may call its own. */
#include "cache_url.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "err.h"

static void
taken(const char *text, enum cache_scheme scheme, size_t len, unsigned port)
{
	struct err e = ERR_INIT;
	struct cache_url u;

	if (cache_url_parse(text, &u, &e) < 0)
		fail_msg("%s: %s", text, e.text);
	assert_int_equal(u.scheme, scheme);
	assert_int_equal(u.len, len);
	assert_int_equal(u.port, port);
}

static void
test_taken(void **state)
{
	(void)state;
	taken("http://a", CACHE_HTTP, 8, 80);
	taken("HTTPS://cache.example.org/", CACHE_HTTPS, 25, 443);
	taken("https://h_1:8443/a/b//", CACHE_HTTPS, 20, 8443);
	taken("http://[::1]:1/x", CACHE_HTTP, 16, 1);
	taken("http://[::1]", CACHE_HTTP, 12, 80);
	taken("http://h:65535", CACHE_HTTP, 14, 65535);
	taken("file:///srv/cache", CACHE_FILE, 17, 0);
	taken("file:///srv/a b@c/\xc3\xa9/", CACHE_FILE, 20, 0);
}

static void
test_refused(void **state)
{
	static const char *const urls[] = {"", "/srv/cache", "ftp://a",
	    "s3://bucket", "daemon", "http:/a", "http://", "http:///a",
	    "https://a:0", "https://a:65536", "https://a:", "https://a:1x",
	    "https://a:000001", "http://a b", "http://a/b c", "http://a/\xc3",
	    "http://a?x", "http://a/b?priority=40", "http://a/#f",
	    "http://[::1", "http://[::1]x", "http://[]x", "http://[g]/",
	    "file://srv/cache", "file://host/srv", "file:///a?x",
	    "file:///a%20b", "file:///a\nb", "http://a/<", "http://a\\b"};
	struct err e = ERR_INIT;
	char longer[CACHE_URL_MAX + 1];
	struct cache_url u;

	(void)state;
	for (size_t i = 0; i < sizeof(urls) / sizeof(urls[0]); i++) {
		if (cache_url_parse(urls[i], &u, &e) == 0)
			fail_msg("%s is taken", urls[i]);
		assert_int_equal(e.kind, ERR_USAGE);
		err_clear(&e);
	}
	assert_int_equal(cache_url_parse("https://me:secret@a/b", &u, &e), -1);
	assert_null(strstr(e.text, "secret"));
	err_clear(&e);
	memset(longer, 'a', sizeof(longer));
	memcpy(longer, "http://", 7);
	longer[CACHE_URL_MAX] = '\0';
	longer[7 + 60] = '/';
	assert_int_equal(cache_url_parse(longer, &u, &e), -1);
	assert_non_null(strstr(e.text, "longer than"));
}

/* What the cache calls url is want; NULL: it is refused. */
static void
resolves(const char *cache, const char *url, const char *want)
{
	char out[CACHE_URL_MAX];
	struct err e = ERR_INIT;
	struct cache_url u;
	int rc;

	assert_int_equal(cache_url_parse(cache, &u, &e), 0);
	rc = cache_url_resolve(&u, url, out, &e);
	if ((rc == 0) != (want != NULL))
		fail_msg("%s in %s: %s", url, cache, rc == 0 ? out : e.text);
	if (rc == 0)
		assert_string_equal(out, want);
	else
		assert_int_equal(e.kind, ERR_RETRY);
}

static void
test_own(void **state)
{
	(void)state;
	resolves("http://a/c/", "nar/1.nar.xz", "http://a/c/nar/1.nar.xz");
	resolves("http://a", "x.narinfo", "http://a/x.narinfo");
	resolves(
	    "http://a", "nar/1?t=a/../b&u=?", "http://a/nar/1?t=a/../b&u=?");
	resolves("http://a", "nar/...", "http://a/nar/...");
	resolves("http://a", "nar/%2e", "http://a/nar/%2e");
	resolves("http://a:80/c", "http://A/nar/1", "http://A/nar/1");
	resolves("https://a", "https://a:443/nar/1", "https://a:443/nar/1");
	resolves("file:///c", "nar/1.nar", "file:///c/nar/1.nar");
	resolves("file:///c//", "file:///c/nar/1", "file:///c/nar/1");
	assert_string_equal(cache_url_file("file:///c/nar/1"), "/c/nar/1");
}

static void
test_elsewhere(void **state)
{
	static const char *const relative[] = {"", "/nar/1", "//b/nar", "../x",
	    "nar/../x", "nar/..", "./x", "nar//1", "nar/", "?x", "nar/1#f",
	    "a\x7f"};
	static const char *const absolute[] = {"http://b/nar/1",
	    "http://a:81/nar/1", "https://a/nar/1", "ftp://a/nar/1",
	    "http://a.b/nar/1", "http://a@b/nar/1", "http://a", "http://a/",
	    "http://a/../x", "x://a/b", "nar/http://a/x"};
	static const char *const files[] = {"file:///d/nar", "file:///cc/nar",
	    "file:///c", "file:///c/", "file:///c/../d", "http://a/x",
	    "nar/%2e", "nar/1?x"};
	char longer[CACHE_URL_MAX];

	(void)state;
	for (size_t i = 0; i < sizeof(relative) / sizeof(relative[0]); i++) {
		resolves("http://a", relative[i], NULL);
		resolves("file:///c", relative[i], NULL);
	}
	for (size_t i = 0; i < sizeof(absolute) / sizeof(absolute[0]); i++)
		resolves("http://a", absolute[i], NULL);
	for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++)
		resolves("file:///c", files[i], NULL);
	resolves("http://a", "a b", NULL);
	resolves("http://a", "nar\\1", NULL);
	memset(longer, 'n', sizeof(longer));
	longer[CACHE_URL_MAX - 1] = '\0';
	resolves("http://a", longer, NULL);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_taken),
	    cmocka_unit_test(test_refused),
	    cmocka_unit_test(test_own),
	    cmocka_unit_test(test_elsewhere),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
