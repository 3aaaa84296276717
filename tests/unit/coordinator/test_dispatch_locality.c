/*
 * Answers about store paths that come in several parts, cut, doubled, too long:
 * what is believed of them, seen by who then gets which job.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "closure/closure.h"
#include "locality_script.h"

/* Three parts, the last of 3 bytes whose last has 5 paths. */
#define PARTS_PATHS (2 * 8 * MSG_BITS_MAX + 21)

struct fixture {
	struct dispatch d;
	struct closure closure;
	struct layer_spec spec;
	struct dispatch_job job[2];
	uint32_t path[2];
	struct dispatch_config config;
	uint8_t bits[3 * MSG_BITS_MAX];
};

static int
setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	assert_non_null(f);
	locality_open(&f->d);
	*state = f;
	return 0;
}

static int
teardown(void **state)
{
	struct fixture *f = *state;

	locality_close(&f->d);
	free(f->closure.path);
	free(f);
	return 0;
}

/* Two jobs, with a store path of a closure of n each. */
static void
begin_run(struct fixture *f, size_t n, uint32_t first, uint32_t second)
{
	struct task *t;

	f->closure.n = n;
	f->closure.path = calloc(n, sizeof(*f->closure.path));
	for (size_t i = 0; i < n; i++)
		f->closure.path[i] =
		    "/nix/store/00000000000000000000000000000000-x";
	f->spec.source = LAYER_FROM_STORE;
	f->spec.store_dir = "/nix/store";
	f->spec.store_root = "";
	f->path[0] = first;
	f->path[1] = second;
	locality_schedule(&f->d, false);
	for (size_t i = 0; i < 2; i++) {
		f->job[i] = (struct dispatch_job){.spec = &f->spec,
		    .closure = &f->closure,
		    .path = &f->path[i],
		    .n = 1,
		    .weight = 1000 - i,
		    .label = "layer"};
		assert_int_equal(task_add(&f->d, &f->job[i], &t, &e), 0);
	}
	assert_int_equal(dispatch_locality_start(&f->d, &e), 0);
}

static void
begin(struct fixture *f, size_t n, uint32_t first, uint32_t second)
{
	assert_int_equal(dispatch_locality_open(&f->d, &f->config, &e), 0);
	begin_run(f, n, first, second);
}

/* A new worker, which is asked: question 1. */
static struct peer *
join_at(struct fixture *f, uint64_t id, uint64_t rate)
{
	return locality_join(&f->d, id, 0, rate);
}

static struct peer *
join(struct fixture *f, uint64_t id)
{
	return join_at(f, id, 0);
}

static const char *
answer(struct fixture *f, struct peer *p, uint64_t ask, size_t at, size_t n)
{
	struct msg_have m = {
	    .ask = ask, .first = 8 * at, .bits = f->bits + at, .n = n};

	return locality_says(&f->d, p, &m);
}

/* Of f->bits, from that byte on; what is wrong with it, or NULL. */
static const char *
have(struct fixture *f, struct peer *p, size_t at, size_t n)
{
	return answer(f, p, 1, at, n);
}

static void
set(struct fixture *f, size_t bit)
{
	f->bits[bit / 8] |= (uint8_t)(1u << bit % 8);
}

/* Both have another part of it only: the first path, and the last one. */
static void
test_several_parts(void **state)
{
	struct fixture *f = *state;
	struct peer *a, *b;

	begin(f, PARTS_PATHS, 3, PARTS_PATHS - 1);
	join(f, 7);
	join(f, 8);
	a = peer_by_worker(&f->d, (struct worker_id){7});
	b = peer_by_worker(&f->d, (struct worker_id){8});
	set(f, PARTS_PATHS - 1);
	assert_null(have(f, a, 0, MSG_BITS_MAX));
	assert_null(have(f, a, MSG_BITS_MAX, MSG_BITS_MAX));
	assert_true(locality_is_quiet(&f->d));
	assert_null(have(f, a, MSG_BITS_MAX, MSG_BITS_MAX)); /* doubled */
	assert_true(locality_is_quiet(&f->d));
	assert_null(have(f, a, 2 * MSG_BITS_MAX, 3));
	memset(f->bits, 0, sizeof(f->bits));
	set(f, 3);
	for (size_t i = 0; i < 3; i++)
		assert_null(
		    have(f, b, i * MSG_BITS_MAX, i < 2 ? MSG_BITS_MAX : 3));
	/* Longest first; and not to the one that lacks it. */
	assert_int_equal(locality_next(&f->d, 0), 8);
	assert_int_equal(locality_next(&f->d, 1), 7);
	/* All is said: what comes now is of no question. */
	assert_null(have(f, a, 0, 1));
}

/* A part is lost: then it is a worker of which nothing is known. */
static void
test_lost_part(void **state)
{
	struct fixture *f = *state;
	struct peer *p;

	begin(f, PARTS_PATHS, 3, 4);
	p = join(f, 7);
	assert_null(have(f, p, 0, MSG_BITS_MAX));
	assert_null(have(f, p, 2 * MSG_BITS_MAX, 3));
	assert_int_equal(locality_next(&f->d, 0), 7);
	assert_null(have(f, p, MSG_BITS_MAX, MSG_BITS_MAX));
}

