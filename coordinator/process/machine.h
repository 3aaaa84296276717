/* What this machine gives to the process.  One thread. */
#ifndef MACHINE_H
#define MACHINE_H

#include <stdbool.h>
#include <stddef.h>

struct err;

/* That it may run on. */
size_t machine_cores(void);

/*
 * libzmq aborts where it gets no descriptor: so there must be `want` before;
 * the limit is raised to that, or (all) as far as it may be.  ERR_FATAL, whose
 * text ends in hint.
 */
int machine_descriptors(size_t want, bool all, const char *hint, struct err *e);

#endif
