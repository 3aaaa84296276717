/* Tables by hash, against plain arrays; and what a look-up costs. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "closure/hash_index.h"

enum { VALUES = 200, HASHES = 40 };

static uint64_t
random_below(uint64_t *seed, uint64_t n)
{
	*seed ^= *seed << 13;
	*seed ^= *seed >> 7;
	*seed ^= *seed << 17;
	return *seed % n;
}

/* Few hashes, and neighbours: long runs, and holes in the middle of them. */
static void
same_as_an_array(void **state)
{
	bool there[VALUES] = {false};
	uint64_t hash[VALUES], r = 7;
	struct hash_index x = {0};
	size_t n = 0, at;

	(void)state;
	assert_int_equal(hash_index_first(&x, 1, &at), HASH_INDEX_NONE);
	for (int step = 0; step < 50000; step++) {
		uint32_t v = (uint32_t)random_below(&r, VALUES), got;
		uint64_t wanted = random_below(&r, HASHES);
		size_t count = 0;

		if (there[v]) {
			hash_index_remove(&x, hash[v], v);
			n--;
		} else {
			hash[v] = random_below(&r, HASHES);
			assert_int_equal(hash_index_reserve(&x, n + 1), 0);
			hash_index_put(&x, hash[v], v);
			n++;
		}
		there[v] = !there[v];
		assert_int_equal(x.n, n);
		for (got = hash_index_first(&x, wanted, &at);
		     got != HASH_INDEX_NONE;
		     got = hash_index_next(&x, wanted, &at), count++)
			assert_true(there[got] && hash[got] == wanted);
		for (v = 0; v < VALUES; v++)
			count -= there[v] && hash[v] == wanted;
		assert_int_equal(count, 0);
	}
	hash_index_free(&x);
}

static void
changes_values(void **state)
{
	struct hash_index x = {0};
	size_t at;

	(void)state;
	assert_int_equal(hash_index_reserve(&x, 2), 0);
	hash_index_put(&x, 5, 1);
	hash_index_put(&x, 5, 2);
	hash_index_change(&x, 5, 1, 9);
	assert_int_equal(hash_index_first(&x, 5, &at), 9);
	assert_int_equal(hash_index_next(&x, 5, &at), 2);
	assert_int_equal(hash_index_next(&x, 5, &at), HASH_INDEX_NONE);
	hash_index_free(&x);
}

static void
hashes_differ(void **state)
{
	static const uint8_t zeros[64], one[64] = {1}, last[64] = {[63] = 1};

	(void)state;
	assert_true(hash_bytes(1, zeros, 64) != hash_bytes(1, zeros, 63));
	assert_true(hash_bytes(1, zeros, 64) != hash_bytes(2, zeros, 64));
	assert_true(hash_bytes(1, zeros, 64) != hash_bytes(1, one, 64));
	assert_true(hash_bytes(1, zeros, 64) != hash_bytes(1, last, 64));
	assert_true(hash_bytes(1, one, 3) == hash_bytes(1, one, 3));
	assert_true(hash_number(1, 2) != hash_number(1, 3));
}

/* However many there are. */
static void
looks_at_few(void **state)
{
	struct hash_index x = {0};
	const uint32_t n = 100000;
	size_t at;

	(void)state;
	for (uint32_t v = 0; v < n; v++) {
		assert_int_equal(hash_index_reserve(&x, v + 1), 0);
		hash_index_put(&x, hash_number(3, v), v);
	}
	x.looks = 0;
	for (uint32_t v = 0; v < n; v++)
		assert_int_equal(
		    hash_index_first(&x, hash_number(3, v), &at), v);
	assert_in_range(x.looks, n, 4 * n);
	hash_index_free(&x);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(same_as_an_array),
	    cmocka_unit_test(changes_values),
	    cmocka_unit_test(hashes_differ),
	    cmocka_unit_test(looks_at_few),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
