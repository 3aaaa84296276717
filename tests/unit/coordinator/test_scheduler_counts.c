/* What the scheduler counts, and why it says that it sends a job. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "schedule/scheduler_state.h"
#include "scheduler_script.h"

static const struct job_id job0 = {0};
static const struct worker_id w0 = {0}, w1 = {1};

static void
expect_send(struct scheduler *s, int64_t now, uint64_t worker,
    enum sched_why why, enum sched_end before)
{
	struct sched_action a;

	assert_true(sched_next(s, now, &a));
	assert_int_equal(a.kind, SCHED_SEND);
	assert_int_equal(a.worker.v, worker);
	assert_int_equal(a.why, why);
	if (why == SCHED_AGAIN)
		assert_int_equal(a.before, before);
}

static struct sched_counts
count(const struct scheduler *s)
{
	struct sched_counts jobs, measures;

	sched_count(s, &jobs, &measures);
	assert_int_equal(measures.added, 0);
	return jobs;
}

/* One job goes through all that can befall it. */
static void
retries_by_reason(void **state)
{
	struct scheduler *s = make();
	struct sched_counts n;

	(void)state;
	add(s, 1);
	up(s, 0, 0, 1);
	n = count(s);
	assert_int_equal(n.queued, 1);
	assert_int_equal(n.running, 0);
	expect_send(s, 0, 0, SCHED_FIRST, 0);
	n = count(s);
	assert_int_equal(n.queued, 0);
	assert_int_equal(n.running, 1);
	sched_postpone(s, 0, w0, job0, 1);
	up(s, 0, 1, 1);
	expect_send(s, 0, 1, SCHED_AGAIN, SCHED_END_POSTPONED);
	sched_worker_gone(s, 0, w1, "killed");
	sched_beat(s, 9000, w0, 0);
	expect_send(s, SCHED_POSTPONE_MS, 0, SCHED_AGAIN, SCHED_END_LOST);
	sched_fail(s, SCHED_POSTPONE_MS, w0, job0, 3, ERR_RETRY, "no");
	expect_send(s, SCHED_POSTPONE_MS, 0, SCHED_AGAIN, SCHED_END_FAILED);
	assert_int_equal(done(s, 0, 0, 4, &one), SCHED_ACCEPTED);
	n = count(s);
	assert_int_equal(n.added, 1);
	assert_int_equal(n.done, 1);
	assert_int_equal(n.running, 0);
	assert_int_equal(n.started, 4);
	assert_int_equal(n.ended[SCHED_END_RESULT], 1);
	assert_int_equal(n.ended[SCHED_END_LOST], 1);
	assert_int_equal(n.retried[SCHED_END_LOST], 1);
	assert_int_equal(n.retried[SCHED_END_FAILED], 1);
	assert_int_equal(n.retried[SCHED_END_POSTPONED], 1);
	assert_int_equal(n.retried[SCHED_END_RESULT], 0);
	sched_free(s);
}

static void
lease_that_is_over(void **state)
{
	struct scheduler *s = make();
	struct sched_worker_counts w;
	struct sched_counts n;

	(void)state;
	add(s, 1);
	up(s, 0, 0, 1);
	expect_send(s, 0, 0, SCHED_FIRST, 0);
	for (int64_t t = 0; t < 60000; t += 5000)
		sched_beat(s, t, w0, 1);
	expect(s, 60000, SCHED_CANCEL, 0, 0);
	expect_send(s, 60000, 0, SCHED_AGAIN, SCHED_END_EXPIRED);
	n = count(s);
	assert_int_equal(n.ended[SCHED_END_EXPIRED], 1);
	assert_int_equal(n.retried[SCHED_END_EXPIRED], 1);
	assert_true(sched_worker_count(s, w0, &w));
	assert_int_equal(w.failures, 1);
	sched_free(s);
}

static void
a_failure_for_good_is_no_retry(void **state)
{
	struct scheduler *s = make();
	struct sched_counts n;

	(void)state;
	add(s, 1);
	up(s, 0, 0, 1);
	expect_send(s, 0, 0, SCHED_FIRST, 0);
	sched_fail(s, 0, w0, job0, 1, ERR_JOB, "no");
	expect(s, 0, SCHED_FAILED, 0, 0);
	n = count(s);
	assert_int_equal(n.failed, 1);
	assert_int_equal(n.ended[SCHED_END_FAILED], 1);
	assert_int_equal(n.retried[SCHED_END_FAILED], 0);
	sched_free(s);
}

