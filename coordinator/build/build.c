#include "build/build.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "build/build_base.h"
#include "build/build_cache.h"
#include "build/build_shared.h"
#include "build/build_state.h"
#include "build/build_workers.h"
#include "cache/layer_cache.h"
#include "closure/closure.h"
#include "dispatch/dispatch.h"
#include "encoder_version.h"
#include "err.h"
#include "build/image_build.h"
#include "image/image_json.h"
#include "build/image_layers.h"
#include "plan/layer_plan.h"
#include "log.h"
#include "image/metadata.h"
#include "progress/metrics.h"
#include "monotime.h"
#include "options/options.h"
#include "output/blob_places.h"
#include "output/blob_places_file.h"
#include "output/output.h"
#include "own.h"
#include "build/plan_print.h"
#include "progress/progress.h"
#include "request/request.h"
#include "root/root_layer.h"
#include "process/scratch.h"
#include "registry/registry_places.h"

#define LAYERS_OF_ALL_ENGINES 125 /* Docker 20.10 takes no more */

static void
build_end(struct build *b)
{
	build_workers_end(&b->workers);
	for (size_t i = 0; i < b->n_outputs; i++)
		output_free(b->output[i]);
	output_free(b->to_cache);
	image_layers_free(b->layers);
	build_shared_free(b->shared);
	build_cache_free(b->cache);
	metrics_stop(b->metrics);
	progress_free(b->progress);
	scratch_free(b->scratch);
	free(b->base_blobs);
	free(b->job);
	free(b->made);
	free(b->spec);
	free(b->label);
	free(b->layer);
}

static int
open_outputs(struct build *b, struct err *e)
{
	const char *metadata = b->options->metadata_file;

	if (metadata != NULL && metadata_check(metadata, e) < 0)
		return -1;
	for (size_t i = 0; i < b->options->n_outputs; i++) {
		struct output_target target = b->options->outputs[i];

		target.push = &b->options->registry;
		if (output_open(&target, b->scratch, &b->output[i], e) < 0)
			return -1;
		b->n_outputs++;
	}
	return 0;
}

static int
check_outside(const struct build *b, const char *target, struct err *e)
{
	return image_build_check_outside(
	    b->options, b->layers->request, b->layers->closure, target, e);
}

static int
check_all_outside(const struct build *b, struct err *e)
{
	const char *metadata = b->options->metadata_file;

	for (size_t i = 0; i < b->options->n_outputs; i++)
		if (b->options->outputs[i].kind != OUTPUT_NONE &&
		    b->options->outputs[i].kind != OUTPUT_REGISTRY &&
		    check_outside(b, b->options->outputs[i].path, e) < 0)
			return -1;
	return metadata == NULL ? 0 : check_outside(b, metadata, e);
}

static int
start_workers(struct build *b, struct err *e)
{
	struct encoding encoding = build_cache_encoding(b->options);
	struct dispatch_config config = {
	    .cached = b->known,
	    .metrics = b->metrics,
	};

	if (b->cache != NULL) {
		config.hooks.done = build_job_done;
		config.hooks.arg = b;
	}
	config.n_pushes = build_pushes(b);
	config.pushes = b->pushes;
	config.only_pushed = build_pushed_only(b, config.n_pushes);
	config.stream = b->options->stream && config.n_pushes > 0;
	if (b->options->stream && !config.stream)
		log_line(LOG_INFO,
		    "--push-from coordinator: layers are not streamed");
	/* All layers of an image are made by the same library. */
	if (b->known > 0 && encoding.kind != ENCODING_NONE)
		config.encoder = encoder_version(encoding.kind);
	return build_workers_start(b->options, &config, &b->options->encoding,
	    b->progress, b->scratch, &b->workers, e);
}

/*
 * Whether all store paths are sure to be where the work is done: on this
 * machine.  There they must be where there are no caches.
 */
