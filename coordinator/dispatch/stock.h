/*
 * Which store paths of a list are in workers' stores, and what jobs of a run
 * lack there: kept once for all workers of which the same is true.  The loop's
 * thread.
 */
#ifndef STOCK_H
#define STOCK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "schedule/scheduler.h"

struct closure;
struct dispatch;
struct err;

/* A job of the run, and the bytes that it lacks: not 0. */
struct miss {
	struct job_id job;
	uint64_t bytes;
};

/* For stock.c alone, but for `refs` and `found`. */
struct stock {
	struct stock *next;
	size_t refs;
	bool whole; /* all of them are */
	/* Of one that several have: looked for once a run. */
	bool found;
	struct miss *miss;
	size_t n_misses;
	uint8_t bits[];
};

/* The one with these n bits, which is then used once more; NULL: no memory. */
struct stock *stock_take(struct stock **list, const uint8_t *bits, size_t n);
/* Used once less, or not at all: freed.  *stock may be NULL, and is then. */
void stock_drop(struct stock **list, struct stock **stock);

/*
 * The next job of d from *i (0 at first) on that misses something of `closure`;
 * false: none.  It is looked for anew, unless stock_find has.
 */
bool stock_next_miss(const struct stock *s, const struct dispatch *d,
    const struct closure *closure, size_t *i, struct miss *out);
int stock_find(struct stock *s, const struct dispatch *d,
    const struct closure *closure, struct err *e);
/* What was found is of another run. */
void stock_forget(struct stock *s);

#endif
