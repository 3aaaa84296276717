/*
 * Which worker does which job: a pure state machine.  Events go in with the
 * time they happened, actions come out of sched_next.  No sockets, no clock,
 * no logging; one thread.
 *
 *	queued -> leased -> done	(an audited job goes round twice)
 *	   ^        |  \--> failed	ERR_JOB, or poisonous
 *	   +--------+			worker gone, lease over, ERR_RETRY,
 *					or postponed
 *
 * Order.  Jobs go largest first, or as sched_set_order says, to the fastest
 * idle worker; one with most of its slots free may be a little slower.  A
 * worker holds as many leases as it has slots, and one more that waits, so that
 * it never waits for the next.  Once nothing is queued, what waits is moved to
 * workers with idle slots.
 *
 * Speeds.  They are learned from jobs done and from the bytes of those that
 * run; 10 ms of work make a worker known, and so does what is said of it at the
 * start (sched_measured), which counts for less the more it works.  Until then
 * it gets one job at a time, no larger than 2 % of the run; so do the others at
 * first, for 300 ms or 3 % of the run at most.
 *
 * The plan.  Where jobs go largest first, and any is over 1 MB, a worker gets
 * the largest one that it can end before all can be done: as soon as all known
 * speeds together could do what is left, or the largest job could be done, or
 * what runs, or a copy of it.  Who is idle and can end none so soon gets the
 * smallest.  Not where jobs are held back for locality.
 *
 * Leases.  A worker that says nothing for silent_ms is gone.  A lease is
 * renewed while its bytes advance, or while it waits behind busy slots.  It
 * also ends, whatever the bytes do, max(60 s, 4 x expected) after it began to
 * run; twice that after a failure, four times that after more.  Expected is
 * the job's weight by the worker's bytes/s so far, else everybody's, but taken
 * to be at most 32 MB/s (a page cache is no promise) and at least 1 MB/s, as
 * is while nobody has finished a job.
 *
 * Poison.  A job fails for good after failures on `poison` distinct workers;
 * after so many attempts in all where every usable worker has failed it; and
 * after twice as many in any case.  When a worker dies, the jobs that it ran
 * are blamed, the one that waited is not; a draining worker's are not.
 *
 * Blame.  A worker with 3 failures in a row gets nothing more until
 * sched_worker_use.  The last usable one is kept, whatever it does: it may be
 * the only machine there is, and every job still ends, by poison.  For the
 * same reason all that are set aside are used again once nobody else is left,
 * and whenever a job was postponed 8 times more; such a job no longer shuns
 * the workers that failed it.
 *
 * Postponement.  A worker without room for a job hands it back; nobody is
 * blamed.  It is not offered that weight or more until another of its jobs
 * ends, or for 10 s.
 *
 * Stragglers.  A running job that will not be done when all else could be (or,
 * with an empty queue, any), and that another worker would be done with in less
 * than 7/8 of the time left, gets a second copy there; for it, a lighter job
 * that waits there goes back to the queue.  Idle workers that nobody knows are
 * tried once nothing is queued, for 5 s and more that are left.  Copies take at
 * most copy_percent of all slots, at least one.  The first result counts, the
 * other attempt is cancelled; so is, before that, one that will take over 4/3
 * of the other's time.  Where jobs go in turn there is no end that they could
 * be late for: only what has over 5 s left is copied, for half of the time.
 *
 * Locality.  Of the workers with room, the one with the least cost: bytes
 * that are missing there by its bandwidth, the wait for a slot, and the work
 * itself.  A job is
 * held back for a better worker as long as that one, with what is held back
 * for it already, costs less; at most the transfer's time and 1 s, and 60 s.
 * Before a worker fetches, it does what it has; but for a job that takes
 * longer than all that is queued.  So many
 * jobs are at once that 32,768 workers are looked at for them, at least 64.
 * A worker that can never have what a job needs (SCHED_UNABLE) gets the job
 * only if nobody else could (in turn: never), and no audit; rather one that was
 * set aside is used again.
 *
 * Audits.  An audited job is open until another worker's result has agreed.
 * Once only such jobs are left and nobody else is there to do one, or it
 * failed as poison does or was postponed 3 times, it is done without:
 * SCHED_AUDIT_SKIPPED.  If awaits_second, and less than two workers are to be
 * used, not before SCHED_ABLE_MS after one came or went: another may be on its
 * way.
 *
 * In turn.  For jobs of many that come for ever: they go in the order in which
 * they were added, not largest first, so that none is overtaken for ever;
 * audits go before all others, and one that nobody can do is done without
 * though others are left.  A job that is to be fetched for waits for those
 * behind it no longer than it is held back.  One that nobody can do waits for
 * who can, for SCHED_ABLE_MS, and then fails without an attempt, and so without
 * a reason.
 *
 * Results.  An answer names job and attempt; whichever attempt answers first
 * counts, once.  Of attempts that hold no lease the last four of a job are
 * known; older ones' answers are SCHED_UNKNOWN.
 *
 * Memory: 128 bytes a job, about 200 more once it was sent again, and 240 a
 * worker with 64 a slot.  What a job had that was released is the next one's.
 */
