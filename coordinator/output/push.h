/*
 * One image to one repository: several blobs at a time, each looked for first,
 * then all confirmed, and then the manifest.  How it is to be reached and who
 * asks is found out when it is opened, before any work is done.
 *
 * One thread calls; PUSH_THREADS others work while push_image runs.
 */
#ifndef PUSH_H
#define PUSH_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "digest.h"
#include "registry.h"
#include "registry/registry_options.h"

struct base_registry;
struct err;
struct push;
struct registry_place_lent;

#define PUSH_THREADS 4 /* uploads at once; fewer where it says: too many */

/* name: HOST[:PORT]/REPOSITORY[:TAG]; not kept.  ERR_USAGE, ERR_FATAL. */
int push_open(const char *name, const struct registry_options *options,
    struct push **out, struct err *e);
/* The same, and nothing is asked in the repository yet. */
int push_prepare(const char *name, const struct registry_options *options,
    struct push **out, struct err *e);
void push_free(struct push *p);
void push_freep(struct push **p);

/* The tag that was named, or "". */
const char *push_tag(const struct push *p);

/* Which registry ("https://HOST[:PORT]") and repository. */
const char *push_base(const struct push *p);
const char *push_repo(const struct push *p);

struct push_blob {
	struct digest digest;
	uint64_t size;
	const char *file; /* that holds it; borrowed; or NULL: */
	const void *data; /* or NULL: only the registry has it */
	/* Another repository of the registry that has it, or NULL; borrowed. */
	const char *from;
	/* Of another registry's image, which has it, or NULL; borrowed. */
	struct base_registry *source;
};

struct push_image {
	const struct push_blob *blob; /* a digest may be there twice */
	size_t n_blobs;
	const char *tag;
	const char *media_type;
	const void *manifest;
	size_t manifest_len;
	struct digest manifest_digest;
};

struct push_counts {
	size_t there, mounted, uploaded; /* blobs, each digest once */
	uint64_t mounted_bytes, uploaded_bytes;
};

/* A session for one thread; as registry_place_session. */
int push_session(struct push *p, const atomic_bool *cancel,
    struct registry **out, struct err *e);
/* That session, another push's, is p's from now on; false: it cannot be. */
bool push_resume(const struct push *p, const struct push *other,
    struct registry *session, struct err *e);
/* What a worker is told that is to push there, as registry_place_lend. */
int push_lend(
    const struct push *p, struct registry_place_lent *out, struct err *e);

/* Which of the blobs are not there, several looked for at a time. */
int push_lost(struct push *p, const struct push_blob *blob, size_t n,
    bool *lost, struct err *e);

/*
 * That blob is there, and how it got there, by a worker or mounted, which the
 * next push_image to that repository counts; others may mount it from there.
 * Out of memory: it is counted as one that was there.  Any thread.
 */
void push_note(
    struct push *p, const struct digest *digest, enum registry_way way);

/* Another repository there that a run before has seen it in, maybe, or NULL. */
const char *push_hint(const struct push *p, const struct digest *digest);

/*
 * The image is under its tag then, or -1 (ERR_FATAL) and what was under it
 * still is; blobs may be there already.
 */
int push_image(struct push *p, const struct push_image *image,
    struct push_counts *counts, struct err *e);

#endif
