#include "root/root_tree.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "err.h"

#define CHUNK_SIZE ((size_t)1 << 16)
#define FIRST_SLOTS 1024

struct chunk {
	struct chunk *next;
	char data[];
};

struct root_arena {
	struct chunk *chunks; /* the newest first */
	size_t used, size;    /* of the newest */
};

static char *
arena_alloc(struct root_arena *arena, size_t len)
{
	struct chunk *chunk;
	char *out;

	if (arena->size - arena->used < len) {
		size_t size = len > CHUNK_SIZE ? len : CHUNK_SIZE;

		if ((chunk = malloc(sizeof(*chunk) + size)) == NULL)
			return NULL;
		chunk->next = arena->chunks;
		arena->chunks = chunk;
		arena->used = 0;
		arena->size = size;
	}
	out = arena->chunks->data + arena->used;
	arena->used += len;
	return out;
}

void
root_arena_free(struct root_arena *arena)
{
	struct chunk *next;

	if (arena == NULL)
		return;
	for (struct chunk *c = arena->chunks; c != NULL; c = next) {
		next = c->next;
		free(c);
	}
	free(arena);
}

struct root_arena *
root_tree_take_arena(struct root_tree *tree)
{
	struct root_arena *arena = tree->arena;

	tree->arena = NULL;
	return arena;
}

int
root_tree_init(struct root_tree *tree, struct err *e)
{
	memset(tree, 0, sizeof(*tree));
	tree->arena = calloc(1, sizeof(*tree->arena));
	tree->node = calloc(FIRST_SLOTS, sizeof(*tree->node));
	tree->slot = calloc(FIRST_SLOTS * 2, sizeof(*tree->slot));
	if (tree->arena == NULL || tree->node == NULL || tree->slot == NULL) {
		root_tree_clear(tree);
		return err_set(e, ERR_FATAL, errno, "root layer");
	}
	tree->size = FIRST_SLOTS;
	tree->n_slots = FIRST_SLOTS * 2;
	memset(tree->slot, 0xff, tree->n_slots * sizeof(*tree->slot));
	tree->n = 1;
	tree->node[0] = (struct root_node){.parent = ROOT_NONE,
	    .first = ROOT_NONE,
	    .next = ROOT_NONE,
	    .type = TAR_DIRECTORY,
	    .name = "",
	    .target = "",
	    .origin = ""};
	return 0;
}

void
root_tree_clear(struct root_tree *tree)
{
	root_arena_free(tree->arena);
	free(tree->node);
	free(tree->slot);
	memset(tree, 0, sizeof(*tree));
}

/* The slot that holds the child, or the empty one where it would be. */
static size_t
slot_of(
    const struct root_tree *tree, uint32_t parent, const char *name, size_t len)
{
	uint64_t hash = 14695981039346656037u ^ parent;
	size_t i;

	for (size_t k = 0; k < len; k++)
		hash = (hash ^ (unsigned char)name[k]) * 1099511628211u;
	hash ^= hash >> 32;
	for (i = hash & (tree->n_slots - 1); tree->slot[i] != ROOT_NONE;
	     i = (i + 1) & (tree->n_slots - 1)) {
		const struct root_node *node = &tree->node[tree->slot[i]];

		if (node->parent == parent &&
		    strncmp(node->name, name, len) == 0 &&
		    node->name[len] == '\0')
			break;
	}
	return i;
}

uint32_t
root_tree_find(
    const struct root_tree *tree, uint32_t parent, const char *name, size_t len)
{
	return tree->slot[slot_of(tree, parent, name, len)];
}

static int
grow(struct root_tree *tree, struct err *e)
{
	struct root_node *node;
	uint32_t *slot;

	if (tree->n >= ROOT_NODES_MAX)
		return err_set(e, ERR_USAGE, 0,
		    "the root layer would have more than %u entries",
		    ROOT_NODES_MAX);
	node = reallocarray(tree->node, 2 * (size_t)tree->size, sizeof(*node));
	if (node == NULL)
		return err_set(e, ERR_FATAL, errno, "root layer");
	tree->node = node;
	slot = reallocarray(tree->slot, 2 * tree->n_slots, sizeof(*slot));
	if (slot == NULL)
		return err_set(e, ERR_FATAL, errno, "root layer");
	tree->slot = slot;
	tree->size *= 2;
	tree->n_slots *= 2;
	memset(tree->slot, 0xff, tree->n_slots * sizeof(*tree->slot));
	for (uint32_t i = 1; i < tree->n; i++)
		tree->slot[slot_of(tree, node[i].parent, node[i].name,
		    strlen(node[i].name))] = i;
	return 0;
}

int
root_tree_add(struct root_tree *tree, uint32_t parent, const char *name,
    size_t len, uint32_t *out, struct err *e)
{
	struct root_node *node;
	char *copy;

	if (tree->n == tree->size && grow(tree, e) < 0)
		return -1;
	if ((copy = arena_alloc(tree->arena, len + 1)) == NULL)
		return err_set(e, ERR_FATAL, errno, "root layer");
	memcpy(copy, name, len);
	copy[len] = '\0';
	node = &tree->node[tree->n];
	*node = (struct root_node){.parent = parent,
	    .first = ROOT_NONE,
	    .next = tree->node[parent].first,
	    .mode = 0755,
	    .type = TAR_DIRECTORY,
	    .name = copy,
	    .target = "",
	    .origin = ""};
	tree->slot[slot_of(tree, parent, name, len)] = tree->n;
	tree->node[parent].first = tree->n;
	*out = tree->n++;
	return 0;
}

char *
root_tree_path(const struct root_tree *tree, uint32_t node)
{
	size_t len = 0;
	char *path, *at;

	for (uint32_t i = node; i != 0; i = tree->node[i].parent)
		len += strlen(tree->node[i].name) + 1;
	if ((path = malloc(len + 2)) == NULL)
		return NULL;
	at = path + len;
	*at = '\0';
	for (uint32_t i = node; i != 0; i = tree->node[i].parent) {
		size_t n = strlen(tree->node[i].name);

		at -= n;
		memcpy(at, tree->node[i].name, n);
		*--at = '/';
	}
	return path;
}

int
root_tree_text(struct root_tree *tree, const char *a, const char *b,
    const char *c, const char **out, struct err *e)
{
	size_t la = strlen(a), lb = strlen(b), lc = strlen(c);
	char *text = arena_alloc(tree->arena, la + lb + lc + 1);

	if (text == NULL)
		return err_set(e, ERR_FATAL, errno, "root layer");
	memcpy(text, a, la);
	memcpy(text + la, b, lb);
	memcpy(text + la + lb, c, lc + 1);
	*out = text;
	return 0;
}
