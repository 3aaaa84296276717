/*
 * Jobs in the order of their cost, or another number: the heaviest first, of
 * equal ones the oldest (the smallest id).  A treap over job ids, so that any
 * job can be taken out and the order be walked from any place, each in O(log
 * n).  The low bits of an id are its slot: of ids that are in the queue at once
 * no two have the same.  Nodes are the caller's, 24 bytes at the beginning of
 * whatever it keeps in the slot; one is in one queue at most.  Pure, one
 * thread.
 */
#ifndef JOB_QUEUE_H
#define JOB_QUEUE_H

#include <stddef.h>
#include <stdint.h>

#define JOB_QUEUE_NONE UINT64_MAX
#define JOB_QUEUE_SLOT_BITS 24
#define JOB_QUEUE_SLOTS_MAX ((size_t)1 << JOB_QUEUE_SLOT_BITS)

static inline uint32_t
job_queue_slot(uint64_t id)
{
	return (uint32_t)(id & (JOB_QUEUE_SLOTS_MAX - 1));
}

/* Its weight and id are the caller's, but for while it is in a queue. */
struct job_queue_node {
	uint64_t weight, id;
	uint32_t before, after; /* subtrees: slots, or none; the queue's */
};

struct job_queue {
	char *slot;  /* the first one of all, */
	size_t size; /* and what one takes, in bytes */
	uint32_t root;
	size_t n;
};

/* size: of a slot. */
void job_queue_init(struct job_queue *q, size_t size);

/* Where slots are (now), JOB_QUEUE_SLOTS_MAX at most. */
void job_queue_at(struct job_queue *q, void *slot);

/* By its node's weight and id; the node must not be in a queue. */
void job_queue_put(struct job_queue *q, uint64_t id);

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

/* From the other end, the lightest first. */
uint64_t job_queue_last(const struct job_queue *q);
uint64_t job_queue_before(
    const struct job_queue *q, uint64_t weight, uint64_t id);

#endif
