/*
 * Decompresses .xz as it comes, in bounded memory: how much a stream wants is
 * up to who made it, 4 GiB and more, and libarchive sets no limit.  One thread
 * each.
 */
#ifndef XZ_STREAM_H
#define XZ_STREAM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct err;
struct xz_stream;

/* Twice what xz -9 makes it take, and zstd's own limit. */
#define XZ_STREAM_MEMORY ((uint64_t)128 << 20)

/* ERR_RETRY, as all failures here. */
int xz_stream_new(struct xz_stream **out, struct err *e);
void xz_stream_free(struct xz_stream *x);

/*
 * Takes *used of the len bytes at in, of which 0 are the end of the input, and
 * makes *made bytes, up to room, at out.  *ended: that is all, no call follows;
 * while it is false and nothing was made, more input is wanted.
 */
int xz_stream_run(struct xz_stream *x, const uint8_t *in, size_t len,
    size_t *used, uint8_t *out, size_t room, size_t *made, bool *ended,
    struct err *e);

#endif
