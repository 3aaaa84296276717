/*
 * Reads one worker's copy of a layer as a stream of tar bytes, decoded where it
 * is compressed, and then as entries.  What it holds may be lies: nothing is
 * taken on trust, and memory does not grow with it.  One thread.
 */
#ifndef LAYER_COPY_H
#define LAYER_COPY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tar_header.h"

struct err;
struct layer_copy;

/* Where it lies; strings are borrowed until it is closed. */
struct layer_place {
	const char *worker; /* who made it */
	const char *path;
	uint64_t offset, size; /* bytes of the file */
	bool encoded;	       /* gzip or zstd, and not the tar itself */
	uint64_t most;	       /* tar bytes to read, whatever there is */
};

/* ERR_FATAL: it is not there, or cannot be read; so for all below. */
int layer_copy_open(
    const struct layer_place *place, struct layer_copy **out, struct err *e);
void layer_copy_free(struct layer_copy *c);
void layer_copy_freep(struct layer_copy **c);

/* len bytes, or fewer where it ends: *n. */
int layer_copy_read(
    struct layer_copy *c, void *out, size_t len, size_t *n, struct err *e);

/* How many tar bytes were read. */
uint64_t layer_copy_at(const struct layer_copy *c);

enum layer_field {
	LAYER_TYPE,
	LAYER_SIZE,
	LAYER_MODE,
	LAYER_UID,
	LAYER_GID,
	LAYER_MTIME,
	LAYER_UNAME,
	LAYER_GNAME,
	LAYER_DEVICE,
	LAYER_FIELDS
};

#define LAYER_FIELD_MAX 64

/* One entry: all of its header blocks, and what they say. */
struct layer_head {
	bool end;	    /* zeros: no more entries */
	uint64_t at;	    /* where it begins in the tar */
	const char *broken; /* what is wrong with it, or NULL; static */
	uint64_t content;   /* bytes that follow, without padding */
	size_t n;	    /* bytes of raw */
	char name[TAR_NAME_MAX + 1], link[TAR_NAME_MAX + 1];
	char field[LAYER_FIELDS][LAYER_FIELD_MAX];
	uint8_t raw[TAR_HEADER_MAX];
};

/* Reads the next head; it must be at the end of the entry before. */
int layer_copy_head(
    struct layer_copy *c, struct layer_head *out, struct err *e);

/* Reads past the content and padding of h, the head that was read last. */
int layer_copy_skip(
    struct layer_copy *c, const struct layer_head *h, struct err *e);

/* "mode"; static. */
const char *layer_field_name(enum layer_field field);

#endif
