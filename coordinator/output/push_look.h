/*
 * Looks whether layers are in the repositories of pushes already, in threads of
 * its own, some for each registry, while others do the work; and knows what a
 * worker has to say in each of them to put layers there.
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

#define PUSH_LOOK_THREADS 8 /* of a registry */

/* wake_fd: made readable when push_look_take has something; borrowed. */
int push_look_new(int wake_fd, struct push_look **out, struct err *e);
/* A place: they are 0, 1, ...; p is borrowed.  Before anything is asked. */
int push_look_place(struct push_look *l, struct push *p, struct err *e);
/* Gives up what is on: after a second or so. */
void push_look_free(struct push_look *l);

/*
 * Is that there?  id comes back with the answer.  from: another repository of
 * the registry, from which it is mounted, if it can be; borrowed; or NULL.
 * ERR_FATAL: out of memory.
 */
int push_look_ask(struct push_look *l, size_t place, uint64_t id,
    const struct digest *digest, uint64_t size, const char *from,
    struct err *e);
/*
 * A worker's token, this serial, is taken no more; id comes back once there is
 * another one, or none to be had.
 */
int push_look_renew(struct push_look *l, size_t place, uint64_t id,
    uint64_t serial, struct err *e);

struct push_looked {
	size_t place;
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

int push_look_lend(
    struct push_look *l, size_t place, struct push_lent *out, struct err *e);

#endif
