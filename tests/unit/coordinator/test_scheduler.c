/*
 * The scheduler with a scripted clock, then in a small random world whose
 * invariants are checked at every step.
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

static enum err_kind kind;

static void
longest_first_and_one_ahead(void **state)
{
	struct scheduler *s = make();

	(void)state;
	add(s, 10);
	add(s, 30);
	add(s, 20);
	add(s, 30);
	add(s, 5);
	expect_nothing(s, 0);
	up(s, 0, 0, 1);
	expect(s, 0, SCHED_SEND, 1, 0);
	expect(s, 0, SCHED_SEND, 3, 0);
	expect_nothing(s, 0);
	/* An idle worker comes before one that has work. */
	assert_int_equal(done(s, 0, 1, 1, &one), SCHED_ACCEPTED);
	up(s, 0, 1, 2);
	expect(s, 0, SCHED_SEND, 2, 1);
	expect(s, 0, SCHED_SEND, 0, 1);
	/* One ahead: behind the lightest jobs. */
	expect(s, 0, SCHED_SEND, 4, 1);
	expect_nothing(s, 0);
	assert_int_equal(sched_open(s), 4);
	sched_free(s);
}

/* Also those that are too large for a worker which handed one back. */
static void
another_order_than_by_weight(void **state)
{
	struct scheduler *s = make();

	(void)state;
	add(s, 10);
	add(s, 30);
	add(s, 20);
	add(s, 5);
	for (uint64_t i = 0; i < 4; i++)
		sched_set_order(s, (struct job_id){i}, i % 2 == 0 ? 9 : 4);
	up(s, 0, 0, 1);
	expect(s, 0, SCHED_SEND, 0, 0);
	expect(s, 0, SCHED_SEND, 2, 0);
	assert_int_equal(done(s, 0, 0, 1, &one), SCHED_ACCEPTED);
	/* Not 20, nor 30, which comes next, but what is behind them. */
	sched_postpone(s, 0, (struct worker_id){0}, (struct job_id){2}, 1);
	expect(s, 0, SCHED_SEND, 3, 0);
	expect_nothing(s, 0);
	assert_int_equal(done(s, 0, 3, 1, &one), SCHED_ACCEPTED);
	expect(s, 1, SCHED_SEND, 2, 0);
	expect(s, 1, SCHED_SEND, 1, 0);
	sched_free(s);
}

static void
results_count_once(void **state)
{
	struct scheduler *s = make();

	(void)state;
	add(s, 1);
	up(s, 0, 0, 1);
	assert_int_equal(done(s, 0, 0, 1, &one), SCHED_UNKNOWN);
	expect(s, 0, SCHED_SEND, 0, 0);
	assert_int_equal(done(s, 0, 7, 1, &one), SCHED_UNKNOWN);
	assert_int_equal(done(s, 0, 0, 2, &one), SCHED_UNKNOWN);
	assert_int_equal(done(s, 0, 0, 1, &one), SCHED_ACCEPTED);
	assert_int_equal(done(s, 0, 0, 1, &one), SCHED_DUPLICATE);
	assert_int_equal(done(s, 0, 0, 1, &two), SCHED_DIFFERS);
	assert_int_equal(sched_open(s), 0);
	sched_free(s);
}

