/*
 * An upload in parts (distribution-spec: POST, PATCH and PATCH, PUT), of a blob
 * whose digest is known at its end alone.  A part stays the caller's until it
 * was taken: where an answer got lost, or a connection broke, the registry is
 * asked how much it has, and gets the rest of that part.
 *
 *	begun -> put* -> ended
 *	   \------\--> refused	it takes no parts, or none so small
 *	    \------\-> broken	parts that it had are lost, or nothing helps
 *
 * A call that failed since the token ended (ERR_RETRY, sys EACCES) may be made
 * again, with another registry that has a new one.  One thread at a time.
 */
#ifndef REGISTRY_STREAM_H
#define REGISTRY_STREAM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct digest;
struct err;
struct registry;

/* Bytes of a PATCH: at first; where that is too much half as many, down to */
#define REGISTRY_STREAM_PART ((size_t)8 << 20)
#define REGISTRY_STREAM_PART_MIN ((size_t)1 << 20)
/* A registry that wants larger ones (OCI-Chunk-Min-Length) is refused. */
#define REGISTRY_STREAM_PART_MAX ((size_t)32 << 20)

struct registry_stream {
	char *url;     /* where it goes on; NULL: not begun */
	uint64_t have; /* bytes that the registry has */
	size_t least;  /* of all parts but the last */
	size_t most;   /* of a PATCH; 0: REGISTRY_STREAM_PART */
	bool any;      /* it has taken a part */
	bool refused;  /* why a call failed: it takes no such uploads */
};

/* After it, least is known. */
int registry_stream_begin(
    struct registry *r, struct registry_stream *s, struct err *e);

/*
 * The len bytes from `at` on, which follow those of the call before.  All but
 * the last call's are s->least or more.
 */
int registry_stream_put(struct registry *r, struct registry_stream *s,
    const void *data, size_t len, uint64_t at, struct err *e);

/* All is put: the blob is there then. */
int registry_stream_end(struct registry *r, struct registry_stream *s,
    const struct digest *digest, uint64_t size, struct err *e);

/* Nobody goes on with it.  That it stays open there does no harm. */
void registry_stream_give_up(struct registry *r, struct registry_stream *s);
void registry_stream_clear(struct registry_stream *s);

#endif
