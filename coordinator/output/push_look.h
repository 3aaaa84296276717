/*
 * Looks whether layers are in the repository of a push already, in threads of
 * its own, while others do the work; and knows what a worker has to say there
 * to put them.
 *
 * One thread calls; no call blocks, but push_look_free.
 */
#ifndef PUSH_LOOK_H
#define PUSH_LOOK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "digest.h"
#include "registry_auth.h"

struct err;
struct push;
struct push_look;

#define PUSH_LOOK_THREADS 4

/* wake_fd: made readable when push_look_take has something; borrowed, as is p.
 */
int push_look_new(
    struct push *p, int wake_fd, struct push_look **out, struct err *e);
/* Gives up what is on: after a second or so. */
void push_look_free(struct push_look *l);

/*
 * Is that there?  id comes back with the answer.  from: another repository of
 * the registry, from which it is mounted, if it can be; borrowed; or NULL.
 * ERR_FATAL: out of memory.
 */
int push_look_ask(struct push_look *l, uint64_t id, const struct digest *digest,
    uint64_t size, const char *from, struct err *e);
/*
 * A worker's token, this serial, is taken no more; id comes back once there is
 * another one, or none to be had.
 */
int push_look_renew(
    struct push_look *l, uint64_t id, uint64_t serial, struct err *e);

struct push_looked {
	uint64_t id;
	bool failed; /* it could not be asked: why */
	bool there, mounted;
	char why[512];
};

bool push_look_take(struct push_look *l, struct push_looked *out);

/* What a worker says there, as far as is known. */
struct push_lent {
	enum registry_lend how;
	uint64_t serial; /* grows with each other token; 1 or more */
	char *token;	 /* the caller's, secret; "": none */
};

int push_look_lend(struct push_look *l, struct push_lent *out, struct err *e);

#endif