static void
test_wrong_lengths(void **state)
{
	struct fixture *f = *state;
	struct peer *p;

	begin(f, PARTS_PATHS, 3, 4);
	p = join(f, 7);
	assert_non_null(have(f, p, 0, MSG_BITS_MAX - 1));
	assert_non_null(have(f, p, 0, 0));
	assert_null(have(f, p, 0, MSG_BITS_MAX));
	assert_non_null(have(f, p, MSG_BITS_MAX, 3));
	assert_null(have(f, p, MSG_BITS_MAX, MSG_BITS_MAX));
	assert_non_null(have(f, p, 2 * MSG_BITS_MAX, 2));
	assert_non_null(have(f, p, 2 * MSG_BITS_MAX, 4));
	assert_true(locality_is_quiet(&f->d));
}

/* A bit for a path that is none. */
static void
test_bits_beyond_the_last(void **state)
{
	struct fixture *f = *state;
	struct peer *p;

	begin(f, PARTS_PATHS, 3, 4);
	p = join(f, 7);
	memset(f->bits, 0xff, sizeof(f->bits));
	assert_null(have(f, p, 0, MSG_BITS_MAX));
	assert_null(have(f, p, MSG_BITS_MAX, MSG_BITS_MAX));
	for (size_t bit = PARTS_PATHS % 8; bit < 8; bit++) {
		f->bits[2 * MSG_BITS_MAX + 2] = (uint8_t)(1u << bit);
		assert_non_null(have(f, p, 2 * MSG_BITS_MAX, 3));
	}
	assert_true(locality_is_quiet(&f->d));
	f->bits[2 * MSG_BITS_MAX + 2] = (1u << PARTS_PATHS % 8) - 1;
	assert_null(have(f, p, 2 * MSG_BITS_MAX, 3));
	assert_int_equal(locality_next(&f->d, 0), 7);
}

/* Where the last byte is full there is none beyond. */
static void
test_whole_bytes(void **state)
{
	struct fixture *f = *state;
	struct peer *p;

	begin(f, 16, 14, 15);
	p = join(f, 7);
	memset(f->bits, 0xff, sizeof(f->bits));
	assert_non_null(have(f, p, 0, 3));
	assert_null(have(f, p, 0, 2));
	assert_int_equal(locality_next(&f->d, 0), 7);
}

/* Who was fast in the run before gets the heaviest job, whoever is first. */
static void
test_known_rates(void **state)
{
	for (uint64_t fast = 7; fast <= 8; fast++) {
		struct fixture *f;

		if (fast == 8) {
			teardown(state);
			setup(state);
		}
		f = *state;
		begin(f, 16, 14, 15);
		join_at(f, 7, fast == 7 ? 900 : 100);
		join_at(f, 8, fast == 8 ? 900 : 100);
		memset(f->bits, 0xff, sizeof(f->bits));
		for (uint64_t id = 7; id <= 8; id++)
			assert_null(have(f,
			    peer_by_worker(&f->d, (struct worker_id){id}), 0,
			    2));
		assert_int_equal(locality_next(&f->d, 0), fast);
		assert_int_equal(locality_next(&f->d, 1), 15 - fast);
	}
}

/* All of 16 paths but one. */
static void
lack(struct fixture *f, uint64_t worker, uint64_t ask, size_t path)
{
	struct peer *p = peer_by_worker(&f->d, (struct worker_id){worker});

	memset(f->bits, 0xff, sizeof(f->bits));
	f->bits[path / 8] &= (uint8_t) ~(1u << path % 8);
	assert_null(answer(f, p, ask, 0, 2));
}

/* What is found once for all that have the same. */
static void
test_equal_stores(void **state)
{
	struct fixture *f = *state;

	begin(f, 16, 3, 4);
	for (uint64_t id = 7; id <= 10; id++)
		join(f, id);
	for (uint64_t id = 7; id <= 9; id++)
		lack(f, id, 1, 3);
	lack(f, 10, 1, 4);
	assert_int_equal(locality_next(&f->d, 0), 10);
	assert_in_range(locality_next(&f->d, 1), 7, 9);
}

/* Stores change while workers are away: what was told before does not hold. */
static void
test_another_answer(void **state)
{
	struct fixture *f = *state;

	begin(f, 16, 3, 4);
	join(f, 7);
	join(f, 8);
	lack(f, 7, 1, 3);
	lack(f, 8, 1, 4);
	for (uint64_t id = 7; id <= 8; id++)
		dispatch_locality_ask(
		    &f->d, peer_by_worker(&f->d, (struct worker_id){id}));
	lack(f, 7, 2, 4);
	lack(f, 8, 2, 3);
	assert_int_equal(locality_next(&f->d, 0), 7);
	assert_int_equal(locality_next(&f->d, 1), 8);
	/* Another run begins with nothing told. */
	sched_freep(&f->d.sched);
	tasks_clear(&f->d);
	free(f->closure.path);
	begin_run(f, 16, 4, 3);
	assert_int_equal(locality_next(&f->d, 0), 8);
	assert_int_equal(locality_next(&f->d, 1), 7);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(
		test_several_parts, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_lost_part, setup, teardown),
	    cmocka_unit_test_setup_teardown(
		test_wrong_lengths, setup, teardown),
	    cmocka_unit_test_setup_teardown(
		test_bits_beyond_the_last, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_whole_bytes, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_known_rates, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_equal_stores, setup, teardown),
	    cmocka_unit_test_setup_teardown(
		test_another_answer, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