#ifndef SCHEDULER_H
#define SCHEDULER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "digest.h"
#include "err.h"
#include "schedule/scheduler_counts.h"

struct scheduler;

/*
 * Ids grow for ever; the low SCHED_SLOT_BITS say where things are kept.  Of
 * workers that are there at once no two have these in common.
 */
#define SCHED_SLOT_BITS 24

struct job_id {
	uint64_t v;
};
struct worker_id {
	uint64_t v;
};

struct sched_config {
	int64_t silent_ms; /* a worker this long silent is gone */
	int64_t lease_ms;  /* a job this long without progress is taken back */
	unsigned poison; /* workers that a job fails before it fails, 1 to 8 */
	unsigned copy_percent; /* of all slots, for stragglers; 0: no copies */
	bool in_turn;	       /* jobs go as they were added */
	bool awaits_second;    /* for audits: see there */
};

#define SCHED_POISON_MAX 8
#define SCHED_REASON_MAX 512
#define SCHED_ATTEMPT_MS 60000 /* no attempt's deadline is earlier */
#define SCHED_ATTEMPT_FACTOR 4
#define SCHED_RATE_MAX 32000 /* bytes/ms that deadlines take for granted */
#define SCHED_RATE_MIN 1000
#define SCHED_BLAME_MAX 3
#define SCHED_POSTPONE_MS 10000
#define SCHED_POSTPONED_MAX 8 /* then workers set aside are tried again */
#define SCHED_POSTPONED_AUDIT_MAX 3
#define SCHED_STRAGGLE_MS 5000
#define SCHED_BANDWIDTH 100000	     /* bytes/ms, until anybody's is known */
#define SCHED_BANDWIDTH_MAX 12500000 /* that anybody can have */
#define SCHED_HOLD_MS 60000
#define SCHED_HOLD_LEAST_MS 1000
#define SCHED_ABLE_MS 10000
#define SCHED_HELD_MIN 64
#define SCHED_HELD_LOOKS 32768
#define SCHED_UNABLE UINT64_MAX
#define SCHED_ATTEMPTS_KNOWN 4

enum sched_action_kind {
	SCHED_SEND,	    /* give the job to the worker */
	SCHED_CANCEL,	    /* tell the worker to stop it */
	SCHED_DROP,	    /* the worker is silent: forget it */
	SCHED_FAILED,	    /* the job has failed for good: see sched_reason */
	SCHED_SET_ASIDE,    /* the worker gets nothing more */
	SCHED_USED_AGAIN,   /* it does: nobody else can do what is left */
	SCHED_AUDIT_SKIPPED /* done, but unchecked: the worker's word */
};

