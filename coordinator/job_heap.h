/*
 * Jobs in the order of their cost: the heaviest first, of equal ones the
 * oldest (the smallest id).  A binary heap; pure, one thread.
 */
#ifndef JOB_HEAP_H
#define JOB_HEAP_H

#include <stddef.h>
#include <stdint.h>

struct job_heap {
	struct job_heap_item {
		uint64_t weight, id;
	} * item; /* the first is at 0 */
	size_t n;
};

/* Makes room for so many in all; -1: out of memory, nothing changed. */
int job_heap_reserve(struct job_heap *h, size_t room);
void job_heap_free(struct job_heap *h);

/* There must be room. */
void job_heap_push(struct job_heap *h, uint64_t weight, uint64_t id);

/* The first's id, which is taken out.  There must be one. */
uint64_t job_heap_pop(struct job_heap *h);

#endif
