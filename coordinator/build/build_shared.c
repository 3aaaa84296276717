#include "build/build_shared.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "build/build_base.h"
#include "build/build_cache.h"
#include "build/build_state.h"
#include "encoder_version.h"
#include "err.h"
#include "build/image_layers.h"
#include "cache/layer_cache.h"
#include "cache/layer_key.h"
#include "plan/layer_plan.h"
#include "log.h"
#include "output/oci_blobs.h"
#include "output/output.h"
#include "own.h"
#include "progress/progress.h"
#include "process/scratch.h"
#include "cache/shared_cache.h"

struct build_shared {
	struct shared_cache *cache;
	struct shared_layer *layer; /* those that are asked for */
	size_t *at;		    /* which store layers these are */
	size_t n;
	/* Of each store layer. */
	struct digest *key; /* without the encoding */
	bool *has_key;
	char **file;
	size_t n_layers;
	char *blobs;	   /* fetched ones, where there is no cache here */
	char library[257]; /* that made the blobs of this build */
	size_t found, put;
};

void
build_shared_free(struct build_shared *s)
{
	if (s == NULL)
		return;
	for (size_t i = 0; s->file != NULL && i < s->n_layers; i++)
		free(s->file[i]);
	free(s->file);
	free(s->key);
	free(s->has_key);
	free(s->layer);
	free(s->at);
	free(s->blobs);
	shared_cache_free(s->cache);
	free(s);
}

static struct image_layer *
layer_at(const struct build *b, size_t i)
{
	return &b->layers->image.layer[b->first + i];
}

/* It does not help, and the build goes on without it. */
static void
give_up(struct build *b, const char *what, struct err *e)
{
	log_line(LOG_WARNING, "shared cache %s: %s: %s", b->options->cache_repo,
	    what, e->text);
	err_clear(e);
}

static int
make_room(struct build_shared *s, size_t n, struct err *e)
{
	s->key = calloc(n + 1, sizeof(*s->key));
	s->has_key = calloc(n + 1, sizeof(*s->has_key));
	s->file = calloc(n + 1, sizeof(*s->file));
	s->layer = calloc(n + 1, sizeof(*s->layer));
	s->at = calloc(n + 1, sizeof(*s->at));
	if (s->key == NULL || s->has_key == NULL || s->file == NULL ||
	    s->layer == NULL || s->at == NULL)
		return err_set(e, ERR_FATAL, errno, "shared cache");
	s->n_layers = n;
	return 0;
}

static int
make_keys(const struct build *b, struct build_shared *s,
    const struct layer_spec *spec, struct err *e)
{
	const struct image_layers *l = b->layers;

	for (size_t i = 0; i < s->n_layers; i++) {
		int rc = layer_key(
		    spec, l->closure, &l->plan->layer[i], &s->key[i], e);

		if (rc < 0)
			return -1;
		s->has_key[i] = rc == 1;
	}
	return 0;
}

/* Store layer i, encoded by this library, is asked for. */
static int
add(struct build_shared *s, size_t i, const struct layer_spec *spec,
    const char *library, struct err *e)
{
	struct shared_layer *l = &s->layer[s->n];

	memset(l, 0, sizeof(*l));
	if (layer_cache_key(&s->key[i], &spec->encoding, library, &l->key, e) <
	    0)
		return -1;
	s->at[s->n++] = i;
	return 0;
}

/* Where fetched blobs go; NULL: nobody needs their bytes. */
static int
choose_blobs(
    struct build *b, struct build_shared *s, const char **out, struct err *e)
{
	*out = NULL;
	if (build_base_stays(b, shared_cache_base(s->cache)))
		return 0;
	if (b->cache != NULL) {
		*out = layer_cache_blobs(build_cache_folder(b->cache));
		return 0;
	}
	if (scratch_folder(b->scratch, scratch_temp(), &s->blobs, e) < 0)
		return -1;
	*out = s->blobs;
	return 0;
}

/* A layer that was found becomes the image's. */
static int
take_one(struct build *b, struct build_shared *s, size_t k, bool fetched,
    const struct layer_spec *spec, struct err *e)
{
	const struct shared_layer *from = &s->layer[k];
	size_t i = s->at[k];
	struct image_layer *l = layer_at(b, i);

	if (fetched && b->cache != NULL &&
	    build_cache_take(build_cache_folder(b->cache), &from->key,
		&from->result, spec->verify, &s->file[i], e) < 0)
		return -1;
	if (fetched && b->cache == NULL &&
	    oci_blobs_path(s->blobs, &from->result.digest, &s->file[i], e) < 0)
		return -1;
	l->result = from->result;
	l->media_type = encoding_media_type(spec->encoding.kind);
	l->cached = true;
	l->file = s->file[i];
	l->registry = shared_cache_base(s->cache);
	l->repository = shared_cache_repo(s->cache);
	l->remote = !fetched;
	s->found++;
	b->known++;
	return 0;
}

