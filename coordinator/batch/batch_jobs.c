#include "batch/batch_state.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "image/base_image.h"
#include "batch/batch_order.h"
#include "batch/batch_paths.h"
#include "closure/closure.h"
#include "dispatch/dispatch.h"
#include "encoder_version.h"
#include "image/image.h"
#include "cache/layer_cache.h"
#include "log.h"
#include "options/options.h"
#include "output/blob_places.h"
#include "own.h"
#include "progress/progress.h"
#include "progress/status.h"
#include "request/request.h"
#include "root/root_layer.h"

void
batch_image_failed(
    const struct batch *b, struct batch_image *image, const struct err *why)
{
	image->failed = true;
	image->kind = why->kind;
	if (asprintf(&image->error, "%s: %s", image->where, why->text) < 0)
		image->error = NULL;
	batch_tell(b, image);
}

void
batch_image_fail(struct batch *b, uint32_t i, const struct err *why)
{
	struct batch_image *image = &b->image[i];

	if (image->failed)
		return;
	batch_image_failed(b, image, why);
	for (size_t k = 0; k < image->n_layers; k++) {
		uint32_t layer = image->layer[k];
		uint32_t job = b->layers.layer[layer].job;

		if (batch_layers_leave(&b->layers, layer) && b->running &&
		    job != BATCH_NONE && job >= b->first)
			dispatch_cancel(b->workers.dispatch,
			    (struct job_id){job - b->first});
	}
}

/* "shell:1: layer 7 (glibc-2.38)", of the image that wanted it first. */
static void
label(const struct batch *b, const struct batch_layer *l,
    char out[static IMAGE_BUILD_LABEL_MAX])
{
	const struct batch_image *image = &b->image[l->image];
	const struct layer_spec *spec = &b->spec[l->spec].spec;
	const struct closure *all = batch_paths_closure(b->spec[l->spec].paths);
	char text[IMAGE_BUILD_LABEL_MAX];
	struct image_layer as = {.kind = IMAGE_ROOT};
	const char *first = NULL;
	size_t at = 0;

	if (spec->source == LAYER_FROM_STORE) {
		as.kind = IMAGE_STORE;
		as.n_paths = l->n;
		if (l->n > 0)
			first = all->path[l->path[0]];
		as.paths = &first;
	}
	while (&b->layers.layer[image->layer[at]] != l)
		at++;
	if (image->base != NULL)
		at += image->base->n;
	image_build_label(&as, at, text);
	snprintf(
	    out, IMAGE_BUILD_LABEL_MAX, "%.40s: %.80s", image->title, text);
}

static void
describe(struct batch *b, size_t at, uint32_t layer)
{
	struct batch_layer *l = &b->layers.layer[layer];
	const struct batch_spec *spec = &b->spec[l->spec];
	struct dispatch_job *job = &b->job[at];

	l->job = (uint32_t)at;
	b->layer_of[at] = layer;
	label(b, l, b->label[at]);
	job->label = b->label[at];
	job->spec = &spec->spec;
	job->made = &l->made;
	job->weight = l->weight;
	if (spec->spec.source == LAYER_FROM_STORE) {
		job->closure = batch_paths_closure(spec->paths);
		job->path = l->path;
		job->n = (uint32_t)l->n;
	}
}

static void
describe_all(struct batch *b, bool store)
{
	for (size_t i = 0; i < b->layers.n; i++) {
		const struct batch_layer *l = &b->layers.layer[i];
		enum layer_source source = b->spec[l->spec].spec.source;

		if (l->state == BATCH_WANTED &&
		    (source == LAYER_FROM_STORE) == store)
			describe(b, b->n_jobs++, (uint32_t)i);
	}
}

