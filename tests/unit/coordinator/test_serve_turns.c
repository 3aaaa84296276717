/* Whoever asks without end leaves answers for all others. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "serve/serve_turns.h"

/* A new connection each time. */
static struct link_peer
peer(const char *key)
{
	static uint32_t connection;
	struct link_peer p = {.len = sizeof(connection)};

	connection++;
	memcpy(p.id, &connection, sizeof(connection));
	snprintf(p.key, sizeof(p.key), "%s", key);
	return p;
}

static void
a_key_is_one(void **state)
{
	struct serve_turns t = {.since = 0};
	struct link_peer p;

	(void)state;
	for (int i = 0; i < 1000; i++) {
		p = peer("greedy");
		assert_int_equal(
		    serve_turns_take(&t, 500, &p), i < SERVE_TURNS_EACH);
	}
	p = peer("modest");
	assert_true(serve_turns_take(&t, 999, &p));
	/* A second is over. */
	p = peer("greedy");
	assert_true(serve_turns_take(&t, 1000, &p));
}

static void
so_is_a_connection(void **state)
{
	struct serve_turns t = {.since = 0};
	struct link_peer first = peer(""), second = peer("");

	(void)state;
	for (int i = 0; i < 100; i++)
		assert_int_equal(
		    serve_turns_take(&t, 0, &first), i < SERVE_TURNS_EACH);
	assert_true(serve_turns_take(&t, 0, &second));
}

static void
there_is_an_end(void **state)
{
	struct serve_turns t = {.since = 0};

	(void)state;
	for (int i = 0; i < 100; i++) {
		struct link_peer p = peer("");

		assert_int_equal(
		    serve_turns_take(&t, 0, &p), i < SERVE_TURNS_MAX);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(a_key_is_one),
	    cmocka_unit_test(so_is_a_connection),
	    cmocka_unit_test(there_is_an_end),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
