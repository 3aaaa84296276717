/*
 * The root layer (nixpkgs' customisation layer), planned entry by entry: the
 * trees of contents as directories and symlinks to the store, then the
 * request's rootTree, then its directories.  Reads the file system, writes
 * nothing.  Owns its strings.
 */
#ifndef ROOT_LAYER_H
#define ROOT_LAYER_H

#include <stddef.h>

#include "layer_spec.h"

struct err;
struct request;

struct root_layer {
	struct layer_entry *entry; /* in tar order */
	size_t n;
	struct root_arena *arena;
};

/*
 * store_root: as in struct layer_spec.  Conflicts between contents are
 * reported by log_line warnings that name both.  ERR_USAGE: contents or
 * rootTree that cannot be read, a directory that collides with a file.
 */
int root_layer_make(const struct request *request, const char *store_root,
    struct root_layer **out, struct err *e);
void root_layer_free(struct root_layer *r);
void root_layer_freep(struct root_layer **r);

#endif
