/*
 * From a request to an image whose layers are known but not made: closure,
 * base image, plan and root layer, put together in the image's order (base
 * layers, store layers, root layer).  Owns what the image borrows.
 */
#ifndef IMAGE_LAYERS_H
#define IMAGE_LAYERS_H

#include "image.h"

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
	struct base_image *base; /* or NULL */
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

/* What all layers have in common; strings are the request's. */
void image_layers_spec(const struct image_layers *l,
    const struct options *options, struct layer_spec *out);

void image_layers_free(struct image_layers *l);
void image_layers_freep(struct image_layers **l);

#endif