/* By who was given it, lately, also when it is not wanted any more. */
static void
an_attempt_is_answered_once(void **state)
{
	struct scheduler *s = make();

	(void)state;
	add(s, 1);
	up(s, 0, 0, 1);
	assert_false(sched_answered(s, w0, job0, 1));
	expect_send(s, 0, 0, SCHED_FIRST, 0);
	up(s, 0, 1, 1);
	assert_false(sched_answered(s, w1, job0, 1));
	assert_false(sched_answered(s, w0, (struct job_id){1}, 1));
	assert_false(sched_answered(s, w0, job0, 2));
	sched_worker_gone(s, 0, w0, "lost");
	expect_send(s, 0, 1, SCHED_AGAIN, SCHED_END_LOST);
	assert_true(sched_answered(s, w0, job0, 1));
	assert_false(sched_answered(s, w0, job0, 1));
	assert_true(sched_answered(s, w1, job0, 2));
	assert_false(sched_answered(s, w1, job0, 2));
	/* Its place is taken by a later one, which is not yet. */
	for (uint64_t n = 2; n < 2 + SCHED_ATTEMPTS_KNOWN; n++) {
		sched_postpone(s, 0, w1, job0, n);
		sched_worker_gone(s, 0, w1, "lost");
		up(s, 0, 1, 1);
		expect_send(s, 0, 1, SCHED_AGAIN, SCHED_END_POSTPONED);
	}
	assert_false(sched_answered(s, w1, job0, 2));
	assert_true(sched_answered(s, w1, job0, 2 + SCHED_ATTEMPTS_KNOWN));
	sched_free(s);
}

/* It has one end, and that is no good one. */
static void
an_audit_that_differs_has_failed(void **state)
{
	struct scheduler *s = make();
	struct sched_counts n;

	(void)state;
	add(s, 1);
	sched_audit(s, job0);
	up(s, 0, 0, 1);
	up(s, 0, 1, 1);
	expect_send(s, 0, 0, SCHED_FIRST, 0);
	assert_int_equal(done(s, 0, 0, 1, &one), SCHED_ACCEPTED);
	expect_send(s, 0, 1, SCHED_AUDIT, 0);
	assert_int_equal(done(s, 1, 0, 2, &two), SCHED_DIFFERS);
	sched_give_up(s, 0, job0);
	n = count(s);
	assert_int_equal(n.differs, 1);
	assert_int_equal(n.failed, 1);
	assert_int_equal(n.done, 0);
	assert_int_equal(n.left, 0);
	sched_free(s);
}

/* What nobody can have is not what nobody wants. */
static void
given_up_is_failed(void **state)
{
	struct scheduler *s = make();
	struct sched_counts n;

	(void)state;
	for (int i = 0; i < 3; i++)
		add(s, 3 - i);
	up(s, 0, 0, 1);
	expect_send(s, 0, 0, SCHED_FIRST, 0);
	sched_give_up(s, 0, job0);
	sched_give_up(s, 0, job0);
	sched_give_up(s, 0, (struct job_id){1});
	sched_cancel(s, 0, (struct job_id){2});
	sched_give_up(s, 0, (struct job_id){2});
	expect(s, 0, SCHED_CANCEL, 0, 0);
	n = count(s);
	assert_int_equal(n.failed, 2);
	assert_int_equal(n.left, 1);
	assert_int_equal(n.running, 0);
	assert_int_equal(n.queued, 0);
	assert_int_equal(n.ended[SCHED_END_CANCELLED], 1);
	assert_int_equal(sched_open(s), 0);
	sched_free(s);
}

/* bytes/ms */
static double
bandwidth_after(uint64_t worker, uint64_t attempt, uint64_t bytes, int64_t ms)
{
	struct scheduler *s = make();
	double all;

	add(s, 1);
	up(s, 0, 0, 1);
	up(s, 0, 1, 1);
	expect_send(s, 0, 0, SCHED_FIRST, 0);
	sched_fetched(
	    s, 1000, (struct worker_id){worker}, job0, attempt, bytes, ms);
	all = s->bandwidth.ms > 0 ? s->bandwidth.bytes / s->bandwidth.ms : 0;
	sched_free(s);
	return all;
}

/* What is known of links is everybody's, and not for one to spoil. */
static void
fetching_is_believed_within_reason(void **state)
{
	(void)state;
	assert_true(bandwidth_after(0, 1, 500000, 500) == 1000);
	/* Faster than anything, or slower than it can have been. */
	assert_true(
	    bandwidth_after(0, 1, INT64_MAX, 1000) == SCHED_BANDWIDTH_MAX);
	assert_true(bandwidth_after(0, 1, INT64_MAX, 0) == SCHED_BANDWIDTH_MAX);
	assert_true(bandwidth_after(0, 1, 500000, INT64_MAX) == 500);
	assert_true(bandwidth_after(0, 1, 500000, -1) == 500000);
	/* Nobody asked it. */
	assert_true(bandwidth_after(0, 2, 500000, 500) == 0);
	assert_true(bandwidth_after(1, 1, 500000, 500) == 0);
	assert_true(bandwidth_after(7, 1, 500000, 500) == 0);
}

