/*
 * Inside of push_queue.c, which takes what happens, and push_queue_orders.c,
 * which says what is to be done.  For these alone.
 */
#ifndef PUSH_QUEUE_STATE_H
#define PUSH_QUEUE_STATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>

#include "closure/hash_index.h"
#include "dispatch/push_queue.h"

enum state {
	STATE_NEW, /* to be looked for */
	STATE_LOOKED_FOR,
	STATE_OFFERED, /* a worker is to be found now */
	STATE_WAITS,   /* for one that has less to do */
	STATE_HELD,    /* its place takes no more for now */
	STATE_GIVEN,
	STATE_OVER
};

struct entry {
	uint64_t push;
	uint32_t slot;
	struct place *place;
	void *what;
	enum state state;
	enum push_end end;
	struct worker_id maker, worker; /* worker: that has or had it */
	bool alone, gone;
	bool tried, failed; /* it was given it, and failed */
	bool uploaded;	    /* by its own word */
	unsigned tries;
	/* What waits is in the list of all, unless it is alone, and: */
	TAILQ_ENTRY(entry) in_state;
	struct at_work *waits_for; /* in its maker's, if that is there */
	TAILQ_ENTRY(entry) in_maker;
};

TAILQ_HEAD(entries, entry);

/* What all places of one registry share. */
struct flow {
	size_t given, allowed; /* at a time */
	size_t went;	       /* well, since one more was allowed */
	struct entries held;
};

struct place {
	bool near, token, barred;
	unsigned failures; /* in a row */
	struct flow *flow; /* the first place's own */
	struct flow own;
};

struct at_work {
	struct push_worker w;
	uint32_t slot;
	size_t n_given;
	struct entries given;
	struct entries waits; /* for it, which made them */
	bool ready;	      /* it may have room for one that waits */
	TAILQ_ENTRY(at_work) in_ready;
	TAILQ_ENTRY(at_work) in_seers;
};

TAILQ_HEAD(workers, at_work);

/* Things by a number, each in a slot. */
struct table {
	void **thing; /* or NULL: the slot is free */
	uint32_t *free;
	size_t n, room, n_free;
	struct hash_index by_id;
};

struct push_queue {
	struct table entries, workers;
	/* By their state; what waits for whoever sees the files. */
	struct entries fresh, offered, waits, over;
	struct workers ready, seers; /* seers: of the files */
	size_t n_unsafe;
	struct place **place;
	size_t n_places, room_places;
	size_t open[2][2]; /* places, not barred: [near][token] */
	uint64_t last;
	bool recheck; /* all that waits: nobody may be there for it */
	uint64_t steps;
};

struct at_work *push_queue_at_work(struct push_queue *q, struct worker_id id);
/* From one state to another. */
void push_queue_go(struct push_queue *q, struct entry *entry, enum state state);
void push_queue_end(
    struct push_queue *q, struct entry *entry, enum push_end how);
/* It is over, and was told of. */
void push_queue_forget(struct push_queue *q, struct entry *entry);
/* Whether w may push there. */
bool push_queue_allowed(const struct place *p, const struct push_worker *w);

#endif
