/*
 * Does the same to each of n things in several threads, for what waits more
 * than it works: requests.
 */
#ifndef FAN_OUT_H
#define FAN_OUT_H

#include <stdatomic.h>
#include <stddef.h>

struct err;

#define FAN_OUT_MAX 16 /* threads */

struct fan_out {
	size_t n;
	unsigned threads; /* 1 to FAN_OUT_MAX; each has its number below it */
	/* Thing i.  An error ends it all, once what runs has ended. */
	int (*one)(void *arg, unsigned thread, size_t i, struct err *e);
	void *arg;
	atomic_bool *stop; /* becomes true then */
};

/* -1: the first error, or no thread could be started. */
int fan_out(const struct fan_out *f, struct err *e);

#endif
