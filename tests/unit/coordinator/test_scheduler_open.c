/*
 * The scheduler of a process that stays up: jobs and workers come for ever,
 * what they had is used again, and nobody is overtaken for ever.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "scheduler_script.h"
#include "schedule/scheduler_state.h"

enum { OPEN = 100, JOBS = 1000000, WORKERS = 8 };

static struct scheduler *
make_in_turn(void)
{
	struct sched_config c = config;
	struct scheduler *s;

	c.in_turn = true;
	assert_int_equal(sched_new(&c, &s, &e), 0);
	return s;
}

static void
release(struct scheduler *s, uint64_t job)
{
	sched_release(s, (struct job_id){job});
}

/* Does whatever is to be done; the number of jobs that ended. */
static size_t
work(struct scheduler *s, int64_t now, uint64_t *last)
{
	struct sched_action a;
	size_t ended = 0;

	while (sched_next(s, now, &a)) {
		if (a.kind != SCHED_SEND)
			continue;
		/* In turn, and ids only grow. */
		assert_true(a.job.v > *last || *last == UINT64_MAX);
		*last = a.job.v;
		/* Each tenth fails for good. */
		if (++ended % 10 == 0) {
			sched_fail(s, now, a.worker, a.job, a.attempt, ERR_JOB,
			    "no such path");
			assert_true(sched_next(s, now, &a));
			assert_int_equal(a.kind, SCHED_FAILED);
			assert_int_equal(sched_failures(s, a.job), 1);
		} else {
			assert_int_equal(sched_done(s, now, a.worker, a.job,
					     a.attempt, &one),
			    SCHED_ACCEPTED);
		}
		sched_release(s, a.job);
	}
	return ended;
}

static void
memory_is_that_of_what_is_open(void **state)
{
	struct scheduler *s = make_in_turn();
	uint64_t last = UINT64_MAX;
	size_t added = 0, ended = 0;
	struct job_id old = add(s, 5), first = {0};

	(void)state;
	sched_cancel(s, 0, old);
	release(s, old.v);
	while (ended < JOBS) {
		while (sched_open(s) < OPEN)
			first = add(s, 1 + added++ % 7);
		if (added == OPEN)
			for (uint64_t w = 0; w < WORKERS; w++)
				up(s, 0, w, 2);
		ended += work(s, 0, &last);
	}
	assert_true(s->room_jobs < 2 * OPEN);
	assert_true(s->pending.room < 200);
	/* Whatever comes late of one that was released is of nobody. */
	assert_int_equal(done(s, 0, first.v, 1, &one), SCHED_UNKNOWN);
	assert_false(sched_given(s, (struct worker_id){0}, first, 1));
	sched_free(s);
}

/* A released job does not keep others' memory, however long one stays. */
static void
one_that_stays_costs_nothing(void **state)
{
	struct scheduler *s = make_in_turn();
	struct job_id stays, id;

	(void)state;
	up(s, 0, 0, 2);
	stays = add(s, MB);
	expect(s, 0, SCHED_SEND, stays.v, 0);
	for (int i = 0; i < 10000; i++) {
		id = add(s, 1);
		expect(s, 0, SCHED_SEND, id.v, 0);
		assert_int_equal(done(s, 0, id.v, 1, &one), SCHED_ACCEPTED);
		release(s, id.v);
	}
	assert_int_equal(s->room_jobs, 64);
	assert_int_equal(done(s, 0, stays.v, 1, &one), SCHED_ACCEPTED);
	sched_free(s);
}

static void
workers_come_and_go(void **state)
{
	struct scheduler *s = make_in_turn();

	(void)state;
	for (uint64_t i = 0; i < 100000; i++) {
		uint64_t w = i / 3 << SCHED_SLOT_BITS | i % 3;
		struct job_id id = add(s, 1);

		up(s, 0, w, 1);
		expect(s, 0, SCHED_SEND, id.v, w);
		/* One that had this slot before has no say. */
		assert_int_equal(done(s, i % 3, id.v, 1, &two),
		    i < 3 ? SCHED_ACCEPTED : SCHED_UNKNOWN);
		if (i >= 3)
			assert_int_equal(
			    done(s, w, id.v, 1, &one), SCHED_ACCEPTED);
		release(s, id.v);
		sched_worker_gone(s, 0, (struct worker_id){w}, "left");
	}
	assert_int_equal(s->n_ids, 3);
	assert_true(s->pending.room < 64);
	sched_free(s);
}

