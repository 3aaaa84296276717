#include "batch/batch_state.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "cache/layer_cache.h"
#include "cache/shared_cache.h"
#include "log.h"
#include "options/options.h"
#include "output/blob_places.h"
#include "output/oci_blobs.h"
#include "own.h"
#include "progress/progress.h"

/* Layers that are asked for, or put, at once: of one encoding. */
struct some {
	struct shared_layer *layer;
	uint32_t *at; /* which of the batch's these are */
	char **file;
	size_t n;
};

static void
some_clear(struct some *s)
{
	for (size_t i = 0; s->file != NULL && i < s->n; i++)
		free(s->file[i]);
	free(s->file);
	free(s->layer);
	free(s->at);
}

static int
some_make(struct some *s, size_t n, struct err *e)
{
	s->layer = calloc(n + 1, sizeof(*s->layer));
	s->at = calloc(n + 1, sizeof(*s->at));
	s->file = calloc(n + 1, sizeof(*s->file));
	if (s->layer == NULL || s->at == NULL || s->file == NULL)
		return err_set(e, ERR_FATAL, errno, "shared cache");
	return 0;
}

/* It does not help, and the batch goes on without it. */
static void
give_up(const struct batch *b, const char *what, struct err *e)
{
	log_line(LOG_WARNING, "shared cache %s: %s: %s", b->options->cache_repo,
	    what, e->text);
	err_clear(e);
}

int
batch_shared_open(struct batch *b, struct err *e)
{
	if (b->options->cache_repo == NULL ||
	    shared_cache_open(
		b->options->cache_repo, &b->push, &b->shared, e) == 0)
		return 0;
	if (e->kind == ERR_USAGE)
		return err_ctx(e, "--cache-repo");
	give_up(b, "layers are made instead", e);
	return 0;
}

static enum encoding_kind
kind_of(const struct batch *b, const struct batch_layer *l)
{
	return b->spec[l->spec].spec.encoding.kind;
}

/* Whether an image that waits for it needs its bytes. */
static bool
is_needed(const struct batch *b, uint32_t layer, const bool *stays)
{
	uint64_t at = 0;
	uint32_t i;

	while ((i = batch_layers_next(&b->layers, layer, &at)) != BATCH_NONE)
		if (!b->image[i].failed && !stays[i])
			return true;
	return false;
}

/* What was found is as good as made. */
static int
take(struct batch *b, const struct some *s, bool fetched, struct err *e)
{
	for (size_t k = 0; k < s->n; k++) {
		const struct shared_layer *from = &s->layer[k];
		struct batch_layer *l = &b->layers.layer[s->at[k]];
		const struct layer_record record = {.result = &from->result,
		    .verified = b->options->verify_store};
		uint64_t at = 0;
		uint32_t i;

		if (!from->found)
			continue;
		if (fetched &&
		    layer_cache_put(b->cache, &l->key, &record, e) < 0)
			return -1;
		l->made.result = from->result;
		l->state = BATCH_KNOWN;
		l->shared = true;
		l->remote = !fetched;
		b->shared_found++;
		while ((i = batch_layers_next(&b->layers, s->at[k], &at)) !=
		    BATCH_NONE)
			b->image[i].missing--;
	}
	return 0;
}

/* Layers of this encoding whose bytes are, or are not, needed. */
static int
find_some(struct batch *b, enum encoding_kind kind, bool needed,
    const bool *stays, struct err *e)
{
	AUTO(some_clear) struct some s = {.n = 0};
	const struct shared_search how = {
	    .media_type = encoding_media_type(kind),
	    .verified = b->options->verify_store,
	    .blobs = needed ? layer_cache_blobs(b->cache) : NULL,
	};

	if (some_make(&s, b->layers.n, e) < 0)
		return -1;
	for (size_t i = 0; i < b->layers.n; i++) {
		const struct batch_layer *l = &b->layers.layer[i];

		if (l->state != BATCH_WANTED || !l->has_key ||
		    kind_of(b, l) != kind ||
		    is_needed(b, (uint32_t)i, stays) != needed)
			continue;
		s.layer[s.n].key = l->key;
		s.at[s.n++] = (uint32_t)i;
	}
	if (s.n == 0)
		return 0;
	if (shared_cache_find(b->shared, &how, s.layer, s.n, e) < 0) {
		give_up(b, "layers are made instead", e);
		shared_cache_freep(&b->shared);
		return 0;
	}
	return take(b, &s, needed, e);
}

