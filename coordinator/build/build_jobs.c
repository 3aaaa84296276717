#include "build/build_state.h"

#include <errno.h>
#include <stdlib.h>

#include "build/build_cache.h"
#include "build/build_shared.h"
#include "cache/layer_cache.h"
#include "dispatch/dispatch.h"
#include "encoder_version.h"
#include "err.h"
#include "build/image_layers.h"
#include "plan/layer_plan.h"
#include "options/options.h"
#include "output/blob_places_file.h"
#include "output/output.h"

void
build_spec(const struct build *b, struct layer_spec *out)
{
	image_layers_spec(b->layers, b->options, out);
	out->encoding = build_cache_encoding(b->options);
}

/* Which layers were made before. */
static int
look_up(struct build *b, struct err *e)
{
	struct layer_spec spec;

	if (build_cache_new(b->options, &b->cache, e) < 0)
		return -1;
	if (b->cache == NULL)
		return 0;
	blob_places_load(b->options->registry.places,
	    layer_cache_folder(build_cache_folder(b->cache)));
	build_spec(b, &spec);
	if (output_cache_open(build_cache_folder(b->cache), &b->to_cache, e) <
	    0)
		return -1;
	return build_cache_look_up(
	    b->cache, b->layers, b->first, &spec, &b->known, e);
}

int
build_job_done(void *arg, const struct dispatch_job *job, struct err *e)
{
	struct build *b = arg;
	size_t i = (size_t)(job - b->job);
	enum encoding_kind kind = job->spec->encoding.kind;
	/* A server's is ours. */
	const char *encoder = b->workers.dispatch != NULL
	    ? dispatch_encoder(b->workers.dispatch, kind)
	    : encoder_version(kind);

	return build_cache_add(
	    b->cache, b->layer[i] - b->first, job, encoder, e);
}

static void
describe_job(struct build *b, size_t i)
{
	const struct image_layers *l = b->layers;
	struct dispatch_job *job = &b->job[i];
	struct layer_spec *spec = &b->spec[i];
	size_t at = b->layer[i] - b->first;

	build_spec(b, spec);
	job->spec = spec;
	job->made = &b->made[i];
	job->label = b->label[i];
	image_build_label(
	    &l->image.layer[b->layer[i]], b->layer[i], b->label[i]);
	if (at < l->plan->n) {
		spec->source = LAYER_FROM_STORE;
		job->closure = l->closure;
		job->path = l->plan->layer[at].path;
		job->n = (uint32_t)l->plan->layer[at].n;
		job->weight = l->plan->layer[at].nar_size;
	} else {
		image_build_root(l->root, l->root_file, spec, job);
	}
}

int
build_describe_jobs(struct build *b, struct err *e)
{
	const struct image *image = &b->layers->image;

	b->n_jobs = b->layers->plan->n + 1;
	b->first = image->n_layers - b->n_jobs;
	b->layer = calloc(b->n_jobs, sizeof(*b->layer));
	b->job = calloc(b->n_jobs, sizeof(*b->job));
	b->made = calloc(b->n_jobs, sizeof(*b->made));
	b->spec = calloc(b->n_jobs, sizeof(*b->spec));
	b->label = calloc(b->n_jobs, sizeof(*b->label));
	if (b->job == NULL || b->made == NULL || b->spec == NULL ||
	    b->label == NULL || b->layer == NULL)
		return err_set(e, ERR_FATAL, errno, "jobs");
	if (look_up(b, e) < 0 || build_shared_look_up(b, e) < 0)
		return -1;
	b->n_jobs = 0;
	for (size_t i = b->first; i < image->n_layers; i++)
		if (!image->layer[i].cached)
			b->layer[b->n_jobs++] = i;
	for (size_t i = 0; i < b->n_jobs; i++)
		describe_job(b, i);
	return 0;
}
