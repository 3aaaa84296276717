#include "root/root_scan.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "err.h"
#include "log.h"
#include "long_path.h"
#include "own.h"
#include "request/request.h"
#include "root/root_tree.h"
#include "closure/store_link.h"

/* More conflicts than these are counted, not shown. */
#define CONFLICTS_SHOWN 20

/* Folders that are still to be read. */
struct folder {
	uint32_t node;
	char *path;  /* where it is */
	char *shown; /* contents: the image's name for it */
};

struct walk {
	struct root_scan *scan;
	const char *origin;
	bool links; /* contents: everything but folders becomes a link */
	struct folder *folder;
	size_t n, size;
};

struct names {
	char **name;
	size_t n, size;
};

static void
names_clear(struct names *names)
{
	for (size_t i = 0; i < names->n; i++)
		free(names->name[i]);
	free(names->name);
}

static void
walk_clear(struct walk *walk)
{
	for (size_t i = 0; i < walk->n; i++) {
		free(walk->folder[i].path);
		free(walk->folder[i].shown);
	}
	free(walk->folder);
}

static int
no_memory(struct err *e)
{
	return err_set(e, ERR_FATAL, ENOMEM, "root layer");
}

/* path/name or shown/name are remembered for later. */
static int
walk_push(struct walk *walk, uint32_t node, const char *path, const char *shown,
    const char *name, struct err *e)
{
	const char *slash = name[0] != '\0' ? "/" : "";
	struct folder *f;

	if (walk->n == walk->size) {
		size_t size = walk->size > 0 ? 2 * walk->size : 64;

		if ((f = reallocarray(walk->folder, size, sizeof(*f))) == NULL)
			return no_memory(e);
		walk->folder = f;
		walk->size = size;
	}
	f = &walk->folder[walk->n];
	f->node = node;
	if (asprintf(&f->path, "%s%s%s", path, slash, name) < 0)
		return no_memory(e);
	if (asprintf(&f->shown, "%s%s%s", shown, slash, name) < 0) {
		free(f->path);
		return no_memory(e);
	}
	walk->n++;
	return 0;
}

