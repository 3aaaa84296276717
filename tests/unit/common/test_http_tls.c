/* What is trusted besides the system's authorities, and can be handed on. */
#include "http.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "err.h"

static char folder[40];

static int
set_up(void **state)
{
	(void)state;
	strcpy(folder, "/tmp/test_http_tls-XXXXXX");
	return mkdtemp(folder) == NULL ? -1 : 0;
}

static void
put(const char *name, const char *text)
{
	char path[80];
	FILE *f;

	snprintf(path, sizeof(path), "%s/%s", folder, name);
	f = fopen(path, "w");
	assert_non_null(f);
	assert_true(fputs(text, f) >= 0);
	assert_int_equal(fclose(f), 0);
}

static int
tear_down(void **state)
{
	const char *names[] = {"a.crt", "b.txt", "me.cert", "me.key"};
	char path[80];

	(void)state;
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		snprintf(path, sizeof(path), "%s/%s", folder, names[i]);
		unlink(path);
	}
	return rmdir(folder);
}

static void
test_added(void **state)
{
	struct http_tls *own, *other, *none;
	struct err e = ERR_INIT;

	(void)state;
	put("a.crt", "PEM");
	put("b.txt", "no certificate");
	assert_int_equal(http_tls_new(folder, true, &own, &e), 0);
	assert_string_equal(http_tls_added(own), "PEM\n");
	assert_false(http_tls_shows(own));
	assert_true(http_tls_verifies(own));
	/* As it is handed on. */
	assert_int_equal(
	    http_tls_new_pem(http_tls_added(own), false, &other, &e), 0);
	assert_string_equal(http_tls_added(other), "PEM\n\n");
	assert_false(http_tls_verifies(other));
	assert_int_equal(http_tls_new_pem("", true, &none, &e), 0);
	assert_string_equal(http_tls_added(none), "");
	http_tls_free(own);
	http_tls_free(other);
	http_tls_free(none);
}

static void
test_client(void **state)
{
	struct err e = ERR_INIT;
	struct http_tls *t;

	(void)state;
	put("me.cert", "PEM");
	put("me.key", "KEY");
	assert_int_equal(http_tls_new(folder, true, &t, &e), 0);
	assert_true(http_tls_shows(t));
	assert_string_equal(http_tls_added(t), "");
	http_tls_free(t);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int
main(void)
{
	const struct CMUnitTest tests[] = {TEST(test_added), TEST(test_client)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
