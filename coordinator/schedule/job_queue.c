#include "schedule/job_queue.h"

#include <stdbool.h>

#define NONE UINT32_MAX

void
job_queue_init(struct job_queue *q, size_t size)
{
	*q = (struct job_queue){.size = size, .root = NONE};
}

void
job_queue_at(struct job_queue *q, void *slot)
{
	q->slot = slot;
}

static struct job_queue_node *
node_at(const struct job_queue *q, uint32_t slot)
{
	return (void *)(q->slot + slot * q->size);
}

/* As random as a treap needs, and the same in every run. */
static uint32_t
rank_of(uint32_t slot)
{
	uint64_t h = (slot + 1) * UINT64_C(0x9e3779b97f4a7c15);

	return (uint32_t)((h ^ (h >> 29)) * UINT64_C(0xbf58476d1ce4e5b9) >> 32);
}

static bool
comes_before(
    const struct job_queue *q, uint32_t a, uint64_t weight, uint64_t id)
{
	return node_at(q, a)->weight != weight ? node_at(q, a)->weight > weight
					       : node_at(q, a)->id < id;
}

void
job_queue_put(struct job_queue *q, uint64_t id)
{
	uint32_t new = job_queue_slot(id), t, *link = &q->root, *before, *after;
	const uint64_t weight = node_at(q, new)->weight;

	while ((t = *link) != NONE && rank_of(t) >= rank_of(new))
		link = comes_before(q, t, weight, id) ? &node_at(q, t)->after
						      : &node_at(q, t)->before;
	/* What is below this place is split by the new one. */
	before = &node_at(q, new)->before;
	after = &node_at(q, new)->after;
	*link = new;
	while (t != NONE)
		if (comes_before(q, t, weight, id)) {
			*before = t;
			before = &node_at(q, t)->after;
			t = *before;
		} else {
			*after = t;
			after = &node_at(q, t)->before;
			t = *after;
		}
	*before = *after = NONE;
	q->n++;
}

void
job_queue_remove(struct job_queue *q, uint64_t id)
{
	const uint32_t old = job_queue_slot(id);
	uint32_t *link = &q->root, a = node_at(q, old)->before,
		 b = node_at(q, old)->after;

	while (*link != old)
		link = comes_before(q, *link, node_at(q, old)->weight, id)
		    ? &node_at(q, *link)->after
		    : &node_at(q, *link)->before;
	while (a != NONE && b != NONE)
		if (rank_of(a) > rank_of(b)) {
			*link = a;
			link = &node_at(q, a)->after;
			a = *link;
		} else {
			*link = b;
			link = &node_at(q, b)->before;
			b = *link;
		}
	*link = a != NONE ? a : b;
	q->n--;
}

uint64_t
job_queue_first(const struct job_queue *q)
{
	uint32_t t = q->root;

	while (t != NONE && node_at(q, t)->before != NONE)
		t = node_at(q, t)->before;
	return t == NONE ? JOB_QUEUE_NONE : node_at(q, t)->id;
}

uint64_t
job_queue_after(const struct job_queue *q, uint64_t weight, uint64_t id)
{
	uint32_t t = q->root, found = NONE;

	while (t != NONE)
		if (comes_before(q, t, weight, id) ||
		    (node_at(q, t)->weight == weight &&
			node_at(q, t)->id == id)) {
			t = node_at(q, t)->after;
		} else {
			found = t;
			t = node_at(q, t)->before;
		}
	return found == NONE ? JOB_QUEUE_NONE : node_at(q, found)->id;
}

uint64_t
job_queue_last(const struct job_queue *q)
{
	uint32_t t = q->root;

	while (t != NONE && node_at(q, t)->after != NONE)
		t = node_at(q, t)->after;
	return t == NONE ? JOB_QUEUE_NONE : node_at(q, t)->id;
}

uint64_t
job_queue_before(const struct job_queue *q, uint64_t weight, uint64_t id)
{
	uint32_t t = q->root, found = NONE;

	while (t != NONE)
		if (comes_before(q, t, weight, id)) {
			found = t;
			t = node_at(q, t)->after;
		} else {
			t = node_at(q, t)->before;
		}
	return found == NONE ? JOB_QUEUE_NONE : node_at(q, found)->id;
}
