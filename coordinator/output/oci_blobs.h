/*
 * The blobs of an OCI image layout: where they lie, and where a layer's blob
 * is found when a layout or archive is put together.  Usable in any thread.
 */
#ifndef OCI_BLOBS_H
#define OCI_BLOBS_H

struct digest;
struct err;
struct image_layer;

#define OCI_LAYOUT_JSON "{\"imageLayoutVersion\":\"1.0.0\"}"

/* Makes folder/blobs/sha256, whose path *blobs is then; the caller's. */
int oci_blobs_make(const char *folder, char **blobs, struct err *e);

/* *path: the file of a blob, the caller's. */
int oci_blobs_path(
    const char *blobs, const struct digest *digest, char **path, struct err *e);

/*
 * *path: the file that holds a layer's blob, its own (image_layer.file) or the
 * one in blobs; the caller's.  ERR_FATAL: it is not there, or not as large as
 * the layer's result says.
 */
int oci_blobs_find(const struct image_layer *layer, const char *blobs,
    char **path, struct err *e);

#endif
