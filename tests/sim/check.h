/*
 * What must hold of the scheduler, by books of our own: they are kept from
 * the events and actions alone, and never look into the scheduler.  A breach
 * prints seed, time and what is wrong, and ends the program with status 1.
 *
 * Held at every step: every job is in one state, and as many are open as the
 * scheduler says; attempts only grow; a result counts once, and another
 * digest is never passed over; no worker has more than its slots and one; no
 * lease and no silence outlasts its time; no job waits while an idle worker
 * could have it; poison, blame, postponement, copies and audits go by
 * scheduler.h; every attempt that began goes on or has ended in exactly one
 * way, and the scheduler's counters say how.
 */
#ifndef CHECK_H
#define CHECK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "schedule/scheduler.h"

enum { CHECK_JOBS = 64, CHECK_IDS = 256, CHECK_LEASES = 2 };

struct check_lease {
	uint64_t id, attempt;
	int64_t renewed;
	uint64_t bytes;
	bool may_run; /* it may be running: its end may be blamed */
};

struct check_job {
	uint64_t weight;
	bool audit, local;	/* local: it may be held back */
	bool differs;		/* its audit did, so it failed */
	bool measures;		/* it is counted apart */
	bool unable[CHECK_IDS]; /* who can never do it */
	enum check_state { OPEN, AUDITED, DONE, FAILED, LEFT } state;
	uint64_t attempt, *given; /* by attempt: to whom */
	size_t room_given;
	struct check_lease lease[CHECK_LEASES];
	size_t n_leases;
	unsigned accepted, postponed; /* postponed: as an audit */
	uint64_t by;
	uint8_t digest;
	bool job_error;
	uint64_t failed_at[256]; /* perhaps */
	unsigned n_failed, sure; /* sure: certainly failures */
	int64_t stuck_since;
};

struct check_worker {
	bool up, aside, draining;
	size_t slots, n_leases;
	int64_t heard;
	unsigned in_a_row; /* perhaps */
	uint64_t limit;
	int64_t limit_until;
};

/* How attempts ended; cancelled: by the scheduler, whatever for. */
struct check_ends {
	uint64_t results, failed, postponed, lost, cancelled;
	uint64_t copies, duplicates, differs, agreed, skipped;
};

struct check {
	uint64_t seed;
	bool trace;
	const struct sched_config *config;
	int64_t now;
	int64_t met_at;		    /* when a worker came or went */
	struct sched_action before; /* the last action */
	struct check_job job[CHECK_JOBS];
	size_t n_jobs;
	struct check_worker worker[CHECK_IDS];
	size_t n_ids;
	struct check_ends ends[2]; /* of jobs that measure: [1] */
};

void check_free(struct check *c);

void check_breach(const struct check *c, const char *fmt, ...)
    __attribute__((format(printf, 2, 3), noreturn));
void check_trace(const struct check *c, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));

void check_up(struct check *c, uint64_t id, size_t slots);
void check_gone(struct check *c, uint64_t id);
void check_drain(struct check *c, uint64_t id);
void check_heard(struct check *c, uint64_t id);
void check_progress(struct check *c, uint64_t id, uint64_t job,
    uint64_t attempt, uint64_t bytes);
void check_beat(struct check *c, uint64_t id, size_t running);
void check_done(struct check *c, uint64_t id, uint64_t job, uint64_t attempt,
    uint8_t digest, enum sched_verdict verdict);
void check_fail(struct check *c, uint64_t id, uint64_t job, uint64_t attempt,
    bool job_error);
void check_postpone(
    struct check *c, uint64_t id, uint64_t job, uint64_t attempt);
void check_cancel(struct check *c, uint64_t job);

/* What sched_next said. */
void check_action(struct check *c, const struct sched_action *a);

/* When it says no more. */
void check_rest(struct check *c, size_t open);
void check_counts(const struct check *c, const struct sched_counts *jobs,
    const struct sched_counts *measures);
void check_end(const struct check *c);

#endif