int
batch_shared_look_up(struct batch *b, struct err *e)
{
	AUTO(own_freep) bool *stays = calloc(b->n + 1, sizeof(*stays));

	if (stays == NULL)
		return err_set(e, ERR_FATAL, errno, "shared cache");
	if (b->shared == NULL)
		return 0;
	progress_phase(b->progress, "looking for layers in the shared cache");
	for (size_t i = 0; i < b->n; i++)
		stays[i] = !b->image[i].failed &&
		    batch_image_stays(
			b, &b->image[i], shared_cache_base(b->shared));
	for (int kind = 0; kind < ENCODING_KINDS; kind++)
		for (int needed = 0; needed < 2 && b->shared != NULL; needed++)
			if (find_some(b, (enum encoding_kind)kind, needed == 1,
				stays, e) < 0)
				return -1;
	return 0;
}

/* Those of one encoding. */
static int
list_some(const struct batch *b, enum encoding_kind kind, const uint32_t *layer,
    size_t n, struct some *s, struct err *e)
{
	for (size_t i = 0; i < n; i++) {
		const struct batch_layer *l = &b->layers.layer[layer[i]];
		struct shared_layer *to = &s->layer[s->n];

		if (kind_of(b, l) != kind)
			continue;
		if (oci_blobs_path(layer_cache_pins(b->cache),
			&l->made.result.digest, &s->file[s->n], e) < 0)
			return -1;
		to->key = l->key;
		to->result = l->made.result;
		to->file = s->file[s->n];
		to->from = blob_places_find(b->places,
		    shared_cache_base(b->shared), &l->made.result.digest);
		to->verified = b->options->verify_store;
		to->known = l->state == BATCH_KNOWN;
		s->at[s->n++] = (uint32_t)i;
	}
	return 0;
}

static int
put_some(struct batch *b, enum encoding_kind kind, const uint32_t *layer,
    size_t n, bool *there, struct err *e)
{
	AUTO(some_clear) struct some s = {.n = 0};
	int rc = 0;

	if (some_make(&s, n, e) < 0 || list_some(b, kind, layer, n, &s, e) < 0)
		return -1;
	if (s.n > 0)
		rc = shared_cache_put(b->shared, encoding_media_type(kind),
		    NULL, s.layer, s.n, e);
	for (size_t k = 0; k < s.n; k++)
		there[s.at[k]] = s.layer[k].found;
	return rc;
}

int
batch_shared_put_these(struct batch *b, const uint32_t *layer, size_t n,
    bool *there, struct err *e)
{
	for (int kind = 0; kind < ENCODING_KINDS; kind++)
		if (put_some(b, (enum encoding_kind)kind, layer, n, there, e) <
		    0)
			return -1;
	return 0;
}

static int
put_rest(struct batch *b, struct err *e)
{
	AUTO(own_freep) uint32_t *layer = NULL;
	AUTO(own_freep) bool *there = NULL;
	size_t n = 0;
	int rc;

	layer = calloc(b->layers.n + 1, sizeof(*layer));
	there = calloc(b->layers.n + 1, sizeof(*there));
	if (layer == NULL || there == NULL)
		return err_set(e, ERR_FATAL, errno, "shared cache");
	for (size_t i = 0; i < b->layers.n; i++) {
		const struct batch_layer *l = &b->layers.layer[i];

		if ((l->state == BATCH_MADE || l->state == BATCH_KNOWN) &&
		    l->has_key && !l->shared)
			layer[n++] = (uint32_t)i;
	}
	rc = batch_shared_put_these(b, layer, n, there, e);
	for (size_t i = 0; i < n; i++) {
		if (!there[i])
			continue;
		b->layers.layer[layer[i]].shared = true;
		b->shared_put++;
	}
	return rc;
}

void
batch_shared_put(struct batch *b)
{
	struct err e = ERR_INIT;

	if (b->shared == NULL)
		return;
	progress_phase(b->progress, "sharing layers");
	if (batch_sharer_finish(&b->sharer, &e) < 0 || put_rest(b, &e) < 0)
		give_up(b, "not all layers are shared", &e);
}
