/*
 * What clients of a server want: a pure table of jobs and of who waits for
 * them.  No sockets, no clock; one thread.
 *
 *	held -> queued -> running -> ended	(any of them: ended, unwanted)
 *
 * Sharing.  Jobs with the same key are one job with several waiters; one
 * without a key is nobody else's.
 *
 * Fairness.  Deficit round robin: whose turn it is may have SERVE_QUANTUM bytes
 * more, and is given jobs, the largest first, while that lasts.  A job of
 * several clients is at the cost of the one whose turn it is.  What a client
 * did not use while it wanted nothing is not kept.
 *
 * Waiters.  A job that nobody wants any more ends: at once if it does not run
 * or is nobody else's, else when its grace is over; who wants it before has it.
 *
 * The queue owns jobs and wants; what a job is made of is the caller's, who
 * takes it away when a job ends.
 */
#ifndef SERVE_QUEUE_H
#define SERVE_QUEUE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>

#include "data_protocol.h"
#include "digest.h"
#include "schedule/scheduler.h"

struct err;
struct serve_flow;
struct serve_order;
struct serve_queue;

#define SERVE_QUANTUM ((uint64_t)256 << 20) /* bytes */
/* Of a job, for fairness: no job is free, none takes for ever. */
#define SERVE_COST_MIN ((uint64_t)1 << 20)
#define SERVE_COST_MAX ((uint64_t)64 << 30)

struct serve_limits {
	size_t jobs;	 /* that a client wants at once */
	uint64_t bytes;	 /* of their lists of store paths */
	size_t all_jobs; /* of all clients */
	uint64_t all_bytes;
};

enum serve_job_state { SERVE_HELD, SERVE_QUEUED, SERVE_RUNNING };

struct serve_job {
	struct serve_order *order; /* the caller's */
	struct job_id id;	   /* the caller's, while it runs */
	enum serve_job_state state;
	uint64_t weight, bytes;
	bool has_key;
	struct digest key;
	TAILQ_HEAD(, serve_want) wants;
	size_t n_wants;
	struct serve_flow *turn; /* it runs: in whose turn it was given */
	int64_t until;		 /* nobody wants it: when it ends */
	uint32_t slot;
	bool known; /* the caller's: it was made before, and need not be */
	TAILQ_ENTRY(serve_job) of_all;
	TAILQ_ENTRY(serve_job) entry; /* of those that nobody wants */
};

/* A client waits for a job, under a name of its own. */
struct serve_want {
	struct serve_job *job;
	struct serve_flow *flow;
	struct data_id id;
	uint64_t bytes;
	size_t at; /* in the flow's queue */
	TAILQ_ENTRY(serve_want) of_job, of_flow;
};

/* All that one client wants. */
struct serve_flow {
	void *client; /* the caller's */
	struct serve_queue *in;
	TAILQ_HEAD(, serve_want) wants;
	void *by_id; /* a tree of them */
	size_t n_wants;
	uint64_t bytes;
	struct serve_want **queue; /* a heap: the largest first */
	size_t n_queue, room_queue;
	uint64_t deficit;
	size_t given;		       /* jobs of its turns that run */
	bool active, turn;	       /* it has a queue; its turn is on */
	bool full;		       /* it has its share */
	TAILQ_ENTRY(serve_flow) entry; /* of those that are active, or full */
};

/* limits are copied. */
int serve_queue_new(
    const struct serve_limits *limits, struct serve_queue **out, struct err *e);
/* No flow and no job may be left. */
void serve_queue_free(struct serve_queue *q);

int serve_queue_join(struct serve_queue *q, void *client,
    struct serve_flow **out, struct err *e);
/* Its wants are gone; jobs that nobody else wants have so long. */
void serve_queue_forget(
    struct serve_queue *q, struct serve_flow *f, int64_t until);
/* A flow without wants. */
void serve_queue_leave(struct serve_queue *q, struct serve_flow *f);

/*
 * NULL, or why this client may not want that much more now; coming: jobs that
 * it wants besides, and which are in the bytes.
 */
const char *serve_queue_refusal(const struct serve_queue *q,
    const struct serve_flow *f, size_t coming, uint64_t bytes);

/* NULL: nobody wants or wanted it. */
struct serve_job *serve_queue_find(
    struct serve_queue *q, const struct digest *key);
/* A new job (key NULL: it has none), held, of which a want must follow. */
int serve_queue_add(struct serve_queue *q, const struct digest *key,
    uint64_t weight, uint64_t bytes, struct serve_job **out, struct err *e);
int serve_queue_want(struct serve_queue *q, struct serve_flow *f,
    struct serve_job *job, const struct data_id *id, uint64_t bytes,
    struct err *e);
struct serve_want *serve_queue_want_of(
    const struct serve_flow *f, const struct data_id *id);
/* It does not want it any more. */
void serve_queue_unwant(
    struct serve_queue *q, struct serve_want *want, int64_t until);

/* A held job waits for its turn from now on. */
void serve_queue_release(struct serve_queue *q, struct serve_job *job);
/*
 * So many jobs of one client's turns run at once, no more: whatever they wait
 * for, others have theirs.  At first any number.
 */
void serve_queue_share(struct serve_queue *q, size_t jobs);
/* Whose turn it is: it runs now; NULL: nothing waits that may. */
struct serve_job *serve_queue_next(struct serve_queue *q);
/* It has ended, and with it all its wants: it is freed.  All is O(log n). */
void serve_queue_end(struct serve_queue *q, struct serve_job *job);

/* One that nobody wants and whose time is over: to be ended; or NULL. */
struct serve_job *serve_queue_expired(struct serve_queue *q, int64_t now);
/* When there is one; INT64_MAX: never. */
int64_t serve_queue_deadline(const struct serve_queue *q);
/* Any job, or NULL: for the end. */
struct serve_job *serve_queue_any(struct serve_queue *q);

struct serve_counts {
	size_t held, queued, running, wants;
	/* Jobs that ended before they ran, so far, and were not known. */
	uint64_t dropped;
	uint64_t looks; /* at jobs and clients, so far: what it has cost */
};
void serve_queue_count(const struct serve_queue *q, struct serve_counts *out);

#endif
