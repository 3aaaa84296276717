/*
 * The layer key: what a store layer's tar depends on, known before a byte of
 * it is read.  Two layers with one key have one diffID.  Pure.
 *
 * The key is the SHA-256 of these fields, each as its length in bytes (8
 * bytes, big endian) and its bytes; numbers are 8 bytes, big endian:
 *
 *	"quarry layer"		LAYER_KEY_VERSION	dialect: "pax", "gnu"
 *	store directory		mtime (two's complement)
 *	uid	gid	uname	gname			number of store paths
 *	and for each store path, in the layer's order: path, narHash (32 bytes)
 *
 * Fields have lengths and paths are counted, so no two inputs look alike.
 * Encodings are not in it: they belong to the blob, not to the tar.
 */
#ifndef LAYER_KEY_H
#define LAYER_KEY_H

#include <stddef.h>

struct closure;
struct digest;
struct err;
struct layer;
struct layer_item;
struct layer_spec;

/* Another number whenever the bytes of a layer change for the same fields. */
#define LAYER_KEY_VERSION 1

/*
 * Of spec: dialect, store_dir, mtime, owner.  1: *out is the key; 0: there is
 * none, since the closure has no narHashes; -1: error.
 */
int layer_key(const struct layer_spec *spec, const struct closure *c,
    const struct layer *layer, struct digest *out, struct err *e);

/* The same of n store paths; 0: not all have a narHash. */
int layer_key_items(const struct layer_spec *spec,
    const struct layer_item *item, size_t n, struct digest *out, struct err *e);

#endif
