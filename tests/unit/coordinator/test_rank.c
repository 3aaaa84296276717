/* Ranking: exact numbers of every width, order of ties, cycles. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "text/bignum.h"
#include "err.h"
#include "graph_closure.h"
#include "plan/popularity.h"
#include "plan/rank.h"
#include "plan/topo.h"

static struct closure *
numbered(size_t n, struct graph_edge *edge, size_t n_edges)
{
	char **path = calloc(n, sizeof(*path));
	struct closure *c;

	for (size_t i = 0; i < n; i++)
		if (asprintf(&path[i], "/nix/store/%032zu-p%zu", i, i) < 0)
			abort();
	c = graph_closure("/nix/store", path, n, edge, n_edges);
	free(path);
	return c;
}

/*
 * rungs diamonds one below the other: 3 * i refers to the next two, both to
 * 3 * i + 3.  labels go down, so that the order is not that of the paths.
 */
static struct closure *
ladder(size_t rungs)
{
	struct graph_edge *edge = calloc(4 * rungs, sizeof(*edge));
	uint32_t last = (uint32_t)(3 * rungs);
	struct closure *c;

	for (uint32_t i = 0; i < rungs; i++) {
		uint32_t u = last - 3 * i;

		edge[4 * i] = (struct graph_edge){u, u - 1};
		edge[4 * i + 1] = (struct graph_edge){u, u - 2};
		edge[4 * i + 2] = (struct graph_edge){u - 1, u - 3};
		edge[4 * i + 3] = (struct graph_edge){u - 2, u - 3};
	}
	c = numbered(last + 1, edge, 4 * rungs);
	free(edge);
	return c;
}

#define LIMBS 20

/* Whether value is factor * 2^k - 3. */
static void
expect_scaled(const uint64_t *value, size_t limbs, uint64_t factor, size_t k)
{
	static const uint64_t three[] = {3};
	uint64_t got[LIMBS] = {0}, wanted[LIMBS] = {0};

	assert_in_range(limbs, 1, LIMBS - 1);
	memcpy(got, value, limbs * sizeof(*value));
	bignum_add(got, three, 1);
	wanted[k / 64] = factor << (k % 64);
	if (k % 64 > 0)
		wanted[k / 64 + 1] = factor >> (64 - k % 64);
	assert_memory_equal(got, wanted, sizeof(got));
}

/*
 * In a ladder 2^k ways lead to the top and to each side of diamond k, so the
 * top's popularity is 2^k + 3 * (2^k - 1), a side's 2^k more.
 */
static void
test_ladder(void **state)
{
	(void)state;
	for (size_t rungs = 1; rungs < 1000; rungs += rungs < 150 ? 1 : 37) {
		struct closure *c = ladder(rungs);
		struct topo *t = NULL;
		struct popularity *p = NULL;
		struct err e = ERR_INIT;

		assert_int_equal(topo_make(c, &t, &e), 0);
		assert_int_equal(popularity_make(t, &p, &e), 0);
		if (rungs < 58)
			assert_int_equal(p->limbs, 1);
		for (size_t i = 0; i < t->n; i++) {
			size_t place = 3 * rungs - t->node[i];

			expect_scaled(p->value + i * p->limbs, p->limbs,
			    place % 3 == 0 ? 4 : 5, place / 3);
		}
		popularity_free(p);
		topo_free(t);
		graph_closure_free(c);
	}
}

/* More popular the deeper, the sides of a diamond before its top. */
static void
test_ladder_order(void **state)
{
	struct closure *c = ladder(3000);
	uint32_t *order = NULL;
	struct err e = ERR_INIT;

	(void)state;
	assert_int_equal(rank_popularity(c, &order, &e), 0);
	assert_int_equal(order[0], 0); /* 4 * 2^3000 - 3 */
	for (size_t i = 0; i < 3000; i++) {
		uint32_t top = (uint32_t)(3 * i + 3);

		/* of 5 * 2^k - 3, 5 * 2^k - 3, 4 * 2^k - 3 */
		assert_int_equal(order[3 * i + 3], top);
		assert_int_equal(
		    order[3 * i + 1] + order[3 * i + 2], 2 * top - 3);
	}
	free(order);
	graph_closure_free(c);
}

/*
 * Below a ladder's foot hang two paths; the second has a root of its own too,
 * so its popularity is greater, by 2.
 */
