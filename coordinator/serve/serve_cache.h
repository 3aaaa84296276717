/*
 * The layers that a server has made: a layer cache (layer_cache.h) in which a
 * blob is relied on for as long as somebody refers to it, and that is pruned
 * now and then, by a thread of its own.  What a client found damaged is
 * suspect: it must be checked before it is given out again.  One thread calls.
 */
#ifndef SERVE_CACHE_H
#define SERVE_CACHE_H

#include <stdbool.h>
#include <stdint.h>

struct digest;
struct err;
struct layer_result;
struct serve_cache;

/* folder: as layer_cache_open's. */
int serve_cache_open(const char *folder, uint64_t max_bytes,
    struct serve_cache **out, struct err *e);
void serve_cache_free(struct serve_cache *c);

/* The folder that workers' blobs go to, and the one that they are read from. */
const char *serve_cache_blobs(const struct serve_cache *c);
const char *serve_cache_pins(const struct serve_cache *c);

enum serve_found { SERVE_MISSING, SERVE_FOUND, SERVE_SUSPECT };

/* Anything but missing: the caller refers to the blob from then on. */
enum serve_found serve_cache_find(struct serve_cache *c,
    const struct digest *key, bool verified, struct layer_result *out);

/*
 * A layer that was made (key NULL: it is not to be found again), and to which
 * the caller refers from then on.  ERR_FATAL: its blob cannot be had.
 */
int serve_cache_put(struct serve_cache *c, const struct digest *key,
    const struct layer_result *result, bool verified, struct err *e);

/* One more reference, and one less. */
void serve_cache_refer(struct serve_cache *c, const struct digest *digest);
void serve_cache_drop(struct serve_cache *c, const struct digest *digest);

/* A client did not want it: it may be damaged. */
void serve_cache_doubt(struct serve_cache *c, const struct digest *digest);
/* It was checked, and is sound. */
void serve_cache_trust(struct serve_cache *c, const struct digest *digest);
/* It was checked, and is not: it goes.  key NULL: it has no record. */
void serve_cache_condemn(struct serve_cache *c, const struct digest *key,
    const struct digest *digest);

/*
 * Prunes, if it is time (ms): also where nothing was put into it, as what was
 * referred to then may not be now, and others may have put something.
 */
#define SERVE_CACHE_PRUNE_MS ((int64_t)10 * 60 * 1000)
void serve_cache_tick(struct serve_cache *c, int64_t now);

#endif
