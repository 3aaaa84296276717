#include "plan/popularity.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "text/bignum.h"
#include "err.h"
#include "own.h"
#include "plan/topo.h"

#define BLOCK 256 /* sources swept at once: one bit of a mask each */
#define MASK_WORDS (BLOCK / 64)
#define MASK_BYTES (BLOCK / 8)

#define DROPPED UINT32_MAX /* a reference that is not needed */

typedef unsigned __int128 uint128;

/* A vector, so that a mask is added to another in one or two steps. */
typedef uint64_t words __attribute__((vector_size(BLOCK / 8), aligned(8)));

struct mask {
	words word;
};

/* Sums of ways for each value that a byte of a mask can have. */
#define TABLE_SIZE ((size_t)MASK_BYTES * 256)

/* References of the block's sources, by their place after the first. */
struct direct {
	uint32_t *next; /* one more to the same position, from 1; or 0 */
	uint8_t *bit;	/* its source in the mask */
};

/* What is known of a position; together, since a visit needs it all. */
struct place {
	size_t start;	   /* its references in topo.ref */
	uint32_t degree;   /* how many are left */
	uint32_t referred; /* a direct reference to it, from 1; or 0 */
};

struct sweep {
	struct topo *topo;
	size_t first, n;   /* the block's sources */
	struct mask *mask; /* by position: sources that reach it */
	uint64_t *active;  /* bit by position: to be visited */
	struct place *place;
	struct direct direct;

	size_t limbs;
	size_t table_limbs; /* in use in this block's tables */
	uint64_t *ways;	    /* N, by position */
	uint64_t *value;    /* popularity, by position */
	uint64_t *table;    /* by byte of the mask, by its value */
	struct mask all;    /* all sources of the block, */
	uint64_t *total;    /* and the sum of their ways */
};

void
popularity_free(struct popularity *p)
{
	if (p == NULL)
		return;
	free(p->value);
	free(p);
}

void
popularity_freep(struct popularity **p)
{
	popularity_free(*p);
	*p = NULL;
}

static void
sweep_clear(struct sweep *s)
{
	free(s->mask);
	free(s->active);
	free(s->place);
	free(s->direct.next);
	free(s->direct.bit);
	free(s->ways);
	free(s->value);
	free(s->table);
	free(s->total);
}

/* Positions without a referrer: bit by position. */
static void
find_roots(const struct topo *t, uint64_t *roots)
{
	memset(roots, 0xff, (t->n + 63) / 64 * 8);
	for (size_t k = 0; k < t->start[t->n]; k++)
		roots[t->ref[k] / 64] &= ~(UINT64_C(1) << (t->ref[k] % 64));
}

static bool
bit_get(const uint64_t *bits, size_t i)
{
	return (bits[i / 64] >> (i % 64) & 1) != 0;
}

/*
 * How many limbs the sum of all ways takes: no popularity, and no sum on the
 * way to one, is larger.
 */
static int
count_limbs(
    const struct topo *t, const uint64_t *roots, size_t *limbs, struct err *e)
{
	AUTO(own_freep) struct bignum_bound *ways = NULL;
	struct bignum_bound sum = {0};
	uint64_t bytes, bits;

	if ((ways = calloc(t->n, sizeof(*ways))) == NULL)
		return err_set(e, ERR_FATAL, errno, "popularity");
	for (size_t p = 0; p < t->n; p++) {
		if (bit_get(roots, p))
			ways[p].m = 1;
		bignum_bound_add(&sum, &ways[p]);
		for (size_t k = t->start[p]; k < t->start[p + 1]; k++)
			bignum_bound_add(&ways[t->ref[k]], &ways[p]);
	}
	bits = bignum_bound_bits(&sum);
	*limbs = (size_t)((bits + 63) / 64);
	if (__builtin_mul_overflow(
		(uint64_t)*limbs * 8, 2 * t->n + TABLE_SIZE, &bytes) ||
	    bytes > POPULARITY_BYTES_MAX)
		return err_set(e, ERR_USAGE, 0,
		    "popularity: %zu store paths with numbers of %llu bits "
		    "need more than %llu MiB of memory; the strategy 'size' "
		    "does not",
		    t->n, (unsigned long long)bits,
		    (unsigned long long)(POPULARITY_BYTES_MAX >> 20));
	return 0;
}

/* Without the limbs that are 0. */
static size_t
used_limbs(const uint64_t *value, size_t limbs)
{
	while (limbs > 1 && value[limbs - 1] == 0)
		limbs--;
	return limbs;
}

static void
count_ways(struct sweep *s, const uint64_t *roots)
{
	const struct topo *t = s->topo;
	size_t limbs = s->limbs;

	for (size_t p = 0; p < t->n; p++) {
		uint64_t *ways = s->ways + p * limbs;
		size_t used;

		if (bit_get(roots, p))
			ways[0] = 1;
		used = used_limbs(ways, limbs);
		for (size_t k = t->start[p]; k < t->start[p + 1]; k++)
			bignum_add(s->ways + t->ref[k] * limbs, ways, used);
	}
}

