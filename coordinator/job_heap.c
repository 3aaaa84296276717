#include "job_heap.h"

#include <stdbool.h>
#include <stdlib.h>

int
job_heap_reserve(struct job_heap *h, size_t room)
{
	struct job_heap_item *item = reallocarray(h->item, room, sizeof(*item));

	if (item == NULL)
		return -1;
	h->item = item;
	return 0;
}

void
job_heap_free(struct job_heap *h)
{
	free(h->item);
	h->item = NULL;
	h->n = 0;
}

static bool
before(const struct job_heap_item *a, const struct job_heap_item *b)
{
	return a->weight != b->weight ? a->weight > b->weight : a->id < b->id;
}

void
job_heap_push(struct job_heap *h, uint64_t weight, uint64_t id)
{
	const struct job_heap_item new = {weight, id};
	size_t i = h->n++;

	for (; i > 0 && before(&new, &h->item[(i - 1) / 2]); i = (i - 1) / 2)
		h->item[i] = h->item[(i - 1) / 2];
	h->item[i] = new;
}

uint64_t
job_heap_pop(struct job_heap *h)
{
	const uint64_t top = h->item[0].id;
	const struct job_heap_item last = h->item[--h->n];
	size_t i = 0, child;

	while ((child = 2 * i + 1) < h->n) {
		if (child + 1 < h->n &&
		    before(&h->item[child + 1], &h->item[child]))
			child++;
		if (!before(&h->item[child], &last))
			break;
		h->item[i] = h->item[child];
		i = child;
	}
	if (h->n > 0)
		h->item[i] = last;
	return top;
}
