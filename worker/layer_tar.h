/*
 * Writes a layer's tar into its sink, or only counts it: one reused buffer,
 * small enough for a core's own cache, into which files are read in place and
 * which goes down the sink while it is there.  One thread each.
 */
#ifndef LAYER_TAR_H
#define LAYER_TAR_H

#include <stdint.h>

struct err;
struct layer_progress;
struct layer_sink;
struct layer_spec;
struct layer_tar;
struct look_ahead;
struct nar_hash;
struct source_nar;
struct tar_entry;

/*
 * spec, sink and progress are borrowed.  sink is NULL to count only: then no
 * content is read.
 */
int layer_tar_new(const struct layer_spec *spec, struct layer_sink *sink,
    struct layer_progress *progress, struct layer_tar **out, struct err *e);
void layer_tar_free(struct layer_tar *lt);
void layer_tar_freep(struct layer_tar **lt);

/*
 * The next entry; owner and mtime are set by the caller.  A regular file's
 * content must follow.  Fails with ERR_RETRY, ECANCELED when cancelled.
 */
int layer_tar_header(
    struct layer_tar *lt, const struct tar_entry *entry, struct err *e);
/*
 * Content and padding: exactly size bytes from fd, which must then end.  nar,
 * if any, gets the content too, and la is told how far it is.  When only
 * counting fd is not used.  The error does not name the file.
 */
int layer_tar_content(struct layer_tar *lt, int fd, uint64_t size,
    struct nar_hash *nar, struct look_ahead *la, struct err *e);
/* The same for the NAR's current file. */
int layer_tar_content_nar(struct layer_tar *lt, struct source_nar *source,
    uint64_t size, struct err *e);
/* The two zero blocks and the padding of the last record. */
int layer_tar_end(struct layer_tar *lt, struct err *e);
/* The whole tar is size bytes of fd as they are. */
int layer_tar_copy(struct layer_tar *lt, int fd, uint64_t size, struct err *e);
/* Everything so far is in the sink after this. */
int layer_tar_flush(struct layer_tar *lt, struct err *e);

uint64_t layer_tar_size(const struct layer_tar *lt);
uint64_t layer_tar_entries(const struct layer_tar *lt);

#endif
