/*
 * Which worker does which job: a pure state machine.  Events go in with the
 * time they happened, actions come out of sched_next.  No sockets, no clock,
 * no logging; one thread.
 *
 *	queued -> leased -> done
 *	   ^        |  \--> failed	ERR_JOB, or `poison` failed attempts
 *	   +--------+			worker gone, lease over, ERR_RETRY
 *
 * Jobs go largest first.  A worker holds as many leases as it has slots, and
 * one more, so that it never waits for the next.  A lease is renewed while
 * its bytes advance, or while it waits behind a worker's busy slots; a worker
 * that says nothing for silent_ms is gone.  When a worker dies, the jobs that
 * it ran are blamed, the one that waited is not.  An answer names job and
 * attempt; whichever attempt answers first counts, once.  Answers of attempts
 * older than the last two are not known any more.
 *
 * Memory: about 100 bytes a job and slots * 40 a worker.
 */
#ifndef SCHEDULER_H
#define SCHEDULER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "digest.h"
#include "err.h"

struct scheduler;

struct job_id {
	uint64_t v;
};
struct worker_id {
	uint64_t v;
};

struct sched_config {
	int64_t silent_ms; /* a worker this long silent is gone */
	int64_t lease_ms;  /* a job this long without progress is taken back */
	unsigned poison;   /* failed attempts that end a job, 1 to 8 */
};

#define SCHED_POISON_MAX 8
#define SCHED_REASON_MAX 512

enum sched_action_kind {
	SCHED_SEND,   /* give the job to the worker */
	SCHED_CANCEL, /* tell the worker to stop it */
	SCHED_DROP,   /* the worker is silent: forget it, it may come back */
	SCHED_FAILED  /* the job has failed for good: see sched_reason */
};

struct sched_action {
	enum sched_action_kind kind;
	struct job_id job;
	uint64_t attempt;
	struct worker_id worker;
};

enum sched_verdict {
	SCHED_ACCEPTED,	 /* the job is done by this result */
	SCHED_DUPLICATE, /* it was done already, with the same result */
	SCHED_DIFFERS,	 /* it was done already, with another result */
	SCHED_UNKNOWN	 /* no such job or attempt, or not this worker's */
};

int sched_new(
    const struct sched_config *config, struct scheduler **out, struct err *e);
void sched_free(struct scheduler *s);
void sched_freep(struct scheduler **s);

/* Ids count from 0.  weight: what the job costs, in bytes. */
int sched_add_job(
    struct scheduler *s, uint64_t weight, struct job_id *out, struct err *e);

/* name: what reasons call it; copied.  The id must be new. */
int sched_worker_up(struct scheduler *s, int64_t now, struct worker_id worker,
    size_t slots, const char *name, struct err *e);
void sched_worker_gone(
    struct scheduler *s, int64_t now, struct worker_id worker, const char *why);

/* A beat: the jobs it runs are told one by one, then the beat itself. */
void sched_progress(struct scheduler *s, int64_t now, struct worker_id worker,
    struct job_id job, uint64_t attempt, uint64_t bytes);
void sched_beat(
    struct scheduler *s, int64_t now, struct worker_id worker, size_t running);

/* fingerprint: whatever must be equal in equal results.  */
enum sched_verdict sched_done(struct scheduler *s, int64_t now,
    struct worker_id worker, struct job_id job, uint64_t attempt,
    const struct digest *fingerprint);
void sched_fail(struct scheduler *s, int64_t now, struct worker_id worker,
    struct job_id job, uint64_t attempt, enum err_kind kind, const char *text);

/* The next thing to do at `now`, if any; call until it says false. */
bool sched_next(struct scheduler *s, int64_t now, struct sched_action *out);

/* When to call sched_next again though nothing happened; INT64_MAX: never. */
int64_t sched_deadline(const struct scheduler *s);

/* Jobs neither done nor failed. */
size_t sched_open(const struct scheduler *s);

/*
 * How often the job's attempts failed, and why: "WORKER: text", i from 0, and
 * the error's kind.
 */
unsigned sched_failures(const struct scheduler *s, struct job_id job);
const char *sched_reason(const struct scheduler *s, struct job_id job,
    unsigned i, enum err_kind *kind);

#endif
