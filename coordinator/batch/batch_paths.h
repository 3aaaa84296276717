/*
 * The store paths of all layers of a batch that are to be made, each once:
 * plans come and go, these stay.  Owns its strings.  One thread adds; once
 * that is over any may read.
 */
#ifndef BATCH_PATHS_H
#define BATCH_PATHS_H

#include <stddef.h>
#include <stdint.h>

struct batch_paths;
struct closure;
struct err;

int batch_paths_new(
    const char *store_dir, struct batch_paths **out, struct err *e);
void batch_paths_free(struct batch_paths *p);

/*
 * Path `at` of a closure that has narHashes and sizes; *out is its index here.
 * The same path with another hash or size is another one.
 */
int batch_paths_add(struct batch_paths *p, const struct closure *c, size_t at,
    uint32_t *out, struct err *e);

/*
 * As jobs have it: paths, hashes and sizes; in no order, without references.
 * Always the same object; what it points to moves while paths are added.
 */
const struct closure *batch_paths_closure(const struct batch_paths *p);

#endif