static void
first_come_first_served(void **state)
{
	struct scheduler *s = make_in_turn();

	(void)state;
	add(s, 1);
	add(s, 300);
	add(s, 20);
	up(s, 0, 0, 1);
	expect(s, 0, SCHED_SEND, 0, 0);
	expect(s, 0, SCHED_SEND, 1, 0);
	/* Too large for it: what is lighter passes, and then it is its turn. */
	sched_postpone(s, 0, (struct worker_id){0}, (struct job_id){1}, 1);
	expect(s, 0, SCHED_SEND, 2, 0);
	expect_nothing(s, 0);
	assert_int_equal(done(s, 0, 0, 1, &one), SCHED_ACCEPTED);
	expect(s, 0, SCHED_SEND, 1, 0);
	sched_free(s);
}

/* On a busy machine audits would never come to the front. */
static void
audits_go_first(void **state)
{
	struct scheduler *s = make_in_turn();
	struct job_id id = add(s, 1);

	(void)state;
	sched_audit(s, id);
	for (int i = 0; i < 4; i++)
		add(s, 1);
	up(s, 0, 0, 1);
	up(s, 0, 1, 1);
	expect(s, 0, SCHED_SEND, 0, 0);
	expect(s, 0, SCHED_SEND, 1, 1);
	expect(s, 0, SCHED_SEND, 2, 1);
	expect(s, 0, SCHED_SEND, 3, 0);
	assert_int_equal(done(s, 0, 0, 1, &one), SCHED_ACCEPTED);
	expect(s, 0, SCHED_SEND, 4, 0);
	assert_int_equal(done(s, 1, 1, 1, &one), SCHED_ACCEPTED);
	expect(s, 0, SCHED_SEND, 0, 1);
	assert_int_equal(done(s, 1, 0, 2, &one), SCHED_CONFIRMED);
	/* Nobody else is there: it is done without, though others wait. */
	id = add(s, 1);
	sched_audit(s, id);
	expect(s, 0, SCHED_SEND, id.v, 1);
	sched_worker_gone(s, 0, (struct worker_id){0}, "left");
	expect_nothing(s, 0);
	assert_int_equal(done(s, 1, 2, 1, &one), SCHED_ACCEPTED);
	expect(s, 0, SCHED_SEND, 3, 1);
	assert_int_equal(done(s, 1, id.v, 1, &one), SCHED_ACCEPTED);
	expect(s, 0, SCHED_SEND, 4, 1);
	expect(s, 0, SCHED_AUDIT_SKIPPED, id.v, 1);
	sched_free(s);
}

/* And what goes by weight likewise. */
static void
audits_wait_for_a_second_worker(void **state)
{
	(void)state;
	for (int in_turn = 0; in_turn < 2; in_turn++) {
		struct sched_config c = config;
		struct scheduler *s;

		c.in_turn = in_turn;
		c.awaits_second = true;
		assert_int_equal(sched_new(&c, &s, &e), 0);
		for (int i = 0; i < 3; i++)
			sched_audit(s, add(s, 1));
		up(s, 5, 0, 1);
		expect(s, 5, SCHED_SEND, 0, 0);
		expect(s, 5, SCHED_SEND, 1, 0);
		assert_int_equal(done(s, 0, 0, 1, &one), SCHED_ACCEPTED);
		expect(s, 5, SCHED_SEND, 2, 0);
		assert_int_equal(done(s, 0, 1, 1, &one), SCHED_ACCEPTED);
		assert_int_equal(done(s, 0, 2, 1, &one), SCHED_ACCEPTED);
		expect_nothing(s, 5);
		assert_int_equal(sched_deadline(s), 5 + SCHED_ABLE_MS);
		up(s, 1000, 1, 2);
		expect(s, 1000, SCHED_SEND, 0, 1);
		expect(s, 1000, SCHED_SEND, 1, 1);
		assert_int_equal(done(s, 1, 0, 2, &one), SCHED_CONFIRMED);
		sched_worker_gone(s, 2000, (struct worker_id){1}, "left");
		sched_beat(s, 2001, (struct worker_id){0}, 0);
		expect_nothing(s, 1999 + SCHED_ABLE_MS);
		assert_int_equal(sched_deadline(s), 2000 + SCHED_ABLE_MS);
		expect(s, 2000 + SCHED_ABLE_MS, SCHED_AUDIT_SKIPPED, 1, 0);
		expect(s, 2000 + SCHED_ABLE_MS, SCHED_AUDIT_SKIPPED, 2, 0);
		assert_int_equal(sched_open(s), 0);
		sched_free(s);
	}
}

