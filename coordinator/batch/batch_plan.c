#include "batch/batch_state.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "batch/batch_paths.h"
#include "build/build_cache.h"
#include "closure/closure.h"
#include "image/base_image.h"
#include "build/image_layers.h"
#include "cache/layer_cache.h"
#include "cache/layer_key.h"
#include "plan/layer_plan.h"
#include "log.h"
#include "monotime.h"
#include "options/options.h"
#include "own.h"
#include "progress/progress.h"
#include "request/request.h"

/* How large a root layer is taken to be: it is scanned when it is sent. */
#define ROOT_WEIGHT 65536

static bool
same_spec(const struct layer_spec *a, const struct layer_spec *b)
{
	return a->source == b->source && a->mtime == b->mtime &&
	    a->uid == b->uid && a->gid == b->gid &&
	    a->encoding.kind == b->encoding.kind &&
	    a->encoding.level == b->encoding.level &&
	    strcmp(a->uname, b->uname) == 0 &&
	    strcmp(a->gname, b->gname) == 0 &&
	    strcmp(a->store_dir, b->store_dir) == 0 &&
	    strcmp(a->file, b->file) == 0;
}

static int
find_paths(struct batch *b, const char *store_dir, struct batch_paths **out,
    struct err *e)
{
	struct batch_paths **grown;

	for (size_t i = 0; i < b->n_paths; i++)
		if (strcmp(batch_paths_closure(b->paths[i])->store_dir,
			store_dir) == 0) {
			*out = b->paths[i];
			return 0;
		}
	grown = reallocarray(b->paths, b->n_paths + 1, sizeof(*grown));
	if (grown == NULL)
		return err_set(e, ERR_FATAL, errno, "store paths");
	b->paths = grown;
	if (batch_paths_new(store_dir, &b->paths[b->n_paths], e) < 0)
		return -1;
	*out = b->paths[b->n_paths++];
	return 0;
}

void
batch_spec_clear(struct batch_spec *s)
{
	free(s->store_dir);
	free(s->uname);
	free(s->gname);
	free(s->file);
}

/* Most images have the same, so the last is looked at first. */
static int
find_spec(struct batch *b, const struct layer_spec *spec, uint32_t *out,
    struct err *e)
{
	struct batch_spec new = {.spec = *spec}, *grown;

	for (size_t i = b->n_specs; i-- > 0;)
		if (same_spec(&b->spec[i].spec, spec)) {
			*out = (uint32_t)i;
			return 0;
		}
	if (find_paths(b, spec->store_dir, &new.paths, e) < 0)
		return -1;
	grown = reallocarray(b->spec, b->n_specs + 1, sizeof(*grown));
	if (grown != NULL)
		b->spec = grown;
	new.spec.store_dir = new.store_dir = strdup(spec->store_dir);
	new.spec.uname = new.uname = strdup(spec->uname);
	new.spec.gname = new.gname = strdup(spec->gname);
	new.spec.file = new.file = strdup(spec->file);
	if (grown == NULL || new.store_dir == NULL || new.uname == NULL ||
	    new.gname == NULL || new.file == NULL) {
		batch_spec_clear(&new);
		return err_set(e, ERR_FATAL, ENOMEM, "layers");
	}
	output_sink(b->to_cache, 0, &new.spec.outputs[new.spec.n_outputs++]);
	*out = (uint32_t)b->n_specs;
	b->spec[b->n_specs++] = new;
	return 0;
}

/* A layer that nobody wanted before. */
static int
describe_store(struct batch *b, uint32_t i, const struct closure *c,
    const struct layer *planned, struct err *e)
{
	struct batch_layer *layer = &b->layers.layer[i];
	struct batch_paths *paths = b->spec[layer->spec].paths;

	layer->path = malloc((planned->n + 1) * sizeof(*layer->path));
	if (layer->path == NULL)
		return err_set(e, ERR_FATAL, errno, "layers");
	layer->n = planned->n;
	layer->weight = planned->nar_size;
	for (size_t k = 0; k < planned->n; k++)
		if (batch_paths_add(
			paths, c, planned->path[k], &layer->path[k], e) < 0)
			return -1;
	return 0;
}

static int
want_store(struct batch *b, uint32_t i, const struct image_layers *l, size_t at,
    uint32_t spec, struct err *e)
{
	struct batch_image *image = &b->image[i];
	const struct layer *planned = &l->plan->layer[at];
	const struct layer_spec *s = &b->spec[spec].spec;
	struct batch_layer *layer;
	AUTO(own_freep) char *file = NULL;
	struct digest key;
	uint32_t index;
	bool fresh;

	if (layer_key(s, l->closure, planned, &key, e) < 0 ||
	    build_cache_key(&key, s, &key, e) < 0 ||
	    batch_layers_want(&b->layers, i, &key, &index, &fresh, e) < 0)
		return -1;
	image->layer[image->n_layers++] = index;
	if (!fresh)
		return 0;
	layer = &b->layers.layer[index];
	layer->spec = spec;
	if (layer_cache_find(
		b->cache, &key, s->verify, &layer->made.result, &file))
		layer->state = BATCH_KNOWN;
	return describe_store(b, index, l->closure, planned, e);
}

