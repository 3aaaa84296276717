/* Order, bytes, failures and early ends of a queue between two threads. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "byte_queue.h"
#include "err.h"

struct seen {
	uint8_t next;
	size_t bytes, fail_at;
	useconds_t slow;
};

static int
consume(void *arg, const void *data, size_t len, struct err *e)
{
	struct seen *seen = arg;
	const uint8_t *p = data;

	if (seen->slow > 0)
		usleep(seen->slow);
	for (size_t i = 0; i < len; i++)
		if (p[i] != seen->next++)
			return err_set(e, ERR_FATAL, 0, "out of order");
	seen->bytes += len;
	if (seen->fail_at > 0 && seen->bytes >= seen->fail_at)
		return err_set(e, ERR_RETRY, 0, "disk full");
	return 0;
}

enum { TOTAL = 20 << 20 };

static uint8_t *
pattern(void)
{
	uint8_t *data = malloc(TOTAL);

	assert_non_null(data);
	for (size_t i = 0; i < TOTAL; i++)
		data[i] = (uint8_t)i;
	return data;
}

static void
all_in_order(void **state)
{
	static const size_t size[] = {1, 511, 256 << 10, 700001, 3};
	uint8_t *data = pattern();
	struct seen seen = {0};
	struct byte_queue *q;
	struct err e = ERR_INIT;
	size_t at = 0;

	(void)state;
	assert_int_equal(byte_queue_new(consume, &seen, &q, &e), 0);
	for (size_t i = 0; at < TOTAL; i++) {
		size_t n = size[i % 5];

		n = n < TOTAL - at ? n : TOTAL - at;
		assert_int_equal(byte_queue_put(q, data + at, n, &e), 0);
		at += n;
	}
	assert_int_equal(byte_queue_drain(q, &e), 0);
	assert_int_equal(seen.bytes, TOTAL);
	byte_queue_free(q);
	free(data);
}

static void
failure_is_told(void **state)
{
	uint8_t *data = pattern();
	struct seen seen = {.fail_at = 1 << 20};
	struct byte_queue *q;
	struct err e = ERR_INIT;
	int rc = 0;

	(void)state;
	assert_int_equal(byte_queue_new(consume, &seen, &q, &e), 0);
	for (size_t at = 0; at < TOTAL && rc == 0; at += 1 << 18)
		rc = byte_queue_put(q, data + at, 1 << 18, &e);
	assert_int_equal(rc, -1);
	assert_string_equal(e.text, "disk full");
	byte_queue_free(q);

	/* Where the failure comes with the last bytes, drain tells. */
	err_clear(&e);
	seen = (struct seen){.fail_at = 10, .slow = 10000};
	assert_int_equal(byte_queue_new(consume, &seen, &q, &e), 0);
	assert_int_equal(byte_queue_put(q, data, 10, &e), 0);
	assert_int_equal(byte_queue_drain(q, &e), -1);
	assert_string_equal(e.text, "disk full");
	byte_queue_free(q);
	free(data);
}

static void
free_stops(void **state)
{
	uint8_t *data = pattern();
	struct seen seen = {.slow = 2000};
	struct byte_queue *q;
	struct err e = ERR_INIT;
	size_t bytes;

	(void)state;
	assert_int_equal(byte_queue_new(consume, &seen, &q, &e), 0);
	for (size_t at = 0; at < 4 << 18; at += 1 << 18)
		assert_int_equal(byte_queue_put(q, data + at, 1 << 18, &e), 0);
	byte_queue_free(q);
	bytes = seen.bytes;
	usleep(10000);
	assert_int_equal(seen.bytes, bytes); /* its thread is gone */
	byte_queue_free(NULL);
	free(data);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(all_in_order),
	    cmocka_unit_test(failure_is_told),
	    cmocka_unit_test(free_stops),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
