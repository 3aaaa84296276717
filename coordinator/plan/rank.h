/*
 * Ranks a closure's store paths by popularity, exactly as nixpkgs'
 * referencesByPopularity orders them: popularity descending, then
 * NAME-STOREDIR/HASH ascending.  popularity(u) is the sum of N(c) over u and
 * all that reach u, N(c) the number of ways from a root to c; exact, whatever
 * its size.  Pure.
 */
#ifndef RANK_H
#define RANK_H

#include <stdint.h>

struct closure;
struct err;

/*
 * *order: c->n indices, most popular first; the caller frees it.
 * ERR_USAGE: a cycle, whose paths the error names.
 */
int rank_popularity(const struct closure *c, uint32_t **order, struct err *e);

#endif
