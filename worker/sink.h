/*
 * Where bytes go: a chain of small stages, each of which does one thing with
 * what passes (hash it, encode it, write it) and hands it on.  A sink owns what
 * comes after it.  After a failure it can only be freed.  One thread each, but
 * for sink_async_new.
 */
#ifndef SINK_H
#define SINK_H

#include <stddef.h>
#include <stdint.h>

struct blob_stream;
struct blob_writer;
struct digest;
struct encode_crew;
struct encoding;
struct err;
struct sink;
struct write_behind;

int sink_write(struct sink *s, const void *data, size_t len, struct err *e);
/* No more bytes come: empties buffers, checks sizes, down the chain. */
int sink_close(struct sink *s, struct err *e);
void sink_free(struct sink *s);
void sink_freep(struct sink **s);

/*
 * Hashes; next may be NULL.  *digest and *size, which must outlive the sink,
 * are set by close.  Takes next in any case, as all of these do.
 */
int sink_hash_new(struct sink *next, struct digest *digest, uint64_t *size,
    struct sink **out, struct err *e);

/* Encodes, in chunks of the encoding's size; crew (or NULL) helps. */
int sink_encode_new(struct sink *next, const struct encoding *encoding,
    struct encode_crew *crew, struct sink **out, struct err *e);

/* Hands on to each of n sinks in turn; at most SINK_TEE_MAX. */
#define SINK_TEE_MAX 16
int sink_tee_new(
    struct sink **next, size_t n, struct sink **out, struct err *e);

/*
 * Lets what comes after it run in a thread of its own once a few MiB have
 * passed.  What fails there is told by a later write or by close.
 */
int sink_async_new(struct sink *next, struct sink **out, struct err *e);

/*
 * Writes into an existing file from offset on, to the byte as much as size
 * says (UINT64_MAX: as comes, and the file ends there).  Not durable.  behind
 * is borrowed, or NULL.
 */
int sink_file_new(const char *path, uint64_t offset, uint64_t size,
    struct write_behind *behind, struct sink **out, struct err *e);

/* Writes to a blob writer, which is borrowed; committing is its owner's. */
int sink_blob_new(struct blob_writer *w, struct sink **out, struct err *e);

/* The same with a blob's way into a registry. */
int sink_stream_new(struct blob_stream *b, struct sink **out, struct err *e);

#endif
