/*
 * Layers that were made before, in a folder that many builds may use at once:
 *
 *	blobs/sha256/HEX	blobs, written there by workers (blob_dir.h)
 *	layers/HEX		records: of the layer with this key, what came
 *				of it; HEX is what layer_cache_key makes
 *	pins/NAME/HEX		a second name of a blob that a build relies on;
 *				pins/NAME.lock is locked while the build lives
 *	trash/HEX		blobs that were pruned while builds ran
 *	lock			builds share it, prune has it alone if it can
 *
 * A record is written once its blob is whole and durable; it is believed only
 * while its blob is there and as large as it says.  What is damaged, or half
 * written when a machine lost its power, is no record: the layer is made
 * again.  Nothing here is ever an error but that the folder cannot be used.
 * One thread.
 */
#ifndef LAYER_CACHE_H
#define LAYER_CACHE_H

#include <stdbool.h>
#include <stddef.h>

struct digest;
struct encoding;
struct err;
struct layer_cache;
struct layer_result;

#define LAYER_CACHE_VERSION 1
#define LAYER_CACHE_RECORD_MAX 4096 /* bytes */

/*
 * folder: NULL means $XDG_CACHE_HOME/quarry, or ~/.cache/quarry; made where
 * it is missing.  ERR_USAGE names it.
 */
int layer_cache_open(
    const char *folder, struct layer_cache **out, struct err *e);
/* Takes the pins away. */
void layer_cache_free(struct layer_cache *c);
void layer_cache_freep(struct layer_cache **c);

/* The folders, absolute; the cache's. */
const char *layer_cache_folder(const struct layer_cache *c);
const char *layer_cache_blobs(const struct layer_cache *c);
/* Where all blobs are that this build relies on. */
const char *layer_cache_pins(const struct layer_cache *c);

/*
 * What a blob depends on: the layer's key (layer_key.h), the encoding, and the
 * library that does it (encoder_version.h).
 */
int layer_cache_key(const struct digest *layer_key,
    const struct encoding *encoding, const char *library, struct digest *out,
    struct err *e);

struct layer_record {
	const struct layer_result *result;
	bool verified; /* what was read had the closure's narHashes */
};

/*
 * true: *out is what came of it, and *file (the caller's) holds the blob for
 * as long as c lives.  verified: only such a record will do.
 */
bool layer_cache_find(struct layer_cache *c, const struct digest *key,
    bool verified, struct layer_result *out, char **file);

/*
 * The blob is in layer_cache_blobs, durable: it is pinned, and recorded unless
 * key is NULL.  A record that cannot be written is a warning.  ERR_FATAL: the
 * blob is not there.
 */
int layer_cache_put(struct layer_cache *c, const struct digest *key,
    const struct layer_record *record, struct err *e);

/* c does not rely on the blob any more: it may be pruned. */
void layer_cache_unpin_blob(struct layer_cache *c, const struct digest *digest);
/*
 * The blob is damaged: it goes, and so does the record (key NULL: it has none).
 */
void layer_cache_remove(struct layer_cache *c, const struct digest *key,
    const struct digest *digest);

#endif
