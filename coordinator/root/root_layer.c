#include "root/root_layer.h"

#include <errno.h>
#include <search.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "err.h"
#include "log.h"
#include "own.h"
#include "request/request.h"
#include "root/root_scan.h"
#include "root/root_tree.h"
#include "tar_header.h"

/* Walks path down from the root; folders that are missing are made. */
static int
make_folders(struct root_tree *tree, const struct request *request,
    const char *path, uint32_t *out, struct err *e)
{
	uint32_t node = 0;

	for (const char *at = path; *at != '\0';) {
		size_t skip = strspn(at, "/"), len = strcspn(at + skip, "/");
		uint32_t child;

		at += skip;
		if (len == 0)
			break;
		child = root_tree_find(tree, node, at, len);
		if (child == ROOT_NONE) {
			if (root_tree_add(tree, node, at, len, &child, e) < 0)
				return -1;
			tree->node[child].uid = request->uid;
			tree->node[child].gid = request->gid;
			tree->node[child].origin = "directories";
		} else if (tree->node[child].type != TAR_DIRECTORY) {
			return err_set(e, ERR_USAGE, 0,
			    "directories: %s cannot be made, since %.*s is not "
			    "a folder in %s",
			    path, (int)(at + len - path), path,
			    tree->node[child].origin);
		}
		node = child;
		at += len;
	}
	*out = node;
	return 0;
}

static int
put_directories(
    struct root_tree *tree, const struct request *request, struct err *e)
{
	for (size_t i = 0; i < request->n_directories; i++) {
		const struct request_directory *dir = &request->directory[i];
		uint32_t node = 0;

		if (make_folders(tree, request, dir->path, &node, e) < 0)
			return -1;
		if (node == 0)
			return err_set(e, ERR_USAGE, 0,
			    "directories: the root directory has no entry of "
			    "its own; name one below it");
		tree->node[node].mode = dir->mode & 07777;
		tree->node[node].uid = dir->uid;
		tree->node[node].gid = dir->gid;
		tree->node[node].origin = "directories";
	}
	return 0;
}

/* A link in the place of the store would hide every other layer. */
static int
check_store(
    const struct root_tree *tree, const struct request *request, struct err *e)
{
	const char *at = request->store_dir;
	uint32_t node = 0;

	while (*at != '\0') {
		size_t skip = strspn(at, "/"), len = strcspn(at + skip, "/");

		node = root_tree_find(tree, node, at + skip, len);
		if (node == ROOT_NONE)
			return 0;
		at += skip + len;
		if (tree->node[node].type != TAR_DIRECTORY)
			return err_set(e, ERR_USAGE, 0,
			    "%s has %.*s as a file or link, where the store's "
			    "folder must be",
			    tree->node[node].origin,
			    (int)(at - request->store_dir), request->store_dir);
	}
	return 0;
}

static int
text_cmp(const void *a, const void *b)
{
	return strcmp(a, b);
}

static void
keep(void *p)
{
	(void)p;
}

/* Contents that are listed twice are no conflict with themselves. */
static int
scan_contents(struct root_scan *scan, struct err *e)
{
	const struct request *request = scan->request;
	void *seen = NULL;
	int ret = 0;

	for (size_t i = 0; ret == 0 && i < request->n_contents; i++) {
		const char *path = request->contents[i];

		if (tfind(path, &seen, text_cmp) != NULL)
			continue;
		if (tsearch(path, &seen, text_cmp) == NULL)
			ret = err_set(e, ERR_FATAL, errno, "root layer");
		else
			ret = root_scan_contents(scan, path, e);
	}
	tdestroy(seen, keep);
	return ret;
}

