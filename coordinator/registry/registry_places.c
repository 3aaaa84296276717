#include "registry/registry_places.h"

#include <errno.h>
#include <pthread.h>
#include <stddef.h>
#include <stdlib.h>

#include "digest.h"
#include "err.h"
#include "registry/auth_helpers.h"
#include "registry/registry_place.h"

struct known {
	struct digest key;
	struct registry_place *place; /* NULL: not open, or not any more */
	bool busy;		      /* somebody opens it */
};

struct registry_places {
	pthread_mutex_t lock;
	pthread_cond_t ended; /* one that was busy */
	struct known *known;
	size_t n;
	struct auth_helpers *helpers;
};

int
registry_places_new(struct registry_places **out, struct err *e)
{
	struct registry_places *all = calloc(1, sizeof(*all));

	if (all == NULL)
		return err_set(e, ERR_FATAL, errno, "registries");
	if (auth_helpers_new(&all->helpers, e) < 0) {
		free(all);
		return -1;
	}
	pthread_mutex_init(&all->lock, NULL);
	pthread_cond_init(&all->ended, NULL);
	*out = all;
	return 0;
}

void
registry_places_free(struct registry_places *all)
{
	if (all == NULL)
		return;
	for (size_t i = 0; i < all->n; i++)
		registry_place_end(all->known[i].place);
	free(all->known);
	auth_helpers_free(all->helpers);
	pthread_cond_destroy(&all->ended);
	pthread_mutex_destroy(&all->lock);
	free(all);
}

struct auth_helpers *
registry_places_helpers(struct registry_places *all)
{
	return all != NULL ? all->helpers : NULL;
}

static struct known *
find(struct registry_places *all, const struct digest *key)
{
	for (size_t i = 0; i < all->n; i++)
		if (digest_equal(&all->known[i].key, key))
			return &all->known[i];
	return NULL;
}

/* Without memory nobody waits for it, and nobody shares it. */
static void
claim(
    struct registry_places *all, struct known *known, const struct digest *key)
{
	struct known *grown;

	if (known != NULL) {
		known->busy = true;
		return;
	}
	grown = reallocarray(all->known, all->n + 1, sizeof(*grown));
	if (grown == NULL)
		return;
	all->known = grown;
	grown[all->n++] = (struct known){.key = *key, .busy = true};
}

bool
registry_places_begin(struct registry_places *all, const struct digest *key,
    struct registry_place **out)
{
	struct known *known;

	*out = NULL;
	pthread_mutex_lock(&all->lock);
	while ((known = find(all, key)) != NULL && known->busy)
		pthread_cond_wait(&all->ended, &all->lock);
	if (known != NULL)
		*out = known->place;
	if (*out == NULL)
		claim(all, known, key);
	pthread_mutex_unlock(&all->lock);
	return *out != NULL;
}

bool
registry_places_end(struct registry_places *all, const struct digest *key,
    struct registry_place *place)
{
	struct known *known;

	pthread_mutex_lock(&all->lock);
	if ((known = find(all, key)) != NULL) {
		known->busy = false;
		known->place = place;
	}
	pthread_cond_broadcast(&all->ended);
	pthread_mutex_unlock(&all->lock);
	return known != NULL && place != NULL;
}
