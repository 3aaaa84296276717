#include "tree_walk.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "dir_scout.h"
#include "err.h"
#include "layer_spec.h"
#include "own.h"
#include "store_path.h"

/* Directories held open; above them the way back is "..". */
#define OPEN_DIRS_MAX 32
#define DENTS_SIZE 32768

struct name {
	uint64_t key; /* its first 8 bytes, big-endian: decides most orders */
	size_t at;    /* in chars */
	unsigned char type;
};

/* A directory on the way from the store path to here. */
struct frame {
	int fd; /* or -1: closed for now */
	struct tree_mark mark;
	size_t names, next, n; /* its stretch of names; the next to visit */
	size_t chars;	       /* where its names start in chars */
	size_t name_len;       /* of w->name, up to this directory */
};

struct tree_walk {
	const char *store_dir, *store_root;
	const struct layer_item *items;
	size_t n_items, item;
	bool open_files;
	int store_fd;

	struct frame *frames;
	size_t depth, frames_cap;
	size_t lowest_open; /* frames below it have no fd */
	struct name *names; /* of all frames, a stack */
	size_t n_names, names_cap;
	char *chars; /* their bytes, a stack */
	size_t n_chars, chars_cap;

	struct dir_scout *scout; /* or NULL */
	size_t passed;		 /* directories of the current store path */

	char name[TAR_NAME_MAX + 1];
	char target[TAR_NAME_MAX + 1];
	_Alignas(struct dirent64) char dents[DENTS_SIZE];
};

void
tree_mark_set(struct tree_mark *mark, const struct stat *st)
{
	*mark = (struct tree_mark){.dev = st->st_dev,
	    .ino = st->st_ino,
	    .size = st->st_size,
	    .mtime = st->st_mtim,
	    .ctime = st->st_ctim};
}

static bool
time_equal(const struct timespec *a, const struct timespec *b)
{
	return a->tv_sec == b->tv_sec && a->tv_nsec == b->tv_nsec;
}

bool
tree_mark_equal(const struct tree_mark *a, const struct tree_mark *b)
{
	return a->dev == b->dev && a->ino == b->ino && a->size == b->size &&
	    time_equal(&a->mtime, &b->mtime) &&
	    time_equal(&a->ctime, &b->ctime);
}

int
tree_err(struct err *e, int sys, const char *what)
{
	switch (sys) {
	case EACCES:
	case EPERM:
	case ENOENT:
		return err_set(e, ERR_JOB, sys, "%s", what);
	case ELOOP: /* a symlink now, by O_NOFOLLOW */
	case ENOTDIR:
	case ENXIO: /* a fifo or socket now */
	case EISDIR:
		return err_set(e, ERR_JOB, 0, "changed while it was read");
	default:
		return err_set(e, ERR_RETRY, sys, "%s", what);
	}
}

void
tree_show(const char *root, const char *name, char out[static TREE_SHOWN_MAX])
{
	size_t root_len = strlen(root), len = root_len + strlen(name);
	size_t half = TREE_SHOWN_MAX / 2 - 4, at = 0;

	for (size_t i = 0; i < len; i++) {
		unsigned char c;

		if (len >= TREE_SHOWN_MAX && i == half) {
			memcpy(out + at, "...", 3);
			at += 3;
			i = len - half;
		}
		c = (unsigned char)(i < root_len ? root[i]
						 : name[i - root_len]);
		out[at++] = c < 0x20 || c == 0x7f ? '?' : (char)c;
	}
	out[at] = '\0';
}

/* Puts the name that the walk is at before the error. */
static int
at_name(const struct tree_walk *w, struct err *e)
{
	char shown[TREE_SHOWN_MAX];

	tree_show(w->store_root, w->name, shown);
	return err_ctx(e, "%s", shown);
}

static int
failed(const struct tree_walk *w, int sys, const char *what, struct err *e)
{
	tree_err(e, sys, what);
	return at_name(w, e);
}

int
tree_walk_new(const char *store_dir, const char *store_root,
    const struct layer_item *items, size_t n, bool open_files,
    struct tree_walk **out, struct err *e)
{
	AUTO(tree_walk_freep) struct tree_walk *w = NULL;
	AUTO(own_freep) char *store = NULL;

