#include "batch/batch_paths.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "closure/closure.h"
#include "closure/closure_arena.h"
#include "err.h"
#include "closure/hash_index.h"

struct batch_paths {
	struct closure all;
	size_t room;
	struct hash_index by_path;
};

static int
no_memory(struct err *e)
{
	return err_set(e, ERR_FATAL, ENOMEM, "store paths");
}

int
batch_paths_new(const char *store_dir, struct batch_paths **out, struct err *e)
{
	struct batch_paths *p = calloc(1, sizeof(*p));

	if (p == NULL || (p->all.arena = closure_arena_new()) == NULL ||
	    (p->all.store_dir = strdup(store_dir)) == NULL) {
		batch_paths_free(p);
		return no_memory(e);
	}
	*out = p;
	return 0;
}

void
batch_paths_free(struct batch_paths *p)
{
	if (p == NULL)
		return;
	free(p->all.store_dir);
	free(p->all.path);
	free(p->all.nar_hash);
	free(p->all.nar_size);
	closure_arena_free(p->all.arena);
	hash_index_free(&p->by_path);
	free(p);
}

/* Each array by itself: one that grew may stay so. */
static bool
make_room(struct batch_paths *p)
{
	size_t room = p->room == 0 ? 1024 : 2 * p->room;
	void *grown;

	if (p->all.n < p->room)
		return true;
	if (room >= HASH_INDEX_NONE ||
	    hash_index_reserve(&p->by_path, room) < 0)
		return false;
	grown = reallocarray(p->all.path, room, sizeof(*p->all.path));
	if (grown == NULL)
		return false;
	p->all.path = grown;
	grown = reallocarray(p->all.nar_hash, room, sizeof(*p->all.nar_hash));
	if (grown == NULL)
		return false;
	p->all.nar_hash = grown;
	grown = reallocarray(p->all.nar_size, room, sizeof(*p->all.nar_size));
	if (grown == NULL)
		return false;
	p->all.nar_size = grown;
	p->room = room;
	return true;
}

int
batch_paths_add(struct batch_paths *p, const struct closure *c, size_t at,
    uint32_t *out, struct err *e)
{
	const char *path = c->path[at];
	size_t len = strlen(path), walk;
	/* Nobody outside chooses hash parts of store paths. */
	uint64_t hash = hash_bytes(0, path, len);
	char *copy;
	uint32_t i;

	for (i = hash_index_first(&p->by_path, hash, &walk);
	     i != HASH_INDEX_NONE;
	     i = hash_index_next(&p->by_path, hash, &walk))
		if (strcmp(p->all.path[i], path) == 0 &&
		    digest_equal(&p->all.nar_hash[i], &c->nar_hash[at]) &&
		    p->all.nar_size[i] == c->nar_size[at]) {
			*out = i;
			return 0;
		}
	if (!make_room(p) ||
	    (copy = closure_arena_take(p->all.arena, len + 1)) == NULL)
		return no_memory(e);
	memcpy(copy, path, len + 1);
	p->all.path[p->all.n] = copy;
	p->all.nar_hash[p->all.n] = c->nar_hash[at];
	p->all.nar_size[p->all.n] = c->nar_size[at];
	*out = (uint32_t)p->all.n++;
	hash_index_put(&p->by_path, hash, *out);
	return 0;
}

const struct closure *
batch_paths_closure(const struct batch_paths *p)
{
	return &p->all;
}
