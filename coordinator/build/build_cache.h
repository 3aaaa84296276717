/*
 * How a build uses the layer cache: which of its layers were made before, and
 * which are put there when they are made.  For build.c; one thread.
 */
#ifndef BUILD_CACHE_H
#define BUILD_CACHE_H

#include <stdbool.h>
#include <stddef.h>

struct build_cache;
struct digest;
struct dispatch;
struct dispatch_job;
struct err;
struct image_layers;
struct layer_cache;
struct layer_result;
struct layer_spec;
struct options;

/* *out NULL: this build has none, or the default one cannot be used. */
int build_cache_new(
    const struct options *options, struct build_cache **out, struct err *e);
void build_cache_free(struct build_cache *c);

struct layer_cache *build_cache_folder(const struct build_cache *c);

/* What blobs are encoded with: by the outputs, of which it may be no one's. */
struct encoding build_cache_encoding(const struct options *options);

/* A layer's key in the cache, if this program's own library encodes it. */
int build_cache_key(const struct digest *layer_key,
    const struct layer_spec *spec, struct digest *out, struct err *e);

/*
 * Looks all store layers up: what is known is in the image then, with its
 * file.  spec: what they have in common.  The number of known ones in *known.
 */
int build_cache_look_up(struct build_cache *c, struct image_layers *layers,
    size_t first, const struct layer_spec *spec, size_t *known, struct err *e);

/* Layer i (of the image's store layers) is made. */
int build_cache_add(struct build_cache *c, size_t i,
    const struct dispatch_job *job, const char *library, struct err *e);

/* Whether layers that were made before are of use to all outputs. */
bool build_cache_helps(const struct options *options);

/*
 * A blob has come into the cache's folder: it is recorded under key, and *file
 * becomes a file that holds it as long as c.
 */
int build_cache_take(struct layer_cache *c, const struct digest *key,
    const struct layer_result *r, bool verified, char **file, struct err *e);

/*
 * A base image's layer that was fetched: r->digest and r->diff_id are looked
 * for, the rest is filled in; *file (the caller's) is good as long as c.
 */
bool build_cache_find_base(
    struct layer_cache *c, struct layer_result *r, char **file);
/* Of one that is in the cache's blobs; *file becomes such a file. */
int build_cache_add_base(struct layer_cache *c, const struct layer_result *r,
    char **file, struct err *e);

/*
 * A cache that has grown too large loses what was not used for longest; once
 * this build relies on nothing there.
 */
void build_cache_trim(const struct options *options);

#endif