	if ((w = malloc(sizeof(*w))) == NULL)
		return err_set(e, ERR_RETRY, errno, "walk");
	*w = (struct tree_walk){.store_dir = store_dir,
	    .store_root = store_root,
	    .items = items,
	    .n_items = n,
	    .open_files = open_files,
	    .store_fd = -1};
	if (asprintf(&store, "%s%s", store_root, store_dir) < 0) {
		store = NULL;
		return err_set(e, ERR_RETRY, ENOMEM, "walk");
	}
	w->store_fd = open(store, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (w->store_fd < 0) {
		tree_err(e, errno, "store directory");
		return err_ctx(e, "%s", store);
	}
	*out = STEAL(&w);
	return 0;
}

void
tree_walk_free(struct tree_walk *w)
{
	if (w == NULL)
		return;
	dir_scout_free(w->scout);
	while (w->depth > 0)
		own_closep(&w->frames[--w->depth].fd);
	own_closep(&w->store_fd);
	free(w->frames);
	free(w->names);
	free(w->chars);
	free(w);
}

void
tree_walk_freep(struct tree_walk **w)
{
	tree_walk_free(*w);
	*w = NULL;
}

void
tree_walk_scout(struct tree_walk *w)
{
	/* From the current store path on; all others are not begun. */
	size_t from = w->item > 0 ? w->item - 1 : 0;

	if (w->scout == NULL && w->item <= w->n_items)
		w->scout = dir_scout_new(w->store_fd, w->store_dir,
		    w->items + from, w->n_items - from, w->passed);
}

/* Makes room for need elements of size in *list. */
static int
reserve(void *list, size_t *cap, size_t need, size_t size, struct err *e)
{
	size_t new_cap = *cap == 0 ? 64 : *cap;
	void *new;

	if (need <= *cap)
		return 0;
	while (new_cap < need)
		new_cap *= 2;
	if ((new = realloc(*(void **)list, new_cap * size)) == NULL)
		return err_set(e, ERR_RETRY, errno, "list a directory");
	*(void **)list = new;
	*cap = new_cap;
	return 0;
}

static uint64_t
name_key(const char *s)
{
	uint64_t key = 0;

	for (size_t i = 0; i < 8; i++) {
		key = key << 8 | (unsigned char)*s;
		if (*s != '\0')
			s++;
	}
	return key;
}

static int
add_name(struct tree_walk *w, const struct dirent64 *d, struct err *e)
{
	size_t len = strlen(d->d_name);
	struct name *name;

	if (d->d_name[0] == '.' &&
	    (len == 1 || (len == 2 && d->d_name[1] == '.')))
		return 0;
	if (reserve(&w->names, &w->names_cap, w->n_names + 1, sizeof(*w->names),
		e) < 0 ||
	    reserve(&w->chars, &w->chars_cap, w->n_chars + len + 1, 1, e) < 0)
		return at_name(w, e);
	name = &w->names[w->n_names++];
	name->key = name_key(d->d_name);
	name->at = w->n_chars;
	name->type = d->d_type;
	memcpy(w->chars + w->n_chars, d->d_name, len + 1);
	w->n_chars += len + 1;
	return 0;
}

static int
compare_names(const void *pa, const void *pb, void *chars)
{
	const struct name *a = pa, *b = pb;

	if (a->key != b->key)
		return a->key < b->key ? -1 : 1;
	return strcmp((char *)chars + a->at, (char *)chars + b->at);
}

/* Lists the open directory of frame f, sorted. */
static int
list(struct tree_walk *w, struct frame *f, struct err *e)
{
	ssize_t n;

	while ((n = getdents64(f->fd, w->dents, sizeof(w->dents))) > 0) {
		for (ssize_t at = 0; at < n;) {
			struct dirent64 *d = (void *)(w->dents + at);

			if (add_name(w, d, e) < 0)
				return -1;
			at += d->d_reclen;
		}
	}
	if (n < 0)
		return failed(w, errno, "list the directory", e);
	f->n = w->n_names;
	if (f->n > f->names)
		qsort_r(w->names + f->names, f->n - f->names, sizeof(*w->names),
		    compare_names, w->chars);
	return 0;
}

/* Enters the directory that is open at fd, which is taken in any case. */
static int
push(struct tree_walk *w, int fd, const struct stat *st, struct err *e)
{
	struct frame *f;

	if (reserve(&w->frames, &w->frames_cap, w->depth + 1,
		sizeof(*w->frames), e) < 0) {
		close(fd);
		return at_name(w, e);
	}
	f = &w->frames[w->depth];
	*f = (struct frame){.fd = fd,
	    .names = w->n_names,
	    .next = w->n_names,
	    .chars = w->n_chars,
	    .name_len = strlen(w->name)};
	tree_mark_set(&f->mark, st);
	if (list(w, f, e) < 0) {
		own_closep(&f->fd);
		w->n_names = f->names;
		w->n_chars = f->chars;
		return -1;
	}
	w->depth++;
	w->passed++;
	dir_scout_pass(w->scout);
	if (w->depth - w->lowest_open > OPEN_DIRS_MAX)
		own_closep(&w->frames[w->lowest_open++].fd);
	return 0;
}

/* Opens the parent of the innermost directory again. */
static int
reopen_parent(struct tree_walk *w, struct err *e)
{
	struct frame *f = &w->frames[w->depth - 1], *parent = f - 1;
	struct stat st;
	int fd;

	fd = openat(f->fd, "..", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0 || fstat(fd, &st) < 0) {
		int sys = errno;

		own_closep(&fd);
		return failed(w, sys, "go back to the directory above", e);
	}
	if (st.st_dev != parent->mark.dev || st.st_ino != parent->mark.ino) {
		close(fd);
		err_set(e, ERR_JOB, 0, "was moved while it was read");
		return at_name(w, e);
	}
	parent->fd = fd;
	w->lowest_open--;
	return 0;
}

/* Leaves the innermost directory, which must still be as it was. */
static int
pop(struct tree_walk *w, struct err *e)
{
	struct frame *f = &w->frames[w->depth - 1];
	struct tree_mark mark;
	struct stat st;

	w->name[f->name_len] = '\0';
	if (fstat(f->fd, &st) < 0)
		return failed(w, errno, "look at the directory", e);
	tree_mark_set(&mark, &st);
	if (!tree_mark_equal(&mark, &f->mark)) {
		err_set(e, ERR_JOB, 0, "changed while it was read");
		return at_name(w, e);
	}
	if (w->depth > 1 && f[-1].fd < 0 && reopen_parent(w, e) < 0)
		return -1;
	own_closep(&f->fd);
	w->n_names = f->names;
	w->n_chars = f->chars;
	w->depth--;
	return 0;
}

static unsigned char
type_of_mode(mode_t mode)
{
	return (unsigned char)((mode & S_IFMT) >> 12);
}

static const char *
type_name(unsigned char type)
{
	switch (type) {
	case DT_SOCK:
		return "socket";
	case DT_FIFO:
		return "fifo";
	case DT_CHR:
		return "character device";
	case DT_BLK:
		return "block device";
	default:
		return "file of unknown type";
	}
}

static int
visit_regular(struct tree_walk *w, int dir, const char *name,
    struct tree_entry *out, struct err *e)
{
	AUTO(own_closep) int fd = -1;
	struct stat st;
	int rc;

