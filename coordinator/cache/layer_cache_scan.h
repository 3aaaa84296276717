/*
 * A cache as it was found: for layer_cache_list.c, which reads it, and
 * layer_cache_prune.c.
 */
#ifndef LAYER_CACHE_SCAN_H
#define LAYER_CACHE_SCAN_H

#include "cache/layer_cache_list.h"
#include "cache/layer_cache_state.h"

struct cached_blob {
	struct digest digest;
	uint64_t size;
	int64_t changed; /* seconds since 1970 */
	bool pinned;	 /* a build relies on it */
	bool known;	 /* a record has it */
	bool gone;	 /* by now: somebody has pruned it */
};

struct cache_scan {
	struct layer_cache_folders at;
	struct cached_blob *blob; /* by digest */
	size_t n_blobs, room_blobs;
	struct layer_cache_list list;
	size_t room_entries;
};

int cache_scan_new(const char *folder, struct cache_scan *s, struct err *e);
void cache_scan_clear(struct cache_scan *s);
/* NULL: it is not there. */
struct cached_blob *cache_scan_blob(
    const struct cache_scan *s, const struct digest *digest);
/* Whether it still has it. */
bool cache_scan_has_record(
    const struct cache_scan *s, const struct digest *key);

#endif