static int
order_jobs(struct batch *b, struct err *e)
{
	AUTO(own_freep) struct batch_order_image *image = NULL;
	AUTO(own_freep) uint32_t *all = NULL;
	AUTO(own_freep) uint64_t *weight = NULL;
	AUTO(own_freep) uint64_t *order = NULL;
	size_t n = 0;

	image = calloc(b->n + 1, sizeof(*image));
	all = calloc(b->layers.n_waits + 1, sizeof(*all));
	weight = calloc(b->n_jobs + 1, sizeof(*weight));
	order = calloc(b->n_jobs + 1, sizeof(*order));
	if (image == NULL || all == NULL || weight == NULL || order == NULL)
		return err_set(e, ERR_FATAL, errno, "order of jobs");
	for (size_t i = 0; i < b->n; i++) {
		const struct batch_image *from = &b->image[i];

		image[i].job = &all[n];
		for (size_t k = 0; !from->failed && k < from->n_layers; k++) {
			uint32_t job = b->layers.layer[from->layer[k]].job;

			if (job == BATCH_NONE)
				continue;
			all[n++] = job;
			image[i].n++;
		}
	}
	for (size_t j = 0; j < b->n_jobs; j++)
		weight[j] = b->job[j].weight;
	if (batch_order_make(image, b->n, weight, b->n_jobs, order, e) < 0)
		return -1;
	for (size_t j = 0; j < b->n_jobs; j++)
		b->job[j].order = order[j];
	return 0;
}

int
batch_jobs_make(struct batch *b, struct err *e)
{
	size_t n = 0;

	for (size_t i = 0; i < b->layers.n; i++)
		n += b->layers.layer[i].state == BATCH_WANTED;
	b->job = calloc(n + 1, sizeof(*b->job));
	b->label = calloc(n + 1, sizeof(*b->label));
	b->layer_of = calloc(n + 1, sizeof(*b->layer_of));
	if (b->job == NULL || b->label == NULL || b->layer_of == NULL)
		return err_set(e, ERR_FATAL, errno, "jobs");
	describe_all(b, true);
	b->n_store = b->n_jobs;
	describe_all(b, false);
	return order_jobs(b, e);
}

static int
check_root(const struct batch *b, const struct batch_layer *l, struct err *why)
{
	const struct batch_image *image = &b->image[l->image];

	if (l->has_key)
		return 0;
	return image_build_check_root(
	    image->root_file, &image->root_digest, &l->made.result, why);
}

/* What is audited may still turn out wrong: all is published at the end. */
static bool
is_held(const struct batch *b)
{
	return b->options->audit > 0;
}

/* A layer is there: images that waited for nothing else go on. */
static void
go_on(struct batch *b, uint32_t layer)
{
	uint64_t at = 0;
	uint32_t i;

	b->layers.layer[layer].pushing = false;
	while ((i = batch_layers_next(&b->layers, layer, &at)) != BATCH_NONE)
		if (!b->image[i].failed && --b->image[i].missing == 0 &&
		    !is_held(b))
			batch_publisher_add(b->publisher, i);
	batch_sharer_add(b->sharer, layer);
}

static int
on_done(void *arg, const struct dispatch_job *job, struct err *e)
{
	struct batch *b = arg;
	uint32_t layer = b->layer_of[job - b->job];
	struct batch_layer *l = &b->layers.layer[layer];
	const struct layer_record record = {
	    .result = &l->made.result, .verified = job->spec->verify};
	struct err why = ERR_INIT;

	l->remote = l->made.only_pushed;
	if (!l->remote &&
	    layer_cache_put(b->cache, l->has_key ? &l->key : NULL, &record, e) <
		0)
		return -1;
	l->state = BATCH_MADE;
	if (check_root(b, l, &why) < 0) {
		batch_image_fail(b, l->image, &why);
		return 0;
	}
	l->pushing = l->made.pushing;
	if (!l->pushing)
		go_on(b, layer);
	return 0;
}

static int
on_pushed(void *arg, const struct dispatch_job *job, struct err *e)
{
	struct batch *b = arg;

	(void)e;
	go_on(b, b->layer_of[job - b->job]);
	return 0;
}

