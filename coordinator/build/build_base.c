#include "build/build_base.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "image/base_image.h"
#include "build/build_cache.h"
#include "build/build_state.h"
#include "digest.h"
#include "err.h"
#include "process/fan_out.h"
#include "build/image_layers.h"
#include "cache/layer_cache.h"
#include "output/output.h"
#include "own.h"
#include "progress/progress.h"
#include "process/scratch.h"

#define FETCHES 4 /* layers at once */

struct fetch {
	struct base_image *base;
	size_t *layer; /* those that are to be fetched */
	size_t n;
	const char *blobs; /* where to */
	atomic_bool stop;
};

bool
build_base_stays(const struct build *b, const char *registry)
{
	for (size_t i = 0; i < b->n_outputs; i++) {
		const char *there = output_registry(b->output[i]);

		if (b->options->outputs[i].kind != OUTPUT_NONE &&
		    (there == NULL || strcmp(there, registry) != 0))
			return false;
	}
	return true;
}

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

/* Which layers are not here, and were not fetched by an earlier build. */
static int
list_missing(struct build *b, struct fetch *f, struct err *e)
{
	if ((f->layer = calloc(f->base->n + 1, sizeof(*f->layer))) == NULL)
		return err_set(e, ERR_FATAL, errno, "base image");
	for (size_t i = 0; i < f->base->n; i++) {
		struct base_layer *layer = &f->base->layer[i];

		if (first_of(f->base, i) == i &&
		    (b->cache == NULL ||
			!build_cache_find_base(
			    b->cache, &layer->result, &layer->file)))
			f->layer[f->n++] = i;
	}
	return 0;
}

/* Later builds find them; this one relies on them until it ends. */
static int
keep(struct build *b, const struct fetch *f, struct err *e)
{
	for (size_t k = 0; k < f->n && b->cache != NULL; k++) {
		struct base_layer *layer = &f->base->layer[f->layer[k]];

		if (build_cache_add_base(
			b->cache, &layer->result, &layer->file, e) < 0)
			return -1;
	}
	return 0;
}

/* What is known of the base's layers goes into the image. */
static int
take_layers(struct build *b, struct err *e)
{
	struct base_image *base = b->layers->own_base;

	for (size_t i = 0; i < base->n; i++) {
		const struct base_layer *first =
		    &base->layer[first_of(base, i)];
		struct base_layer *layer = &base->layer[i];
		struct image_layer *l = &b->layers->image.layer[i];

		if (!digest_equal(
			&layer->result.diff_id, &first->result.diff_id))
			return err_set(e, ERR_USAGE, 0,
			    "base image: layers %zu and %zu are one blob, but "
			    "its config has two diff_ids for it",
			    first_of(base, i) + 1, i + 1);
		l->result = first->result;
		l->media_type = layer->media_type;
		l->file = first->file;
		l->remote = false;
	}
	return 0;
}

int
build_base_fetch(struct build *b, struct err *e)
{
	struct base_image *base = b->layers->own_base;
	struct fetch f = {.base = base};
	struct fan_out these = {
	    .threads = FETCHES,
	    .one = fetch_one,
	    .arg = &f,
	    .stop = &f.stop,
	};
	int rc;

	if (base == NULL || base->registry == NULL ||
	    build_base_stays(b, base->registry))
		return 0;
	progress_phase(b->progress, "fetching the base image");
	if (b->cache != NULL)
		f.blobs = layer_cache_blobs(build_cache_folder(b->cache));
	else if (scratch_folder(b->scratch, scratch_temp(), &b->base_blobs, e) <
	    0)
		return -1;
	else
		f.blobs = b->base_blobs;
	rc = list_missing(b, &f, e);
	these.n = f.n;
	if (rc == 0)
		rc = fan_out(&these, e);
	if (rc == 0)
		rc = keep(b, &f, e);
	if (rc == 0)
		rc = take_layers(b, e);
	free(f.layer);
	return rc;
}