static int
name_cmp(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

/* Sorted, so that warnings come in one order on every file system. */
static int
read_names(DIR *d, struct names *names, const char *path, struct err *e)
{
	struct dirent *entry;

	while (errno = 0, (entry = readdir(d)) != NULL) {
		if (strcmp(entry->d_name, ".") == 0 ||
		    strcmp(entry->d_name, "..") == 0)
			continue;
		if (names->n == names->size) {
			size_t size = names->size > 0 ? 2 * names->size : 64;
			char **grown =
			    reallocarray(names->name, size, sizeof(*grown));

			if (grown == NULL)
				return no_memory(e);
			names->name = grown;
			names->size = size;
		}
		names->name[names->n] = strdup(entry->d_name);
		if (names->name[names->n] == NULL)
			return no_memory(e);
		names->n++;
	}
	if (errno != 0)
		return err_set(e, ERR_USAGE, errno, "read folder %s", path);
	if (names->n > 1)
		qsort(names->name, names->n, sizeof(char *), name_cmp);
	return 0;
}

/* The first one wins. */
static void
warn_conflict(struct walk *walk, uint32_t node)
{
	AUTO(own_freep) char *path = NULL;

	if (walk->scan->conflicts++ >= CONFLICTS_SHOWN)
		return;
	path = root_tree_path(walk->scan->tree, node);
	log_line(LOG_WARNING, "%s is in %s and in %s: the first is used",
	    path != NULL ? path : "a file", walk->scan->tree->node[node].origin,
	    walk->origin);
}

static int
add_node(struct walk *walk, uint32_t parent, const char *name, uint32_t *out,
    struct err *e)
{
	struct root_tree *tree = walk->scan->tree;

	if (root_tree_add(tree, parent, name, strlen(name), out, e) < 0)
		return -1;
	tree->node[*out].uid = walk->scan->request->uid;
	tree->node[*out].gid = walk->scan->request->gid;
	tree->node[*out].origin = walk->origin;
	return 0;
}

static int
put_contents(struct walk *walk, const struct folder *in, const char *name,
    const struct stat *st, struct err *e)
{
	struct root_tree *tree = walk->scan->tree;
	uint32_t node = root_tree_find(tree, in->node, name, strlen(name));
	bool folder = S_ISDIR(st->st_mode);

	if (node != ROOT_NONE &&
	    (!folder || tree->node[node].type != TAR_DIRECTORY)) {
		warn_conflict(walk, node);
		return 0;
	}
	if (node == ROOT_NONE && add_node(walk, in->node, name, &node, e) < 0)
		return -1;
	if (folder)
		return walk_push(walk, node, in->path, in->shown, name, e);
	tree->node[node].type = TAR_SYMLINK;
	tree->node[node].mode = 0777;
	return root_tree_text(
	    tree, in->shown, "/", name, &tree->node[node].target, e);
}

/* What rootTree has, in a place where contents have something else. */
static int
collision(struct walk *walk, uint32_t node, bool folder, struct err *e)
{
	AUTO(own_freep) char *path = root_tree_path(walk->scan->tree, node);

	return err_set(e, ERR_USAGE, 0, "%s is a %s in %s, but a %s in %s",
	    path != NULL ? path : "a file", folder ? "folder" : "file",
	    walk->origin, folder ? "file" : "folder",
	    walk->scan->tree->node[node].origin);
}

static int
read_target(struct root_tree *tree, const struct folder *in, int dir,
    const char *name, const char **out, struct err *e)
{
	char target[PATH_MAX];
	ssize_t n = readlinkat(dir, name, target, sizeof(target) - 1);

	if (n < 0)
		return err_set(
		    e, ERR_USAGE, errno, "read link %s/%s", in->path, name);
	target[n] = '\0';
	return root_tree_text(tree, target, "", "", out, e);
}

static int
put_copy(struct walk *walk, const struct folder *in, int dir, const char *name,
    const struct stat *st, struct err *e)
{
	struct root_tree *tree = walk->scan->tree;
	uint32_t node = root_tree_find(tree, in->node, name, strlen(name));
	bool folder = S_ISDIR(st->st_mode);
	struct root_node *n;

	if (!folder && !S_ISREG(st->st_mode) && !S_ISLNK(st->st_mode))
		return err_set(e, ERR_USAGE, 0,
		    "%s/%s is neither a file nor a folder nor a link", in->path,
		    name);
	if (node == ROOT_NONE) {
		if (add_node(walk, in->node, name, &node, e) < 0)
			return -1;
	} else if (folder != (tree->node[node].type == TAR_DIRECTORY) &&
	    (folder || tree->node[node].first != ROOT_NONE)) {
		return collision(walk, node, folder, e);
	}
	n = &tree->node[node];
	n->mode = st->st_mode & 07777;
	n->origin = walk->origin;
	if (folder)
		return walk_push(walk, node, in->path, in->shown, name, e);
	n->type = S_ISLNK(st->st_mode) ? TAR_SYMLINK : TAR_REGULAR;
	if (n->type == TAR_SYMLINK)
		return read_target(tree, in, dir, name, &n->target, e);
	return root_tree_text(tree, in->path, "/", name, &n->target, e);
}

static int
read_folder(struct walk *walk, const struct folder *in, struct err *e)
{
	AUTO(names_clear) struct names names = {0};
	int ret = 0;
	int fd = long_path_open(in->path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
	DIR *d;

	if (fd < 0 || (d = fdopendir(fd)) == NULL) {
		err_set(e, ERR_USAGE, errno, "read folder %s", in->path);
		own_closep(&fd);
		return -1;
	}
	ret = read_names(d, &names, in->path, e);
	for (size_t i = 0; ret == 0 && i < names.n; i++) {
		const char *name = names.name[i];
		struct stat st;

		if (fstatat(fd, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
			ret = err_set(
			    e, ERR_USAGE, errno, "%s/%s", in->path, name);
		else if (walk->links)
			ret = put_contents(walk, in, name, &st, e);
		else
			ret = put_copy(walk, in, fd, name, &st, e);
	}
	closedir(d);
	return ret;
}

static int
walk_all(struct walk *walk, const char *path, const char *shown, struct err *e)
{
	if (walk_push(walk, 0, path, shown, "", e) < 0)
		return -1;
	while (walk->n > 0) {
		struct folder in = walk->folder[--walk->n];
		int ret = read_folder(walk, &in, e);

		free(in.path);
		free(in.shown);
		if (ret < 0)
			return -1;
	}
	return 0;
}

int
root_scan_contents(
    struct root_scan *scan, const char *store_path, struct err *e)
{
	AUTO(walk_clear)
	struct walk walk = {.scan = scan, .origin = store_path, .links = true};
	AUTO(own_freep) char *path = NULL;
	struct stat st;

	if (store_link_resolve(scan->store_root, scan->request->store_dir,
		store_path, &path, e) < 0)
		return err_ctx(e, "contents %s", store_path);
	if (lstat(path, &st) < 0)
		return err_set(e, ERR_USAGE, errno, "contents %s", store_path);
	if (!S_ISDIR(st.st_mode)) {
		log_line(LOG_WARNING,
		    "%s is not a folder: it is in the image, but nothing at / "
		    "links to it",
		    store_path);
		return 0;
	}
	if (walk_all(&walk, path, store_path, e) < 0)
		return err_ctx(e, "contents %s", store_path);
	return 0;
}

int
root_scan_tree(struct root_scan *scan, const char *folder, struct err *e)
{
	AUTO(walk_clear) struct walk walk = {.scan = scan, .origin = folder};
	AUTO(own_freep) char *path = realpath(folder, NULL);

	if (path == NULL)
		return err_set(e, ERR_USAGE, errno, "rootTree %s", folder);
	if (walk_all(&walk, path, "", e) < 0)
		return err_ctx(e, "rootTree %s", folder);
	return 0;
}

void
root_scan_finish(const struct root_scan *scan)
{
	if (scan->conflicts > CONFLICTS_SHOWN)
		log_line(LOG_WARNING,
		    "%zu more files are in several of the contents: the first "
		    "is used",
		    scan->conflicts - CONFLICTS_SHOWN);
}