static int
store_is_whole(const struct build *b, bool *whole, struct err *e)
{
	const struct closure *c = b->layers->closure;
	struct stat st;

	*whole = b->options->listen == NULL && b->options->launch == NULL;
	if (b->options->caches.n_urls == 0)
		return 0;
	for (size_t i = 0; i < c->n && *whole; i++) {
		AUTO(own_freep) char *file = NULL;

		if (asprintf(&file, "%s%s", b->options->store_root,
			c->path[i]) < 0) {
			file = NULL;
			return err_set(e, ERR_FATAL, errno, "store path");
		}
		*whole = lstat(file, &st) == 0;
	}
	return 0;
}

/*
 * An archive is one file that workers write in parallel, each at its own
 * place: for that the sizes of all layers are found first (no content is
 * read).  Where a NAR would have to be fetched twice for that, or workers of
 * other machines do not write into the file, layers are written beside the
 * archive and copied into it.
 */
static int
measure(struct build *b, struct err *e)
{
	bool wanted = false, whole;

	if (store_is_whole(b, &whole, e) < 0)
		return -1;
	for (size_t i = 0; i < b->n_outputs; i++) {
		if (!whole)
			output_stage(b->output[i]);
		wanted |= output_needs_sizes(b->output[i]);
	}
	if (!wanted)
		return 0;
	progress_phase(b->progress, "measuring layers");
	for (size_t i = 0; i < b->n_jobs; i++)
		b->spec[i].measure = true;
	if (dispatch_run(b->workers.dispatch, b->job, b->n_jobs, e) < 0)
		return -1;
	for (size_t i = 0; i < b->n_jobs; i++) {
		b->spec[i].measure = false;
		b->job[i].weight = b->made[i].result.tar_size;
		b->layers->image.layer[b->layer[i]].result.tar_size =
		    b->made[i].result.tar_size;
	}
	return 0;
}

int
build_place(struct build *b, struct err *e)
{
	if (b->to_cache != NULL) {
		b->blobs = b->to_cache;
		for (size_t i = 0; i < b->n_jobs; i++)
			output_sink(b->blobs, b->layer[i],
			    &b->spec[i].outputs[b->spec[i].n_outputs++]);
	}
	for (size_t o = 0; o < b->n_outputs; o++) {
		struct output *output = b->output[o];

		if (output_takes_blobs(output) && b->blobs != NULL)
			output_share(output);
		else if (output_takes_blobs(output))
			b->blobs = output;
		if (output_layout(output, &b->layers->image, e) < 0)
			return -1;
		for (size_t i = 0; i < b->n_jobs; i++) {
			struct layer_spec *spec = &b->spec[i];

			if (output_sink(output, b->layer[i],
				&spec->outputs[spec->n_outputs]))
				spec->n_outputs++;
		}
	}
	return 0;
}

static int
take_results(struct build *b, struct err *e)
{
	for (size_t i = 0; i < b->n_jobs; i++) {
		struct image_layer *l = &b->layers->image.layer[b->layer[i]];

		l->result = b->made[i].result;
		l->seconds = b->made[i].seconds;
		l->remote = b->made[i].only_pushed;
		l->media_type = encoding_media_type(b->spec[i].encoding.kind);
		memcpy(l->worker, b->made[i].worker, sizeof(l->worker));
		if (l->kind == IMAGE_ROOT &&
		    image_build_check_root(b->layers->root_file,
			&b->layers->root_digest, &l->result, e) < 0)
			return -1;
	}
	return 0;
}

static void
tell_commits(const struct build *b)
{
	enum progress_mode mode = b->options->progress;

	if (mode == PROGRESS_NONE || mode == PROGRESS_JSON)
		return;
	for (size_t i = 0; i < b->n_outputs; i++)
		if (*output_said(b->output[i]) != '\0')
			log_line(
			    LOG_INFO, "pushed   %s", output_said(b->output[i]));
	build_shared_tell(b);
}

static int
commit(struct build *b, struct err *e)
{
	struct image *image = &b->layers->image;

	progress_phase(b->progress, "writing the image");
	if (image_json_make(image, e) < 0)
		return -1;
	if (image_build_commit(image, b->output, b->n_outputs, b->blobs, e) < 0)
		return -1;
	tell_commits(b);
	return 0;
}

