/*
 * Reads directories of store paths ahead of a walk, so that they are in the
 * cache when it comes: there is no way to ask the kernel for a directory but
 * to read it, so a few threads do, and forget what they read.  Started only
 * when the disk turns out to be needed.  Called by the walk's thread.
 */
#ifndef DIR_SCOUT_H
#define DIR_SCOUT_H

#include <stddef.h>

struct dir_scout;
struct layer_item;

/*
 * All is borrowed; store_fd is store_dir's.  passed: directories of the first
 * item that the walk has seen already.  NULL if it cannot be: a walk does
 * without.
 */
struct dir_scout *dir_scout_new(int store_fd, const char *store_dir,
    const struct layer_item *items, size_t n, size_t passed);
/* The walk has come to one more directory. */
void dir_scout_pass(struct dir_scout *s);
/* Waits for the threads. */
void dir_scout_free(struct dir_scout *s);

#endif
