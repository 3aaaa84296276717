/*
 * A folder of blobs named by the hex of their SHA-256.  A blob appears there
 * whole and durable (temp file, fsync, rename, fsync of the folder) or not at
 * all.  A writer belongs to one thread; any number of writers, in any number
 * of processes, may work on one folder.
 */
#ifndef BLOB_DIR_H
#define BLOB_DIR_H

#include <stddef.h>
#include <stdint.h>

#include "digest.h"

struct err;
struct blob_writer;
struct write_behind;

/*
 * Opens a temp file in folder, which must exist.  ERR_RETRY on failure.
 * behind is borrowed, or NULL.
 */
int blob_writer_new(const char *folder, struct write_behind *behind,
    struct blob_writer **out, struct err *e);
int blob_write(
    struct blob_writer *w, const void *data, size_t len, struct err *e);
/* The file, for one who writes into it by himself, and then says how much. */
int blob_writer_file(const struct blob_writer *w);
void blob_writer_wrote(struct blob_writer *w, uint64_t size);
/*
 * Makes what was written durable under its digest's name.  A blob of that
 * name that is there already is left alone.  After a failure the temp file is
 * gone and w can only be freed.
 */
int blob_commit(
    struct blob_writer *w, const struct digest *digest, struct err *e);
/* Removes the temp file unless committed. */
void blob_writer_free(struct blob_writer *w);
void blob_writer_freep(struct blob_writer **w);

#endif
