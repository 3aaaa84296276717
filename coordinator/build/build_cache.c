#include "build/build_cache.h"

#include <errno.h>
#include <stdlib.h>

#include "digest.h"
#include "dispatch/dispatch.h"
#include "encoder_version.h"
#include "err.h"
#include "build/image_layers.h"
#include "cache/layer_cache.h"
#include "cache/layer_cache_list.h"
#include "cache/layer_key.h"
#include "plan/layer_plan.h"
#include "log.h"
#include "output/oci_blobs.h"
#include "options/options.h"
#include "own.h"

struct build_cache {
	struct layer_cache *cache;
	bool look; /* known layers are of use to all outputs */
	/* Of each store layer. */
	struct digest *key;
	bool *has_key;
	char **file;
	size_t n;
};

/* What is not compressed is made from the store as fast as it is copied. */
static bool
is_wanted(const struct options *o)
{
	/* What is streamed is not here to be kept. */
	if (o->no_cache || o->stream)
		return false;
	if (o->cache_dir != NULL)
		return true;
	for (size_t i = 0; i < o->n_outputs; i++)
		if (o->outputs[i].kind == OUTPUT_OCI ||
		    o->outputs[i].kind == OUTPUT_OCI_ARCHIVE ||
		    o->outputs[i].kind == OUTPUT_REGISTRY)
			return o->encoding.kind != ENCODING_NONE;
	return false;
}

struct encoding
build_cache_encoding(const struct options *o)
{
	for (size_t i = 0; i < o->n_outputs; i++)
		if (o->outputs[i].kind != OUTPUT_DOCKER_ARCHIVE)
			return o->encoding;
	/* A docker-archive holds plain tars: nobody would see the blobs. */
	return (struct encoding){ENCODING_NONE, 0};
}

static bool
has_docker_archive(const struct options *o)
{
	for (size_t i = 0; i < o->n_outputs; i++)
		if (o->outputs[i].kind == OUTPUT_DOCKER_ARCHIVE)
			return true;
	return false;
}

bool
build_cache_helps(const struct options *o)
{
	/* A docker-archive cannot use what is compressed. */
	return !has_docker_archive(o) ||
	    build_cache_encoding(o).kind == ENCODING_NONE;
}

/* Nobody asked for the default folder, and a build can do without. */
static int
go_without(const struct options *o, struct err *e)
{
	if (o->cache_dir != NULL || e->kind != ERR_USAGE)
		return -1;
	log_line(LOG_WARNING, "%s: no layer is kept", e->text);
	err_clear(e);
	return 0;
}

int
build_cache_new(
    const struct options *options, struct build_cache **out, struct err *e)
{
	struct build_cache *c;

	*out = NULL;
	if (!is_wanted(options))
		return 0;
	if ((c = calloc(1, sizeof(*c))) == NULL)
		return err_set(e, ERR_FATAL, errno, "layer cache");
	c->look = build_cache_helps(options);
	if (layer_cache_open(options->cache_dir, &c->cache, e) < 0) {
		free(c);
		return go_without(options, e);
	}
	*out = c;
	return 0;
}

void
build_cache_free(struct build_cache *c)
{
	if (c == NULL)
		return;
	for (size_t i = 0; i < c->n; i++)
		free(c->file[i]);
	free(c->file);
	free(c->key);
	free(c->has_key);
	layer_cache_free(c->cache);
	free(c);
}

struct layer_cache *
build_cache_folder(const struct build_cache *c)
{
	return c->cache;
}

static int
make_room(struct build_cache *c, size_t n, struct err *e)
{
	c->key = calloc(n + 1, sizeof(*c->key));
	c->has_key = calloc(n + 1, sizeof(*c->has_key));
	c->file = calloc(n + 1, sizeof(*c->file));
	if (c->key == NULL || c->has_key == NULL || c->file == NULL)
		return err_set(e, ERR_FATAL, errno, "layer cache");
	c->n = n;
	return 0;
}

int
build_cache_key(const struct digest *layer_key, const struct layer_spec *spec,
    struct digest *out, struct err *e)
{
	return layer_cache_key(layer_key, &spec->encoding,
	    encoder_version(spec->encoding.kind), out, e);
}

