/*
 * Ways to registries that are open, so that one is found and logged into once
 * for all that goes there with the same user and password.  It owns them, and
 * outlives whoever uses them.  Any thread.
 */
#ifndef REGISTRY_PLACES_H
#define REGISTRY_PLACES_H

#include <stdbool.h>

struct auth_helpers;
struct digest;
struct err;
struct registry_place;
struct registry_places;

int registry_places_new(struct registry_places **out, struct err *e);
void registry_places_free(struct registry_places *all);

/* What passwords were asked for, in this run; NULL: of all NULL. */
struct auth_helpers *registry_places_helpers(struct registry_places *all);

/*
 * key: of the registry and who asks.  true: *out is open.  false: whoever asks
 * is to open it, and others wait until registry_places_end.
 */
bool registry_places_begin(struct registry_places *all,
    const struct digest *key, struct registry_place **out);

/*
 * After begin said false: place, or NULL where it failed.  true: it is the
 * set's now.
 */
bool registry_places_end(struct registry_places *all, const struct digest *key,
    struct registry_place *place);

#endif