/* Others' jobs come for ever, and nothing is to be fetched for them. */
static void
test_fetched_for_at_last(void **state)
{
	struct scheduler *s = make_in_turn();
	struct job_id first;
	int64_t now = 0;

	(void)state;
	up(s, now, 0, 1);
	first = add(s, MB);
	assert_int_equal(
	    sched_set_missing(s, (struct worker_id){0}, first, MB, &e), 0);
	for (int i = 0; i < 20; i++)
		add(s, MB);
	for (int left = 100;; left--) {
		struct sched_action a;

		assert_int_not_equal(left, 0);
		add(s, MB);
		do {
			assert_true(sched_next(s, now, &a));
		} while (a.kind != SCHED_SEND);
		if (a.job.v == first.v)
			break;
		now += 100;
		assert_int_equal(
		    sched_done(s, now, a.worker, a.job, a.attempt, &one),
		    SCHED_ACCEPTED);
	}
	assert_true(now >= SCHED_HOLD_LEAST_MS);
	sched_free(s);
}

static void
lacks(struct scheduler *s, uint64_t worker, struct job_id job, uint64_t bytes)
{
	assert_int_equal(
	    sched_set_missing(s, (struct worker_id){worker}, job, bytes, &e),
	    0);
}

/* It waits for one that can; others' jobs go on meanwhile. */
static void
test_nobody_can(void **state)
{
	struct scheduler *s = make_in_turn();
	struct job_id a, b, c;

	(void)state;
	up(s, 0, 0, 1);
	up(s, 0, 1, 1);
	a = add(s, MB);
	b = add(s, MB);
	c = add(s, MB);
	for (uint64_t w = 0; w < 2; w++) {
		lacks(s, w, a, SCHED_UNABLE);
		lacks(s, w, b, SCHED_UNABLE);
	}
	expect(s, 0, SCHED_SEND, c.v, 0);
	assert_int_equal(done(s, 0, c.v, 1, &one), SCHED_ACCEPTED);
	expect_nothing(s, SCHED_ABLE_MS - 1);
	assert_true(sched_deadline(s) <= SCHED_ABLE_MS);
	/* One has what b needs, after all. */
	lacks(s, 1, b, 0);
	sched_beat(s, SCHED_ABLE_MS - 1, (struct worker_id){0}, 0);
	sched_beat(s, SCHED_ABLE_MS - 1, (struct worker_id){1}, 0);
	expect(s, SCHED_ABLE_MS - 1, SCHED_SEND, b.v, 1);
	expect(s, SCHED_ABLE_MS, SCHED_FAILED, a.v, 0);
	assert_int_equal(sched_failures(s, a), 0);
	/* It goes: who else has it has so long. */
	assert_true(sched_open(s) == 1);
	sched_worker_gone(s, SCHED_ABLE_MS, (struct worker_id){1}, "went away");
	lacks(s, 0, b, SCHED_UNABLE);
	expect_nothing(s, SCHED_ABLE_MS);
	up(s, SCHED_ABLE_MS + 1, 2, 1);
	expect(s, SCHED_ABLE_MS + 1, SCHED_SEND, b.v, 2);
	sched_free(s);
}

static void
alive(struct scheduler *s, int64_t now, uint64_t worker)
{
	sched_beat(s, now, (struct worker_id){worker}, 1);
}