static int
fill(struct root_tree *tree, const struct request *request,
    const char *store_root, struct err *e)
{
	struct root_scan scan = {
	    .tree = tree, .request = request, .store_root = store_root};

	if (scan_contents(&scan, e) < 0)
		return -1;
	root_scan_finish(&scan);
	if (request->root_tree != NULL &&
	    root_scan_tree(&scan, request->root_tree, e) < 0)
		return -1;
	if (put_directories(tree, request, e) < 0)
		return -1;
	return check_store(tree, request, e);
}

struct child {
	const char *name;
	uint32_t node;
};

/* Descending: the first is then on top of the stack. */
static int
child_cmp(const void *a, const void *b)
{
	const struct child *x = a, *y = b;

	return strcmp(y->name, x->name);
}

struct emitter {
	struct root_tree *tree;
	struct root_layer *out;
	struct child *stack;
	size_t n;
	const char **name; /* of each node, once it was written */
};

static void
emitter_clear(struct emitter *em)
{
	free(em->stack);
	free(em->name);
}

static void
push_children(struct emitter *em, uint32_t node)
{
	const struct root_node *nodes = em->tree->node;
	size_t start = em->n;

	for (uint32_t c = nodes[node].first; c != ROOT_NONE; c = nodes[c].next)
		em->stack[em->n++] = (struct child){nodes[c].name, c};
	if (em->n - start > 1)
		qsort(em->stack + start, em->n - start, sizeof(*em->stack),
		    child_cmp);
}

static int
emit_one(struct emitter *em, uint32_t node, struct err *e)
{
	const struct root_node *n = &em->tree->node[node];
	struct layer_entry *entry = &em->out->entry[em->out->n];

	if (root_tree_text(em->tree, em->name[n->parent], "/", n->name,
		&em->name[node], e) < 0)
		return -1;
	if (strlen(em->name[node]) > TAR_NAME_MAX ||
	    strlen(n->target) > TAR_NAME_MAX)
		return err_set(e, ERR_USAGE, 0,
		    "%.200s...: a name in the root layer is longer than %d "
		    "bytes",
		    em->name[node], TAR_NAME_MAX);
	*entry = (struct layer_entry){.name = em->name[node],
	    .type = n->type,
	    .mode = n->mode,
	    .uid = n->uid,
	    .gid = n->gid,
	    .target = n->target};
	em->out->n++;
	return 0;
}

/* Depth first, each directory before its entries, these by their bytes. */
static int
emit(struct root_tree *tree, struct root_layer *out, struct err *e)
{
	AUTO(emitter_clear)
	struct emitter em = {.tree = tree, .out = out};

	out->entry = calloc(tree->n, sizeof(*out->entry));
	em.stack = calloc(tree->n, sizeof(*em.stack));
	em.name = calloc(tree->n, sizeof(*em.name));
	if (out->entry == NULL || em.stack == NULL || em.name == NULL)
		return err_set(e, ERR_FATAL, errno, "root layer");
	em.name[0] = "";
	push_children(&em, 0);
	while (em.n > 0) {
		uint32_t node = em.stack[--em.n].node;

		if (emit_one(&em, node, e) < 0)
			return -1;
		push_children(&em, node);
	}
	return 0;
}

int
root_layer_make(const struct request *request, const char *store_root,
    struct root_layer **out, struct err *e)
{
	AUTO(root_layer_freep) struct root_layer *r = NULL;
	AUTO(root_tree_clear) struct root_tree tree = {0};

	if ((r = calloc(1, sizeof(*r))) == NULL)
		return err_set(e, ERR_FATAL, errno, "root layer");
	if (root_tree_init(&tree, e) < 0 ||
	    fill(&tree, request, store_root, e) < 0 || emit(&tree, r, e) < 0)
		return -1;
	r->arena = root_tree_take_arena(&tree);
	*out = STEAL(&r);
	return 0;
}

void
root_layer_free(struct root_layer *r)
{
	if (r == NULL)
		return;
	free(r->entry);
	root_arena_free(r->arena);
	free(r);
}

void
root_layer_freep(struct root_layer **r)
{
	root_layer_free(*r);
	*r = NULL;
}
