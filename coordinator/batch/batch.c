#include "batch/batch.h"

#include <stdlib.h>

#include "batch/batch_paths.h"
#include "batch/batch_state.h"
#include "output/blob_places.h"
#include "output/blob_places_file.h"
#include "build/build_cache.h"
#include "cache/layer_cache.h"
#include "image/metadata.h"
#include "cache/shared_cache.h"
#include "log.h"
#include "monotime.h"
#include "progress/metrics.h"
#include "options/options.h"
#include "progress/progress.h"
#include "request/request.h"
#include "root/root_layer.h"
#include "process/scratch.h"
#include "registry/registry_places.h"

static void
image_clear(struct batch_image *image)
{
	free(image->where);
	free(image->title);
	batch_extra_clear(&image->extra);
	request_free(image->request);
	free(image->root_file);
	free(image->layer);
	free(image->error);
	free(image->name);
	free(image->tag);
}

static void
batch_end(struct batch *b)
{
	batch_publisher_free(b->publisher);
	batch_sharer_free(b->sharer);
	build_workers_end(&b->workers);
	batch_homes_free(b->homes);
	root_layer_free(b->loaded);
	free(b->job);
	free(b->label);
	free(b->layer_of);
	batch_layers_clear(&b->layers);
	for (size_t i = 0; i < b->n; i++)
		image_clear(&b->image[i]);
	free(b->image);
	for (size_t i = 0; i < b->n_specs; i++)
		batch_spec_clear(&b->spec[i]);
	free(b->spec);
	for (size_t i = 0; i < b->n_paths; i++)
		batch_paths_free(b->paths[i]);
	free(b->paths);
	batch_sources_free(b->sources);
	batch_bases_free(b->bases);
	shared_cache_free(b->shared);
	if (b->places != NULL && b->cache != NULL)
		blob_places_save(b->places, layer_cache_folder(b->cache));
	blob_places_free(b->places);
	registry_places_free(b->opened);
	output_free(b->to_cache);
	layer_cache_free(b->cache);
	if (b->temp != NULL)
		scratch_remove(b->scratch, b->temp);
	free(b->temp);
	metrics_stop(b->metrics);
	progress_free(b->progress);
	scratch_free(b->scratch);
}

/* Layers always go through a cache, which may be for this run alone. */
static int
open_cache(struct batch *b, struct err *e)
{
	const struct options *o = b->options;

	if (o->no_cache &&
	    scratch_folder(b->scratch, scratch_temp(), &b->temp, e) < 0)
		return -1;
	if (layer_cache_open(
		b->temp != NULL ? b->temp : o->cache_dir, &b->cache, e) < 0)
		return -1;
	blob_places_load(b->places, layer_cache_folder(b->cache));
	return output_cache_open(b->cache, &b->to_cache, e);
}

static int
start_metrics(struct batch *b, struct err *e)
{
	if (b->options->metrics == NULL)
		return 0;
	if (metrics_start(b->options->metrics, "batch", false, &b->metrics, e) <
	    0)
		return -1;
	log_line(LOG_INFO, "metrics are at %s", metrics_url(b->metrics));
	return 0;
}

static int
open_all(struct batch *b, struct err *e)
{
	const char *metadata = b->options->metadata_file;

	if (build_workers_check(b->options, e) < 0 ||
	    scratch_new(&b->scratch, e) < 0 ||
	    progress_new(b->options->progress, &b->progress, e) < 0 ||
	    start_metrics(b, e) < 0)
		return -1;
	if (metadata != NULL && metadata_check(metadata, e) < 0)
		return -1;
	if (blob_places_new(&b->places, e) < 0 ||
	    registry_places_new(&b->opened, e) < 0 ||
	    batch_sources_new(&b->sources, e) < 0 ||
	    batch_bases_new(&b->bases, e) < 0)
		return -1;
	b->push = b->options->registry;
	b->push.known = true;
	b->push.places = b->places;
	b->push.opened = b->opened;
	return batch_shared_open(b, e);
}

/* Whether there is anything to be made; and how it is encoded. */
static bool
find_encoding(struct batch *b)
{
	bool any = false;

	for (size_t i = 0; i < b->n; i++) {
		if (b->image[i].failed)
			continue;
		any = true;
		if (b->image[i].encoding.kind != ENCODING_NONE)
			b->encoding = b->image[i].encoding;
	}
	return any;
}

static int
make_images(struct batch *b, struct err *e)
{
	batch_bases_fetch(b);
	if (!find_encoding(b))
		return 0;
	if (batch_shared_look_up(b, e) < 0)
		return -1;
	if (batch_jobs_make(b, e) < 0 ||
	    batch_publisher_new(b, &b->publisher, e) < 0 ||
	    batch_sharer_new(b, &b->sharer, e) < 0)
		return -1;
	if (batch_jobs_run(b, e) < 0)
		return -1;
	progress_phase(b->progress, "publishing images");
	batch_publisher_finish(b->publisher, b->progress);
	batch_shared_put(b);
	return 0;
}

/* What the exit status is to say. */
static int
judge(const struct batch *b, struct err *e)
{
	size_t done = 0, input = 0;

	for (size_t i = 0; i < b->n; i++) {
		const struct batch_image *image = &b->image[i];

		done += image->done;
		input += image->failed &&
		    (image->kind == ERR_USAGE || image->kind == ERR_JOB);
	}
	if (done == b->n)
		return 0;
	return err_set(e, input == b->n ? ERR_USAGE : ERR_FATAL, 0,
	    "%zu of %zu images failed", b->n - done, b->n);
}

static int
run(struct batch *b, struct err *e)
{
	if (open_all(b, e) < 0 || batch_requests_read(b, e) < 0 ||
	    open_cache(b, e) < 0 || batch_plan(b, e) < 0 ||
	    make_images(b, e) < 0)
		return -1;
	progress_freep(&b->progress); /* the table is below it */
	if (batch_summary(b, e) < 0)
		return -1;
	return judge(b, e);
}

int
batch_run(const struct options *options, struct err *e)
{
	struct batch b = {.options = options, .start = monotime_ms()};
	int rc = run(&b, e);
	bool trims = b.cache != NULL && !options->no_cache && b.n_jobs > 0;

	batch_end(&b);
	if (trims)
		build_cache_trim(options);
	return rc;
}