/* Nor does it wait for one with room, who could not do it either. */
static void
test_nobody_can_and_all_are_busy(void **state)
{
	struct scheduler *s = make_in_turn();
	struct job_id a, b;
	struct sched_action act;
	int64_t now = 0;

	(void)state;
	up(s, 0, 0, 1);
	for (uint64_t i = 0; i < 2; i++)
		expect(s, 0, SCHED_SEND, add(s, MB).v, 0);
	a = add(s, MB);
	b = add(s, MB);
	lacks(s, 0, a, SCHED_UNABLE);
	lacks(s, 0, b, SCHED_UNABLE);
	/* The clock stands still between the scheduler's own deadlines. */
	while (!sched_next(s, now, &act)) {
		assert_true(sched_deadline(s) > now);
		now = sched_deadline(s);
		assert_true(now <= SCHED_ABLE_MS + 1000);
		alive(s, now, 0);
	}
	assert_true(now >= SCHED_ABLE_MS);
	assert_int_equal(act.kind, SCHED_FAILED);
	assert_int_equal(act.job.v, a.v);
	/* All at once, not one a look. */
	expect(s, now, SCHED_FAILED, b.v, 0);
	assert_true(sched_open(s) == 2);
	sched_free(s);
}

/* Whoever can do it may be busy for as long as it likes, but must be there. */
static void
test_somebody_can_until_it_goes(void **state)
{
	(void)state;
	for (int drains = 0; drains < 2; drains++) {
		struct scheduler *s = make_in_turn();
		const int64_t gone = 2 * SCHED_ABLE_MS;
		struct job_id a;

		up(s, 0, 0, 1);
		up(s, 0, 1, 1);
		for (uint64_t i = 0; i < 2; i++) {
			struct job_id busy = add(s, MB);

			lacks(s, 0, busy, SCHED_UNABLE);
			expect(s, 0, SCHED_SEND, busy.v, 1);
		}
		a = add(s, MB);
		lacks(s, 0, a, SCHED_UNABLE);
		for (int64_t now = 0; now < gone; now += 1000) {
			alive(s, now, 0);
			alive(s, now, 1);
			expect_nothing(s, now);
		}
		if (drains != 0)
			sched_worker_drain(s, gone, (struct worker_id){1});
		else
			sched_worker_gone(
			    s, gone, (struct worker_id){1}, "went away");
		expect_nothing(s, gone);
		alive(s, gone, 1);
		alive(s, gone + 9000, 0);
		alive(s, gone + 9000, 1);
		expect_nothing(s, gone + SCHED_ABLE_MS - 1);
		while (sched_open(s) > (drains != 0 ? 2 : 0)) {
			struct sched_action act;

			assert_true(sched_next(s, gone + SCHED_ABLE_MS, &act));
			assert_int_equal(act.kind, SCHED_FAILED);
		}
		assert_int_equal(sched_failures(s, a), 0);
		sched_free(s);
	}
}

/* One that could have done it was there meanwhile: it may come back. */
static void
test_the_wait_begins_anew(void **state)
{
	struct scheduler *s = make_in_turn();
	const int64_t late = SCHED_ABLE_MS - 1, again = late + 100;
	struct job_id a;

	(void)state;
	up(s, 0, 0, 1);
	a = add(s, MB);
	lacks(s, 0, a, SCHED_UNABLE);
	expect_nothing(s, 0);
	alive(s, late, 0);
	up(s, late, 1, 1);
	expect(s, late, SCHED_SEND, a.v, 1);
	sched_worker_gone(s, again, (struct worker_id){1}, "went away");
	expect_nothing(s, again);
	alive(s, again, 0);
	alive(s, again + SCHED_ABLE_MS - 1, 0);
	expect_nothing(s, again + SCHED_ABLE_MS - 1);
	expect(s, again + SCHED_ABLE_MS, SCHED_FAILED, a.v, 0);
	sched_free(s);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(memory_is_that_of_what_is_open),
	    cmocka_unit_test(one_that_stays_costs_nothing),
	    cmocka_unit_test(workers_come_and_go),
	    cmocka_unit_test(first_come_first_served),
	    cmocka_unit_test(audits_go_first),
	    cmocka_unit_test(audits_wait_for_a_second_worker),
	    cmocka_unit_test(test_fetched_for_at_last),
	    cmocka_unit_test(test_nobody_can),
	    cmocka_unit_test(test_nobody_can_and_all_are_busy),
	    cmocka_unit_test(test_somebody_can_until_it_goes),
	    cmocka_unit_test(test_the_wait_begins_anew),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
