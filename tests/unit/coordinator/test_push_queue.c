/* Which worker puts which layer where: every way that can go. */
#include "dispatch/push_queue.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "err.h"

static const struct worker_id ANN = {0}, BOB = {1}, EVE = {2};

struct fixture {
	struct push_queue *q;
	struct err e;
};

static int
set_up(void **state)
{
	static struct fixture f;

	f = (struct fixture){.e = ERR_INIT};
	assert_int_equal(push_queue_new(&f.q, &f.e), 0);
	*state = &f;
	return 0;
}

static int
tear_down(void **state)
{
	push_queue_free(((struct fixture *)*state)->q);
	return 0;
}

static void
worker(struct fixture *f, struct worker_id id, bool files)
{
	const struct push_worker w = {
	    .id = id, .near = true, .safe = true, .files = files};

	assert_int_equal(push_queue_worker(f->q, &w, &f->e), 0);
}

static void
place(struct fixture *f)
{
	assert_int_equal(push_queue_place(f->q, false, 0, &f->e), 0);
}

/* A registry, and workers of this machine. */
static void
begin(struct fixture *f, const struct worker_id *id, size_t n)
{
	place(f);
	for (size_t i = 0; i < n; i++)
		worker(f, id[i], true);
}

static uint64_t
add_at(struct fixture *f, size_t at_place, struct worker_id maker)
{
	const struct push_blob_at at = {.place = at_place, .maker = maker};
	uint64_t push;

	assert_int_equal(push_queue_add(f->q, &at, &push, &f->e), 0);
	assert_true(push > 0);
	return push;
}

static uint64_t
add(struct fixture *f, struct worker_id maker)
{
	return add_at(f, 0, maker);
}

static struct push_order
next(struct fixture *f, enum push_act act, uint64_t push)
{
	struct push_order o;

	assert_true(push_queue_next(f->q, &o));
	assert_int_equal(o.act, act);
	assert_int_equal(o.push, push);
	return o;
}

static void
nothing(struct fixture *f)
{
	struct push_order o;

	assert_false(push_queue_next(f->q, &o));
}

/* It is asked for and not there. */
static void
lacked(struct fixture *f, uint64_t push)
{
	next(f, PUSH_LOOK, push);
	push_queue_looked(f->q, push, PUSH_NOT_SEEN, false);
}

/* The same: the worker that gets it. */
static struct worker_id
given(struct fixture *f, uint64_t push)
{
	lacked(f, push);
	return next(f, PUSH_GIVE, push).worker;
}

static void
over(struct fixture *f, uint64_t push, enum push_end how)
{
	assert_int_equal(next(f, PUSH_OVER, push).end, how);
}

static void
test_there_is_not_sent(void **state)
{
	struct fixture *f = *state;
	uint64_t push;

	begin(f, &ANN, 1);
	push = add(f, ANN);
	assert_int_equal(push_queue_open(f->q), 1);
	next(f, PUSH_LOOK, push);
	nothing(f);
	push_queue_looked(f->q, push, PUSH_SEEN, false);
	over(f, push, PUSH_THERE);
	nothing(f);
	assert_int_equal(push_queue_open(f->q), 0);
}

static void
test_upload_is_confirmed(void **state)
{
	struct fixture *f = *state;
	uint64_t push;

	begin(f, &ANN, 1);
	push = add(f, ANN);
	assert_true(given(f, push).v == ANN.v);
	nothing(f);
	assert_true(push_queue_pushed(f->q, ANN, push, true, true, false));
	next(f, PUSH_LOOK, push);
	push_queue_looked(f->q, push, PUSH_SEEN, false);
	over(f, push, PUSH_UPLOADED);
}

static void
test_word_is_not_enough(void **state)
{
	struct fixture *f = *state;
	uint64_t push;

	begin(f, &ANN, 1);
	push = add(f, ANN);
	given(f, push);
	for (unsigned i = 1; i < PUSH_TRIES; i++) {
		push_queue_pushed(f->q, ANN, push, true, true, false);
		assert_true(given(f, push).v == ANN.v);
	}
	push_queue_pushed(f->q, ANN, push, true, true, false);
	lacked(f, push);
	over(f, push, PUSH_LEFT);
}

static void
test_only_who_was_given_it(void **state)
{
	struct fixture *f = *state;
	uint64_t push;

	begin(f, &ANN, 1);
	worker(f, EVE, true);
	push = add(f, ANN);
	assert_false(push_queue_pushed(f->q, ANN, push, true, true, false));
	assert_true(given(f, push).v == ANN.v);
	assert_false(push_queue_pushed(f->q, EVE, push, true, true, false));
	assert_false(push_queue_pushed(f->q, ANN, push + 1, true, true, false));
	nothing(f);
}

