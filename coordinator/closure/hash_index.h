/*
 * Finds things by their hash: an open table of (hash, value) pairs, where a
 * value is what the caller knows the thing by, an index mostly.  Things with
 * the same hash are told apart by the caller, who walks over the candidates:
 *
 *	for (v = hash_index_first(x, hash, &at); v != HASH_INDEX_NONE;
 *	    v = hash_index_next(x, hash, &at))
 *
 * Pure, one thread.  A struct of zeros is an empty table.
 */
#ifndef HASH_INDEX_H
#define HASH_INDEX_H

#include <stddef.h>
#include <stdint.h>

#define HASH_INDEX_NONE UINT32_MAX

struct hash_index {
	struct hash_slot *slot;
	size_t n, room; /* room: a power of two, more than n */
	uint64_t looks; /* slots that were looked at, in all: for tests */
};

/* Makes room for n values in all; -1: out of memory, nothing changed. */
int hash_index_reserve(struct hash_index *x, size_t n);
void hash_index_free(struct hash_index *x);

/* There must be room. */
void hash_index_put(struct hash_index *x, uint64_t hash, uint32_t value);

/* The pair must be there. */
void hash_index_remove(struct hash_index *x, uint64_t hash, uint32_t value);
void hash_index_change(
    struct hash_index *x, uint64_t hash, uint32_t value, uint32_t to);

/* *at is the walk's; nothing may be put or removed during it. */
uint32_t hash_index_first(struct hash_index *x, uint64_t hash, size_t *at);
uint32_t hash_index_next(struct hash_index *x, uint64_t hash, size_t *at);

/* Of bytes that a peer may choose: the seed must be secret. */
uint64_t hash_bytes(uint64_t seed, const void *data, size_t len);
uint64_t hash_number(uint64_t seed, uint64_t number);

#endif
