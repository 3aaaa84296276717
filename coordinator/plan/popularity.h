/*
 * The popularity of every store path, exactly: with N(c) the number of ways
 * from any root down to c, popularity(u) is the sum of N(c) over u and all
 * that reach u.  Pure.
 *
 * Blocks of 256 paths, from the last to the first, are swept over all that
 * they reach, and on the way lose the references that another way makes
 * redundant.  Cost for n paths and m references: at most n / 256 sweeps over
 * the paths and the references that are left; closures are far smaller.
 * Numbers have as many 64-bit limbs as the largest needs, k: memory is
 * (56 + 16 k) n bytes.  k is 1 or 2 in real closures; a ladder of 10^4 diamonds
 * (3 * 10^4 paths, numbers of 10^4 bits) has k = 157: 90 MB and 1 s.
 */
#ifndef POPULARITY_H
#define POPULARITY_H

#include <stddef.h>
#include <stdint.h>

struct err;
struct topo;

/* Numbers that need more memory than this in all are refused. */
#define POPULARITY_BYTES_MAX ((uint64_t)4 << 30)

struct popularity {
	size_t n;
	size_t limbs;	 /* of each number */
	uint64_t *value; /* n * limbs, by position, least significant first */
};

/*
 * Uses t up: references in it are dropped and moved; only topo.node is of use
 * afterwards.  ERR_USAGE: numbers beyond POPULARITY_BYTES_MAX.
 */
int popularity_make(struct topo *t, struct popularity **out, struct err *e);
void popularity_free(struct popularity *p);
void popularity_freep(struct popularity **p);

#endif
