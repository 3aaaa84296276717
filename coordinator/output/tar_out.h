/*
 * The archive that an output writes: a tar with Python's tarfile's headers,
 * into a temporary file beside its place that is renamed there at the end, or
 * straight into a stream (standard output, a FIFO, a device).  Entries have
 * the owner 0 and one time.  One thread.
 */
#ifndef TAR_OUT_H
#define TAR_OUT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct err;
struct scratch;
struct tar_out;

/* path "-" is standard output.  ERR_USAGE: a place that cannot be written. */
int tar_out_open(const char *path, struct scratch *scratch,
    struct tar_out **out, struct err *e);
/* Gives up what was not committed. */
void tar_out_free(struct tar_out *t);
void tar_out_freep(struct tar_out **t);

/* The file that is being written, NULL for a stream; borrowed. */
const char *tar_out_file(const struct tar_out *t);

/* A folder for temporary files that will be copied into it; borrowed. */
const char *tar_out_near(const struct tar_out *t);

/* How many bytes the header of a regular file of that size takes. */
size_t tar_out_header_size(const char *name, uint64_t size, int64_t mtime);

/* The time of all entries; before the first. */
void tar_out_set_mtime(struct tar_out *t, int64_t mtime);

int tar_out_folder(struct tar_out *t, const char *name, struct err *e);
int tar_out_data(struct tar_out *t, const char *name, const void *data,
    size_t len, struct err *e);
/* An entry with the content of a file of exactly that size. */
int tar_out_copy(struct tar_out *t, const char *name, const char *file,
    uint64_t size, struct err *e);
/* An entry whose content somebody wrote into tar_out_file() already. */
int tar_out_skip(
    struct tar_out *t, const char *name, uint64_t size, struct err *e);

/* Ends the archive, makes it durable and puts it in its place. */
int tar_out_commit(struct tar_out *t, struct err *e);

#endif
