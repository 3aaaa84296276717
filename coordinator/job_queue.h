/*
 * Jobs in the order of their cost, or of any other number: the heaviest first,
 * of equal ones the oldest (the smallest id).  A treap over job ids, so that
 * any job can be taken out and the order be walked from any place, each in
 * O(log n); 16 bytes a job.  Pure, one thread.
 */
#ifndef JOB_QUEUE_H
#define JOB_QUEUE_H

#include <stddef.h>
#include <stdint.h>

#define JOB_QUEUE_NONE UINT32_MAX

struct job_queue {
	struct job_queue_node *node; /* by id */
	uint32_t root;
	size_t n;
};

void job_queue_init(struct job_queue *q);

/* Makes room for ids below `room`; -1: out of memory, nothing changed. */
int job_queue_reserve(struct job_queue *q, size_t room);
void job_queue_free(struct job_queue *q);

/* There must be room for the id, and it must not be in the queue. */
void job_queue_put(struct job_queue *q, uint64_t weight, uint64_t id);

/* It must be in the queue. */
void job_queue_remove(struct job_queue *q, uint64_t id);

/* The heaviest, or JOB_QUEUE_NONE. */
uint64_t job_queue_first(const struct job_queue *q);

/*
 * The first that comes after (weight, id), which need not be there, or
 * JOB_QUEUE_NONE.  With UINT64_MAX as id: the heaviest that is lighter.
 */
uint64_t job_queue_after(
    const struct job_queue *q, uint64_t weight, uint64_t id);

#endif
