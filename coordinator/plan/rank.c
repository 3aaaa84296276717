#include "plan/rank.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "text/bignum.h"
#include "closure/closure.h"
#include "err.h"
#include "own.h"
#include "plan/popularity.h"
#include "plan/topo.h"

/*
 * A path's key: the path with the piece before its first '-' moved to the
 * end.  In pieces: rest, '-', first.
 */
struct key {
	const char *rest, *first;
	size_t rest_len, first_len;
};

/* One path while it is sorted. */
struct entry {
	uint64_t head; /* grows with the popularity */
	uint32_t position;
	uint32_t node;
};

struct sorting {
	const struct closure *closure;
	const struct popularity *popularity;
};

static struct key
key_of(const char *path)
{
	const char *dash = strchr(path, '-');
	struct key k = {.first = path, .first_len = strlen(path)};

	if (dash == NULL)
		return k;
	k.first_len = (size_t)(dash - path);
	k.rest = dash + 1;
	k.rest_len = strlen(k.rest);
	return k;
}

/* The byte at i of the key, or -1 behind its end. */
static int
key_byte(const struct key *k, size_t i)
{
	if (k->rest != NULL) {
		if (i < k->rest_len)
			return (unsigned char)k->rest[i];
		if (i == k->rest_len)
			return '-';
		i -= k->rest_len + 1;
	}
	return i < k->first_len ? (unsigned char)k->first[i] : -1;
}

static int
key_compare(const char *path_a, const char *path_b)
{
	struct key a = key_of(path_a), b = key_of(path_b);
	size_t same = a.rest_len < b.rest_len ? a.rest_len : b.rest_len;
	int order = same > 0 ? memcmp(a.rest, b.rest, same) : 0;

	for (size_t i = same; order == 0; i++) {
		int byte_a = key_byte(&a, i), byte_b = key_byte(&b, i);

		if (byte_a < 0 && byte_b < 0)
			break;
		order = byte_a - byte_b;
	}
	return order;
}

static int
entry_compare(const void *pa, const void *pb, void *arg)
{
	const struct sorting *s = arg;
	const struct entry *a = pa, *b = pb;
	size_t limbs = s->popularity->limbs;
	int order;

	if (a->head != b->head)
		return a->head > b->head ? -1 : 1;
	if (limbs > 1) {
		order =
		    bignum_compare(s->popularity->value + b->position * limbs,
			s->popularity->value + a->position * limbs, limbs);
		if (order != 0)
			return order;
	}
	return key_compare(
	    s->closure->path[a->node], s->closure->path[b->node]);
}

/* Of one limb all; of more the number of bits, and the first of them. */
static uint64_t
head_of(const uint64_t *value, size_t limbs)
{
	uint64_t top;
	int zeros;

	if (limbs == 1)
		return value[0];
	while (limbs > 1 && value[limbs - 1] == 0)
		limbs--;
	top = value[limbs - 1];
	zeros = __builtin_clzll(top); /* no popularity is 0 */
	return (limbs * 64 - (uint64_t)zeros) << 32 | top << zeros >> 32;
}

static int
sort_entries(const struct closure *c, const struct topo *t,
    const struct popularity *popularity, uint32_t *order, struct err *e)
{
	AUTO(own_freep) struct entry *entry = NULL;
	struct sorting s = {c, popularity};
	size_t limbs = popularity->limbs;

	if ((entry = calloc(t->n + 1, sizeof(*entry))) == NULL)
		return err_set(e, ERR_FATAL, errno, "ranking");
	for (size_t p = 0; p < t->n; p++) {
		entry[p].head = head_of(popularity->value + p * limbs, limbs);
		entry[p].position = (uint32_t)p;
		entry[p].node = t->node[p];
	}
	qsort_r(entry, t->n, sizeof(*entry), entry_compare, &s);
	for (size_t i = 0; i < t->n; i++)
		order[i] = entry[i].node;
	return 0;
}

int
rank_popularity(const struct closure *c, uint32_t **order, struct err *e)
{
	AUTO(topo_freep) struct topo *t = NULL;
	AUTO(popularity_freep) struct popularity *popularity = NULL;
	AUTO(own_freep) uint32_t *made = NULL;

	if (topo_make(c, &t, e) < 0 || popularity_make(t, &popularity, e) < 0)
		return -1;
	if ((made = calloc(c->n + 1, sizeof(*made))) == NULL)
		return err_set(e, ERR_FATAL, errno, "ranking");
	if (sort_entries(c, t, popularity, made, e) < 0)
		return -1;
	*order = STEAL(&made);
	return 0;
}
