#include "batch/batch_order.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "err.h"
#include "own.h"

struct left {
	uint64_t bytes;
	uint32_t image;
};

struct ordering {
	const struct batch_order_image *image;
	const uint64_t *weight;
	size_t n_images, n_jobs, taken;
	uint64_t *order;
	/* Images of each job: of[start[j] .. start[j + 1]). */
	size_t *start;
	uint32_t *of;
	uint64_t *left; /* bytes of each image that are not taken */
	bool *done;	/* images */
	/* The least first; one that is no longer true is passed over. */
	struct left *heap;
	size_t n_heap, room;
};

static void
ordering_clear(struct ordering *o)
{
	free(o->start);
	free(o->of);
	free(o->left);
	free(o->done);
	free(o->heap);
}

static bool
is_less(const struct left *a, const struct left *b)
{
	return a->bytes != b->bytes ? a->bytes < b->bytes : a->image < b->image;
}

static int
push(struct ordering *o, uint32_t image, struct err *e)
{
	struct left new = {o->left[image], image}, *grown;
	size_t i = o->n_heap;

	if (o->n_heap == o->room) {
		size_t room = 2 * o->room + 64;

		grown = reallocarray(o->heap, room, sizeof(*grown));
		if (grown == NULL)
			return err_set(e, ERR_FATAL, errno, "order of jobs");
		o->heap = grown;
		o->room = room;
	}
	o->n_heap++;
	for (; i > 0 && is_less(&new, &o->heap[(i - 1) / 2]); i = (i - 1) / 2)
		o->heap[i] = o->heap[(i - 1) / 2];
	o->heap[i] = new;
	return 0;
}

static struct left
pop(struct ordering *o)
{
	struct left least = o->heap[0], last = o->heap[--o->n_heap];
	size_t i = 0, next;

	while ((next = 2 * i + 1) < o->n_heap) {
		if (next + 1 < o->n_heap &&
		    is_less(&o->heap[next + 1], &o->heap[next]))
			next++;
		if (!is_less(&o->heap[next], &last))
			break;
		o->heap[i] = o->heap[next];
		i = next;
	}
	o->heap[i] = last;
	return least;
}

/* Who waits for each job, from who waits for what. */
static int
invert(struct ordering *o, struct err *e)
{
	size_t pairs = 0;

	o->start = calloc(o->n_jobs + 2, sizeof(*o->start));
	o->left = calloc(o->n_images + 1, sizeof(*o->left));
	o->done = calloc(o->n_images + 1, sizeof(*o->done));
	if (o->start == NULL || o->left == NULL || o->done == NULL)
		return err_set(e, ERR_FATAL, errno, "order of jobs");
	for (size_t i = 0; i < o->n_images; i++)
		for (size_t k = 0; k < o->image[i].n; k++, pairs++)
			o->start[o->image[i].job[k] + 2]++;
	if ((o->of = calloc(pairs + 1, sizeof(*o->of))) == NULL)
		return err_set(e, ERR_FATAL, errno, "order of jobs");
	for (size_t j = 2; j <= o->n_jobs; j++)
		o->start[j] += o->start[j - 1];
	for (size_t i = 0; i < o->n_images; i++)
		for (size_t k = 0; k < o->image[i].n; k++) {
			uint32_t job = o->image[i].job[k];

			o->of[o->start[job + 1]++] = (uint32_t)i;
			o->left[i] += o->weight[job];
		}
	return 0;
}

static int
heavier_first(const void *pa, const void *pb, void *arg)
{
	const uint32_t *a = pa, *b = pb;
	const uint64_t *weight = arg;

	if (weight[*a] != weight[*b])
		return weight[*a] > weight[*b] ? -1 : 1;
	return (*a > *b) - (*a < *b);
}

/* Takes jobs, the heaviest first, and tells the images that wait for them. */
static int
take(struct ordering *o, uint32_t *job, size_t n, struct err *e)
{
	qsort_r(
	    job, n, sizeof(*job), heavier_first, (void *)(uintptr_t)o->weight);
	for (size_t i = 0; i < n; i++) {
		uint32_t j = job[i];

		o->order[j] = o->n_jobs - o->taken++;
		for (size_t k = o->start[j]; k < o->start[j + 1]; k++)
			o->left[o->of[k]] -= o->weight[j];
	}
	/* Only now, so that an image comes once, mostly. */
	for (size_t i = 0; i < n; i++)
		for (size_t k = o->start[job[i]]; k < o->start[job[i] + 1];
		     k++) {
			uint32_t image = o->of[k];

			if (!o->done[image] &&
			    (k == o->start[job[i]] || image != o->of[k - 1]) &&
			    push(o, image, e) < 0)
				return -1;
		}
	return 0;
}

/* Image by image, until so many bytes were taken. */
static int
take_images(struct ordering *o, uint64_t limit, struct err *e)
{
	uint64_t bytes = 0;

	while (o->n_heap > 0 && bytes < limit) {
		struct left next = pop(o);
		const struct batch_order_image *image = &o->image[next.image];
		AUTO(own_freep) uint32_t *job = NULL;
		size_t n = 0;

		if (o->done[next.image] || next.bytes != o->left[next.image])
			continue;
		if ((job = calloc(image->n + 1, sizeof(*job))) == NULL)
			return err_set(e, ERR_FATAL, errno, "order of jobs");
		for (size_t i = 0; i < image->n; i++)
			if (o->order[image->job[i]] == 0) {
				job[n++] = image->job[i];
				/* One that comes twice is taken once. */
				o->order[image->job[i]] = UINT64_MAX;
			}
		o->done[next.image] = true;
		bytes += next.bytes;
		if (take(o, job, n, e) < 0)
			return -1;
	}
	return 0;
}

static int
take_large(struct ordering *o, uint64_t least, struct err *e)
{
	AUTO(own_freep) uint32_t *job = calloc(o->n_jobs + 1, sizeof(*job));
	size_t n = 0;

	if (job == NULL)
		return err_set(e, ERR_FATAL, errno, "order of jobs");
	for (size_t j = 0; j < o->n_jobs; j++)
		if (o->order[j] == 0 && o->weight[j] > least)
			job[n++] = (uint32_t)j;
	return take(o, job, n, e);
}

int
batch_order_make(const struct batch_order_image *image, size_t n_images,
    const uint64_t *weight, size_t n_jobs, uint64_t *order, struct err *e)
{
	AUTO(ordering_clear)
	struct ordering o = {.image = image,
	    .weight = weight,
	    .n_images = n_images,
	    .n_jobs = n_jobs,
	    .order = order};
	uint64_t all = 0;

	for (size_t j = 0; j < n_jobs; j++)
		all += weight[j];
	memset(order, 0, n_jobs * sizeof(*order));
	if (invert(&o, e) < 0)
		return -1;
	for (size_t i = 0; i < n_images; i++)
		if (push(&o, (uint32_t)i, e) < 0)
			return -1;
	if (take_images(&o, all / BATCH_ORDER_FIRST + 1, e) < 0 ||
	    take_large(&o, all / BATCH_ORDER_LARGE, e) < 0)
		return -1;
	return take_images(&o, UINT64_MAX, e);
}
