/*
 * How layer blobs are compressed: the choice, its spelling on the command
 * line ("none", "gzip", "zstd:3") and its OCI media type.  The bytes of a
 * blob depend on encoding, level, chunk size and library version alone.
 */
#ifndef ENCODING_H
#define ENCODING_H

#include <stddef.h>

struct err;

enum encoding_kind { ENCODING_NONE = 0, ENCODING_GZIP = 1, ENCODING_ZSTD = 2 };
#define ENCODING_KINDS 3

/* Input bytes of one gzip member and of one zstd frame. */
#define ENCODING_GZIP_CHUNK ((size_t)1 << 20)
#define ENCODING_ZSTD_CHUNK ((size_t)4 << 20)

#define ENCODING_GZIP_LEVEL 1
#define ENCODING_ZSTD_LEVEL 3

struct encoding {
	enum encoding_kind kind;
	int level; /* 0 for none; gzip 1 to 12 (libdeflate), zstd 1 to 19 */
};

/* Reads "KIND" or "KIND:LEVEL".  Error: ERR_USAGE. */
int encoding_parse(const char *s, struct encoding *out, struct err *e);

/* Whether kind and level are in range, for values from a message. */
int encoding_check(const struct encoding *enc, struct err *e);

/* "none", "gzip", "zstd"; static. */
const char *encoding_name(enum encoding_kind kind);

/* application/vnd.oci.image.layer.v1.tar[+gzip|+zstd]; static. */
const char *encoding_media_type(enum encoding_kind kind);

#endif
