/*
 * The strings of a closure: bytes that are taken one after another, never
 * move, and are freed together.  One thread at a time takes; what was taken
 * may be read by any.
 */
#ifndef CLOSURE_ARENA_H
#define CLOSURE_ARENA_H

#include <stddef.h>

struct closure_arena;

/* NULL: out of memory. */
struct closure_arena *closure_arena_new(void);
void closure_arena_free(struct closure_arena *a);

/* size bytes (at most CLOSURE_ARENA_TAKE_MAX), not aligned; NULL: no memory. */
#define CLOSURE_ARENA_TAKE_MAX ((size_t)4096)
char *closure_arena_take(struct closure_arena *a, size_t size);

#endif
