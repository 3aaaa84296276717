#include "build_state.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "build_cache.h"
#include "dispatch.h"
#include "encoder_version.h"
#include "err.h"
#include "image_layers.h"
#include "layer_plan.h"
#include "options.h"
#include "output.h"
#include "root_layer.h"
#include "store_path.h"

/* "layer 7 (glibc-2.38)", "layer 100 (bash-5.2 and 370 more)". */
static void
label(const struct build *b, size_t i, char out[static LABEL_MAX])
{
	const struct image_layer *l = &b->layers->image.layer[i];

	if (l->kind == IMAGE_ROOT)
		snprintf(out, LABEL_MAX, "layer %zu (root)", i + 1);
	else if (l->n_paths == 0)
		snprintf(out, LABEL_MAX, "layer %zu (empty)", i + 1);
	else if (l->n_paths == 1)
		snprintf(out, LABEL_MAX, "layer %zu (%.80s)", i + 1,
		    store_path_name(l->paths[0]));
	else
		snprintf(out, LABEL_MAX, "layer %zu (%.60s and %zu more)",
		    i + 1, store_path_name(l->paths[0]), l->n_paths - 1);
}

/* What all jobs have in common. */
static void
store_spec(const struct build *b, struct layer_spec *out)
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
	store_spec(b, &spec);
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
	const char *encoder = b->dispatch != NULL
	    ? dispatch_encoder(b->dispatch, kind)
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

	store_spec(b, spec);
	job->spec = spec;
	job->label = b->label[i];
	label(b, b->layer[i], b->label[i]);
	if (at < l->plan->n) {
		spec->source = LAYER_FROM_STORE;
		job->closure = l->closure;
		job->path = l->plan->layer[at].path;
		job->n = l->plan->layer[at].n;
		job->weight = l->plan->layer[at].nar_size;
	} else if (l->root != NULL) {
		spec->source = LAYER_FROM_ENTRIES;
		job->entry = l->root->entry;
		job->n = l->root->n;
		job->weight = l->root->n * TAR_BLOCK;
	} else {
		spec->source = LAYER_FROM_FILE;
		spec->file = l->root_file;
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
	b->spec = calloc(b->n_jobs, sizeof(*b->spec));
	b->label = calloc(b->n_jobs, sizeof(*b->label));
	if (b->job == NULL || b->spec == NULL || b->label == NULL ||
	    b->layer == NULL)
		return err_set(e, ERR_FATAL, errno, "jobs");
	if (look_up(b, e) < 0)
		return -1;
	b->n_jobs = 0;
	for (size_t i = b->first; i < image->n_layers; i++)
		if (!image->layer[i].cached)
			b->layer[b->n_jobs++] = i;
	for (size_t i = 0; i < b->n_jobs; i++)
		describe_job(b, i);
	return 0;
}
