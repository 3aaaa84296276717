/*
 * A closure's graph in topological order: every path comes before all that it
 * refers to.  Positions replace indices, so that whoever walks the graph goes
 * through memory from front to back.  A topo owns its arrays and borrows
 * nothing; immutable once made, any thread may read it.
 */
#ifndef TOPO_H
#define TOPO_H

#include <stddef.h>
#include <stdint.h>

struct closure;
struct err;

struct topo {
	size_t n;
	uint32_t *node; /* node[position]: index into the closure */
	size_t *start;	/* n + 1: ref[start[p]..start[p+1]) */
	uint32_t *ref;	/* positions, all greater than p; no self-references */
};

/* ERR_USAGE: a cycle, whose paths the error names in the order of reference. */
int topo_make(const struct closure *c, struct topo **out, struct err *e);
void topo_free(struct topo *t);
void topo_freep(struct topo **t);

#endif
