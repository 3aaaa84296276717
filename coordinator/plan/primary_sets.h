/*
 * Sets of primaries, each with the number of store paths that carry it: equal
 * sets are one.  A set is named by its index.  Index 0 is the empty set.  A
 * primary is named by the number of the step that took it; members ascend.
 * Owns its sets; one thread.
 */
#ifndef PRIMARY_SETS_H
#define PRIMARY_SETS_H

#include <stddef.h>
#include <stdint.h>

struct err;

struct primary_set {
	uint32_t *member;
	size_t n;
	size_t paths;	  /* how many carry it */
	uint32_t next;	  /* in its bucket, or among the free ones */
	uint32_t step;	  /* of the step that last looked at it: */
	uint32_t becomes; /* what the step makes of it */
};

struct primary_sets {
	struct primary_set *set;
	size_t n, room;
	size_t carried; /* sets that a path carries */
	uint32_t *bucket;
	size_t n_buckets; /* a power of two */
	uint32_t free;
};

/* For about expected sets; paths paths carry the empty one. */
int primary_sets_init(
    struct primary_sets *s, size_t expected, size_t paths, struct err *e);
void primary_sets_clear(struct primary_sets *s);

/* The set of these members; made if there is none.  May move s->set. */
int primary_sets_find(struct primary_sets *s, const uint32_t *member, size_t n,
    uint32_t *out, struct err *e);

/* One path goes from one set to another. */
void primary_sets_move(struct primary_sets *s, uint32_t from, uint32_t to);

/* Forgets a set if no path carries it. */
void primary_sets_release(struct primary_sets *s, uint32_t set);

#endif
