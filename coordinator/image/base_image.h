/*
 * A base image (fromImage): a docker-archive, an OCI archive or an OCI layout
 * folder, compressed in any way libarchive reads, or an image in a registry.
 * Its layers are kept byte for byte; digests, sizes and diff_ids are checked
 * while it is read (a registry's layers: when they are fetched).  Hostile
 * input is expected: names, counts, sizes and ratios have limits.  It owns
 * what it points to; layer files lie in a scratch folder (or in the layout).
 */
#ifndef BASE_IMAGE_H
#define BASE_IMAGE_H

#include <stddef.h>

#include <jansson.h>

#include "layer_spec.h"

struct err;
struct registry_options;
struct scratch;

struct base_layer {
	char *name; /* its path in the archive, as the history names it */
	char *file; /* a file that holds its bytes, as stored; NULL: none yet */
	const char *media_type;	    /* OCI; static */
	struct layer_result result; /* diff_id, tar_size, digest, size */
};

struct base_image {
	struct base_layer *layer; /* bottom first; the same may come twice */
	size_t n;
	json_t *config; /* the image config's "config" object, or NULL */
	/*
	 * "https://HOST[:PORT]" and repository that have the layers, or NULL.
	 */
	const char *registry, *repository;
};

/* What is asked for; borrowed. */
struct base_source {
	const char *name;	  /* of a file or folder, or docker://... */
	const char *architecture; /* of several images; NULL: this machine's */
	const struct registry_options *push; /* the way to registries */
};

/* Errors are ERR_USAGE and name the file and what is wrong in it. */
int base_image_open(const struct base_source *source, struct scratch *scratch,
    struct base_image **out, struct err *e);

/*
 * Fetches layer i, which has no file, from its registry into the folder blobs
 * (blob_dir.h) and finds what it holds: digest, size, diff_id are checked.
 * The folder is no scratch of the image's.  In any thread, for other layers.
 */
int base_image_fetch(
    struct base_image *base, size_t i, const char *blobs, struct err *e);

void base_image_free(struct base_image *base);
void base_image_freep(struct base_image **base);

#endif