static int
on_failed(void *arg, const struct dispatch_job *job, const struct err *why,
    struct err *e)
{
	struct batch *b = arg;
	uint32_t layer = b->layer_of[job - b->job], i;
	uint64_t at = 0;

	(void)e;
	b->layers.layer[layer].state = BATCH_FAILED;
	while ((i = batch_layers_next(&b->layers, layer, &at)) != BATCH_NONE)
		batch_image_fail(b, i, why);
	return 0;
}

/* The root layer of an image: scanned only now, so that few are in memory. */
static int
on_load(void *arg, const struct dispatch_job *job, struct dispatch_job *out,
    struct err *e)
{
	struct batch *b = arg;
	const struct batch_layer *l =
	    &b->layers.layer[b->layer_of[job - b->job]];

	if (root_layer_make(b->image[l->image].request, b->options->store_root,
		&b->loaded, e) < 0)
		return -1;
	out->entry = b->loaded->entry;
	out->n = (uint32_t)b->loaded->n;
	return 0;
}

static void
on_unload(void *arg, struct dispatch_job *out)
{
	struct batch *b = arg;

	(void)out;
	root_layer_freep(&b->loaded);
}

/* What is not whole by now, or has not been audited, will never be. */
static void
fail_the_rest(struct batch *b, const struct err *why)
{
	/* What was being pushed is pushed from here. */
	for (size_t i = 0; i < b->layers.n; i++)
		if (b->layers.layer[i].pushing)
			go_on(b, (uint32_t)i);
	for (size_t i = 0; i < b->n; i++)
		if (b->image[i].missing > 0 || is_held(b))
			batch_image_fail(b, (uint32_t)i, why);
}

static void
publish_held(struct batch *b)
{
	for (size_t i = 0; i < b->n; i++)
		if (!b->image[i].failed)
			batch_publisher_add(b->publisher, (uint32_t)i);
}

static int
on_status(void *arg, struct status *s, struct err *e)
{
	const struct batch *b = arg;

	(void)e;
	blob_places_uploaded(b->places, &s->pushes.own, &s->pushes.own_bytes);
	return 0;
}

struct dispatch_hooks
batch_jobs_hooks(struct batch *b)
{
	return (struct dispatch_hooks){.arg = b,
	    .done = on_done,
	    .pushed = on_pushed,
	    .failed = on_failed,
	    .load = on_load,
	    .unload = on_unload,
	    .status = on_status};
}

static int
run_by_workers(struct batch *b, struct err *why, struct err *e)
{
	struct dispatch_config config = {.hooks = batch_jobs_hooks(b)};
	struct batch_counts counts;

	batch_layers_count(&b->layers, &counts);
	config.cached = counts.known;
	config.command = "batch";
	config.metrics = b->metrics;
	if (batch_homes_find(b, e) < 0)
		return -1;
	batch_homes_tell(b, &config.pushes, &config.n_pushes);
	/* Keys have been taken for this program's own library. */
	if (b->encoding.kind != ENCODING_NONE)
		config.encoder = encoder_version(b->encoding.kind);
	if (build_workers_start(b->options, &config, &b->encoding, b->progress,
		b->scratch, &b->workers, e) < 0)
		return -1;
	progress_phase(b->progress, "building layers");
	progress_tell_jobs(b->progress);
	b->running = true;
	dispatch_run(b->workers.dispatch, b->job, b->n_jobs, why);
	b->running = false;
	dispatch_inputs(b->workers.dispatch, &b->read, &b->fetched);
	return 0;
}

int
batch_jobs_run(struct batch *b, struct err *e)
{
	struct err why = ERR_INIT;
	int rc = b->options->coordinator != NULL
	    ? batch_jobs_by_server(b, &why, e)
	    : run_by_workers(b, &why, e);

	if (rc < 0)
		return -1;
	if (why.kind != ERR_NONE)
		fail_the_rest(b, &why);
	else if (is_held(b))
		publish_held(b);
	build_workers_end(&b->workers);
	return 0;
}