/* Worker 0 has one running job and one that waits: only the first is blamed. */
static void
dead_workers_jobs_go_elsewhere(void **state)
{
	struct scheduler *s = make();

	(void)state;
	add(s, 2);
	add(s, 1);
	up(s, 0, 0, 1);
	expect(s, 0, SCHED_SEND, 0, 0);
	expect(s, 0, SCHED_SEND, 1, 0);
	sched_worker_gone(s, 5, (struct worker_id){0}, "killed");
	expect_nothing(s, 5);
	assert_int_equal(sched_failures(s, (struct job_id){0}), 1);
	assert_int_equal(sched_failures(s, (struct job_id){1}), 0);
	assert_string_equal(
	    sched_reason(s, (struct job_id){0}, 0, &kind), "w0: killed");
	up(s, 6, 1, 1);
	expect(s, 6, SCHED_SEND, 0, 1);
	expect(s, 6, SCHED_SEND, 1, 1);
	/* Nobody answers what another was given. */
	assert_int_equal(done(s, 1, 0, 1, &one), SCHED_UNKNOWN);
	assert_int_equal(done(s, 0, 0, 2, &one), SCHED_UNKNOWN);
	/* The dead one's late answer still counts, once. */
	assert_int_equal(done(s, 0, 0, 1, &one), SCHED_ACCEPTED);
	expect(s, 6, SCHED_CANCEL, 0, 1);
	assert_int_equal(done(s, 1, 0, 2, &one), SCHED_DUPLICATE);
	sched_free(s);
}

static void
poison_fails_after_three(void **state)
{
	struct scheduler *s = make();

	(void)state;
	add(s, 1);
	for (uint64_t w = 0; w < 3; w++) {
		up(s, 0, w, 1);
		expect(s, 0, SCHED_SEND, 0, w);
		sched_worker_gone(s, 0, (struct worker_id){w}, "killed");
	}
	expect(s, 0, SCHED_FAILED, 0, 0);
	assert_int_equal(sched_failures(s, (struct job_id){0}), 3);
	assert_string_equal(
	    sched_reason(s, (struct job_id){0}, 2, &kind), "w2: killed");
	assert_int_equal(sched_open(s), 0);
	up(s, 0, 3, 1);
	expect_nothing(s, 0);
	sched_free(s);
}

static void
failures_by_kind(void **state)
{
	struct scheduler *s = make();

	(void)state;
	add(s, 2);
	add(s, 1);
	up(s, 0, 0, 1);
	up(s, 0, 1, 1);
	expect(s, 0, SCHED_SEND, 0, 0);
	expect(s, 0, SCHED_SEND, 1, 1);
	/* To be tried again: rather at the worker that did not fail it. */
	sched_fail(s, 0, (struct worker_id){0}, (struct job_id){0}, 1,
	    ERR_RETRY, "disk full");
	expect(s, 0, SCHED_SEND, 0, 1);
	/* A wrong attempt or a worker that has no lease changes nothing. */
	sched_fail(
	    s, 0, (struct worker_id){0}, (struct job_id){0}, 2, ERR_JOB, "no");
	sched_fail(
	    s, 0, (struct worker_id){1}, (struct job_id){0}, 1, ERR_JOB, "no");
	expect_nothing(s, 0);
	sched_fail(s, 0, (struct worker_id){1}, (struct job_id){0}, 2, ERR_JOB,
	    "a socket");
	expect(s, 0, SCHED_FAILED, 0, 1);
	assert_int_equal(sched_failures(s, (struct job_id){0}), 2);
	sched_free(s);
}

static void
leases_and_silence(void **state)
{
	struct scheduler *s = make();

	(void)state;
	add(s, 30 * MB);
	add(s, 20 * MB);
	up(s, 0, 0, 1);
	expect(s, 0, SCHED_SEND, 0, 0);
	expect(s, 0, SCHED_SEND, 1, 0);
	assert_int_equal(sched_deadline(s), 10000);
	/* Beats keep the worker; bytes keep the job; waiting is no fault. */
	for (int64_t now = 9000; now <= 90000; now += 9000) {
		sched_progress(s, now, (struct worker_id){0},
		    (struct job_id){0}, 1, now < 50000 ? (uint64_t)now : 45000);
		sched_beat(s, now, (struct worker_id){0}, 1);
		expect_nothing(s, now);
	}
	/* No byte since 45000: the lease is over at 105000. */
	sched_beat(s, 99000, (struct worker_id){0}, 1);
	expect_nothing(s, 104999);
	expect(s, 105000, SCHED_CANCEL, 0, 0);
	assert_int_equal(sched_failures(s, (struct job_id){0}), 1);
	expect(s, 105000, SCHED_SEND, 0, 0);
	/* Then silence. */
	expect(s, 109000, SCHED_DROP, 0, 0);
	expect_nothing(s, 200000);
	assert_int_equal(sched_open(s), 2);
	sched_free(s);
}

