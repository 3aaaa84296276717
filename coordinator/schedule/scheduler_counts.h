/*
 * What a scheduler has seen, as numbers, which it counts itself.  Pure.
 *
 * added == queued + running + done + failed + left, and
 * started == the sum of ended + the attempts that go on: at any time.
 */
#ifndef SCHEDULER_COUNTS_H
#define SCHEDULER_COUNTS_H

#include <stdint.h>

/* How an attempt, that is a lease of a job at a worker, came to its end. */
enum sched_end {
	SCHED_END_RESULT,    /* its worker made the layer */
	SCHED_END_FAILED,    /* its worker could not, or nobody could have it */
	SCHED_END_POSTPONED, /* its worker had no room for it */
	SCHED_END_EXPIRED,   /* the lease was over */
	SCHED_END_LOST,	     /* with its worker, or on the way to it */
	SCHED_END_MOVED,     /* it waited, and another worker was idle */
	SCHED_END_CANCELLED  /* another copy was first, or nobody wants it */
};
#define SCHED_ENDS 7

/* "lost"; static. */
const char *sched_end_name(enum sched_end end);

struct sched_counts {
	/* Jobs: all, and what they are now. */
	uint64_t added, queued, running, done, failed, left;
	/* Attempts: that began, and how they ended. */
	uint64_t started, ended[SCHED_ENDS];
	/* Jobs that were queued again since an attempt ended like that. */
	uint64_t retried[SCHED_ENDS];
	uint64_t copies;     /* attempts beside another one that went on */
	uint64_t duplicates; /* results that nobody needed */
	uint64_t differs;    /* results that were not those that were known */
	uint64_t agreed, skipped; /* audits */
};

#endif
