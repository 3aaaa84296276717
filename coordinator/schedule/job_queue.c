#include "schedule/job_queue.h"

#include <assert.h>
#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>

#define NONE UINT32_MAX

struct job_queue_node {
	uint64_t weight, id;
	uint32_t before, after; /* subtrees: slots, or NONE */
};

void
job_queue_init(struct job_queue *q)
{
	*q = (struct job_queue){.root = NONE};
}

int
job_queue_reserve(struct job_queue *q, size_t room)
{
	struct job_queue_node *node;

	if (room > JOB_QUEUE_SLOTS_MAX)
		errno = EOVERFLOW;
	if (room > JOB_QUEUE_SLOTS_MAX ||
	    (node = reallocarray(q->node, room, sizeof(*node))) == NULL)
		return -1;
	q->node = node;
	return 0;
}

void
job_queue_free(struct job_queue *q)
{
	free(q->node);
	job_queue_init(q);
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
	return q->node[a].weight != weight ? q->node[a].weight > weight
					   : q->node[a].id < id;
}

void
job_queue_put(struct job_queue *q, uint64_t weight, uint64_t id)
{
	uint32_t new = job_queue_slot(id), t, *link = &q->root, *before, *after;

	while ((t = *link) != NONE && rank_of(t) >= rank_of(new))
		link = comes_before(q, t, weight, id) ? &q->node[t].after
						      : &q->node[t].before;
	/* What is below this place is split by the new one. */
	q->node[new].weight = weight;
	q->node[new].id = id;
	before = &q->node[new].before;
	after = &q->node[new].after;
	*link = new;
	while (t != NONE)
		if (comes_before(q, t, weight, id)) {
			*before = t;
			before = &q->node[t].after;
			t = *before;
		} else {
			*after = t;
			after = &q->node[t].before;
			t = *after;
		}
	*before = *after = NONE;
	q->n++;
}

void
job_queue_remove(struct job_queue *q, uint64_t id)
{
	const uint32_t old = job_queue_slot(id);
	uint32_t *link = &q->root, a = q->node[old].before,
		 b = q->node[old].after;

	while (*link != old)
		link = comes_before(q, *link, q->node[old].weight, id)
		    ? &q->node[*link].after
		    : &q->node[*link].before;
	while (a != NONE && b != NONE)
		if (rank_of(a) > rank_of(b)) {
			*link = a;
			link = &q->node[a].after;
			a = *link;
		} else {
			*link = b;
			link = &q->node[b].before;
			b = *link;
		}
	*link = a != NONE ? a : b;
	q->n--;
}

uint64_t
job_queue_first(const struct job_queue *q)
{
	uint32_t t = q->root;

	while (t != NONE && q->node[t].before != NONE)
		t = q->node[t].before;
	return t == NONE ? JOB_QUEUE_NONE : q->node[t].id;
}

uint64_t
job_queue_after(const struct job_queue *q, uint64_t weight, uint64_t id)
{
	uint32_t t = q->root, found = NONE;

	while (t != NONE)
		if (comes_before(q, t, weight, id) ||
		    (q->node[t].weight == weight && q->node[t].id == id)) {
			t = q->node[t].after;
		} else {
			found = t;
			t = q->node[t].before;
		}
	return found == NONE ? JOB_QUEUE_NONE : q->node[found].id;
}

uint64_t
job_queue_last(const struct job_queue *q)
{
	uint32_t t = q->root;

	while (t != NONE && q->node[t].after != NONE)
		t = q->node[t].after;
	return t == NONE ? JOB_QUEUE_NONE : q->node[t].id;
}

uint64_t
job_queue_before(const struct job_queue *q, uint64_t weight, uint64_t id)
{
	uint32_t t = q->root, found = NONE;

	while (t != NONE)
		if (comes_before(q, t, weight, id)) {
			found = t;
			t = q->node[t].after;
		} else {
			t = q->node[t].before;
		}
	return found == NONE ? JOB_QUEUE_NONE : q->node[found].id;
}