/* The sum for a byte is that without its lowest bit, and that bit's source. */
static void
fill_tables(struct sweep *s)
{
	static const uint64_t absent[1] = {0};
	const uint64_t *ways = s->ways + s->first * s->limbs;
	size_t limbs = s->limbs, used;

	memset(s->total, 0, limbs * sizeof(*s->total));
	memset(&s->all, 0, sizeof(s->all));
	for (size_t i = 0; i < s->n; i++) {
		s->all.word[i / 64] |= UINT64_C(1) << (i % 64);
		bignum_add(s->total, ways + i * limbs, limbs);
	}
	used = used_limbs(s->total, limbs);
	s->table_limbs = used;
	for (size_t byte = 0; byte < MASK_BYTES; byte++) {
		uint64_t *table = s->table + byte * 256 * limbs;

		for (size_t v = 1; v < 256; v++) {
			size_t i = byte * 8 + (size_t)__builtin_ctzll(v);
			bool there = i < s->n;

			memcpy(table + v * limbs, table + (v & (v - 1)) * limbs,
			    used * sizeof(*table));
			bignum_add(table + v * limbs,
			    there ? ways + i * limbs : absent,
			    there ? used : 1);
		}
	}
}

static uint64_t
sum_64(const struct sweep *s, const struct mask *m)
{
	const uint64_t *t = s->table;
	uint64_t sum = 0;

	for (size_t i = 0; i < MASK_WORDS; i++, t += 8 * 256) {
		uint64_t w = m->word[i];

		if (w == 0)
			continue;
		sum += t[w & 255] + t[0x100 + (w >> 8 & 255)] +
		    t[0x200 + (w >> 16 & 255)] + t[0x300 + (w >> 24 & 255)] +
		    t[0x400 + (w >> 32 & 255)] + t[0x500 + (w >> 40 & 255)] +
		    t[0x600 + (w >> 48 & 255)] + t[0x700 + (w >> 56)];
	}
	return sum;
}

static uint128
sum_128(const struct sweep *s, const struct mask *m)
{
	const uint128 *table = (const uint128 *)s->table;
	uint128 sum = 0;

	for (size_t i = 0; i < MASK_WORDS; i++, table += 8 * 256) {
		uint64_t w = m->word[i];

		for (size_t byte = 0; w != 0; byte++, w >>= 8)
			sum += table[byte * 256 + (w & 255)];
	}
	return sum;
}

static void
add_sum(const struct sweep *s, const struct mask *m, uint64_t *sum)
{
	size_t limbs = s->limbs, used = s->table_limbs;

	if (memcmp(m, &s->all, sizeof(*m)) == 0) {
		bignum_add(sum, s->total, used);
		return;
	}
	for (size_t i = 0; i < MASK_WORDS; i++) {
		const uint64_t *table = s->table + i * 8 * 256 * limbs;

		for (uint64_t w = m->word[i]; w != 0; w >>= 8) {
			if ((w & 255) != 0)
				bignum_add(
				    sum, table + (w & 255) * limbs, used);
			table += 256 * limbs;
		}
	}
}

/* Adds the ways of all sources in the mask to what position p has. */
static void
add_sources(struct sweep *s, size_t p, const struct mask *m)
{
	if (s->limbs == 1)
		s->value[p] += sum_64(s, m);
	else if (s->limbs == 2)
		((uint128 *)s->value)[p] += sum_128(s, m);
	else
		add_sum(s, m, s->value + p * s->limbs);
}

/* Hands the mask to what p refers to. */
static void
push(struct sweep *s, size_t p, const struct mask *m)
{
	/* Locals: the compiler cannot know that masks are none of these. */
	const uint32_t *ref = s->topo->ref + s->place[p].start;
	const uint32_t *end = ref + s->place[p].degree;
	struct mask *mask = s->mask;
	uint64_t *active = s->active;
	words word = m->word;

	for (; ref < end; ref++) {
		mask[*ref].word |= word;
		active[*ref / 64] |= UINT64_C(1) << (*ref % 64);
	}
}

/*
 * A source hands on what reaches it, but leaves a note in place of its own
 * bit.
 */
static void
push_source(struct sweep *s, size_t p, struct mask m)
{
	const struct topo *t = s->topo;
	size_t bit = p - s->first, base = s->place[s->first].start;

	m.word[bit / 64] &= ~(UINT64_C(1) << (bit % 64));
	push(s, p, &m);
	for (size_t k = s->place[p].start;
	     k < s->place[p].start + s->place[p].degree; k++) {
		s->direct.next[k - base] = s->place[t->ref[k]].referred;
		s->direct.bit[k - base] = (uint8_t)bit;
		s->place[t->ref[k]].referred = (uint32_t)(k - base + 1);
	}
}

/*
 * Sources that refer to p directly.  One that is in the mask already comes
 * by another way: then its reference changes nothing for those above it.
 */