static void
test_failure_is_left(void **state)
{
	struct fixture *f = *state;
	uint64_t push;

	begin(f, &ANN, 1);
	for (int i = 0; i < PUSH_FAILURES_MAX; i++) {
		assert_false(push_queue_barred(f->q, 0));
		push = add(f, ANN);
		given(f, push);
		push_queue_pushed(f->q, ANN, push, false, false, false);
		over(f, push, PUSH_LEFT);
	}
	assert_true(push_queue_barred(f->q, 0));
	push = add(f, ANN);
	over(f, push, PUSH_LEFT);
}

/* What was under way when the place was barred is looked at. */
static void
test_barred_meanwhile(void **state)
{
	struct fixture *f = *state;
	uint64_t one, two;

	begin(f, &ANN, 1);
	one = add(f, ANN);
	given(f, one);
	two = add(f, ANN);
	given(f, two);
	push_queue_bar(f->q, 0);
	assert_false(push_queue_may(f->q, ANN));
	push_queue_pushed(f->q, ANN, one, true, true, false);
	next(f, PUSH_LOOK, one);
	push_queue_looked(f->q, one, PUSH_SEEN, false);
	over(f, one, PUSH_UPLOADED);
	push_queue_worker_gone(f->q, ANN);
	over(f, two, PUSH_LEFT);
}

static void
test_worker_dies(void **state)
{
	struct fixture *f = *state;
	uint64_t push;

	begin(f, (struct worker_id[]){ANN, BOB}, 2);
	push = add(f, ANN);
	assert_true(given(f, push).v == ANN.v);
	push_queue_worker_gone(f->q, ANN);
	/* It may have been done already. */
	assert_true(given(f, push).v == BOB.v);
	/* Of one that does not see the files nobody else has it. */
	worker(f, EVE, false);
	push_queue_worker_gone(f->q, BOB);
	lacked(f, push);
	over(f, push, PUSH_LEFT);
}

static void
test_only_its_maker_has_it(void **state)
{
	struct fixture *f = *state;
	uint64_t push;

	place(f);
	worker(f, ANN, false);
	worker(f, BOB, false);
	push = add(f, BOB);
	assert_true(given(f, push).v == BOB.v);
	push_queue_worker_gone(f->q, BOB);
	lacked(f, push);
	over(f, push, PUSH_LEFT);
}

/* Who sees the files does not see what is in no file yet. */
static void
test_nobody_else_has_it(void **state)
{
	struct fixture *f = *state;
	const struct push_blob_at at = {.maker = BOB, .alone = true};
	uint64_t push;

	begin(f, &ANN, 1);
	worker(f, BOB, false);
	assert_int_equal(push_queue_add(f->q, &at, &push, &f->e), 0);
	assert_true(given(f, push).v == BOB.v);
	push_queue_worker_gone(f->q, BOB);
	lacked(f, push);
	over(f, push, PUSH_LEFT);
}

static void
test_who_has_least_to_do(void **state)
{
	struct fixture *f = *state;
	uint64_t push = 0;

	begin(f, (struct worker_id[]){ANN, BOB}, 2);
	for (int i = 0; i < PUSH_GIVEN_MAX; i++) {
		push = add(f, ANN);
		assert_true(given(f, push).v == ANN.v);
	}
	for (int i = 0; i < PUSH_GIVEN_MAX; i++)
		assert_true(given(f, add(f, ANN)).v == BOB.v);
	/* All have enough. */
	push = add(f, EVE);
	lacked(f, push);
	nothing(f);
	push_queue_worker_gone(f->q, BOB);
	worker(f, BOB, true);
	assert_true(next(f, PUSH_LOOK, PUSH_GIVEN_MAX + 1).push > 0);
	assert_true(next(f, PUSH_LOOK, PUSH_GIVEN_MAX + 2).push > 0);
}