static int
finish(struct build *b, struct err *e)
{
	const char *file = b->options->metadata_file;
	struct progress_summary summary = {
	    .image = &b->layers->image,
	    .targets = b->options->outputs,
	    .n_targets = b->options->n_outputs,
	    .seconds = (double)(monotime_ms() - b->start) / 1000,
	};

	if (file != NULL &&
	    metadata_write(
		&b->layers->image, summary.seconds, file, b->scratch, e) < 0)
		return -1;
	progress_summary(b->progress, &summary);
	return 0;
}

/*
 * Which engines will not take so many layers.  Runtimes that fail below the
 * default number of layers are `quarry plan`'s to name.
 */
static void
warn(const struct build *b)
{
	char text[PLAN_WARNINGS_MAX][PLAN_WARNING_MAX];
	size_t layers = b->layers->image.n_layers;
	size_t n = layers > LAYERS_OF_ALL_ENGINES
	    ? plan_print_warnings(layers, text)
	    : 0;

	for (size_t i = 0; i < n; i++)
		log_line(LOG_WARNING, "%s", text[i]);
}

static int
start_metrics(struct build *b, struct err *e)
{
	if (b->options->metrics == NULL)
		return 0;
	if (metrics_start(b->options->metrics, "build", false, &b->metrics, e) <
	    0)
		return -1;
	log_line(LOG_INFO, "metrics are at %s", metrics_url(b->metrics));
	return 0;
}

static int
by_workers(struct build *b, struct err *e)
{
	if (start_workers(b, e) < 0 || measure(b, e) < 0 ||
	    build_place(b, e) < 0)
		return -1;
	progress_phase(b->progress, "building layers");
	progress_tell_jobs(b->progress);
	if (dispatch_run(b->workers.dispatch, b->job, b->n_jobs, e) < 0 ||
	    build_pushed_check(b, NULL, e) < 0)
		return -1;
	build_shared_made_by(b,
	    dispatch_encoder(
		b->workers.dispatch, build_cache_encoding(b->options).kind));
	dispatch_freep(&b->workers.dispatch);
	return 0;
}

static int
run(struct build *b, struct err *e)
{
	if (build_workers_check(b->options, e) < 0 ||
	    scratch_new(&b->scratch, e) < 0 ||
	    progress_new(b->options->progress, &b->progress, e) < 0 ||
	    start_metrics(b, e) < 0 || open_outputs(b, e) < 0 ||
	    image_layers_plan(
		b->options, b->scratch, b->progress, &b->layers, e) < 0 ||
	    check_all_outside(b, e) < 0 ||
	    image_layers_make(b->layers, b->options, e) < 0 ||
	    build_describe_jobs(b, e) < 0 || build_base_fetch(b, e) < 0)
		return -1;
	warn(b);
	if (b->options->coordinator != NULL ? build_by_server(b, e) < 0
					    : by_workers(b, e) < 0)
		return -1;
	if (take_results(b, e) < 0 || build_shared_put(b, e) < 0 ||
	    commit(b, e) < 0)
		return -1;
	return finish(b, e);
}

/* What outputs, base image and shared cache have in common of registries. */
static int
share_registries(struct options *own, struct err *e)
{
	if (blob_places_new(&own->registry.places, e) < 0)
		return -1;
	return registry_places_new(&own->registry.opened, e);
}

int
build_run(const struct options *options, struct err *e)
{
	struct options own = *options;
	struct build b = {.options = &own, .start = monotime_ms()};
	int rc = share_registries(&own, e);
	bool trims;

	if (rc == 0)
		rc = run(&b, e);
	trims = rc == 0 && b.cache != NULL && b.n_jobs > 0;
	if (b.cache != NULL)
		blob_places_save(own.registry.places,
		    layer_cache_folder(build_cache_folder(b.cache)));
	build_end(&b);
	blob_places_free(own.registry.places);
	registry_places_free(own.registry.opened);
	if (trims)
		build_cache_trim(options);
	return rc;
}
