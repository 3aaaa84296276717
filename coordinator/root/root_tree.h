/*
 * The root layer while it is put together: a tree of directories, links and
 * files, and the memory that holds its strings.  Nodes are indices, the root
 * is 0.  One thread.
 */
#ifndef ROOT_TREE_H
#define ROOT_TREE_H

#include <stddef.h>
#include <stdint.h>

#include "tar_header.h"

struct err;
struct root_arena;

#define ROOT_NONE UINT32_MAX
#define ROOT_NODES_MAX ((uint32_t)16 << 20)

struct root_node {
	uint32_t parent, first, next; /* first: of its children */
	uint32_t mode;
	enum tar_type type;
	uint64_t uid, gid;
	const char *name;   /* one component */
	const char *target; /* as in struct layer_entry */
	const char *origin; /* what put it there, for messages; borrowed */
};

struct root_tree {
	struct root_node *node;
	uint32_t n, size;
	uint32_t *slot; /* hash table of children by (parent, name) */
	size_t n_slots; /* a power of two */
	struct root_arena *arena;
};

int root_tree_init(struct root_tree *tree, struct err *e);
void root_tree_clear(struct root_tree *tree);

/* The child of that name, or ROOT_NONE. */
uint32_t root_tree_find(const struct root_tree *tree, uint32_t parent,
    const char *name, size_t len);

/*
 * Adds a child, which must not be there: a directory (mode 0755, owner 0)
 * until the caller says otherwise.
 */
int root_tree_add(struct root_tree *tree, uint32_t parent, const char *name,
    size_t len, uint32_t *out, struct err *e);

/* The node's whole name, absolute; the caller's, or NULL. */
char *root_tree_path(const struct root_tree *tree, uint32_t node);

/* *out: a + b + c in the tree's memory. */
int root_tree_text(struct root_tree *tree, const char *a, const char *b,
    const char *c, const char **out, struct err *e);

/* The tree's memory, which outlives the tree when it is taken from it. */
struct root_arena *root_tree_take_arena(struct root_tree *tree);
void root_arena_free(struct root_arena *arena);

#endif
