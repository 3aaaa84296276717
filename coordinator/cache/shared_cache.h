/*
 * Layers that others have made, in a repository of a registry: a blob each,
 * and under the key's tag the record of it (shared_record.h).  A record is
 * believed only if its blob is there, as large as it says.  What is damaged or
 * lost is no record, and that layer is made.  Whoever may write there is
 * trusted with what is in layers.
 *
 * One thread calls; several others ask meanwhile.
 */
#ifndef SHARED_CACHE_H
#define SHARED_CACHE_H

#include <stdbool.h>
#include <stddef.h>

#include "digest.h"
#include "layer_spec.h"

struct err;
struct registry_options;
struct shared_cache;

#define SHARED_CACHE_THREADS 8 /* requests at once */
/* Nobody waits long for a cache. */
#define SHARED_CACHE_TRIES 2
#define SHARED_CACHE_PAUSE_MS 5000
/* So many layers cannot be put there, and no more is tried. */
#define SHARED_CACHE_FAULTS_MAX 4

/* name: HOST[:PORT]/REPOSITORY; not kept.  ERR_USAGE, ERR_FATAL. */
int shared_cache_open(const char *name, const struct registry_options *options,
    struct shared_cache **out, struct err *e);
void shared_cache_free(struct shared_cache *c);
void shared_cache_freep(struct shared_cache **c);

/* Only what is in a name: no tag, no digest.  ERR_USAGE. */
int shared_cache_check_name(const char *name, struct err *e);

/* "https://HOST[:PORT]" and repository; the cache's. */
const char *shared_cache_base(const struct shared_cache *c);
const char *shared_cache_repo(const struct shared_cache *c);

struct shared_layer {
	struct digest key;
	bool found; /* result is what came of it */
	struct layer_result result;
	const char *file; /* to be put: holds the blob; borrowed */
	/* To be put: a repository of the registry that has it, or NULL. */
	const char *from;
	bool verified; /* to be put: by the closure's narHashes */
	bool known;    /* to be put: look first whether it is there */
};

struct shared_search {
	const char *media_type; /* of blobs */
	bool verified;		/* only such records will do */
	const char *blobs; /* a folder (blob_dir.h) for blobs, or NULL: none */
};

/* Looks layers up, and fetches what is found.  -1: the registry is away. */
int shared_cache_find(struct shared_cache *c, const struct shared_search *how,
    struct shared_layer *layer, size_t n, struct err *e);

/*
 * Puts layers there; found then says which are there.  from: another
 * repository of the registry that may have the blobs of those that do not name
 * one, or NULL.  -1: not all.
 */
int shared_cache_put(struct shared_cache *c, const char *media_type,
    const char *from, struct shared_layer *layer, size_t n, struct err *e);

#endif
