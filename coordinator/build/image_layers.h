/*
 * From a request to an image whose layers are known but not made: closure,
 * base image, plan and root layer, put together in the image's order (base
 * layers, store layers, root layer).  Owns what the image borrows.
 */
#ifndef IMAGE_LAYERS_H
#define IMAGE_LAYERS_H

#include "image/image.h"

struct base_image;
struct closure;
struct err;
struct layer_plan;
struct options;
struct progress;
struct request;
struct root_layer;
struct scratch;

struct image_layers {
	struct request *request;
	const struct base_image *base; /* or NULL */
	struct base_image *own_base;   /* the same, if it is ours to free */
	struct closure *closure;
	struct layer_plan *plan;   /* of the store layers */
	struct root_layer *root;   /* NULL: the reference's layer.tar */
	char *root_file;	   /* the reference's layer.tar, or NULL */
	struct digest root_digest; /* what its checksum file says */
	struct image image;
};

/* Everything up to the plan.  progress is told of the phases. */
int image_layers_plan(const struct options *options, struct scratch *scratch,
    struct progress *progress, struct image_layers **out, struct err *e);

/* Then the root layer, and the image's list of layers. */
int image_layers_make(
    struct image_layers *l, const struct options *options, struct err *e);

/*
 * For whoever has the parts from elsewhere, step by step.  _of: takes request
 * and closure, borrows base, and plans; without a closure there is no plan.
 * _open_root: finds the reference's layer.tar.  _begin: the image, and its base
 * layers; then _add for each store layer, with room for n paths, and
 * _add_root.
 */
int image_layers_of(struct request **request, const struct base_image *base,
    struct closure **closure, struct image_layers **out, struct err *e);
int image_layers_open_root(
    struct image_layers *l, const char *store_root, struct err *e);
int image_layers_begin(struct image_layers *l, const struct options *options,
    size_t n_store, struct err *e);
int image_layers_add(struct image_layers *l, enum image_layer_kind kind,
    size_t n, struct image_layer **out, struct err *e);
int image_layers_add_root(
    struct image_layers *l, struct image_layer **out, struct err *e);

/* What all layers have in common; strings are the request's. */
void image_layers_spec(const struct image_layers *l,
    const struct options *options, struct layer_spec *out);

void image_layers_free(struct image_layers *l);
void image_layers_freep(struct image_layers **l);

#endif
