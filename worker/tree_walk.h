/*
 * The entries of store paths in the order of a layer: each path, then what is
 * under it, depth first, a directory's entries sorted by the bytes of their
 * names.  Symlinks are never followed.  Memory depends on the depth and on the
 * largest directory, open files do not.  A walk belongs to one thread.
 */
#ifndef TREE_WALK_H
#define TREE_WALK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>

#include "tar_header.h"

struct err;
struct layer_item;
struct tree_walk;

/* What tells that a file is still what it was. */
struct tree_mark {
	dev_t dev;
	ino_t ino;
	off_t size;
	struct timespec mtime, ctime;
};

struct tree_entry {
	enum tar_type type;
	size_t item;	    /* index of its store path */
	size_t depth;	    /* 0: the store path itself */
	const char *name;   /* as the image shows it, absolute */
	size_t base;	    /* where its last component starts */
	const char *target; /* symlink; else "" */
	uint32_t mode;
	uint64_t size; /* regular file */
	int fd;	       /* regular file, open for reading; else -1 */
	struct tree_mark mark;
};

/*
 * items are borrowed.  store_root stands before store_dir on this machine.
 * open_files: whether regular files come open (else only their size).
 */
int tree_walk_new(const char *store_dir, const char *store_root,
    const struct layer_item *items, size_t n, bool open_files,
    struct tree_walk **out, struct err *e);
void tree_walk_free(struct tree_walk *w);
void tree_walk_freep(struct tree_walk **w);

/*
 * 1 and the next entry, whose fd is the caller's to close and whose strings
 * hold until the next call; 0 at the end; -1.  After -1 with sys EMFILE or
 * ENFILE the same call may be tried again.
 */
int tree_walk_next(struct tree_walk *w, struct tree_entry *out, struct err *e);

/* Says that the disk is slow: directories ahead are worth their threads. */
void tree_walk_scout(struct tree_walk *w);

void tree_mark_set(struct tree_mark *mark, const struct stat *st);
bool tree_mark_equal(const struct tree_mark *a, const struct tree_mark *b);

/*
 * ERR_JOB where the file itself is at fault (not there, not readable, no
 * longer what it was), ERR_RETRY for the machine's trouble.
 */
int tree_err(struct err *e, int sys, const char *what);

/*
 * "root" and name as a message may show them: shortened in the middle, control
 * characters replaced.  What is said after it has room, too: the coordinator
 * keeps 512 bytes of a reason.
 */
#define TREE_SHOWN_MAX 320
void tree_show(
    const char *root, const char *name, char out[static TREE_SHOWN_MAX]);

#endif
