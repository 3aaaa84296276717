#include "plan/primary_sets.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "err.h"

#define NONE UINT32_MAX

int
primary_sets_init(
    struct primary_sets *s, size_t expected, size_t paths, struct err *e)
{
	uint32_t empty;

	memset(s, 0, sizeof(*s));
	s->free = NONE;
	for (s->n_buckets = 16; s->n_buckets < 2 * expected;)
		s->n_buckets *= 2;
	if ((s->bucket = malloc(s->n_buckets * sizeof(*s->bucket))) == NULL)
		return err_set(e, ERR_FATAL, errno, "layer plan");
	memset(s->bucket, 0xff, s->n_buckets * sizeof(*s->bucket));
	if (primary_sets_find(s, NULL, 0, &empty, e) < 0)
		return -1;
	s->set[empty].paths = paths;
	s->carried = paths > 0;
	return 0;
}

void
primary_sets_clear(struct primary_sets *s)
{
	for (size_t i = 0; i < s->n; i++)
		free(s->set[i].member);
	free(s->set);
	free(s->bucket);
	memset(s, 0, sizeof(*s));
}

static uint32_t *
bucket_of(const struct primary_sets *s, const uint32_t *member, size_t n)
{
	uint64_t hash = n;

	for (size_t i = 0; i < n; i++)
		hash = (hash ^ member[i]) * UINT64_C(0x9e3779b97f4a7c15) +
		    (hash >> 29);
	return &s->bucket[(hash >> 20) & (s->n_buckets - 1)];
}

/* A free place for a set. */
static int
take_place(struct primary_sets *s, uint32_t *out, struct err *e)
{
	struct primary_set *grown;

	if (s->free != NONE) {
		*out = s->free;
		s->free = s->set[s->free].next;
		return 0;
	}
	if (s->n == s->room) {
		s->room = s->room * 2 + 64;
		grown = realloc(s->set, s->room * sizeof(*grown));
		if (grown == NULL)
			return err_set(e, ERR_FATAL, errno, "layer plan");
		s->set = grown;
	}
	*out = (uint32_t)s->n++;
	memset(&s->set[*out], 0, sizeof(*s->set));
	return 0;
}

int
primary_sets_find(struct primary_sets *s, const uint32_t *member, size_t n,
    uint32_t *out, struct err *e)
{
	uint32_t *bucket = bucket_of(s, member, n), *copy = NULL;
	struct primary_set *set;

	for (uint32_t i = *bucket; i != NONE; i = s->set[i].next) {
		if (s->set[i].n == n &&
		    (n == 0 ||
			memcmp(s->set[i].member, member, n * sizeof(*member)) ==
			    0)) {
			*out = i;
			return 0;
		}
	}
	if (n > 0) {
		if ((copy = malloc(n * sizeof(*copy))) == NULL)
			return err_set(e, ERR_FATAL, errno, "layer plan");
		memcpy(copy, member, n * sizeof(*copy));
	}
	if (take_place(s, out, e) < 0) {
		free(copy);
		return -1;
	}
	set = &s->set[*out];
	*set = (struct primary_set){.member = copy, .n = n, .next = *bucket};
	*bucket = *out;
	return 0;
}

void
primary_sets_move(struct primary_sets *s, uint32_t from, uint32_t to)
{
	if (from == to)
		return;
	if (--s->set[from].paths == 0)
		s->carried--;
	if (s->set[to].paths++ == 0)
		s->carried++;
}

void
primary_sets_release(struct primary_sets *s, uint32_t i)
{
	struct primary_set *set = &s->set[i];
	uint32_t *at = bucket_of(s, set->member, set->n);

	if (set->paths > 0)
		return;
	while (*at != i) {
		if (*at == NONE)
			return; /* free already */
		at = &s->set[*at].next;
	}
	*at = set->next;
	free(set->member);
	*set = (struct primary_set){.next = s->free};
	s->free = i;
}