static void
add_direct(struct sweep *s, size_t p, struct mask *m)
{
	uint32_t *ref = s->topo->ref + s->place[s->first].start;

	for (size_t k = s->place[p].referred; k > 0;
	     k = s->direct.next[k - 1]) {
		size_t w = s->direct.bit[k - 1] / 64;
		uint64_t bit = UINT64_C(1) << (s->direct.bit[k - 1] % 64);

		if ((m->word[w] & bit) != 0)
			ref[k - 1] = DROPPED;
		m->word[w] |= bit;
	}
	s->place[p].referred = 0;
}

static void
visit(struct sweep *s, size_t p)
{
	struct mask m = s->mask[p];

	memset(&s->mask[p], 0, sizeof(s->mask[p]));
	if (s->place[p].referred != 0)
		add_direct(s, p, &m);
	if (p < s->first + s->n)
		push_source(s, p, m);
	else
		push(s, p, &m);
	add_sources(s, p, &m);
}

static void
forget_dropped(struct sweep *s)
{
	for (size_t p = s->first; p < s->first + s->n; p++) {
		uint32_t *ref = s->topo->ref + s->place[p].start;
		uint32_t left = 0;

		for (size_t k = 0; k < s->place[p].degree; k++)
			if (ref[k] != DROPPED)
				ref[left++] = ref[k];
		s->place[p].degree = left;
	}
}

/* All references go forward: one pass over the positions reaches all. */
static void
sweep_block(struct sweep *s)
{
	size_t n_words = (s->topo->n + 63) / 64;

	for (size_t i = 0; i < s->n; i++) {
		size_t p = s->first + i;

		s->mask[p].word[i / 64] = UINT64_C(1) << (i % 64);
		s->active[p / 64] |= UINT64_C(1) << (p % 64);
	}
	for (size_t w = s->first / 64; w < n_words; w++) {
		while (s->active[w] != 0) {
			size_t bit = (size_t)__builtin_ctzll(s->active[w]);

			s->active[w] &= s->active[w] - 1;
			visit(s, w * 64 + bit);
		}
	}
	forget_dropped(s);
}

/* Room for the references of any block. */
static int
direct_alloc(struct sweep *s, struct err *e)
{
	const struct topo *t = s->topo;
	size_t most = 0;

	for (size_t first = 0; first < t->n; first += BLOCK) {
		size_t end = first + BLOCK < t->n ? first + BLOCK : t->n;

		if (t->start[end] - t->start[first] > most)
			most = t->start[end] - t->start[first];
	}
	if (most >= UINT32_MAX)
		return err_set(e, ERR_USAGE, 0,
		    "popularity: %zu references of %d store paths are too many",
		    most, BLOCK);
	if ((s->direct.next = calloc(most + 1, 4)) == NULL ||
	    (s->direct.bit = calloc(most + 1, 1)) == NULL)
		return err_set(e, ERR_FATAL, errno, "popularity");
	return 0;
}

static int
sweep_alloc(struct sweep *s, struct err *e)
{
	const struct topo *t = s->topo;
	size_t limbs = s->limbs;

	if ((s->mask = calloc(t->n, sizeof(*s->mask))) == NULL ||
	    (s->active = calloc(t->n / 64 + 1, 8)) == NULL ||
	    (s->place = calloc(t->n, sizeof(*s->place))) == NULL ||
	    (s->ways = calloc(t->n * limbs, 8)) == NULL ||
	    (s->value = calloc(t->n * limbs, 8)) == NULL ||
	    (s->table = calloc(TABLE_SIZE * limbs, 8)) == NULL ||
	    (s->total = calloc(limbs, 8)) == NULL)
		return err_set(e, ERR_FATAL, errno, "popularity");
	for (size_t p = 0; p < t->n; p++) {
		s->place[p].start = t->start[p];
		s->place[p].degree = (uint32_t)(t->start[p + 1] - t->start[p]);
	}
	return direct_alloc(s, e);
}

/*
 * From the last block to the first: each leaves fewer references to those
 * before it.
 */
static void
sweep_all(struct sweep *s)
{
	size_t n = s->topo->n;

	for (size_t end = n; end > 0; end = s->first) {
		s->first = (end - 1) / BLOCK * BLOCK;
		s->n = end - s->first;
		fill_tables(s);
		sweep_block(s);
	}
}

int
popularity_make(struct topo *t, struct popularity **out, struct err *e)
{
	AUTO(popularity_freep) struct popularity *p = NULL;
	AUTO(own_freep) uint64_t *roots = NULL;
	AUTO(sweep_clear) struct sweep s = {.topo = t};

	if ((p = calloc(1, sizeof(*p))) == NULL ||
	    (roots = malloc((t->n / 64 + 1) * 8)) == NULL)
		return err_set(e, ERR_FATAL, errno, "popularity");
	p->n = t->n;
	if (t->n > 0) {
		find_roots(t, roots);
		if (count_limbs(t, roots, &s.limbs, e) < 0 ||
		    sweep_alloc(&s, e) < 0)
			return -1;
		count_ways(&s, roots);
		sweep_all(&s);
	}
	p->limbs = s.limbs;
	p->value = STEAL(&s.value);
	*out = STEAL(&p);
	return 0;
}
