/*
 * The image config (its SHA-256 is the image ID), the manifest and the
 * docker-archive's manifest.json, byte for byte as Python's json.dumps writes
 * them.  Pure.
 */
#ifndef IMAGE_JSON_H
#define IMAGE_JSON_H

#include <stddef.h>

struct err;
struct image;

/*
 * Fills config_json, id, default_tag, tag (if NULL), manifest_json and
 * manifest_digest.  ERR_USAGE: a base config that is not what it should be,
 * or a base layer for which the format has no media type.
 */
int image_json_make(struct image *image, struct err *e);

/*
 * manifest.json of a docker-archive; layer_name[i] is the archive's name for
 * layer i, config_name the config's.  *out is the caller's to free.
 */
int image_json_docker_manifest(const struct image *image,
    const char *const *layer_name, const char *config_name, char **out,
    size_t *len, struct err *e);

/* index.json of an OCI layout that holds this image under its tag. */
int image_json_index(
    const struct image *image, char **out, size_t *len, struct err *e);

/* Frees what image_json_make made. */
void image_json_free(struct image *image);

#endif
