/*
 * The layers of a base image that is in a registry, where somebody needs their
 * bytes: those that no earlier run has fetched are, several at a time, each
 * blob once.  One thread calls.
 */
#ifndef BASE_FETCH_H
#define BASE_FETCH_H

struct base_image;
struct err;
struct layer_cache;

/*
 * All layers of base have files then, and results.  They go into the cache, or
 * (NULL) into the folder blobs (blob_dir.h), either of which outlives them.
 */
int base_fetch(struct base_image *base, struct layer_cache *cache,
    const char *blobs, struct err *e);

#endif
