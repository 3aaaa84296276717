#include "build/base_fetch.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "build/build_cache.h"
#include "cache/layer_cache.h"
#include "digest.h"
#include "err.h"
#include "image/base_image.h"
#include "own.h"
#include "process/fan_out.h"

#define FETCHES 4 /* layers at once */

struct fetch {
	struct base_image *base;
	struct layer_cache *cache; /* or NULL */
	size_t *layer;		   /* those that are to be fetched */
	size_t n;
	const char *blobs; /* where to */
	atomic_bool stop;
};

static int
fetch_one(void *arg, unsigned thread, size_t i, struct err *e)
{
	struct fetch *f = arg;

	(void)thread;
	return base_image_fetch(f->base, f->layer[i], f->blobs, e);
}

/* The first layer with the same blob; its own index if there is none. */
static size_t
first_of(const struct base_image *base, size_t i)
{
	size_t first = 0;

	while (!digest_equal(
	    &base->layer[first].result.digest, &base->layer[i].result.digest))
		first++;
	return first;
}

/* Which layers are not here, and were not fetched by an earlier run. */
static void
list_missing(struct fetch *f)
{
	for (size_t i = 0; i < f->base->n; i++) {
		struct base_layer *layer = &f->base->layer[i];

		if (first_of(f->base, i) == i && layer->file == NULL &&
		    (f->cache == NULL ||
			!build_cache_find_base(
			    f->cache, &layer->result, &layer->file)))
			f->layer[f->n++] = i;
	}
}

/* Later runs find them; this one relies on them until it ends. */
static int
keep(const struct fetch *f, struct err *e)
{
	for (size_t k = 0; k < f->n && f->cache != NULL; k++) {
		struct base_layer *layer = &f->base->layer[f->layer[k]];

		if (build_cache_add_base(
			f->cache, &layer->result, &layer->file, e) < 0)
			return -1;
	}
	return 0;
}

/* What is one blob is fetched once. */
static int
share(struct base_image *base, struct err *e)
{
	for (size_t i = 0; i < base->n; i++) {
		const struct base_layer *first =
		    &base->layer[first_of(base, i)];
		struct base_layer *layer = &base->layer[i];

		if (!digest_equal(
			&layer->result.diff_id, &first->result.diff_id))
			return err_set(e, ERR_USAGE, 0,
			    "base image: layers %zu and %zu are one blob, but "
			    "its config has two diff_ids for it",
			    first_of(base, i) + 1, i + 1);
		if (layer == first || layer->file != NULL)
			continue;
		layer->result = first->result;
		if ((layer->file = strdup(first->file)) == NULL)
			return err_set(e, ERR_FATAL, errno, "base image");
	}
	return 0;
}

int
base_fetch(struct base_image *base, struct layer_cache *cache,
    const char *blobs, struct err *e)
{
	AUTO(own_freep)
	size_t *layer = calloc(base->n + 1, sizeof(*layer));
	struct fetch f = {
	    .base = base,
	    .cache = cache,
	    .layer = layer,
	    .blobs = cache != NULL ? layer_cache_blobs(cache) : blobs,
	};
	struct fan_out these = {
	    .threads = FETCHES,
	    .one = fetch_one,
	    .arg = &f,
	    .stop = &f.stop,
	};

	if (layer == NULL)
		return err_set(e, ERR_FATAL, errno, "base image");
	list_missing(&f);
	these.n = f.n;
	if (fan_out(&these, e) < 0 || keep(&f, e) < 0)
		return -1;
	return share(base, e);
}
