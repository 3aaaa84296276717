#include "output/blob_places.h"

#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "digest.h"
#include "err.h"
#include "closure/hash_index.h"
#include "own.h"

struct repository {
	char *base, *name;
};

enum place_state { PLACE_FREE, PLACE_BUSY, PLACE_THERE };

struct blob_place {
	struct digest blob;
	uint32_t repository;
	enum place_state state;
};

struct blob_places {
	pthread_mutex_t lock;
	pthread_cond_t ended; /* one that was busy */
	struct repository *repository;
	size_t n_repositories;
	/* The first place of each blob at each registry. */
	struct blob_place *place;
	size_t n, room;
	struct hash_index by_blob;
};

int
blob_places_new(struct blob_places **out, struct err *e)
{
	struct blob_places *p = calloc(1, sizeof(*p));

	if (p == NULL)
		return err_set(e, ERR_FATAL, errno, "blobs of registries");
	pthread_mutex_init(&p->lock, NULL);
	pthread_cond_init(&p->ended, NULL);
	*out = p;
	return 0;
}

void
blob_places_free(struct blob_places *p)
{
	if (p == NULL)
		return;
	for (size_t i = 0; i < p->n_repositories; i++) {
		free(p->repository[i].base);
		free(p->repository[i].name);
	}
	free(p->repository);
	free(p->place);
	hash_index_free(&p->by_blob);
	pthread_cond_destroy(&p->ended);
	pthread_mutex_destroy(&p->lock);
	free(p);
}

/* A digest is as good as its own hash. */
static uint64_t
hash_of(const struct digest *blob)
{
	uint64_t hash;

	memcpy(&hash, blob->b, sizeof(hash));
	return hash;
}

static struct blob_place *
find(struct blob_places *p, const char *base, const struct digest *blob)
{
	uint64_t hash = hash_of(blob);
	size_t at;
	uint32_t i;

	for (i = hash_index_first(&p->by_blob, hash, &at); i != HASH_INDEX_NONE;
	     i = hash_index_next(&p->by_blob, hash, &at)) {
		struct blob_place *place = &p->place[i];

		if (digest_equal(&place->blob, blob) &&
		    strcmp(p->repository[place->repository].base, base) == 0)
			return place;
	}
	return NULL;
}

/* Images of one repository come together, often: the last is looked at first.
 */
static bool
take_repository(
    struct blob_places *p, const char *base, const char *repo, uint32_t *out)
{
	struct repository *grown, new;

	for (size_t i = p->n_repositories; i-- > 0;)
		if (strcmp(p->repository[i].name, repo) == 0 &&
		    strcmp(p->repository[i].base, base) == 0) {
			*out = (uint32_t)i;
			return true;
		}
	grown =
	    reallocarray(p->repository, p->n_repositories + 1, sizeof(*grown));
	if (grown == NULL)
		return false;
	p->repository = grown;
	new = (struct repository){strdup(base), strdup(repo)};
	if (new.base == NULL || new.name == NULL) {
		free(new.base);
		free(new.name);
		return false;
	}
	*out = (uint32_t)p->n_repositories;
	p->repository[p->n_repositories++] = new;
	return true;
}

static bool
make_room(struct blob_places *p)
{
	size_t room = p->room == 0 ? 256 : 2 * p->room;
	struct blob_place *grown;

	if (p->n < p->room)
		return true;
	if (room >= HASH_INDEX_NONE ||
	    hash_index_reserve(&p->by_blob, room) < 0 ||
	    (grown = reallocarray(p->place, room, sizeof(*grown))) == NULL)
		return false;
	p->place = grown;
	p->room = room;
	return true;
}

/* The first to put it there; without memory nobody is. */
static bool
claim(struct blob_places *p, const char *base, const char *repo,
    const struct digest *blob)
{
	struct blob_place *place = find(p, base, blob);
	uint32_t repository;

	if (!take_repository(p, base, repo, &repository))
		return false;
	if (place == NULL) {
		if (!make_room(p))
			return false;
		place = &p->place[p->n];
		place->blob = *blob;
		hash_index_put(&p->by_blob, hash_of(blob), (uint32_t)p->n++);
	}
	place->repository = repository;
	place->state = PLACE_BUSY;
	return true;
}

bool
blob_places_begin(struct blob_places *p, const char *base, const char *repo,
    const struct digest *blob, const char **from)
{
	const struct blob_place *place;
	bool first = false;

	*from = NULL;
	if (p == NULL)
		return false;
	pthread_mutex_lock(&p->lock);
	while (
	    (place = find(p, base, blob)) != NULL && place->state == PLACE_BUSY)
		pthread_cond_wait(&p->ended, &p->lock);
	if (place == NULL || place->state == PLACE_FREE) {
		first = claim(p, base, repo, blob);
	} else {
		const char *name = p->repository[place->repository].name;

		if (strcmp(name, repo) != 0)
			*from = name;
	}
	pthread_mutex_unlock(&p->lock);
	return first;
}

void
blob_places_end(struct blob_places *p, const char *base,
    const struct digest *blob, bool there)
{
	pthread_mutex_lock(&p->lock);
	find(p, base, blob)->state = there ? PLACE_THERE : PLACE_FREE;
	pthread_cond_broadcast(&p->ended);
	pthread_mutex_unlock(&p->lock);
}

void
blob_places_lost(struct blob_places *p, const char *base, const char *repo,
    const struct digest *blob)
{
	struct blob_place *place;

	if (p == NULL)
		return;
	pthread_mutex_lock(&p->lock);
	place = find(p, base, blob);
	if (place != NULL && place->state == PLACE_THERE &&
	    strcmp(p->repository[place->repository].name, repo) == 0)
		place->state = PLACE_FREE;
	pthread_mutex_unlock(&p->lock);
}

const char *
blob_places_find(
    struct blob_places *p, const char *base, const struct digest *blob)
{
	const struct blob_place *place;
	const char *name = NULL;

	pthread_mutex_lock(&p->lock);
	place = find(p, base, blob);
	if (place != NULL && place->state == PLACE_THERE)
		name = p->repository[place->repository].name;
	pthread_mutex_unlock(&p->lock);
	return name;
}
