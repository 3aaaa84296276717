/*
 * How much memory this process may take: the least of what the system has left,
 * what its control groups (version 2) leave, and its address space limit.  At
 * start, since what a slot takes does not depend on its jobs' sizes.
 */
#ifndef MEMORY_ROOM_H
#define MEMORY_ROOM_H

#include <stdint.h>

/*
 * Of one slot at most: zstd at its highest levels with chunks of
 * ENCODING_ZSTD_CHUNK (58 MiB, measured), and buffers.
 */
#define MEMORY_SLOT_MAX ((uint64_t)64 << 20)

/*
 * Bytes; UINT64_MAX: nothing is known.  root: where /proc and /sys are, "" but
 * for tests.
 */
uint64_t memory_room(const char *root);

#endif
