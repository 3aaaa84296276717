/*
 * A scheduler with a scripted clock, for the tests of it: workers are called
 * "w0", "w1", ...  Whoever includes this has included cmocka.h.
 */
#ifndef SCHEDULER_SCRIPT_H
#define SCHEDULER_SCRIPT_H

#include <stdio.h>

#include "schedule/scheduler.h"

#define MB 1000000

static const struct sched_config config = {
    .silent_ms = 10000,
    .lease_ms = 60000,
    .poison = 3,
    .copy_percent = 10,
};

static struct err e;
static const struct digest one = {{1}}, two = {{2}};

static inline struct scheduler *
make(void)
{
	struct scheduler *s;

	assert_int_equal(sched_new(&config, &s, &e), 0);
	return s;
}

static inline struct job_id
add(struct scheduler *s, uint64_t weight)
{
	struct job_id id;

	assert_int_equal(sched_add_job(s, weight, &id, &e), 0);
	return id;
}

static inline void
up(struct scheduler *s, int64_t now, uint64_t worker, size_t slots)
{
	char name[16];

	snprintf(name, sizeof(name), "w%d", (int)worker);
	assert_int_equal(sched_worker_up(s, now, (struct worker_id){worker},
			     slots, name, &e),
	    0);
}

static inline void
expect(struct scheduler *s, int64_t now, enum sched_action_kind what,
    uint64_t job, uint64_t worker)
{
	struct sched_action a;

	assert_true(sched_next(s, now, &a));
	assert_int_equal(a.kind, what);
	if (what != SCHED_DROP && what != SCHED_SET_ASIDE &&
	    what != SCHED_USED_AGAIN)
		assert_int_equal(a.job.v, job);
	if (what != SCHED_FAILED)
		assert_int_equal(a.worker.v, worker);
}

static inline void
expect_nothing(struct scheduler *s, int64_t now)
{
	struct sched_action a;

	assert_false(sched_next(s, now, &a));
}

static inline enum sched_verdict
done(struct scheduler *s, uint64_t worker, uint64_t job, uint64_t attempt,
    const struct digest *d)
{
	return sched_done(
	    s, 0, (struct worker_id){worker}, (struct job_id){job}, attempt, d);
}

static inline void
fail_at(struct scheduler *s, int64_t now, uint64_t worker, uint64_t job,
    uint64_t attempt)
{
	sched_fail(s, now, (struct worker_id){worker}, (struct job_id){job},
	    attempt, ERR_RETRY, "disk full");
}

static inline void
progress(struct scheduler *s, int64_t now, uint64_t worker, uint64_t job,
    uint64_t attempt, uint64_t bytes)
{
	sched_progress(s, now, (struct worker_id){worker}, (struct job_id){job},
	    attempt, bytes);
	sched_beat(s, now, (struct worker_id){worker}, 1);
}

static inline void
done_at(struct scheduler *s, int64_t now, uint64_t worker, uint64_t job,
    uint64_t attempt, enum sched_verdict want)
{
	assert_int_equal(sched_done(s, now, (struct worker_id){worker},
			     (struct job_id){job}, attempt, &one),
	    want);
}

#endif