static int
look_up(struct build *b, struct build_shared *s, const struct layer_spec *spec,
    struct err *e)
{
	struct shared_search how = {
	    .media_type = encoding_media_type(spec->encoding.kind),
	    .verified = spec->verify,
	};

	for (size_t i = 0; i < s->n_layers; i++) {
		if (layer_at(b, i)->cached || !s->has_key[i])
			continue;
		if (add(s, i, spec, encoder_version(spec->encoding.kind), e) <
		    0)
			return -1;
	}
	if (choose_blobs(b, s, &how.blobs, e) < 0)
		return -1;
	progress_phase(b->progress, "looking for layers in the shared cache");
	if (shared_cache_find(s->cache, &how, s->layer, s->n, e) < 0) {
		give_up(b, "layers are made instead", e);
		shared_cache_freep(&s->cache);
		return 0;
	}
	for (size_t k = 0; k < s->n; k++)
		if (s->layer[k].found &&
		    take_one(b, s, k, how.blobs != NULL, spec, e) < 0)
			return -1;
	return 0;
}

/* 0: it is there, or not to be had. */
static int
open_cache(struct build *b, struct build_shared *s, struct err *e)
{
	const struct options *o = b->options;

	if (shared_cache_open(o->cache_repo, &o->registry, &s->cache, e) == 0)
		return 0;
	if (e->kind == ERR_USAGE)
		return err_ctx(e, "--cache-repo");
	give_up(b, "layers are made instead", e);
	return 0;
}

int
build_shared_look_up(struct build *b, struct err *e)
{
	struct build_shared *s;
	struct layer_spec spec;

	if (b->options->cache_repo == NULL)
		return 0;
	if ((s = calloc(1, sizeof(*s))) == NULL)
		return err_set(e, ERR_FATAL, errno, "shared cache");
	b->shared = s;
	build_spec(b, &spec);
	if (make_room(s, b->layers->plan->n, e) < 0 ||
	    make_keys(b, s, &spec, e) < 0 || open_cache(b, s, e) < 0)
		return -1;
	if (s->cache == NULL || !build_cache_helps(b->options))
		return 0;
	return look_up(b, s, &spec, e);
}

void
build_shared_made_by(struct build *b, const char *library)
{
	if (b->shared != NULL)
		snprintf(b->shared->library, sizeof(b->shared->library), "%s",
		    library);
}

/* Which layers are here, and not known to be there. */
static int
list_new(const struct build *b, struct build_shared *s,
    const struct layer_spec *spec, struct err *e)
{
	const char *blobs = output_blobs(b->blobs);

	s->n = 0;
	for (size_t i = 0; i < s->n_layers; i++) {
		const struct image_layer *l = layer_at(b, i);
		struct shared_layer *to = &s->layer[s->n];

		if (!s->has_key[i] || l->registry != NULL)
			continue;
		if (oci_blobs_find(l, blobs, &s->file[i], e) < 0 ||
		    add(s, i, spec, s->library, e) < 0)
			return -1;
		to->result = l->result;
		to->file = s->file[i];
		to->verified = b->options->verify_store;
		to->known = l->cached;
	}
	return 0;
}

/* An output's repository beside the cache's, which may have blobs already. */
static const char *
find_repository(const struct build *b, const struct build_shared *s)
{
	for (size_t i = 0; i < b->n_outputs; i++) {
		const char *there = output_registry(b->output[i]);
		const char *repo = output_repository(b->output[i]);

		if (there != NULL &&
		    strcmp(there, shared_cache_base(s->cache)) == 0 &&
		    strcmp(repo, shared_cache_repo(s->cache)) != 0)
			return repo;
	}
	return NULL;
}

int
build_shared_put(struct build *b, struct err *e)
{
	struct build_shared *s = b->shared;
	struct layer_spec spec;

	/* A docker-archive's layers are nowhere by themselves. */
	if (s == NULL || s->cache == NULL || b->blobs == NULL)
		return 0;
	build_spec(b, &spec);
	if (list_new(b, s, &spec, e) < 0)
		return -1;
	if (s->n == 0)
		return 0;
	progress_phase(b->progress, "sharing layers");
	if (shared_cache_put(s->cache, encoding_media_type(spec.encoding.kind),
		find_repository(b, s), s->layer, s->n, e) < 0)
		give_up(b, "not all layers are shared", e);
	for (size_t k = 0; k < s->n; k++) {
		struct image_layer *l = layer_at(b, s->at[k]);

		if (!s->layer[k].found)
			continue;
		s->put++;
		l->registry = shared_cache_base(s->cache);
		l->repository = shared_cache_repo(s->cache);
	}
	return 0;
}

void
build_shared_tell(const struct build *b)
{
	const struct build_shared *s = b->shared;

	if (s != NULL && s->cache != NULL)
		log_line(LOG_INFO, "shared   %zu layers found, %zu put there",
		    s->found, s->put);
}
