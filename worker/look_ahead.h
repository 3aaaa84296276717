/*
 * A walk with its files opened, and asked for from the disk, some way ahead of
 * the reader: on a cold cache a disk is fast only when it has much to do at
 * once.  The way is bounded in files and bytes; while the disk is not needed
 * nothing is done ahead.  One thread each.
 */
#ifndef LOOK_AHEAD_H
#define LOOK_AHEAD_H

#include <stddef.h>
#include <stdint.h>

struct err;
struct look_ahead;
struct tree_entry;
struct tree_walk;

/*
 * walk is borrowed, and the look-ahead's alone from here on.  files, at most
 * LOOK_AHEAD_FILES, are open at a time; one if it is 0.
 */
#define LOOK_AHEAD_FILES ((size_t)256)
int look_ahead_new(struct tree_walk *walk, size_t files,
    struct look_ahead **out, struct err *e);
void look_ahead_free(struct look_ahead *la);
void look_ahead_freep(struct look_ahead **la);

/* As tree_walk_next; but fd stays the look-ahead's, until the next call. */
int look_ahead_next(
    struct look_ahead *la, struct tree_entry *out, struct err *e);

/*
 * The reader has read the entry's file up to offset, a multiple of
 * LOOK_AHEAD_STEP: asks for what comes a little later in it.
 */
#define LOOK_AHEAD_STEP ((uint64_t)2 << 20)
void look_ahead_inside(struct look_ahead *la, uint64_t offset, uint64_t size);

#endif
