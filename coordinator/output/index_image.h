/*
 * One image that goes into an index: of a registry, or of an OCI layout.  Its
 * manifest and config are read and checked; its layers are known by their
 * descriptors, and those of a layout are held against them.  Owns what it
 * points to.  One thread.
 */
#ifndef INDEX_IMAGE_H
#define INDEX_IMAGE_H

#include <stdbool.h>
#include <stddef.h>

#include "digest.h"

struct base_registry;
struct err;
struct index_image;
struct push_blob;
struct registry_options;
struct scratch;

#define INDEX_IMAGES_MAX 64
#define INDEX_WORD_MAX 64 /* bytes of an architecture, ... */

/*
 * reference: docker://HOST[:PORT]/REPOSITORY[:TAG|@DIGEST] or oci:DIR[:NAME];
 * borrowed.  ERR_USAGE also if it leads to several images.
 */
int index_image_open(const char *reference, const struct registry_options *push,
    struct scratch *scratch, struct index_image **out, struct err *e);
void index_image_free(struct index_image *m);
void index_image_freep(struct index_image **m);

/* As its config says; NULL where that says nothing. */
struct index_platform {
	const char *architecture, *os; /* never NULL */
	const char *variant, *os_version;
};

struct index_manifest {
	const char *reference; /* as it was given */
	struct index_platform platform;
	const char *media_type;
	const char *data; /* len bytes */
	size_t len;
	struct digest digest;
	/* Config and layers, each with a file or a source. */
	const struct push_blob *blob;
	size_t n_blobs;
	struct base_registry *source; /* NULL: a layout */
};

/* All of it is the image's. */
const struct index_manifest *index_image_manifest(const struct index_image *m);

#endif