/*
 * A random world: workers come and go, answers are lost, late and repeated.
 * Whatever happens, every job ends done or failed, and is accepted once.
 */
enum { JOBS = 40 };

struct answer {
	uint64_t worker, job, attempt;
};

static uint64_t
random_below(uint64_t *seed, uint64_t n)
{
	*seed ^= *seed << 13;
	*seed ^= *seed >> 7;
	*seed ^= *seed << 17;
	return *seed % n;
}

static void
world(uint64_t seed)
{
	struct scheduler *s = make();
	struct answer late[4096];
	size_t n_late = 0, accepted[JOBS] = {0}, failed[JOBS] = {0};
	uint64_t next_worker = 0, r = seed * 2654435761u + 1;
	int64_t now = 0;
	struct sched_action a;

	for (int i = 0; i < JOBS; i++)
		add(s, random_below(&r, 100));
	for (int step = 0; step < 20000 && sched_open(s) > 0; step++) {
		now += (int64_t)random_below(&r, 500);
		if (random_below(&r, 20) == 0 || next_worker == 0)
			up(s, now, next_worker++, 1 + random_below(&r, 3));
		if (random_below(&r, 60) == 0)
			sched_worker_gone(s, now,
			    (struct worker_id){random_below(&r, next_worker)},
			    "killed");
		sched_beat(s, now,
		    (struct worker_id){random_below(&r, next_worker)}, 1);
		while (sched_next(s, now, &a)) {
			if (a.kind == SCHED_FAILED)
				failed[a.job.v]++;
			if (a.kind == SCHED_SEND && n_late < 4096 &&
			    random_below(&r, 10) > 0)
				late[n_late++] = (struct answer){
				    a.worker.v, a.job.v, a.attempt};
		}
		for (int i = 0; n_late > 0 && i < 2; i++) {
			size_t k = random_below(&r, n_late);
			struct answer w = late[k];

			if (random_below(&r, 4) > 0)
				late[k] = late[--n_late];
			if (random_below(&r, 12) == 0)
				sched_fail(s, now, (struct worker_id){w.worker},
				    (struct job_id){w.job}, w.attempt,
				    ERR_RETRY, "disk full");
			else if (sched_done(s, now,
				     (struct worker_id){w.worker},
				     (struct job_id){w.job}, w.attempt,
				     &one) == SCHED_ACCEPTED)
				accepted[w.job]++;
		}
	}
	while (sched_next(s, now, &a))
		if (a.kind == SCHED_FAILED)
			failed[a.job.v]++;
	if (sched_open(s) != 0)
		fail_msg("seed %d: %zu jobs lost", (int)seed, sched_open(s));
	for (int i = 0; i < JOBS; i++)
		if (accepted[i] + failed[i] != 1)
			fail_msg("seed %d: job %d accepted %zu failed %zu",
			    (int)seed, i, accepted[i], failed[i]);
	sched_free(s);
}

static void
random_worlds(void **state)
{
	(void)state;
	for (uint64_t seed = 1; seed <= 500; seed++)
		world(seed);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(longest_first_and_one_ahead),
	    cmocka_unit_test(another_order_than_by_weight),
	    cmocka_unit_test(results_count_once),
	    cmocka_unit_test(dead_workers_jobs_go_elsewhere),
	    cmocka_unit_test(poison_fails_after_three),
	    cmocka_unit_test(failures_by_kind),
	    cmocka_unit_test(leases_and_silence),
	    cmocka_unit_test(random_worlds),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
