/*
 * Closures for tests, built by hand: struct closure filled without the
 * closure reader.  One thread.
 */
#ifndef GRAPH_CLOSURE_H
#define GRAPH_CLOSURE_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "closure/closure.h"

struct graph_edge {
	uint32_t from, to;
};

static inline int
graph_path_compare(const void *a, const void *b)
{
	return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static inline int
graph_edge_compare(const void *pa, const void *pb)
{
	const struct graph_edge *a = pa, *b = pb;

	if (a->from != b->from)
		return a->from < b->from ? -1 : 1;
	return a->to < b->to ? -1 : a->to > b->to;
}

/* The store path of number i: hash digits from i, the name given. */
static inline char *
graph_path(const char *store_dir, uint64_t i, const char *name)
{
	static const char digits[] = "0123456789abcdfghijklmnpqrsvwxyz";
	uint64_t x = (i + 1) * UINT64_C(0x9e3779b97f4a7c15);
	char hash[33], *path;

	for (size_t k = 0; k < 32; k++) {
		hash[k] = digits[x >> 59];
		x = x * UINT64_C(6364136223846793005) + i + 1;
	}
	hash[32] = '\0';
	if (asprintf(&path, "%s/%s-%s", store_dir, hash, name) < 0)
		abort();
	return path;
}

/*
 * Paths must ascend (graph_path_compare); takes each of the strings.  Edges
 * are sorted here; no duplicates, no self-references.
 */
static inline struct closure *
graph_closure(const char *store_dir, char **paths, size_t n,
    struct graph_edge *edge, size_t n_edges)
{
	struct closure *c = calloc(1, sizeof(*c));

	c->store_dir = strdup(store_dir);
	c->n = n;
	c->path = calloc(n + 1, sizeof(*c->path));
	c->nar_size = calloc(n + 1, sizeof(*c->nar_size));
	c->ref_start = calloc(n + 1, sizeof(*c->ref_start));
	c->ref = calloc(n_edges + 1, sizeof(*c->ref));
	for (size_t i = 0; i < n; i++)
		c->path[i] = paths[i];
	if (n_edges > 0)
		qsort(edge, n_edges, sizeof(*edge), graph_edge_compare);
	for (size_t k = 0; k < n_edges; k++) {
		c->ref_start[edge[k].from + 1]++;
		c->ref[k] = edge[k].to;
	}
	for (size_t i = 0; i < n; i++)
		c->ref_start[i + 1] += c->ref_start[i];
	return c;
}

static inline void
graph_closure_free(struct closure *c)
{
	for (size_t i = 0; i < c->n; i++)
		free((char *)c->path[i]);
	free(c->store_dir);
	free(c->path);
	free(c->nar_hash);
	free(c->nar_size);
	free(c->ref_start);
	free(c->ref);
	free(c);
}

#endif