static void
test_asked_too_much(void **state)
{
	struct fixture *f = *state;
	uint64_t push[4];

	begin(f, &ANN, 1);
	place(f);
	for (int i = 0; i < 4; i++) {
		push[i] = add(f, ANN);
		given(f, push[i]);
	}
	push_queue_pushed(f->q, ANN, push[0], true, true, true);
	push_queue_looked(
	    f->q, next(f, PUSH_LOOK, push[0]).push, PUSH_SEEN, false);
	over(f, push[0], PUSH_UPLOADED);
	/* Two may be on: with three that are, none is given at any place. */
	push[0] = add_at(f, 1, ANN);
	lacked(f, push[0]);
	nothing(f);
	push_queue_pushed(f->q, ANN, push[1], true, true, false);
	next(f, PUSH_LOOK, push[1]);
	nothing(f);
	/* Two went well: now three may, and one is. */
	push_queue_pushed(f->q, ANN, push[2], true, true, false);
	next(f, PUSH_LOOK, push[2]);
	next(f, PUSH_GIVE, push[0]);
	nothing(f);
	/* Another registry has said nothing. */
	assert_int_equal(push_queue_place(f->q, false, 2, &f->e), 0);
	for (int i = 0; i < 2; i++)
		given(f, add_at(f, 2, ANN));
}

/* What is held is not forgotten with a place of its registry. */
static void
test_asked_too_much_and_barred(void **state)
{
	struct fixture *f = *state;
	uint64_t push[2], held[2];

	begin(f, &ANN, 1);
	place(f);
	for (int i = 0; i < 2; i++) {
		push[i] = add(f, ANN);
		given(f, push[i]);
	}
	push_queue_pushed(f->q, ANN, push[0], true, true, true);
	next(f, PUSH_LOOK, push[0]);
	for (size_t i = 0; i < 2; i++) {
		held[i] = add_at(f, i, ANN);
		lacked(f, held[i]);
	}
	nothing(f);
	push_queue_bar(f->q, 0);
	over(f, held[0], PUSH_LEFT);
	nothing(f);
	push_queue_pushed(f->q, ANN, push[1], true, true, false);
	next(f, PUSH_LOOK, push[1]);
	next(f, PUSH_GIVE, held[1]);
	nothing(f);
}

static void
test_who_may_be_told(void **state)
{
	struct fixture *f = *state;
	struct push_worker far = {.id = EVE, .files = true};
	uint64_t push;

	assert_int_equal(push_queue_place(f->q, true, 0, &f->e), 0);
	assert_int_equal(push_queue_worker(f->q, &far, &f->e), 0);
	/* A registry of this machine is another one there. */
	assert_false(push_queue_may(f->q, EVE));
	place(f);
	assert_true(push_queue_may(f->q, EVE));
	assert_false(push_queue_may(f->q, ANN));
	push = add(f, EVE);
	lacked(f, push);
	over(f, push, PUSH_LEFT);
}

/* A token is not said where others may hear it. */
static void
test_tokens_are_secret(void **state)
{
	struct fixture *f = *state;
	struct push_worker plain = {.id = EVE, .near = true, .files = true};
	uint64_t push;

	place(f);
	assert_int_equal(push_queue_worker(f->q, &plain, &f->e), 0);
	push = add(f, EVE);
	next(f, PUSH_LOOK, push);
	push_queue_looked(f->q, push, PUSH_NOT_SEEN, true);
	over(f, push, PUSH_LEFT);
	plain.safe = true;
	assert_int_equal(push_queue_worker(f->q, &plain, &f->e), 0);
	push = add(f, EVE);
	next(f, PUSH_LOOK, push);
	push_queue_looked(f->q, push, PUSH_NOT_SEEN, true);
	next(f, PUSH_GIVE, push);
}

/* What was streamed nobody has: it is there, or lost. */
static void
test_streamed(void **state)
{
	static const struct {
		bool uploaded;
		enum push_seen seen;
		enum push_end end;
	} cases[] = {
	    {true, PUSH_SEEN, PUSH_UPLOADED},
	    {false, PUSH_SEEN, PUSH_THERE},
	    {true, PUSH_NOT_SEEN, PUSH_LEFT},
	    {true, PUSH_UNSURE, PUSH_LEFT},
	};
	struct fixture *f = *state;
	struct push_blob_at at = {.maker = ANN, .alone = true, .gone = true};
	uint64_t push;

	begin(f, &ANN, 1);
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		at.said = true;
		at.uploaded = cases[i].uploaded;
		assert_int_equal(push_queue_add(f->q, &at, &push, &f->e), 0);
		next(f, PUSH_LOOK, push);
		push_queue_looked(f->q, push, cases[i].seen, false);
		over(f, push, cases[i].end);
	}
	/* Another place that nothing can be mounted to. */
	at.said = at.uploaded = false;
	assert_int_equal(push_queue_add(f->q, &at, &push, &f->e), 0);
	lacked(f, push);
	over(f, push, PUSH_LEFT);
	/* Where workers may not push a word is looked into all the same. */
	at.said = true;
	push_queue_bar(f->q, 0);
	assert_int_equal(push_queue_add(f->q, &at, &push, &f->e), 0);
	next(f, PUSH_LOOK, push);
	push_queue_looked(f->q, push, PUSH_SEEN, false);
	over(f, push, PUSH_THERE);
}

