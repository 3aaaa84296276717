#include "plan/topo.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "closure/closure.h"
#include "err.h"
#include "own.h"

/* So many of a cycle's paths are named. */
#define CYCLE_NAMED 4

#define NOT_PLACED UINT32_MAX

void
topo_free(struct topo *t)
{
	if (t == NULL)
		return;
	free(t->node);
	free(t->start);
	free(t->ref);
	free(t);
}

void
topo_freep(struct topo **t)
{
	topo_free(*t);
	*t = NULL;
}

/* Every index that was not placed is referred to by another of these. */
static void
fill_referrers(
    const struct closure *c, const uint32_t *position, uint32_t *referrer)
{
	for (uint32_t u = 0; u < c->n; u++) {
		if (position[u] != NOT_PLACED)
			continue;
		for (size_t k = c->ref_start[u]; k < c->ref_start[u + 1]; k++)
			if (c->ref[k] != u)
				referrer[c->ref[k]] = u;
	}
}

/*
 * Going from referrer to referrer comes to a cycle.  Leaves the cycle's
 * paths in cycle, in the order of reference, the smallest first.
 */
static size_t
find_cycle(const uint32_t *referrer, uint32_t at, size_t n, uint32_t *cycle)
{
	size_t len = 0;
	uint32_t first;

	for (size_t i = 0; i < n; i++)
		at = referrer[at];
	first = at;
	for (uint32_t u = referrer[at]; u != at; u = referrer[u])
		if (u < first)
			first = u;
	/* referrer[] goes against the references: fill from the end. */
	for (at = referrer[first]; at != first; at = referrer[at])
		len++;
	cycle[0] = first;
	for (size_t i = len; i > 0; i--) {
		at = i == len ? referrer[first] : referrer[at];
		cycle[i] = at;
	}
	return len + 1;
}

static int
name_cycle(
    const struct closure *c, const uint32_t *cycle, size_t len, struct err *e)
{
	char text[ERR_TEXT_MAX];
	size_t used = 0, named = len > CYCLE_NAMED ? CYCLE_NAMED : len;

	for (size_t i = 0; i <= named && used < sizeof(text); i++) {
		const char *path = c->path[cycle[i < named ? i : 0]];

		used += (size_t)snprintf(text + used, sizeof(text) - used,
		    "%s%s%s", i > 0 ? " -> " : "",
		    i == named && named < len ? "... -> " : "", path);
	}
	return err_set(e, ERR_USAGE, 0,
	    "references of %zu store paths form a cycle: %s", len, text);
}

static int
refuse_cycle(const struct closure *c, const uint32_t *position, struct err *e)
{
	AUTO(own_freep) uint32_t *referrer = NULL;
	AUTO(own_freep) uint32_t *cycle = NULL;
	uint32_t at = 0;
	size_t len;

	if ((referrer = calloc(c->n, sizeof(*referrer))) == NULL ||
	    (cycle = calloc(c->n, sizeof(*cycle))) == NULL)
		return err_set(e, ERR_FATAL, errno, "topological order");
	fill_referrers(c, position, referrer);
	while (position[at] != NOT_PLACED)
		at++;
	len = find_cycle(referrer, at, c->n, cycle);
	return name_cycle(c, cycle, len, e);
}

/*
 * Kahn's algorithm.  What becomes free last is placed next, which keeps
 * paths near to what they refer to.
 */
static int
place(
    const struct closure *c, uint32_t *node, uint32_t *position, struct err *e)
{
	AUTO(own_freep) uint32_t *waits = NULL; /* referrers not placed yet */
	AUTO(own_freep) uint32_t *ready = NULL;
	size_t n_ready = 0, placed = 0;

	if ((waits = calloc(c->n, sizeof(*waits))) == NULL ||
	    (ready = calloc(c->n, sizeof(*ready))) == NULL)
		return err_set(e, ERR_FATAL, errno, "topological order");
	for (uint32_t u = 0; u < c->n; u++)
		for (size_t k = c->ref_start[u]; k < c->ref_start[u + 1]; k++)
			waits[c->ref[k]] += c->ref[k] != u;
	for (size_t u = c->n; u-- > 0;)
		if (waits[u] == 0)
			ready[n_ready++] = (uint32_t)u;
	while (n_ready > 0) {
		uint32_t u = ready[--n_ready];

		position[u] = (uint32_t)placed;
		node[placed++] = u;
		for (size_t k = c->ref_start[u]; k < c->ref_start[u + 1]; k++)
			if (c->ref[k] != u && --waits[c->ref[k]] == 0)
				ready[n_ready++] = c->ref[k];
	}
	return placed == c->n ? 0 : refuse_cycle(c, position, e);
}

