/*
 * A file of a base image for libarchive, decompressed on the way if it is xz:
 * libarchive would take as much memory for that as the file asks for.  One
 * thread.
 */
#ifndef BASE_INPUT_H
#define BASE_INPUT_H

#include <stdbool.h>
#include <stdint.h>

struct archive;
struct base_input;
struct err;

/* ERR_USAGE: the file cannot be read. */
int base_input_open(const char *path, struct base_input **out, struct err *e);
void base_input_freep(struct base_input **in);

/*
 * Whatever libarchive reads but xz and lzma, whose memory it does not bound:
 * the filters, and the file itself.  a reads from `in` from then on, which
 * stays the caller's and lives longer.  ERR_USAGE: what libarchive says.
 */
int base_input_attach(struct base_input *in, struct archive *a, struct err *e);

/* Bytes of the file that were read so far. */
uint64_t base_input_bytes(const struct base_input *in);
bool base_input_is_xz(const struct base_input *in);

/* Why reading from a failed: the decompressor's words, or libarchive's. */
const char *base_input_reason(const struct base_input *in, struct archive *a);

#endif
