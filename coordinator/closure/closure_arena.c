#include "closure/closure_arena.h"

#include <assert.h>
#include <stdlib.h>

#define CHUNK_SIZE ((size_t)256 << 10)

struct chunk {
	struct chunk *next;
	char bytes[];
};

struct closure_arena {
	struct chunk *last;
	size_t left; /* bytes not taken at the end of *last */
};

struct closure_arena *
closure_arena_new(void)
{
	return calloc(1, sizeof(struct closure_arena));
}

void
closure_arena_free(struct closure_arena *a)
{
	if (a == NULL)
		return;
	while (a->last != NULL) {
		struct chunk *next = a->last->next;

		free(a->last);
		a->last = next;
	}
	free(a);
}

char *
closure_arena_take(struct closure_arena *a, size_t size)
{
	struct chunk *chunk;

	assert(size <= CLOSURE_ARENA_TAKE_MAX);
	if (a->left < size) {
		if ((chunk = malloc(CHUNK_SIZE)) == NULL)
			return NULL;
		chunk->next = a->last;
		a->last = chunk;
		a->left = CHUNK_SIZE - sizeof(*chunk);
	}
	a->left -= size;
	return (char *)a->last + CHUNK_SIZE - a->left - size;
}
