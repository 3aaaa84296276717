/*
 * A closure: store paths, their NAR hashes and sizes, and their references as
 * a graph of indices.  Store paths are sorted by their bytes, so an index is
 * also an order.  Self-references are dropped.  A closure is immutable once
 * made and owns all it points to; any thread may read it.
 *
 * Memory for n paths and m references: about n * (length + 60) + 4 * m bytes.
 */
#ifndef CLOSURE_H
#define CLOSURE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "digest.h"

struct err;

/* More paths, references or bytes than these are refused as absurd. */
#define CLOSURE_PATHS_MAX ((size_t)16 << 20)
#define CLOSURE_REFS_MAX ((size_t)1 << 30)
#define CLOSURE_NAR_SIZE_MAX ((uint64_t)1 << 50)
#define CLOSURE_NAR_SIZE_SUM_MAX ((uint64_t)1 << 62)

struct closure {
	char *store_dir;
	size_t n;
	const char **path;	 /* n, ascending by bytes */
	struct digest *nar_hash; /* n, or NULL where the file has none */
	uint64_t *nar_size;	 /* n, bytes; or NULL */
	size_t *ref_start;	 /* n + 1: ref[ref_start[i]..ref_start[i+1]) */
	uint32_t *ref;		 /* ascending within a path, no duplicates */
	struct closure_arena *arena; /* holds the strings */
};

void closure_free(struct closure *c);
void closure_freep(struct closure **c);

/* The index of path, or SIZE_MAX. */
size_t closure_find(const struct closure *c, const char *path);

/*
 * The index of the path whose hash part is the 32 bytes at hash, or SIZE_MAX.
 */
size_t closure_find_hash(const struct closure *c, const char *hash);

/*
 * Keeps what can be reached from the n roots (indices) and renumbers.
 * Moves *c: on success *c is the smaller closure.
 */
int closure_retain(
    struct closure **c, const uint32_t *roots, size_t n, struct err *e);

/*
 * A new closure of what can be reached from the n roots (indices); its strings
 * are those of `from`, which must outlive it.
 */
int closure_reach(const struct closure *from, const uint32_t *roots, size_t n,
    struct closure **out, struct err *e);

/*
 * Building one: paths come in any order and may be referred to before they
 * are added.  References may lack the store directory (HASH-NAME alone).
 * Two paths with one hash part are refused: Nix has no such.
 */
struct closure_builder;

struct closure_text {
	const char *s;
	size_t len;
};

/* For error messages: the beginning of *t, what is not printable as '*'. */
#define CLOSURE_SHOWN_MAX 320
const char *closure_text_show(
    const struct closure_text *t, char buf[static CLOSURE_SHOWN_MAX]);

struct closure_entry {
	struct closure_text path; /* with or without the store directory */
	bool has_hash, has_size;
	struct digest nar_hash;
	uint64_t nar_size;
	const struct closure_text *refs;
	size_t n_refs;
};

int closure_builder_new(
    const char *store_dir, struct closure_builder **out, struct err *e);
void closure_builder_freep(struct closure_builder **b);

/*
 * Adds a path.  ERR_USAGE: not a store path, the same path twice, narSize out
 * of range, one entry with and another without hash or size.  After an error
 * the builder can only be freed.
 */
int closure_add(struct closure_builder *b, const struct closure_entry *entry,
    struct err *e);

/*
 * From here on, paths that were added before may be added once more, with
 * the same hash, size and references: another graph of the same store.
 */
void closure_builder_next_graph(struct closure_builder *b);

/*
 * Moves what was added into *out.  ERR_USAGE: a reference to a path that was
 * not added (names both); no path at all is a closure of none.
 */
int closure_finish(
    struct closure_builder **b, struct closure **out, struct err *e);

#endif