static int
want_root(
    struct batch *b, uint32_t i, const struct layer_spec *common, struct err *e)
{
	struct batch_image *image = &b->image[i];
	struct layer_spec spec = *common;
	struct batch_layer *layer;
	uint32_t index, of;
	struct stat st;
	bool fresh;

	spec.source = LAYER_FROM_ENTRIES;
	if (image->root_file != NULL) {
		spec.source = LAYER_FROM_FILE;
		spec.file = image->root_file;
	}
	if (find_spec(b, &spec, &of, e) < 0 ||
	    batch_layers_want(&b->layers, i, NULL, &index, &fresh, e) < 0)
		return -1;
	image->layer[image->n_layers++] = index;
	layer = &b->layers.layer[index];
	layer->spec = of;
	layer->weight = ROOT_WEIGHT;
	if (image->root_file != NULL && stat(image->root_file, &st) == 0)
		layer->weight = (uint64_t)st.st_size;
	return 0;
}

static int
want_layers(
    struct batch *b, uint32_t i, const struct image_layers *l, struct err *e)
{
	struct batch_image *image = &b->image[i];
	struct layer_spec spec;
	uint32_t of;

	image->layer = calloc(l->plan->n + 1, sizeof(*image->layer));
	if (image->layer == NULL)
		return err_set(e, ERR_FATAL, errno, "layers");
	image_layers_spec(l, b->options, &spec);
	spec.encoding = image->encoding;
	spec.source = LAYER_FROM_STORE;
	if (find_spec(b, &spec, &of, e) < 0)
		return -1;
	for (size_t at = 0; at < l->plan->n; at++)
		if (want_store(b, i, l, at, of, e) < 0)
			return -1;
	if (want_root(b, i, &spec, e) < 0)
		return -1;
	for (size_t k = 0; k < image->n_layers; k++)
		image->missing +=
		    b->layers.layer[image->layer[k]].state == BATCH_WANTED;
	return 0;
}

static int
check_outside(const struct batch *b, const struct batch_image *image,
    const struct closure *c, struct err *e)
{
	AUTO(batch_targets_clear) struct batch_targets t = {.n = 0};
	const char *tag = batch_some_tag(image);
	AUTO(own_freep) char *metadata = NULL;

	if (batch_targets_make(b, image, tag, &t, e) < 0 ||
	    batch_metadata_make(b, image, tag, &metadata, e) < 0)
		return -1;
	for (size_t i = 0; i < t.n; i++)
		if (batch_place_is_file(&t.target[i]) &&
		    image_build_check_outside(
			b->options, image->request, c, t.target[i].path, e) < 0)
			return -1;
	return metadata == NULL ? 0
				: image_build_check_outside(b->options,
				      image->request, c, metadata, e);
}

static int
plan_one(struct batch *b, uint32_t i, struct err *e)
{
	struct batch_image *image = &b->image[i];
	AUTO(image_layers_freep) struct image_layers *l = NULL;
	AUTO(closure_freep) struct closure *c = NULL;
	const struct base_source base = {
	    .name = image->request->from_image,
	    .architecture = image->request->architecture,
	    .push = &b->push,
	};
	int rc;

	if (base.name != NULL &&
	    batch_bases_open(b->bases, &base, b->scratch, &image->base, e) < 0)
		return -1;
	if (batch_sources_closure(b->sources, b->options, image, &c, e) < 0)
		return -1;
	if (c->n > 0 && (c->nar_hash == NULL || c->nar_size == NULL))
		return err_set(e, ERR_USAGE, 0,
		    "its closure has no narHashes, by which a batch knows "
		    "layers: give a file that has them, or leave it to Nix");
	if (check_outside(b, image, c, e) < 0 ||
	    image_layers_of(&image->request, image->base, &c, &l, e) < 0)
		return -1;
	rc = l->request->planned
	    ? image_layers_open_root(l, b->options->store_root, e)
	    : 0;
	image->root_file = STEAL(&l->root_file);
	image->root_digest = l->root_digest;
	if (rc == 0)
		rc = want_layers(b, i, l, e);
	image->request = STEAL(&l->request);
	return rc;
}

int
batch_plan(struct batch *b, struct err *e)
{
	struct batch_counts counts;

	progress_phase(b->progress, "planning");
	for (size_t i = 0; i < b->n; i++) {
		struct err why = ERR_INIT;

		progress_tick(b->progress, monotime_ms());
		if (b->image[i].failed || plan_one(b, (uint32_t)i, &why) == 0)
			continue;
		if (why.kind == ERR_FATAL) {
			*e = why;
			return -1;
		}
		batch_image_fail(b, (uint32_t)i, &why);
	}
	batch_sources_drop_graphs(b->sources);
	batch_layers_count(&b->layers, &counts);
	if (b->options->progress != PROGRESS_NONE &&
	    b->options->progress != PROGRESS_JSON)
		log_line(LOG_INFO,
		    "%zu images want %zu layers: %zu different ones, of which "
		    "%zu were made before",
		    b->n, counts.wanted, counts.distinct, counts.known);
	return 0;
}
