#include "closure/closure.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "closure/closure_arena.h"
#include "err.h"
#include "own.h"
#include "store_path.h"

void
closure_free(struct closure *c)
{
	if (c == NULL)
		return;
	free(c->store_dir);
	free(c->path);
	free(c->nar_hash);
	free(c->nar_size);
	free(c->ref_start);
	free(c->ref);
	closure_arena_free(c->arena);
	free(c);
}

void
closure_freep(struct closure **c)
{
	closure_free(*c);
	*c = NULL;
}

size_t
closure_find(const struct closure *c, const char *path)
{
	size_t lo = 0, hi = c->n;

	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;
		int order = strcmp(c->path[mid], path);

		if (order == 0)
			return mid;
		if (order < 0)
			lo = mid + 1;
		else
			hi = mid;
	}
	return SIZE_MAX;
}

/* All paths begin alike, so they are in the order of their hash parts too. */
size_t
closure_find_hash(const struct closure *c, const char *hash)
{
	size_t lo = 0, hi = c->n, base = strlen(c->store_dir) + 1;

	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;
		int order =
		    memcmp(c->path[mid] + base, hash, STORE_PATH_HASH_LEN);

		if (order == 0)
			return mid;
		if (order < 0)
			lo = mid + 1;
		else
			hi = mid;
	}
	return SIZE_MAX;
}

/*
 * Gives new_index[i] a value other than UINT32_MAX for what can be reached.
 * todo has room for c->n indices.
 */
static void
mark_reachable(const struct closure *c, const uint32_t *roots, size_t n,
    uint32_t *new_index, uint32_t *todo)
{
	size_t n_todo = 0;

	for (size_t i = 0; i < n; i++) {
		assert(roots[i] < c->n);
		if (new_index[roots[i]] == 0)
			continue;
		new_index[roots[i]] = 0;
		todo[n_todo++] = roots[i];
	}
	while (n_todo > 0) {
		uint32_t at = todo[--n_todo];

		for (size_t k = c->ref_start[at]; k < c->ref_start[at + 1];
		     k++) {
			if (new_index[c->ref[k]] == 0)
				continue;
			new_index[c->ref[k]] = 0;
			todo[n_todo++] = c->ref[k];
		}
	}
}

/* Indices only fall and keep their order, so all moves down, in place. */
static void
keep_marked(struct closure *c, uint32_t *new_index)
{
	size_t n = 0, n_refs = 0, start, end = 0;

	for (size_t i = 0; i < c->n; i++)
		if (new_index[i] != UINT32_MAX)
			new_index[i] = (uint32_t)n++;
	for (size_t i = 0; i < c->n; i++) {
		uint32_t to = new_index[i];

		start = end;
		end = c->ref_start[i + 1];
		if (to == UINT32_MAX)
			continue;
		c->path[to] = c->path[i];
		if (c->nar_hash != NULL)
			c->nar_hash[to] = c->nar_hash[i];
		if (c->nar_size != NULL)
			c->nar_size[to] = c->nar_size[i];
		c->ref_start[to] = n_refs;
		for (size_t k = start; k < end; k++)
			c->ref[n_refs++] = new_index[c->ref[k]];
	}
	c->ref_start[n] = n_refs;
	c->n = n;
}

int
closure_retain(
    struct closure **c, const uint32_t *roots, size_t n, struct err *e)
{
	AUTO(own_freep) uint32_t *new_index = NULL, *todo = NULL;
	size_t size = (*c)->n * sizeof(*new_index);

	if ((new_index = malloc(size + 1)) == NULL ||
	    (todo = malloc(size + 1)) == NULL)
		return err_set(e, ERR_FATAL, 0, "closure: out of memory");
	memset(new_index, 0xff, size);
	mark_reachable(*c, roots, n, new_index, todo);
	keep_marked(*c, new_index);
	return 0;
}

static int
make_arrays(const struct closure *from, size_t n, size_t n_refs,
    struct closure *c, struct err *e)
{
	c->store_dir = strdup(from->store_dir);
	c->path = malloc((n + 1) * sizeof(*c->path));
	c->ref_start = malloc((n + 1) * sizeof(*c->ref_start));
	c->ref = malloc((n_refs + 1) * sizeof(*c->ref));
	if (from->nar_hash != NULL)
		c->nar_hash = malloc((n + 1) * sizeof(*c->nar_hash));
	if (from->nar_size != NULL)
		c->nar_size = malloc((n + 1) * sizeof(*c->nar_size));
	if (c->store_dir == NULL || c->path == NULL || c->ref_start == NULL ||
	    c->ref == NULL || (from->nar_hash != NULL && c->nar_hash == NULL) ||
	    (from->nar_size != NULL && c->nar_size == NULL))
		return err_set(e, ERR_FATAL, 0, "closure: out of memory");
	return 0;
}

/* Everything that a marked path refers to is marked. */
static void
copy_marked(
    const struct closure *from, const uint32_t *new_index, struct closure *c)
{
	size_t n_refs = 0;

	for (size_t i = 0; i < from->n; i++) {
		if (new_index[i] == UINT32_MAX)
			continue;
		c->path[c->n] = from->path[i];
		if (c->nar_hash != NULL)
			c->nar_hash[c->n] = from->nar_hash[i];
		if (c->nar_size != NULL)
			c->nar_size[c->n] = from->nar_size[i];
		c->ref_start[c->n++] = n_refs;
		for (size_t k = from->ref_start[i]; k < from->ref_start[i + 1];
		     k++)
			c->ref[n_refs++] = new_index[from->ref[k]];
	}
	c->ref_start[c->n] = n_refs;
}

int
closure_reach(const struct closure *from, const uint32_t *roots, size_t n,
    struct closure **out, struct err *e)
{
	AUTO(own_freep) uint32_t *new_index = NULL, *todo = NULL;
	AUTO(closure_freep) struct closure *c = calloc(1, sizeof(*c));
	size_t size = from->n * sizeof(*new_index), kept = 0, n_refs = 0;

	if (c == NULL || (new_index = malloc(size + 1)) == NULL ||
	    (todo = malloc(size + 1)) == NULL)
		return err_set(e, ERR_FATAL, 0, "closure: out of memory");
	memset(new_index, 0xff, size);
	mark_reachable(from, roots, n, new_index, todo);
	for (size_t i = 0; i < from->n; i++) {
		if (new_index[i] == UINT32_MAX)
			continue;
		new_index[i] = (uint32_t)kept++;
		n_refs += from->ref_start[i + 1] - from->ref_start[i];
	}
	if (make_arrays(from, kept, n_refs, c, e) < 0)
		return -1;
	copy_marked(from, new_index, c);
	*out = STEAL(&c);
	return 0;
}