/* Before anything was looked for it is known who may push there. */
static void
test_token_is_known(void **state)
{
	struct fixture *f = *state;
	struct push_worker plain = {.id = EVE, .near = true, .files = true};

	begin(f, &ANN, 1);
	assert_false(push_queue_may_at(f->q, 0, EVE));
	assert_int_equal(push_queue_worker(f->q, &plain, &f->e), 0);
	assert_true(push_queue_may_at(f->q, 0, EVE));
	push_queue_token(f->q, 0, true);
	assert_false(push_queue_may_at(f->q, 0, EVE));
	assert_true(push_queue_may_at(f->q, 0, ANN));
	push_queue_bar(f->q, 0);
	assert_false(push_queue_may_at(f->q, 0, ANN));
}

static void
test_unsure_is_left(void **state)
{
	struct fixture *f = *state;
	uint64_t push;

	begin(f, &ANN, 1);
	push = add(f, ANN);
	next(f, PUSH_LOOK, push);
	push_queue_looked(f->q, push, PUSH_UNSURE, false);
	over(f, push, PUSH_LEFT);
	/* Said twice, or of nothing. */
	push_queue_looked(f->q, push, PUSH_SEEN, false);
	push_queue_looked(f->q, 99, PUSH_SEEN, false);
	nothing(f);
}

/* What waits for a worker is given in its order, as soon as that has room. */
static void
test_what_waits(void **state)
{
	struct fixture *f = *state;
	uint64_t on[PUSH_GIVEN_MAX], first, second, others;

	place(f);
	worker(f, ANN, false);
	worker(f, BOB, false);
	for (int i = 0; i < PUSH_GIVEN_MAX; i++) {
		on[i] = add(f, ANN);
		given(f, on[i]);
	}
	lacked(f, first = add(f, ANN));
	lacked(f, second = add(f, ANN));
	nothing(f);
	others = add(f, BOB);
	assert_true(given(f, others).v == BOB.v);
	push_queue_pushed(f->q, ANN, on[0], true, true, false);
	next(f, PUSH_LOOK, on[0]);
	next(f, PUSH_GIVE, first);
	nothing(f);
	/* With it goes what nobody else has. */
	push_queue_worker_gone(f->q, ANN);
	for (int i = 1; i < PUSH_GIVEN_MAX; i++)
		next(f, PUSH_LOOK, on[i]);
	next(f, PUSH_LOOK, first);
	over(f, second, PUSH_LEFT);
	nothing(f);
}

/* The last who sees the files and may be told is gone: nobody is left. */
static void
test_nobody_is_left(void **state)
{
	struct fixture *f = *state;
	struct push_worker plain = {.id = BOB, .near = true, .files = true};
	uint64_t push = 0, last;

	begin(f, &ANN, 1);
	assert_int_equal(push_queue_worker(f->q, &plain, &f->e), 0);
	for (int i = 0; i <= PUSH_GIVEN_MAX; i++) {
		last = push;
		push = add(f, EVE);
		next(f, PUSH_LOOK, push);
		push_queue_looked(f->q, push, PUSH_NOT_SEEN, true);
		if (i < PUSH_GIVEN_MAX)
			next(f, PUSH_GIVE, push);
	}
	nothing(f);
	push_queue_worker_gone(f->q, ANN);
	for (uint64_t i = last - PUSH_GIVEN_MAX + 1; i <= last; i++)
		next(f, PUSH_LOOK, i);
	over(f, push, PUSH_LEFT);
	nothing(f);
}

/* How much is looked at while so many workers do n pushes. */
static uint64_t
steps_for(size_t n, size_t workers, size_t places)
{
	struct fixture f = {.e = ERR_INIT};
	struct push_order o, *given = calloc(n, sizeof(*given));
	size_t n_given = 0, answered = 0, done = 0;
	uint64_t steps, push;

	assert_int_equal(push_queue_new(&f.q, &f.e), 0);
	for (size_t i = 0; i < places; i++)
		place(&f);
	for (size_t i = 0; i < workers; i++)
		worker(&f, (struct worker_id){i}, false);
	for (size_t i = 0; i < n; i++) {
		const struct push_blob_at at = {
		    .place = i % places, .maker = {i % workers}, .what = &f};

		assert_int_equal(push_queue_add(f.q, &at, &push, &f.e), 0);
	}
	/* All are asked for and wait, but for what workers have. */
	while (done < n) {
		if (!push_queue_next(f.q, &o)) {
			o = given[answered++];
			assert_ptr_equal(push_queue_what(f.q, o.push), &f);
			assert_true(push_queue_may(f.q, o.worker));
			push_queue_pushed(
			    f.q, o.worker, o.push, true, true, false);
			continue;
		}
		assert_ptr_equal(o.what, &f);
		if (o.act == PUSH_LOOK)
			push_queue_looked(f.q, o.push,
			    o.push <= answered * n ? PUSH_SEEN : PUSH_NOT_SEEN,
			    false);
		else if (o.act == PUSH_GIVE)
			given[n_given++] = o;
		done += o.act == PUSH_OVER;
	}
	assert_int_equal(n_given, n);
	assert_int_equal(push_queue_open(f.q), 0);
	steps = push_queue_steps(f.q);
	push_queue_free(f.q);
	free(given);
	return steps;
}

