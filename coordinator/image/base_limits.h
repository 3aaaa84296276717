/*
 * What a base image may be at most.  Real ones are far below; hostile ones
 * would fill memory or disk.
 */
#ifndef BASE_LIMITS_H
#define BASE_LIMITS_H

#include <stddef.h>
#include <stdint.h>

struct base_image;
struct base_source;
struct err;
struct scratch;

struct base_limits {
	uint64_t bytes;	     /* of members, and again of unpacked layers */
	uint64_t entries;    /* members of the archive */
	uint64_t header;     /* bytes of one member's headers */
	uint64_t ratio;	     /* unpacked bytes a stored byte... */
	uint64_t ratio_free; /* ...once so many are unpacked */
	size_t json;	     /* bytes of one JSON file */
	size_t json_depth;
	size_t layers;
};

#define BASE_LIMITS_DEFAULT                                                    \
	{                                                                      \
		.bytes = (uint64_t)1 << 40, .entries = 100000,                 \
		.header = (uint64_t)4 << 20, .ratio = 500,                     \
		.ratio_free = (uint64_t)64 << 20, .json = (size_t)4 << 20,     \
		.json_depth = 64, .layers = 10000                              \
	}

#define BASE_NAME_MAX 4096 /* bytes of a member's name or link */
#define BASE_LINKS_MAX 8   /* links from one name to the file */
#define BASE_INDEXES_MAX 4 /* an index in an index in an index */

/* base_image_open() with other limits than the default. */
int base_image_open_within(const struct base_source *source,
    struct scratch *scratch, const struct base_limits *limits,
    struct base_image **out, struct err *e);

#endif
