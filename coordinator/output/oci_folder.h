/*
 * An OCI image layout that is put together in a staging folder beside its
 * place, and appears there whole or not at all; what was there before is
 * replaced only then, and only if it is a layout.  One thread.
 */
#ifndef OCI_FOLDER_H
#define OCI_FOLDER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct digest;
struct err;
struct oci_folder;
struct scratch;

/* ERR_USAGE: there is something else at that place. */
int oci_folder_open(const char *place, struct scratch *scratch,
    struct oci_folder **out, struct err *e);
/* Gives up what was not committed. */
void oci_folder_free(struct oci_folder *f);
void oci_folder_freep(struct oci_folder **f);

/* Where blobs are written; the folder's, another one after the commit. */
const char *oci_folder_blobs(const struct oci_folder *f);

/* A blob from memory, and one that is in a file elsewhere. */
int oci_folder_put(struct oci_folder *f, const struct digest *digest,
    const void *data, size_t len, struct err *e);
int oci_folder_copy(struct oci_folder *f, const char *file,
    const struct digest *digest, uint64_t size, struct err *e);

/* As a further name of a file that is durable; false: that cannot be. */
bool oci_folder_link(
    struct oci_folder *f, const char *file, const struct digest *digest);

/* A blob that is there may be read by whoever may read the layout. */
int oci_folder_open_up(
    struct oci_folder *f, const struct digest *digest, struct err *e);

/* Writes oci-layout and index.json, syncs all and puts it in its place. */
int oci_folder_commit(
    struct oci_folder *f, const char *index, size_t len, struct err *e);

#endif