/* Why a job is sent. */
enum sched_why {
	SCHED_FIRST, /* for the first time */
	SCHED_AGAIN, /* after an attempt that ended like `before` */
	SCHED_MOVED, /* it waited elsewhere */
	SCHED_COPY,  /* beside an attempt that goes on */
	SCHED_AUDIT  /* to see whether another worker makes the same */
};

struct sched_action {
	enum sched_action_kind kind;
	struct job_id job;
	uint64_t attempt;
	struct worker_id worker;
	enum sched_why why;    /* SEND */
	enum sched_end before; /* SCHED_AGAIN */
};

enum sched_verdict {
	SCHED_ACCEPTED,	 /* the job is done by this result, but for an audit */
	SCHED_CONFIRMED, /* an audit agrees: now it is done */
	SCHED_DUPLICATE, /* done before with the same result, failed, or left */
	SCHED_DIFFERS,	 /* it was done already, with another result */
	SCHED_UNKNOWN	 /* no such job or attempt, or not this worker's */
};

int sched_new(
    const struct sched_config *config, struct scheduler **out, struct err *e);
void sched_free(struct scheduler *s);
void sched_freep(struct scheduler **s);

/*
 * Ids count from 0, until one was released: then they only grow.  weight: what
 * the job costs, in bytes.
 */
int sched_add_job(
    struct scheduler *s, uint64_t weight, struct job_id *out, struct err *e);

/* Memory for n jobs in all at once: what grows leaves holes. */
int sched_reserve(struct scheduler *s, size_t n, struct err *e);

/*
 * The queued job goes before all of a lower order, which is else the weight;
 * of equal ones the oldest goes first.  Once any was set, what a postponed job
 * leaves out is looked for one by one.
 */
void sched_set_order(struct scheduler *s, struct job_id job, uint64_t order);

/* The job is to be run twice, by different workers; before its first result. */
void sched_audit(struct scheduler *s, struct job_id job);

/* It only finds a size: it is counted apart.  Right after it was added. */
void sched_measures(struct scheduler *s, struct job_id job);

/* Nobody wants the job any more; one that has ended stays as it is. */
void sched_cancel(struct scheduler *s, int64_t now, struct job_id job);

/* The same for one that cannot be had, whoever tries: it has failed. */
void sched_give_up(struct scheduler *s, int64_t now, struct job_id job);

/*
 * The job has ended, and nobody will ask for it: what it had is used again, and
 * late answers are SCHED_UNKNOWN.
 */
void sched_release(struct scheduler *s, struct job_id job);

/*
 * What the worker would have to fetch first; 0, the default, takes it back.
 * SCHED_UNABLE: it lacks something that it cannot fetch.
 * For workers that are there.
 */
int sched_set_missing(struct scheduler *s, struct worker_id worker,
    struct job_id job, uint64_t bytes, struct err *e);

/* name: what reasons call it; copied.  The id must be new. */
int sched_worker_up(struct scheduler *s, int64_t now, struct worker_id worker,
    size_t slots, const char *name, struct err *e);
void sched_worker_gone(
    struct scheduler *s, int64_t now, struct worker_id worker, const char *why);

/*
 * A worker is back after a break: of its leases it holds those of `held`; what
 * it was sent besides was lost on the way, and is queued again.  held is in any
 * order, and sorted by this.
 */
struct sched_held {
	struct job_id job;
	uint64_t attempt;
};
void sched_worker_back(struct scheduler *s, int64_t now,
    struct worker_id worker, struct sched_held *held, size_t n);

/* It gets no more jobs; what it has goes on until done or handed back. */
void sched_worker_drain(
    struct scheduler *s, int64_t now, struct worker_id worker);

/* One that was set aside gets jobs again. */
void sched_worker_use(struct scheduler *s, struct worker_id worker);