static void
test_last_bit(void **state)
{
	(void)state;
	for (size_t rungs = 30; rungs < 300; rungs += 30) {
		struct closure *l = ladder(rungs);
		size_t n = l->n, k = l->ref_start[n];
		struct graph_edge *edge = calloc(k + 3, sizeof(*edge));
		uint32_t first = (uint32_t)n, *order = NULL;
		struct closure *c;
		struct err e = ERR_INIT;

		for (size_t u = 0, i = 0; u < n; u++)
			for (; i < l->ref_start[u + 1]; i++)
				edge[i] =
				    (struct graph_edge){(uint32_t)u, l->ref[i]};
		edge[k] = (struct graph_edge){0, first};
		edge[k + 1] = (struct graph_edge){0, first + 1};
		edge[k + 2] = (struct graph_edge){first + 2, first + 1};
		c = numbered(n + 3, edge, k + 3);
		assert_int_equal(rank_popularity(c, &order, &e), 0);
		assert_int_equal(order[0], first + 1);
		assert_int_equal(order[1], first);
		free(order);
		free(edge);
		graph_closure_free(c);
		graph_closure_free(l);
	}
}

/* Paths without references: all popularities are 1, the key decides. */
static void
expect_order(const char *dir, const char *const *bases, size_t n)
{
	char **path = calloc(n, sizeof(*path));
	uint32_t *order = NULL;
	struct closure *c;
	struct err e = ERR_INIT;

	for (size_t i = 0; i < n; i++)
		if (asprintf(&path[i], "%s/%s", dir, bases[i]) < 0)
			abort();
	qsort(path, n, sizeof(*path), graph_path_compare);
	c = graph_closure(dir, path, n, NULL, 0);
	assert_int_equal(rank_popularity(c, &order, &e), 0);
	for (size_t i = 0; i < n; i++)
		assert_string_equal(
		    strrchr(c->path[order[i]], '/') + 1, bases[i]);
	free(order);
	free(path);
	graph_closure_free(c);
}

#define H "0000000000000000000000000000000"

static void
test_ties(void **state)
{
	/* "a" is "a-/nix/store/...", which comes before "a-b-..." */
	static const char *const bases[] = {
	    H "9-A", H "8-a", H "9-a", H "1-a-b", H "0-a.b", H "7-ab", H "6-b"};
	/* keys: nix/store/HASH-NAME-/my */
	static const char *const by_hash[] = {
	    H "0-z", H "1-a", H "2-a", H "2-a-b", H "2-a.b"};

	(void)state;
	expect_order("/nix/store", bases, 7);
	expect_order("/my-nix/store", by_hash, 5);
}

static void
expect_cycle(struct graph_edge *edge, size_t n_edges, const char *text)
{
	struct closure *c = numbered(9, edge, n_edges);
	uint32_t *order = NULL;
	struct err e = ERR_INIT;

	assert_int_equal(rank_popularity(c, &order, &e), -1);
	assert_int_equal(e.kind, ERR_USAGE);
	assert_null(order);
	assert_string_equal(e.text, text);
	graph_closure_free(c);
}

#define P(digit) "/nix/store/" H #digit "-p" #digit

static void
test_cycle(void **state)
{
	/* 0 leads into the cycle, 3 out of it */
	struct graph_edge two[] = {{0, 2}, {2, 1}, {1, 2}, {2, 3}, {3, 4}};
	struct graph_edge four[] = {{8, 2}, {2, 7}, {7, 5}, {5, 8}, {5, 1}};
	struct graph_edge five[] = {
	    {8, 2}, {2, 7}, {7, 5}, {5, 3}, {3, 8}, {0, 8}};

	(void)state;
	expect_cycle(two, 5,
	    "references of 2 store paths form a cycle: " P(1) " -> " P(
		2) " -> " P(1));
	expect_cycle(four, 5,
	    "references of 4 store paths form a cycle: " P(2) " -> " P(
		7) " -> " P(5) " -> " P(8) " -> " P(2));
	expect_cycle(five, 6,
	    "references of 5 store paths form a cycle: " P(2) " -> " P(
		7) " -> " P(5) " -> " P(3) " -> ... -> " P(2));
}

/* One that needs more memory than it may says so before it takes any. */
static void
test_too_large(void **state)
{
	struct closure *c = ladder(100000);
	uint32_t *order = NULL;
	struct err e = ERR_INIT;

	(void)state;
	assert_int_equal(rank_popularity(c, &order, &e), -1);
	assert_int_equal(e.kind, ERR_USAGE);
	assert_non_null(strstr(e.text, "numbers of 100003 bits"));
	assert_null(order);
	graph_closure_free(c);
}

static void
test_empty(void **state)
{
	struct closure *c = numbered(0, NULL, 0);
	uint32_t *order = NULL;
	struct err e = ERR_INIT;

	(void)state;
	assert_int_equal(rank_popularity(c, &order, &e), 0);
	free(order);
	graph_closure_free(c);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_ladder),
	    cmocka_unit_test(test_ladder_order),
	    cmocka_unit_test(test_last_bit),
	    cmocka_unit_test(test_ties),
	    cmocka_unit_test(test_cycle),
	    cmocka_unit_test(test_too_large),
	    cmocka_unit_test(test_empty),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
