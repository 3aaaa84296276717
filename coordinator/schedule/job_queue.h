/*
 * Jobs in the order of their cost, or another number: the heaviest first, of
 * equal ones the oldest (the smallest id).  A treap over job ids, so that any
 * job can be taken out and the order be walked from any place, each in O(log
 * n); 24 bytes a slot.  The low bits of an id are its slot: of ids that are in
 * the queue at once no two have the same.  Pure, one thread.
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

struct job_queue {
	struct job_queue_node *node; /* by slot */
	uint32_t root;
	size_t n;
};

void job_queue_init(struct job_queue *q);

/*
 * Makes room for slots below `room`; -1: out of memory, or beyond
 * JOB_QUEUE_SLOTS_MAX; nothing changed.
 */
int job_queue_reserve(struct job_queue *q, size_t room);
void job_queue_free(struct job_queue *q);

/* There must be room for the id's slot, which must not be in the queue. */
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

/* From the other end, the lightest first. */
uint64_t job_queue_last(const struct job_queue *q);
uint64_t job_queue_before(
    const struct job_queue *q, uint64_t weight, uint64_t id);

#endif