/*
 * For that attempt it says that it fetched so many bytes in so long: what its
 * bandwidth is taken from.  Longer than the attempt has taken, or faster than
 * SCHED_BANDWIDTH_MAX, it cannot have been.  False: it does not have it.
 */
bool sched_fetched(struct scheduler *s, int64_t now, struct worker_id worker,
    struct job_id job, uint64_t attempt, uint64_t bytes, int64_t ms);

/*
 * It is said to work that fast: 200 ms of its own work say it better, before
 * which the two are mixed.  That all are slower by the same factor than was
 * said of them is seen as soon as some have worked.  0 bytes: nothing is said.
 */
void sched_measured(
    struct scheduler *s, struct worker_id worker, uint64_t bytes, int64_t ms);

/*
 * A beat: the jobs it runs are told one by one (false: it does not have that
 * one), then the beat itself.
 */
bool sched_progress(struct scheduler *s, int64_t now, struct worker_id worker,
    struct job_id job, uint64_t attempt, uint64_t bytes);
void sched_beat(
    struct scheduler *s, int64_t now, struct worker_id worker, size_t running);

/*
 * The worker has done the job, and its result is being verified: until that
 * has come to an end (to be told again within lease_ms) the lease goes on.  Or
 * it waits for others while it does it: only its progress counts from now on.
 */
void sched_verifying(struct scheduler *s, int64_t now, struct worker_id worker,
    struct job_id job, uint64_t attempt);

/*
 * Whether the worker was given that attempt, and lately: if not its answer is
 * SCHED_UNKNOWN, and not worth a look at what it made.
 */
bool sched_given(const struct scheduler *s, struct worker_id worker,
    struct job_id job, uint64_t attempt);
/*
 * The same of an attempt that has not been answered before, also one that is
 * not wanted any more: what it cost counts once.
 */
bool sched_answered(struct scheduler *s, struct worker_id worker,
    struct job_id job, uint64_t attempt);

/* fingerprint: whatever must be equal in equal results.  */
enum sched_verdict sched_done(struct scheduler *s, int64_t now,
    struct worker_id worker, struct job_id job, uint64_t attempt,
    const struct digest *fingerprint);
void sched_fail(struct scheduler *s, int64_t now, struct worker_id worker,
    struct job_id job, uint64_t attempt, enum err_kind kind, const char *text);
/* False: it does not have it. */
bool sched_postpone(struct scheduler *s, int64_t now, struct worker_id worker,
    struct job_id job, uint64_t attempt);

/*
 * What it has made got lost on its way, where it had to go besides: the job is
 * queued again, and nobody is blamed.
 */
void sched_lost(struct scheduler *s, int64_t now, struct worker_id worker,
    struct job_id job, uint64_t attempt);

/* The next thing to do at `now`, if any; call until it says false. */
bool sched_next(struct scheduler *s, int64_t now, struct sched_action *out);

/* When to call sched_next again though nothing happened; INT64_MAX: never. */
int64_t sched_deadline(const struct scheduler *s);

/* What has happened by now, to jobs that make layers and to all others. */
void sched_count(const struct scheduler *s, struct sched_counts *jobs,
    struct sched_counts *measures);

/* How a worker is doing; false: it is not there. */
struct sched_worker_counts {
	size_t slots, running, waiting;
	bool draining, aside;
	uint64_t rate;		 /* bytes/s; 0: nobody knows */
	uint64_t done, failures; /* results that count; attempts */
};
bool sched_worker_count(const struct scheduler *s, struct worker_id worker,
    struct sched_worker_counts *out);

/* Jobs that have not ended: neither done (and audited), failed nor left. */
size_t sched_open(const struct scheduler *s);

/*
 * How often the job's attempts failed, and why: "WORKER: text", i from 0, and
 * the error's kind.
 */
unsigned sched_failures(const struct scheduler *s, struct job_id job);
const char *sched_reason(const struct scheduler *s, struct job_id job,
    unsigned i, enum err_kind *kind);

#endif