static void
audits_agree_or_are_skipped(void **state)
{
	struct scheduler *s = make();
	struct sched_counts n;

	(void)state;
	add(s, 2);
	sched_audit(s, job0);
	up(s, 0, 0, 1);
	up(s, 0, 1, 1);
	expect_send(s, 0, 0, SCHED_FIRST, 0);
	assert_int_equal(done(s, 0, 0, 1, &one), SCHED_ACCEPTED);
	n = count(s);
	assert_int_equal(n.done, 0);
	assert_int_equal(n.queued, 1);
	expect_send(s, 0, 1, SCHED_AUDIT, 0);
	assert_int_equal(done(s, 1, 0, 2, &one), SCHED_CONFIRMED);
	add(s, 1);
	sched_audit(s, (struct job_id){1});
	sched_worker_gone(s, 0, w1, "left");
	expect_send(s, 0, 0, SCHED_FIRST, 0);
	assert_int_equal(done(s, 0, 1, 1, &one), SCHED_ACCEPTED);
	expect(s, 0, SCHED_AUDIT_SKIPPED, 1, 0);
	n = count(s);
	assert_int_equal(n.agreed, 1);
	assert_int_equal(n.skipped, 1);
	assert_int_equal(n.done, 2);
	assert_int_equal(n.started, n.ended[SCHED_END_RESULT]);
	sched_free(s);
}

/* The copy's end is no retry; a second same result is a duplicate. */
static void
a_copy_that_loses(void **state)
{
	struct scheduler *s = make();
	struct sched_counts n;

	(void)state;
	add(s, 100 * MB);
	up(s, 0, 0, 1);
	expect_send(s, 0, 0, SCHED_FIRST, 0);
	up(s, 0, 1, 1);
	sched_measured(s, w1, 100 * MB, 1000);
	sched_beat(s, 9000, w0, 1);
	sched_beat(s, 9000, w1, 0);
	sched_progress(s, 9000, w0, job0, 1, MB);
	expect_send(s, 9000, 1, SCHED_COPY, 0);
	assert_int_equal(count(s).running, 1);
	assert_int_equal(
	    sched_done(s, 9500, w1, job0, 2, &one), SCHED_ACCEPTED);
	expect(s, 9500, SCHED_CANCEL, 0, 0);
	assert_int_equal(
	    sched_done(s, 9600, w0, job0, 1, &one), SCHED_DUPLICATE);
	n = count(s);
	assert_int_equal(n.copies, 1);
	assert_int_equal(n.duplicates, 1);
	assert_int_equal(n.ended[SCHED_END_CANCELLED], 1);
	assert_int_equal(n.retried[SCHED_END_CANCELLED], 0);
	sched_free(s);
}

static void
measures_are_counted_apart(void **state)
{
	struct sched_counts jobs, measures;
	struct sched_worker_counts w;
	struct scheduler *s = make();

	(void)state;
	add(s, 2);
	sched_measures(s, add(s, 1));
	up(s, 0, 0, 2);
	expect(s, 0, SCHED_SEND, 0, 0);
	expect(s, 0, SCHED_SEND, 1, 0);
	sched_count(s, &jobs, &measures);
	assert_int_equal(jobs.added, 1);
	assert_int_equal(jobs.running, 1);
	assert_int_equal(measures.added, 1);
	assert_int_equal(measures.running, 1);
	assert_int_equal(done(s, 0, 1, 1, &one), SCHED_ACCEPTED);
	sched_count(s, &jobs, &measures);
	assert_int_equal(jobs.done, 0);
	assert_int_equal(measures.done, 1);
	assert_true(sched_worker_count(s, w0, &w));
	assert_int_equal(w.done, 0);
	assert_int_equal(done(s, 0, 0, 1, &one), SCHED_ACCEPTED);
	assert_true(sched_worker_count(s, w0, &w));
	assert_int_equal(w.done, 1);
	sched_free(s);
}

static void
workers(void **state)
{
	struct scheduler *s = make();
	struct sched_worker_counts w;

	(void)state;
	assert_false(sched_worker_count(s, w0, &w));
	add(s, MB);
	add(s, MB);
	add(s, MB);
	up(s, 0, 0, 2);
	for (int i = 0; i < 3; i++)
		expect_send(s, 0, 0, SCHED_FIRST, 0);
	assert_true(sched_worker_count(s, w0, &w));
	assert_int_equal(w.slots, 2);
	assert_int_equal(w.running, 2);
	assert_int_equal(w.waiting, 1);
	assert_int_equal(w.rate, 0);
	assert_int_equal(
	    sched_done(s, 1000, w0, job0, 1, &one), SCHED_ACCEPTED);
	sched_worker_drain(s, 1000, w0);
	assert_true(sched_worker_count(s, w0, &w));
	assert_int_equal(w.running, 2);
	assert_int_equal(w.waiting, 0);
	assert_int_equal(w.rate, MB);
	assert_int_equal(w.done, 1);
	assert_true(w.draining);
	assert_false(w.aside);
	sched_free(s);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(retries_by_reason),
	    cmocka_unit_test(lease_that_is_over),
	    cmocka_unit_test(a_failure_for_good_is_no_retry),
	    cmocka_unit_test(an_attempt_is_answered_once),
	    cmocka_unit_test(audits_agree_or_are_skipped),
	    cmocka_unit_test(an_audit_that_differs_has_failed),
	    cmocka_unit_test(given_up_is_failed),
	    cmocka_unit_test(fetching_is_believed_within_reason),
	    cmocka_unit_test(a_copy_that_loses),
	    cmocka_unit_test(measures_are_counted_apart),
	    cmocka_unit_test(workers),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
