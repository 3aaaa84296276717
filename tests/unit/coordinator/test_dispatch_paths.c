/*
 * Store paths of jobs that come for ever: what workers are asked, what is
 * believed of their answers, and who then gets which job.
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

#include "locality_script.h"

enum { JOBS = 12 };

struct fixture {
	struct dispatch d;
	struct layer_spec spec;
	struct dispatch_job job[JOBS];
	struct layer_item item[JOBS];
	char path[JOBS][64];
	struct job_id id[JOBS];
};

static int
setup(void **state)
{
	const struct dispatch_config dispatch = {.no_locality = false};
	struct fixture *f = calloc(1, sizeof(*f));

	assert_non_null(f);
	locality_open(&f->d);
	f->d.open = true;
	f->spec.source = LAYER_FROM_STORE;
	f->spec.store_dir = "/nix/store";
	f->spec.store_root = "";
	for (size_t i = 0; i < JOBS; i++) {
		snprintf(
		    f->path[i], sizeof(f->path[i]), "/nix/store/%032zu-p", i);
		f->item[i] = (struct layer_item){
		    .path = f->path[i], .has_hash = true, .nar_size = 1000};
		f->job[i] = (struct dispatch_job){.spec = &f->spec,
		    .item = &f->item[i],
		    .n = 1,
		    .weight = 1000,
		    .label = "layer"};
	}
	locality_schedule(&f->d, true);
	assert_int_equal(dispatch_locality_open(&f->d, &dispatch, &e), 0);
	assert_int_equal(dispatch_locality_start(&f->d, &e), 0);
	*state = f;
	return 0;
}

static int
teardown(void **state)
{
	struct fixture *f = *state;

	for (size_t i = 0; i < JOBS; i++)
		dispatch_unlearn(&f->d, &f->job[i]);
	locality_close(&f->d);
	free(f);
	return 0;
}

static struct peer *
worker(struct fixture *f, uint64_t id)
{
	return peer_by_worker(&f->d, (struct worker_id){id});
}

/* One job may wait. */
static void
join(struct fixture *f, uint64_t id)
{
	locality_join(&f->d, id, 2, 0);
}

static void
tick(struct fixture *f)
{
	int64_t next;

	assert_int_equal(dispatch_locality_tick(&f->d, &next, &e), 0);
}

/* These jobs come; workers are asked. */
static void
learn(struct fixture *f, size_t first, size_t n)
{
	for (size_t i = first; i < first + n; i++)
		assert_int_equal(dispatch_learn(&f->d, &f->job[i], &e), 0);
	tick(f);
}

static void
add(struct fixture *f, size_t job)
{
	assert_int_equal(dispatch_add(&f->d, &f->job[job], &f->id[job], &e), 0);
}

static const char *
says(struct fixture *f, uint64_t id, const struct msg_have *m)
{
	return locality_says(&f->d, worker(f, id), m);
}

/* That question has the answer of so many bytes. */
static const char *
have_n(struct fixture *f, uint64_t id, uint64_t ask, unsigned bits, size_t n)
{
	uint8_t data[] = {(uint8_t)bits, (uint8_t)(bits >> 8), 0};
	const struct msg_have m = {.ask = ask, .bits = data, .n = n};

	return says(f, id, &m);
}

static const char *
have(struct fixture *f, uint64_t id, uint64_t ask, unsigned bits)
{
	return have_n(f, id, ask, bits, bits > 0xff ? 2 : 1);
}

static bool
knows(struct fixture *f, size_t job)
{
	return dispatch_knows(&f->d, &f->job[job]);
}

static void
expect_send(struct fixture *f, size_t job, uint64_t worker)
{
	assert_int_equal(locality_next(&f->d, f->id[job].v), worker);
}

/* What is new is asked for, once, and jobs know when all have answered. */
static void
test_only_what_is_new(void **state)
{
	struct fixture *f = *state;
	struct msg_want want = {.ask = 1, .first = 2};

	join(f, 7);
	join(f, 8);
	assert_true(knows(f, 0)); /* nothing was learned of it */
	learn(f, 0, 2);
	assert_false(knows(f, 0));
	assert_non_null(dispatch_locality_want(&f->d, worker(f, 7), &want));
	want.first = 0;
	assert_null(dispatch_locality_want(&f->d, worker(f, 7), &want));
	assert_null(have(f, 7, 1, 1));
	assert_false(knows(f, 0));
	assert_null(have(f, 8, 1, 2));
	assert_true(knows(f, 0));
	assert_true(knows(f, 1));
	/* A path that is known, and one that is not: it alone. */
	f->job[3].item = &f->item[1];
	learn(f, 2, 2);
	assert_true(knows(f, 3));
	assert_false(knows(f, 2));
	assert_non_null(have(f, 7, 2, 7)); /* of three */
	assert_null(have(f, 7, 2, 1));
	assert_null(have(f, 8, 2, 0));
	assert_true(knows(f, 2));
	for (size_t i = 0; i < 4; i++)
		add(f, i);
	expect_send(f, 0, 7);
	expect_send(f, 1, 8);
	expect_send(f, 2, 7);
	expect_send(f, 3, 8);
	/* All is known: nothing more was asked. */
	dispatch_unlearn(&f->d, &f->job[3]);
	learn(f, 3, 1);
	assert_non_null(have(f, 7, 3, 1));
}