static void
test_cost_of_many(void **state)
{
	uint64_t few = steps_for(1000, 10, 1000);

	(void)state;
	assert_true(few < (uint64_t)1000 * 40);
	/* Of 100 times as many it is about 100 times as much. */
	assert_true(steps_for(100000, 1000, 100000) < 150 * few);
}

static void
test_some_take_more(void **state)
{
	struct push_worker w = {.id = ANN, .near = true, .most = 6};
	struct fixture *f = *state;

	place(f);
	assert_int_equal(push_queue_worker(f->q, &w, &f->e), 0);
	for (int i = 0; i < 6; i++)
		assert_true(given(f, add(f, ANN)).v == ANN.v);
	lacked(f, add(f, ANN));
	nothing(f);
}

/* Wherever it is: it is left, and makes room. */
static void
test_dropped(void **state)
{
	struct fixture *f = *state;
	uint64_t push[PUSH_GIVEN_MAX], waits, looked;

	begin(f, &ANN, 1);
	for (int i = 0; i < PUSH_GIVEN_MAX; i++) {
		push[i] = add(f, ANN);
		given(f, push[i]);
	}
	waits = add(f, ANN);
	lacked(f, waits);
	nothing(f);
	push_queue_drop(f->q, push[1]);
	assert_true(next(f, PUSH_GIVE, waits).worker.v == ANN.v);
	over(f, push[1], PUSH_LEFT);
	assert_false(push_queue_pushed(f->q, ANN, push[1], true, true, false));
	push_queue_drop(f->q, push[1]);
	looked = add(f, ANN);
	next(f, PUSH_LOOK, looked);
	push_queue_drop(f->q, looked);
	over(f, looked, PUSH_LEFT);
	push_queue_looked(f->q, looked, PUSH_SEEN, false);
	nothing(f);
	assert_int_equal(push_queue_open(f->q), PUSH_GIVEN_MAX);
}

/* What was known of it is not of the one that has its number next. */
static void
test_another_place(void **state)
{
	struct push_worker w = {.id = ANN, .near = true};
	struct fixture *f = *state;
	uint64_t push;

	place(f);
	assert_int_equal(push_queue_worker(f->q, &w, &f->e), 0);
	push_queue_token(f->q, 0, true);
	assert_false(push_queue_may(f->q, ANN));
	push_queue_place_again(f->q, 0, true);
	assert_true(push_queue_may(f->q, ANN));
	push_queue_bar(f->q, 0);
	assert_false(push_queue_may(f->q, ANN));
	push_queue_place_again(f->q, 0, false);
	assert_false(push_queue_barred(f->q, 0));
	assert_true(push_queue_may(f->q, ANN));
	push = add(f, ANN);
	assert_true(given(f, push).v == ANN.v);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    TEST(test_there_is_not_sent),
	    TEST(test_upload_is_confirmed),
	    TEST(test_word_is_not_enough),
	    TEST(test_only_who_was_given_it),
	    TEST(test_failure_is_left),
	    TEST(test_barred_meanwhile),
	    TEST(test_worker_dies),
	    TEST(test_only_its_maker_has_it),
	    TEST(test_nobody_else_has_it),
	    TEST(test_who_has_least_to_do),
	    TEST(test_asked_too_much),
	    TEST(test_asked_too_much_and_barred),
	    TEST(test_who_may_be_told),
	    TEST(test_tokens_are_secret),
	    TEST(test_streamed),
	    TEST(test_token_is_known),
	    TEST(test_unsure_is_left),
	    TEST(test_what_waits),
	    TEST(test_nobody_is_left),
	    TEST(test_some_take_more),
	    TEST(test_dropped),
	    TEST(test_another_place),
	    TEST(test_cost_of_many),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
