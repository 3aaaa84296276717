/*
 * What a manifest calls itself and its parts: OCI's media types, or those of
 * Docker's image manifest, version 2, schema 2.  Elsewhere layers have OCI's
 * names.  Pure.
 */
#ifndef IMAGE_FORMAT_H
#define IMAGE_FORMAT_H

#include <stdbool.h>

enum image_format { IMAGE_OCI, IMAGE_DOCKER };

#define IMAGE_INDEX_TYPE "application/vnd.oci.image.index.v1+json"

/* All are static. */
const char *image_format_manifest(enum image_format format);
const char *image_format_config(enum image_format format);

/* Of a layer that OCI calls oci_type; NULL: the format has none. */
const char *image_format_layer(enum image_format format, const char *oci_type);

/* OCI's name of a layer's media type, of either format; NULL: it is none. */
const char *image_format_oci_layer(const char *media_type);

/* The media type of a manifest or index, as a static; NULL: it is none. */
const char *image_format_known(const char *media_type);

/* Of either format. */
bool image_format_is_manifest(const char *media_type);
bool image_format_is_index(const char *media_type);

#endif
