/*
 * The order of a batch's layers, held against longest first: it must end
 * about as soon, and have images whole far earlier.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "batch/batch_order.h"
#include "err.h"

#define IMAGES 200
#define LAYERS 40 /* of an image */
#define SHARED 30 /* at most, of those that many have */
#define JOBS (IMAGES * LAYERS)

struct world {
	uint32_t job[IMAGES][LAYERS];
	struct batch_order_image image[IMAGES];
	uint64_t weight[JOBS], order[JOBS];
	size_t n_jobs;
};

static uint64_t seed;

static uint64_t
chance(uint64_t below)
{
	seed = seed * UINT64_C(6364136223846793005) + 1442695040888963407;
	return (seed >> 33) % below;
}

/* As closures are: many small paths, few large ones. */
static uint64_t
any_weight(void)
{
	return UINT64_C(1000) << chance(chance(4) == 0 ? 17 : 9);
}

static void
make_world(struct world *w)
{
	size_t common = 100;

	for (size_t j = 0; j < common; j++)
		w->weight[j] = any_weight();
	w->n_jobs = common;
	for (size_t i = 0; i < IMAGES; i++) {
		size_t shared = 1 + chance(SHARED), first = chance(70);

		for (size_t k = 0; k < LAYERS; k++) {
			if (k < shared) {
				w->job[i][k] =
				    (uint32_t)(k == 0 ? i % common : first + k);
				continue;
			}
			w->weight[w->n_jobs] = any_weight();
			w->job[i][k] = (uint32_t)w->n_jobs++;
		}
		w->image[i] = (struct batch_order_image){w->job[i], LAYERS};
	}
}

static struct world *sorting;

static int
by_order(const void *pa, const void *pb)
{
	const uint32_t *a = pa, *b = pb;

	return sorting->order[*a] > sorting->order[*b] ? -1 : 1;
}

static int
by_weight(const void *pa, const void *pb)
{
	const uint32_t *a = pa, *b = pb;

	if (sorting->weight[*a] != sorting->weight[*b])
		return sorting->weight[*a] > sorting->weight[*b] ? -1 : 1;
	return *a > *b ? 1 : -1;
}

struct times {
	double end, first, mean; /* of images */
};

/* Jobs in a given order on so many equal slots. */
static struct times
run(struct world *w, size_t slots, int (*compare)(const void *, const void *))
{
	static uint32_t job[JOBS];
	static double done[JOBS];
	double slot[64] = {0};
	struct times t = {.first = 1e300};

	for (size_t j = 0; j < w->n_jobs; j++)
		job[j] = (uint32_t)j;
	sorting = w;
	qsort(job, w->n_jobs, sizeof(*job), compare);
	for (size_t j = 0; j < w->n_jobs; j++) {
		size_t least = 0;

		for (size_t s = 1; s < slots; s++)
			if (slot[s] < slot[least])
				least = s;
		slot[least] += (double)w->weight[job[j]];
		done[job[j]] = slot[least];
		if (slot[least] > t.end)
			t.end = slot[least];
	}
	for (size_t i = 0; i < IMAGES; i++) {
		double whole = 0;

		for (size_t k = 0; k < LAYERS; k++)
			if (done[w->job[i][k]] > whole)
				whole = done[w->job[i][k]];
		if (whole < t.first)
			t.first = whole;
		t.mean += whole / IMAGES;
	}
	return t;
}

static void
as_soon_as_longest_first_and_images_earlier(void **state)
{
	static struct world w;
	static const size_t slots[] = {1, 2, 8, 32};
	struct err e = ERR_INIT;

	(void)state;
	for (seed = 1; seed < 200; seed = seed % 1000 + 23) {
		uint64_t which = seed;

		make_world(&w);
		assert_int_equal(batch_order_make(w.image, IMAGES, w.weight,
				     w.n_jobs, w.order, &e),
		    0);
		for (size_t s = 0; s < 4; s++) {
			struct times ours = run(&w, slots[s], by_order);
			struct times lpt = run(&w, slots[s], by_weight);

			assert_true(ours.end <= lpt.end * 1.02);
			assert_true(ours.first <= lpt.first * 0.01);
			assert_true(ours.mean <= lpt.mean * 0.71);
		}
		seed = which;
	}
}

/* Every job gets a place of its own. */
static void
is_a_permutation(void **state)
{
	static struct world w;
	static bool seen[JOBS + 1];
	struct err e = ERR_INIT;

	(void)state;
	seed = 7;
	make_world(&w);
	assert_int_equal(
	    batch_order_make(w.image, IMAGES, w.weight, w.n_jobs, w.order, &e),
	    0);
	for (size_t j = 0; j < w.n_jobs; j++) {
		assert_in_range(w.order[j], 1, w.n_jobs);
		assert_false(seen[w.order[j]]);
		seen[w.order[j]] = true;
	}
}

static void
small_ones(void **state)
{
	/* 2 and 1 share job 1; the last image wants one job twice. */
	static const uint32_t a[] = {0, 1}, b[] = {1, 2}, c[] = {3, 3};
	const struct batch_order_image image[] = {
	    {a, 2}, {b, 2}, {c, 2}, {NULL, 0}};
	const uint64_t weight[] = {50, 10, 20, 100};
	uint64_t order[4];
	struct err e = ERR_INIT;

	(void)state;
	assert_int_equal(batch_order_make(image, 4, weight, 4, order, &e), 0);
	/* First image b: 20 before 10.  What is left is large: by size. */
	assert_int_equal(order[2], 4);
	assert_int_equal(order[1], 3);
	assert_int_equal(order[3], 2);
	assert_int_equal(order[0], 1);
	assert_int_equal(batch_order_make(NULL, 0, NULL, 0, order, &e), 0);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(as_soon_as_longest_first_and_images_earlier),
	    cmocka_unit_test(is_a_permutation),
	    cmocka_unit_test(small_ones),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