static void
test_wrong_answers(void **state)
{
	struct fixture *f = *state;
	const struct msg_have late = {
	    .ask = 1, .first = 8, .bits = (uint8_t *)"", .n = 1};
	const struct msg_want none = {.ask = 0, .first = 0};

	join(f, 7);
	assert_non_null(have(f, 7, 0, 0));
	assert_non_null(have(f, 7, 1, 0)); /* of nothing yet */
	assert_non_null(dispatch_locality_want(&f->d, worker(f, 7), &none));
	learn(f, 0, 10);
	assert_non_null(have_n(f, 7, 1, 0, 1));
	assert_non_null(have_n(f, 7, 1, 0, 3));
	assert_non_null(have_n(f, 7, 1, 0x400, 2)); /* an eleventh */
	assert_non_null(says(f, 7, &late));
	assert_non_null(have_n(f, 7, 2, 0, 2));
	assert_false(knows(f, 0));
	assert_null(have_n(f, 7, 1, 0x3ff, 2));
	assert_true(knows(f, 9));
	/* Doubled. */
	assert_null(have_n(f, 7, 1, 0, 2));
	add(f, 9);
	expect_send(f, 9, 7);
}

/* A worker that says that it cannot say: nobody waits. */
static void
test_cannot_look(void **state)
{
	struct fixture *f = *state;
	const struct msg_have m = {.ask = 1, .sys = EIO};

	join(f, 7);
	learn(f, 0, 1);
	assert_false(knows(f, 0));
	assert_null(says(f, 7, &m));
	assert_true(knows(f, 0));
	/* Nor is it asked again and again. */
	learn(f, 1, 1);
	assert_true(knows(f, 1));
	assert_non_null(have(f, 7, 2, 1));
	add(f, 0);
	expect_send(f, 0, 7);
}

/* It did not wait; what is heard then counts all the same. */
static void
test_answers_come_late(void **state)
{
	struct fixture *f = *state;

	join(f, 7);
	join(f, 8);
	learn(f, 0, 2);
	add(f, 0);
	add(f, 1);
	assert_null(have(f, 8, 1, 1));
	assert_null(have(f, 7, 1, 2));
	expect_send(f, 0, 8);
	expect_send(f, 1, 7);
}

/* One that is new is the scheduler's once it has said what matters. */
static void
test_joins(void **state)
{
	struct fixture *f = *state;

	learn(f, 0, 2);
	add(f, 0);
	add(f, 1);
	join(f, 7);
	assert_true(dispatch_locality_waits(worker(f, 7)));
	assert_true(locality_is_quiet(&f->d));
	/* One that waits itself is not waited for. */
	assert_true(knows(f, 0));
	assert_null(have(f, 7, 1, 2));
	assert_false(dispatch_locality_waits(worker(f, 7)));
	expect_send(f, 1, 7);
	assert_true(locality_is_quiet(&f->d));
	/* It is back: the question that was on is asked again. */
	learn(f, 2, 1);
	dispatch_locality_ask(&f->d, worker(f, 7));
	assert_null(have(f, 7, 2, 1)); /* of before */
	assert_false(knows(f, 2));
	assert_null(have(f, 7, 3, 0));
	assert_true(knows(f, 2));
	/* Where nothing is needed nobody waits. */
	for (size_t i = 0; i < 3; i++) {
		if (i != 2)
			dispatch_cancel(&f->d, f->id[i]);
		dispatch_unlearn(&f->d, &f->job[i]);
	}
	join(f, 9);
	assert_false(dispatch_locality_waits(worker(f, 9)));
}

/* What failed, or what nobody has, is asked for anew: all of it. */
static void
test_doubts(void **state)
{
	struct fixture *f = *state;

	join(f, 7);
	join(f, 8);
	learn(f, 0, 3);
	assert_null(have(f, 7, 1, 7));
	assert_null(have(f, 8, 1, 3));
	tick(f);
	add(f, 0);
	dispatch_needs_failed(&f->d, worker(f, 7), &f->job[0]);
	tick(f);
	assert_non_null(have(f, 7, 2, 8));
	assert_null(have(f, 7, 2, 4));	   /* it has the third one only */
	assert_non_null(have(f, 8, 2, 3)); /* that was not asked */
	expect_send(f, 0, 8);
	/* Neither has it, by what they said. */
	learn(f, 3, 1);
	assert_null(have(f, 7, 3, 0));
	assert_null(have(f, 8, 2, 0));
	assert_true(knows(f, 3));
	add(f, 3);
	assert_true(locality_is_quiet(&f->d));
	tick(f);
	assert_null(have(f, 8, 3, 0xb)); /* the first two, and that one */
	expect_send(f, 3, 8);
	assert_null(have(f, 7, 4, 4));
}

static void
test_reason(void **state)
{
	struct fixture *f = *state;
	struct err why = ERR_INIT;

	join(f, 7);
	join(f, 8);
	f->job[0].n = 2;
	learn(f, 0, 1);
	assert_null(have(f, 7, 1, 1));
	assert_null(have(f, 8, 1, 0));
	dispatch_needs_reason(&f->d, &f->job[0], &why);
	assert_non_null(strstr(why.text, "no worker has all its store paths"));
	err_clear(&why);
	f->job[1].item = &f->item[1];
	learn(f, 1, 1);
	dispatch_needs_reason(&f->d, &f->job[1], &why);
	assert_string_equal(why.text,
	    "layer: no worker has "
	    "/nix/store/00000000000000000000000000000001-p, or can fetch it");
	err_clear(&why);
	worker(f, 7)->fetches = worker(f, 8)->fetches = true;
	dispatch_needs_reason(&f->d, &f->job[1], &why);
	assert_string_equal(why.text, "layer: no worker can make it");
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(
		test_only_what_is_new, setup, teardown),
	    cmocka_unit_test_setup_teardown(
		test_wrong_answers, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_cannot_look, setup, teardown),
	    cmocka_unit_test_setup_teardown(
		test_answers_come_late, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_joins, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_doubts, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_reason, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
