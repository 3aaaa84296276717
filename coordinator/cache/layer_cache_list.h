/*
 * What is in a layer cache, and making it smaller: safe beside builds, which
 * keep what they rely on (layer_cache.h).  One thread.
 */
#ifndef LAYER_CACHE_LIST_H
#define LAYER_CACHE_LIST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "digest.h"
#include "layer_spec.h"

struct err;
struct layer_cache_list;

struct layer_cache_entry {
	struct digest key;
	struct layer_result result;
	int64_t used; /* seconds since 1970 */
	bool good;    /* it can be read, and its blob is there, whole */
	bool last;    /* no entry after it has the same blob */
};

struct layer_cache_list {
	struct layer_cache_entry *entry; /* least recently used first */
	size_t n;
	uint64_t bytes; /* of all blobs that are there, each once */
	size_t blobs;
};

/* folder: as layer_cache_open.  ERR_USAGE, ERR_FATAL. */
int layer_cache_list_read(const char *folder, struct layer_cache_list *out,
    char **where, struct err *e);
void layer_cache_list_clear(struct layer_cache_list *l);

struct layer_cache_bounds {
	uint64_t bytes; /* of blobs that stay, at most; UINT64_MAX: any */
	int64_t unused; /* seconds: what was not used for longer goes; or -1 */
};

struct layer_cache_pruned {
	size_t records, blobs;
	uint64_t bytes, left; /* bytes: of blobs that went */
};

/*
 * Removes records, least recently used first, and blobs that no record has.
 * While builds run, blobs go to the trash, which is emptied the next time.
 */
int layer_cache_prune(const char *folder,
    const struct layer_cache_bounds *bounds, struct layer_cache_pruned *out,
    struct err *e);

/*
 * Looks whether each record has its blob, whole; deep: reads and hashes every
 * blob, of which some have no record.  What is damaged is removed, record and
 * blob, and counts.  told: of each, with its path.
 */
int layer_cache_verify(const char *folder, bool deep,
    void (*told)(const char *path, const char *what), size_t *good, size_t *bad,
    struct err *e);

#endif
