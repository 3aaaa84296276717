/*
 * A layer's way from tar to outputs: hashed, written into files, encoded,
 * hashed again, written to blobs or sent to a registry.  Where nothing is
 * encoded the tar is the blob and is hashed once.  One thread each; of a long
 * layer, a second one encodes and writes, with those of a crew that have
 * nothing else to do.
 */
#ifndef LAYER_SINK_H
#define LAYER_SINK_H

#include <stddef.h>

struct blob_stream;
struct encode_crew;
struct err;
struct layer_result;
struct layer_sink;
struct layer_spec;
struct write_behind;

/*
 * Opens all outputs.  spec and behind (or NULL) must outlive the sink; behind
 * is used by whichever thread writes.  crew, or NULL, helps to encode.
 * stream, or NULL: takes the blob in place of all outputs; borrowed.
 */
int layer_sink_new(const struct layer_spec *spec, struct write_behind *behind,
    struct encode_crew *crew, struct blob_stream *stream,
    struct layer_sink **out, struct err *e);
/* The tar's next bytes. */
int layer_sink_write(
    struct layer_sink *ls, const void *data, size_t len, struct err *e);
/*
 * The tar is complete and right: sets result's digests and sizes, makes the
 * blobs appear.
 */
int layer_sink_commit(
    struct layer_sink *ls, struct layer_result *result, struct err *e);
/* Unless committed nothing of the blobs is left. */
void layer_sink_free(struct layer_sink *ls);
void layer_sink_freep(struct layer_sink **ls);

#endif