	if (w->open_files) {
		/* Not to wait, should it be a fifo by now. */
		fd = openat(dir, name,
		    O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
		if (fd < 0)
			return failed(w, errno, "open", e);
		rc = fstat(fd, &st);
	} else {
		rc = fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW);
	}
	if (rc < 0)
		return failed(w, errno, "look at", e);
	if (!S_ISREG(st.st_mode))
		return failed(w, ELOOP, "", e);
	out->type = TAR_REGULAR;
	out->mode = st.st_mode & 07777;
	out->size = (uint64_t)st.st_size;
	tree_mark_set(&out->mark, &st);
	out->fd = fd;
	fd = -1;
	return 0;
}

static int
visit_directory(struct tree_walk *w, int dir, const char *name,
    struct tree_entry *out, struct err *e)
{
	struct stat st;
	int fd;

	fd = openat(dir, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		return failed(w, errno, "open", e);
	if (fstat(fd, &st) < 0) {
		failed(w, errno, "look at", e);
		close(fd);
		return -1;
	}
	out->type = TAR_DIRECTORY;
	out->mode = st.st_mode & 07777;
	return push(w, fd, &st, e);
}

static int
visit_symlink(struct tree_walk *w, int dir, const char *name,
    struct tree_entry *out, struct err *e)
{
	struct stat st;
	ssize_t n;

