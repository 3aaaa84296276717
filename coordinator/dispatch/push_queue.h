/*
 * Which worker puts which layer into which registry: a pure state machine.
 * Events go in, orders come out of push_queue_next.  No sockets, no clock, no
 * logging; one thread.
 *
 *	look -> wait -> given -> confirm -> over
 *	 ^       |        |         |
 *	 +-------+--------+---------+	worker gone, or not there
 *
 * Each is looked for first, by the coordinator: what is there is not sent.  A
 * worker's word that it is there counts for nothing until the coordinator has
 * seen it.  What no worker can do, what one has failed to do, and what got
 * lost PUSH_TRIES times is left to the coordinator, which has the blob or gets
 * it, and pushes at the end.  A place where PUSH_FAILURES_MAX in a row have
 * failed is left to it as a whole.  What was streamed there while it was made
 * is looked for alone: if it is not there, nobody has it.
 *
 * What happens to one costs the same however many there are, and however many
 * workers: but for those that see the files, of whom one with little to do is
 * looked for.
 *
 * A worker has PUSH_GIVEN_MAX at a time, or what it says itself.  Where a
 * registry says that it is asked too much half as many go there at a time, to
 * whatever place of it; once as many as may have gone well, one more may.
 */
#ifndef PUSH_QUEUE_H
#define PUSH_QUEUE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "schedule/scheduler.h"

struct err;
struct push_queue;

#define PUSH_GIVEN_MAX 4
#define PUSH_TRIES 3
#define PUSH_FAILURES_MAX 3

int push_queue_new(struct push_queue **out, struct err *e);
void push_queue_free(struct push_queue *q);

/* What a worker may be told, and sees. */
struct push_worker {
	struct worker_id id;
	bool near;   /* it is on this machine */
	bool safe;   /* nobody else hears what is said to it */
	bool files;  /* it sees the coordinator's */
	size_t most; /* that it has at a time; 0: PUSH_GIVEN_MAX */
};

/* ERR_FATAL: out of memory, here and below. */
int push_queue_worker(
    struct push_queue *q, const struct push_worker *w, struct err *e);
/* It is gone, or has forgotten what it was given; it may come again. */
void push_queue_worker_gone(struct push_queue *q, struct worker_id worker);

/*
 * Places are 0, 1, ...; near: only this machine reaches it.  registry: the
 * first place of the same one, or its own.
 */
int push_queue_place(
    struct push_queue *q, bool near, size_t registry, struct err *e);
/*
 * Nothing goes there any more, and it becomes another one; of a registry that
 * has this place alone.
 */
void push_queue_place_again(struct push_queue *q, size_t place, bool near);
/* No worker may push there: all is left to the coordinator. */
void push_queue_bar(struct push_queue *q, size_t place);
bool push_queue_barred(const struct push_queue *q, size_t place);
/* Whether workers have to be told a token, to ask there. */
void push_queue_token(struct push_queue *q, size_t place, bool token);
/* Whether the worker may ask there. */
bool push_queue_may_at(
    struct push_queue *q, size_t place, struct worker_id worker);
/* Whether the worker could be given anything at all. */
bool push_queue_may(struct push_queue *q, struct worker_id worker);

struct push_blob_at {
	size_t place;
	struct worker_id maker; /* who has it too, whatever files it sees */
	bool alone;		/* nobody else has */
	bool gone;		/* nor has the maker: only the place, if any */
	bool said, uploaded;	/* by the maker: that it is there, and why */
	void *what;		/* the caller's: comes back with orders */
};

/* *push is its number, not 0. */
int push_queue_add(struct push_queue *q, const struct push_blob_at *blob,
    uint64_t *push, struct err *e);

enum push_seen {
	PUSH_SEEN,
	PUSH_NOT_SEEN,
	PUSH_UNSURE /* it could not be asked */
};

/* The caller's, of one that is not over; else NULL. */
void *push_queue_what(struct push_queue *q, uint64_t push);

/* After PUSH_LOOK; token: a worker has to be told one, to ask there. */
void push_queue_looked(
    struct push_queue *q, uint64_t push, enum push_seen seen, bool token);
/*
 * The worker says that it is there, by its doing or without (uploaded), or
 * that it failed.  False: it was not given that.
 */
bool push_queue_pushed(struct push_queue *q, struct worker_id worker,
    uint64_t push, bool well, bool uploaded, bool throttled);

/* It is not wanted any more, whoever was given it: PUSH_LEFT. */
void push_queue_drop(struct push_queue *q, uint64_t push);

enum push_act {
	PUSH_LOOK, /* is it there? push_queue_looked follows */
	PUSH_GIVE, /* to the worker; push_queue_pushed follows */
	PUSH_OVER  /* it is forgotten */
};

enum push_end { PUSH_THERE, PUSH_UPLOADED, PUSH_LEFT };

struct push_order {
	enum push_act act;
	uint64_t push;
	void *what;
	struct worker_id worker; /* of PUSH_GIVE */
	enum push_end end;	 /* of PUSH_OVER */
};

/* The next thing to do; call until it says false. */
bool push_queue_next(struct push_queue *q, struct push_order *out);

/* Those that are not over. */
size_t push_queue_open(const struct push_queue *q);

/* How many things were looked at, in all: for tests. */
uint64_t push_queue_steps(const struct push_queue *q);

#endif
