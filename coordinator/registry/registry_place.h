/*
 * The way to one registry: how it is spoken to, what it is trusted by, and who
 * asks.  Found out once; sessions of any thread borrow it.
 */
#ifndef REGISTRY_PLACE_H
#define REGISTRY_PLACE_H

#include <stdatomic.h>
#include <stdbool.h>

struct err;
struct registry_options;
struct registry;
struct registry_name;
struct registry_place;

/*
 * name: whose host it is; passwords are its repository's.  One that
 * options->opened has is not opened again, and _free leaves it there; _end is
 * for that alone.  ERR_USAGE, ERR_FATAL.
 */
int registry_place_open(const struct registry_name *name,
    const struct registry_options *options, struct registry_place **out,
    struct err *e);
void registry_place_free(struct registry_place *p);
void registry_place_freep(struct registry_place **p);
void registry_place_end(struct registry_place *p);

/* "https://HOST[:PORT]"; the place's.  Equal ones are one registry. */
const char *registry_place_base(const struct registry_place *p);

/* What others are told who are to push there, but for a token. */
struct registry_place_lent {
	const char *authorities; /* PEM; the place's */
	bool insecure;
	long stall_s; /* 0: HTTP_STALL_S */
	bool near;    /* only this machine reaches it, by that name */
};

/* -1, and why, where it cannot be done. */
int registry_place_lend(const struct registry_place *p,
    struct registry_place_lent *out, struct err *e);

/*
 * For one repository and one thread; borrows the place and cancel (or NULL).
 * pull: nothing is put there.
 */
int registry_place_session(struct registry_place *p, const char *repo,
    bool pull, const atomic_bool *cancel, struct registry **out, struct err *e);

#endif