/*
 * In how many ways one gets from node u down to any other, its number of
 * binary digits: never less than that of a path it refers to.  ways: of the
 * paths that come after u.
 */
static unsigned
count_down(const struct closure *c, uint32_t u, uint64_t *ways)
{
	uint64_t sum = 1;

	for (size_t k = c->ref_start[u]; k < c->ref_start[u + 1]; k++)
		if (c->ref[k] != u &&
		    __builtin_add_overflow(sum, ways[c->ref[k]], &sum))
			sum = UINT64_MAX;
	ways[u] = sum;
	return 63 - (unsigned)__builtin_clzll(sum);
}

/*
 * Moves paths that lead to much before those that lead to little, else as
 * they are: another topological order, in which neighbours have closures of
 * about the same size.  Walks that start at several neighbours are then
 * shorter (by 40 % for blocks of 256 in a closure of 10^5 paths).
 */
static int
group(
    const struct closure *c, uint32_t *node, uint32_t *position, struct err *e)
{
	AUTO(own_freep) uint64_t *ways = NULL;
	AUTO(own_freep) uint8_t *digits = NULL;
	AUTO(own_freep) uint32_t *old = NULL;
	size_t next[65] = {0};

	if ((ways = calloc(c->n + 1, sizeof(*ways))) == NULL ||
	    (digits = calloc(c->n + 1, sizeof(*digits))) == NULL ||
	    (old = calloc(c->n + 1, sizeof(*old))) == NULL)
		return err_set(e, ERR_FATAL, errno, "topological order");
	for (size_t p = c->n; p-- > 0;) {
		digits[p] = (uint8_t)count_down(c, node[p], ways);
		old[p] = node[p];
		next[63 - digits[p] + 1]++;
	}
	for (size_t i = 1; i < 64; i++)
		next[i] += next[i - 1];
	for (size_t p = 0; p < c->n; p++) {
		size_t to = next[63 - digits[p]]++;

		node[to] = old[p];
		position[old[p]] = (uint32_t)to;
	}
	return 0;
}

static void
copy_refs(const struct closure *c, const uint32_t *position, struct topo *t)
{
	size_t used = 0;

	for (size_t p = 0; p < t->n; p++) {
		uint32_t u = t->node[p];

		t->start[p] = used;
		for (size_t k = c->ref_start[u]; k < c->ref_start[u + 1]; k++)
			if (c->ref[k] != u)
				t->ref[used++] = position[c->ref[k]];
	}
	t->start[t->n] = used;
}

int
topo_make(const struct closure *c, struct topo **out, struct err *e)
{
	AUTO(topo_freep) struct topo *t = NULL;
	AUTO(own_freep) uint32_t *position = NULL;
	size_t room = c->n > 0 ? c->n : 1, refs = c->ref_start[c->n];

	if ((t = calloc(1, sizeof(*t))) == NULL ||
	    (t->node = calloc(room, sizeof(*t->node))) == NULL ||
	    (t->start = calloc(room + 1, sizeof(*t->start))) == NULL ||
	    (t->ref = calloc(refs + 1, sizeof(*t->ref))) == NULL ||
	    (position = malloc(room * sizeof(*position))) == NULL)
		return err_set(e, ERR_FATAL, errno, "topological order");
	t->n = c->n;
	memset(position, 0xff, room * sizeof(*position));
	if (place(c, t->node, position, e) < 0 ||
	    group(c, t->node, position, e) < 0)
		return -1;
	copy_refs(c, position, t);
	*out = STEAL(&t);
	return 0;
}
