/*
 * Compression of a blob in chunks of fixed size, each a gzip member or zstd
 * frame of its own: the bytes depend on encoding, level, chunk size and library
 * version alone, and a chunk may be made anywhere.  An encoder belongs to one
 * thread at a time.
 */
#ifndef ENCODER_H
#define ENCODER_H

#include <stddef.h>

struct encoding;
struct err;
struct encoder;

/* encoding is checked, and not ENCODING_NONE. */
int encoder_new(
    const struct encoding *encoding, struct encoder **out, struct err *e);
void encoder_free(struct encoder *enc);
void encoder_freep(struct encoder **enc);

/* Input bytes of every chunk but the last. */
size_t encoder_chunk(const struct encoder *enc);

/*
 * Compresses one chunk of len bytes (no more than encoder_chunk, 0 allowed).
 * *out is the encoder's and holds until the next call.
 */
int encoder_run(struct encoder *enc, const void *data, size_t len,
    const void **out, size_t *out_len, struct err *e);

#endif