	if (fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return failed(w, errno, "look at", e);
	n = readlinkat(dir, name, w->target, sizeof(w->target));
	if (n < 0)
		return failed(w, errno == EINVAL ? ELOOP : errno, "read", e);
	if ((size_t)n >= sizeof(w->target)) {
		err_set(
		    e, ERR_JOB, 0, "link to more than %d bytes", TAR_NAME_MAX);
		return at_name(w, e);
	}
	w->target[n] = '\0';
	out->type = TAR_SYMLINK;
	out->mode = st.st_mode & 07777;
	out->target = w->target;
	return 0;
}

/* The entry w->name, which is name in the directory dir. */
static int
visit(struct tree_walk *w, int dir, const char *name, unsigned char type,
    struct tree_entry *out, struct err *e)
{
	struct stat st;

	if (type == DT_UNKNOWN) {
		if (fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
			return failed(w, errno, "look at", e);
		type = type_of_mode(st.st_mode);
	}
	switch (type) {
	case DT_REG:
		return visit_regular(w, dir, name, out, e);
	case DT_DIR:
		return visit_directory(w, dir, name, out, e);
	case DT_LNK:
		return visit_symlink(w, dir, name, out, e);
	default:
		err_set(e, ERR_JOB, 0,
		    "a %s cannot be in a layer: remove it from the store path",
		    type_name(type));
		return at_name(w, e);
	}
}

static int
visit_item(struct tree_walk *w, struct tree_entry *out, struct err *e)
{
	const char *path = w->items[w->item].path;

	if (store_path_check(path, w->store_dir, e) < 0)
		return -1;
	/* The checked path is at most STORE_PATH_MAX. */
	memcpy(w->name, path, strlen(path) + 1);
	w->passed = 0;
	out->item = w->item;
	out->depth = 0;
	out->base = strlen(w->store_dir) + 1;
	if (visit(w, w->store_fd, path + out->base, DT_UNKNOWN, out, e) < 0)
		return -1;
	w->item++;
	return 0;
}

static int
visit_next(struct tree_walk *w, struct tree_entry *out, struct err *e)
{
	struct frame *f = &w->frames[w->depth - 1];
	const struct name *name = &w->names[f->next];
	size_t len = strlen(w->chars + name->at), depth = w->depth;
	unsigned char type = name->type;

	w->name[f->name_len] = '\0';
	/* A directory gets a '/' in the tar. */
	if (f->name_len + 1 + len + 1 > TAR_NAME_MAX) {
		err_set(e, ERR_JOB, 0,
		    "holds an entry with a name of more than %d bytes",
		    TAR_NAME_MAX);
		return at_name(w, e);
	}
	w->name[f->name_len] = '/';
	memcpy(w->name + f->name_len + 1, w->chars + name->at, len + 1);
	out->item = w->item - 1;
	out->depth = depth;
	out->base = f->name_len + 1;
	if (visit(w, f->fd, w->name + out->base, type, out, e) < 0)
		return -1;
	w->frames[depth - 1].next++; /* push may have moved them */
	return 0;
}

int
tree_walk_next(struct tree_walk *w, struct tree_entry *out, struct err *e)
{
	int rc;

	while (w->depth > 0 &&
	    w->frames[w->depth - 1].next == w->frames[w->depth - 1].n)
		if (pop(w, e) < 0)
			return -1;
	if (w->depth == 0 && w->item == w->n_items)
		return 0;
	*out = (struct tree_entry){.name = w->name, .target = "", .fd = -1};
	rc = w->depth == 0 ? visit_item(w, out, e) : visit_next(w, out, e);
	return rc < 0 ? -1 : 1;
}