static int
look_up_one(struct build_cache *c, size_t i, const struct layer_spec *spec,
    struct image_layer *layer, struct err *e)
{
	struct digest key;

	if (build_cache_key(&c->key[i], spec, &key, e) < 0)
		return -1;
	if (!layer_cache_find(
		c->cache, &key, spec->verify, &layer->result, &c->file[i]))
		return 0;
	layer->file = c->file[i];
	layer->media_type = encoding_media_type(spec->encoding.kind);
	layer->cached = true;
	return 0;
}

int
build_cache_look_up(struct build_cache *c, struct image_layers *l, size_t first,
    const struct layer_spec *spec, size_t *known, struct err *e)
{
	*known = 0;
	if (make_room(c, l->plan->n, e) < 0)
		return -1;
	for (size_t i = 0; i < c->n; i++) {
		struct image_layer *layer = &l->image.layer[first + i];
		int rc = layer_key(
		    spec, l->closure, &l->plan->layer[i], &c->key[i], e);

		if (rc < 0)
			return -1;
		c->has_key[i] = rc == 1;
		if (c->has_key[i] && c->look &&
		    look_up_one(c, i, spec, layer, e) < 0)
			return -1;
		*known += layer->cached;
	}
	return 0;
}

int
build_cache_add(struct build_cache *c, size_t i, const struct dispatch_job *job,
    const char *library, struct err *e)
{
	const struct layer_record record = {
	    .result = &job->made->result, .verified = job->spec->verify};
	struct digest key;

	if (i >= c->n || !c->has_key[i])
		return layer_cache_put(c->cache, NULL, &record, e);
	if (layer_cache_key(
		&c->key[i], &job->spec->encoding, library, &key, e) < 0)
		return -1;
	return layer_cache_put(c->cache, &key, &record, e);
}

/* Fetched blobs are known by what their registry and config call them. */
static int
base_key(const struct layer_result *r, struct digest *out, struct err *e)
{
	AUTO(sha256_freep) struct sha256 *h = NULL;
	static const char what[] = "quarry base layer 1\n";

	if (sha256_new(&h, e) < 0)
		return -1;
	sha256_update(h, what, sizeof(what) - 1);
	sha256_update(h, r->digest.b, DIGEST_SIZE);
	sha256_update(h, r->diff_id.b, DIGEST_SIZE);
	sha256_final(h, out);
	return 0;
}

bool
build_cache_find_base(
    struct layer_cache *c, struct layer_result *r, char **file)
{
	struct err e = ERR_INIT;
	struct layer_result found;
	struct digest key;

	if (base_key(r, &key, &e) < 0 ||
	    !layer_cache_find(c, &key, false, &found, file))
		return false;
	if (!digest_equal(&found.digest, &r->digest) ||
	    !digest_equal(&found.diff_id, &r->diff_id) ||
	    found.size != r->size) {
		own_freep(file);
		return false;
	}
	*r = found;
	return true;
}

int
build_cache_add_base(struct layer_cache *c, const struct layer_result *r,
    char **file, struct err *e)
{
	struct digest key;

	if (base_key(r, &key, e) < 0)
		return -1;
	return build_cache_take(c, &key, r, false, file, e);
}

int
build_cache_take(struct layer_cache *c, const struct digest *key,
    const struct layer_result *r, bool verified, char **file, struct err *e)
{
	const struct layer_record record = {.result = r, .verified = verified};
	char *pinned = NULL;

	if (layer_cache_put(c, key, &record, e) < 0 ||
	    oci_blobs_path(layer_cache_pins(c), &r->digest, &pinned, e) < 0)
		return -1;
	free(*file);
	*file = pinned;
	return 0;
}

void
build_cache_trim(const struct options *o)
{
	const struct layer_cache_bounds bounds = {
	    .bytes = o->max_size, .unused = -1};
	struct layer_cache_pruned gone;
	struct err e = ERR_INIT;

	if (layer_cache_prune(o->cache_dir, &bounds, &gone, &e) < 0)
		log_line(LOG_WARNING, "%s", e.text);
	else if (gone.records > 0)
		log_line(
		    LOG_DEBUG, "layer cache: %zu layers removed", gone.records);
}
