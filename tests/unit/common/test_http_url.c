#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "err.h"
#include "http.h"
#include "own.h"

static void
resolves(const char *base, const char *to, const char *want)
{
	AUTO(own_freep) char *url = NULL;
	struct err e = ERR_INIT;

	if (http_resolve(base, to, &url, &e) < 0)
		fail_msg("%s: %s", to, e.text);
	assert_string_equal(url, want);
}

static void
refuses(const char *base, const char *to)
{
	AUTO(own_freep) char *url = NULL;
	struct err e = ERR_INIT;

	if (http_resolve(base, to, &url, &e) == 0)
		fail_msg("%s was taken: %s", to, url);
}

static void
test_resolve(void **state)
{
	(void)state;
	resolves("https://r.x/v2/a/", "/v2/u?_state=a%3D&b",
	    "https://r.x/v2/u?_state=a%3D&b");
	resolves("https://r.x/v2/a/", "u/1", "https://r.x/v2/a/u/1");
	resolves("https://r.x/v2/", "https://s.y/z?q=1", "https://s.y/z?q=1");
	resolves("http://r.x/v2/", "https://s.y/z", "https://s.y/z");
	resolves("http://r.x/v2/", "//s.y/z", "http://s.y/z");
	refuses("https://r.x/v2/", "http://r.x/v2/u");
	refuses("https://r.x/v2/", "file:///etc/passwd");
	refuses("http://r.x/v2/", "ftp://r.x/");
	refuses("http://r.x/v2/", "gopher://127.0.0.1:25/");
	refuses("http://r.x/v2/", "http://");
}

static void
test_query(void **state)
{
	AUTO(own_freep) char *a = NULL;
	AUTO(own_freep) char *b = NULL;
	struct err e = ERR_INIT;

	(void)state;
	assert_int_equal(
	    http_add_query("https://r.x/u", "digest=sha256:12", &a, &e), 0);
	assert_string_equal(a, "https://r.x/u?digest=sha256:12");
	assert_int_equal(
	    http_add_query("https://r.x/u?_s=A%3D%3D", "digest=x", &b, &e), 0);
	assert_string_equal(b, "https://r.x/u?_s=A%3D%3D&digest=x");
}

static void
test_origin(void **state)
{
	(void)state;
	assert_true(http_same_origin("https://r.x/a", "https://R.X:443/b"));
	assert_true(http_same_origin("http://r.x:80/a", "http://r.x"));
	assert_false(http_same_origin("https://r.x/a", "http://r.x/a"));
	assert_false(http_same_origin("https://r.x/a", "https://r.x:444/a"));
	assert_false(http_same_origin("https://r.x/a", "https://r.x.y/a"));
	assert_false(http_same_origin("https://r.x", "https://r.x@evil/"));
	assert_false(http_same_origin("nonsense", "nonsense"));
}

static void
test_shown(void **state)
{
	char text[100], host[40];

	(void)state;
	http_shown(
	    "https://u:secret@r.x/p?sig=secret#secret", text, sizeof(text));
	assert_string_equal(text, "https://r.x/p");
	http_shown("https://r.x?sig=secret", text, sizeof(text));
	assert_string_equal(text, "https://r.x");
	http_shown("u:secret@r.x", text, sizeof(text));
	assert_null(strstr(text, "secret"));
	assert_true(http_host("https://[::1]:5/x", host, sizeof(host)));
	assert_string_equal(host, "::1");
	assert_true(http_host("https://U:p@R.X:5/x", host, sizeof(host)));
	assert_string_equal(host, "r.x");
}

static void
test_private(void **state)
{
	static const char *const near[] = {"127.0.0.1", "127.9.9.9", "10.1.2.3",
	    "172.16.0.1", "172.31.255.255", "192.168.1.1", "169.254.169.254",
	    "100.64.0.1", "0.0.0.0", "224.0.0.1", "255.255.255.255", "::1",
	    "::", "fe80::1%eth0", "fc00::1", "fd12::1", "ff02::1",
	    "::ffff:10.0.0.1", "::ffff:169.254.169.254", "/run/socket"};
	static const char *const far[] = {"8.8.8.8", "172.15.0.1", "172.32.0.1",
	    "192.167.1.1", "100.63.0.1", "100.128.0.1", "169.253.0.1",
	    "2001:4860:4860::8888", "::ffff:8.8.8.8"};

	(void)state;
	for (size_t i = 0; i < sizeof(near) / sizeof(near[0]); i++)
		if (!http_is_private(near[i]))
			fail_msg("%s", near[i]);
	for (size_t i = 0; i < sizeof(far) / sizeof(far[0]); i++)
		if (http_is_private(far[i]))
			fail_msg("%s", far[i]);
}

static void
test_loopback(void **state)
{
	static const char *const here[] = {"http://localhost/",
	    "https://LOCALHOST:5000/v2/", "http://127.0.0.1:1/",
	    "http://127.9.9.9/", "http://[::1]:80/"};
	static const char *const there[] = {"http://localhost.example/",
	    "http://127.example/", "http://10.0.0.1/", "http://128.0.0.1/",
	    "http://user@example/127.0.0.1", "not a url", ""};

	(void)state;
	for (size_t i = 0; i < sizeof(here) / sizeof(here[0]); i++)
		if (!http_is_loopback(here[i]))
			fail_msg("%s", here[i]);
	for (size_t i = 0; i < sizeof(there) / sizeof(there[0]); i++)
		if (http_is_loopback(there[i]))
			fail_msg("%s", there[i]);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_resolve),
	    cmocka_unit_test(test_query),
	    cmocka_unit_test(test_origin),
	    cmocka_unit_test(test_shown),
	    cmocka_unit_test(test_private),
	    cmocka_unit_test(test_loopback),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
