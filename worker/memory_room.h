/*
 * How much memory this process may take: the least of what the system has left,
 * what its control groups (version 2) allow, and its address space limit; in
 * all, at its start, or what is left of it now.
 */
#ifndef MEMORY_ROOM_H
#define MEMORY_ROOM_H

#include <stdint.h>

/*
 * Of one slot at most: zstd at the level that takes most with chunks of
 * ENCODING_ZSTD_CHUNK (15: 65 MiB, measured), and buffers.
 */
#define MEMORY_SLOT_MAX ((uint64_t)80 << 20)

/*
 * Bytes; UINT64_MAX: nothing is known.  root: where /proc and /sys are, "" but
 * for tests.
 */
uint64_t memory_room(const char *root);

/* Of that, what is not in use; page cache is not: it gives way. */
uint64_t memory_left(const char *root);

/* What this process has of its own; 0: nothing is known. */
uint64_t memory_taken(const char *root);

#endif
