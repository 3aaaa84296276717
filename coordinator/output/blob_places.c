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

/* HINT: a run before has seen it there. */
enum place_state { PLACE_FREE, PLACE_HINT, PLACE_BUSY, PLACE_THERE };

struct blob_place {
	struct digest blob;
	uint32_t repository;
	enum place_state state;
	bool kept; /* for the next run, as it is */
};

/* How a blob got into a repository, until that was counted. */
struct noted {
	struct digest blob;
	uint32_t repository;
	enum registry_way way;
};

struct blob_places {
	pthread_mutex_t lock;
	pthread_cond_t ended; /* one that was busy */
	struct repository *repository;
	size_t n_repositories, room_repositories;
	struct hash_index by_name;
	struct noted *noted;
	size_t n_noted, room_noted;
	struct hash_index by_both;
	uint64_t uploaded, uploaded_bytes;
	char *file; /* or NULL */
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
	free(p->noted);
	free(p->file);
	hash_index_free(&p->by_name);
	hash_index_free(&p->by_both);
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

/* Room for one more of these, and in their index. */
static bool
reserve(
    void **all, size_t size, size_t n, size_t *room, struct hash_index *index)
{
	size_t more = *room == 0 ? 256 : 2 * *room;
	void *grown;

	if (n < *room)
		return true;
	if (more >= HASH_INDEX_NONE || hash_index_reserve(index, more) < 0 ||
	    (grown = reallocarray(*all, more, size)) == NULL)
		return false;
	*all = grown;
	*room = more;
	return true;
}

static bool
find_repository(
    struct blob_places *p, const char *base, const char *repo, uint32_t *out)
{
	uint64_t hash = hash_bytes(0, repo, strlen(repo));
	size_t at;
	uint32_t i;

	for (i = hash_index_first(&p->by_name, hash, &at); i != HASH_INDEX_NONE;
	     i = hash_index_next(&p->by_name, hash, &at))
		if (strcmp(p->repository[i].name, repo) == 0 &&
		    strcmp(p->repository[i].base, base) == 0) {
			*out = i;
			return true;
		}
	return false;
}

static bool
take_repository(
    struct blob_places *p, const char *base, const char *repo, uint32_t *out)
{
	struct repository new;

	if (find_repository(p, base, repo, out))
		return true;
	if (!reserve((void **)&p->repository, sizeof(*p->repository),
		p->n_repositories, &p->room_repositories, &p->by_name))
		return false;
	new = (struct repository){strdup(base), strdup(repo)};
	if (new.base == NULL || new.name == NULL) {
		free(new.base);
		free(new.name);
		return false;
	}
	*out = (uint32_t)p->n_repositories;
	p->repository[p->n_repositories++] = new;
	hash_index_put(&p->by_name, hash_bytes(0, repo, strlen(repo)), *out);
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
		if (!reserve((void **)&p->place, sizeof(*p->place), p->n,
			&p->room, &p->by_blob))
			return false;
		place = &p->place[p->n];
		place->blob = *blob;
		place->kept = false;
		hash_index_put(&p->by_blob, hash_of(blob), (uint32_t)p->n++);
	}
	place->kept = place->kept && place->repository == repository;
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
	if (place != NULL && place->state != PLACE_FREE) {
		const char *name = p->repository[place->repository].name;

		if (strcmp(name, repo) != 0)
			*from = name;
	}
	if (place == NULL || place->state != PLACE_THERE)
		first = claim(p, base, repo, blob);
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

bool
blob_places_hint(struct blob_places *p, const char *base, const char *repo,
    const struct digest *blob)
{
	struct blob_place *place;
	bool taken = true;

	pthread_mutex_lock(&p->lock);
	place = find(p, base, blob);
	if (place == NULL || place->state == PLACE_HINT) {
		taken = claim(p, base, repo, blob);
		if (taken) {
			place = find(p, base, blob);
			place->state = PLACE_HINT;
			place->kept = true;
		}
	}
	pthread_mutex_unlock(&p->lock);
	return taken;
}

const char *
blob_places_hinted(struct blob_places *p, const char *base, const char *repo,
    const struct digest *blob)
{
	const struct blob_place *place;
	const char *name = NULL;

	if (p == NULL)
		return NULL;
	pthread_mutex_lock(&p->lock);
	place = find(p, base, blob);
	if (place != NULL && place->state == PLACE_HINT)
		name = p->repository[place->repository].name;
	pthread_mutex_unlock(&p->lock);
	return name != NULL && strcmp(name, repo) != 0 ? name : NULL;
}

void
blob_places_set_file(struct blob_places *p, const char *path)
{
	free(p->file);
	p->file = strdup(path);
}

bool
blob_places_keep(struct blob_places *p, const char *base,
    const struct digest *blob, const char **repo, const char **file)
{
	struct blob_place *place;
	bool news;

	if (p == NULL || p->file == NULL)
		return false;
	pthread_mutex_lock(&p->lock);
	place = find(p, base, blob);
	news = place != NULL && place->state == PLACE_THERE && !place->kept;
	if (news) {
		place->kept = true;
		*repo = p->repository[place->repository].name;
		*file = p->file;
	}
	pthread_mutex_unlock(&p->lock);
	return news;
}

size_t
blob_places_all(struct blob_places *p, bool hints, size_t most,
    void (*each)(void *arg, const char *base, const char *repo,
	const struct digest *blob),
    void *arg)
{
	enum place_state want = hints ? PLACE_HINT : PLACE_THERE;
	size_t n = 0;

	pthread_mutex_lock(&p->lock);
	for (size_t i = p->n; i > 0 && n < most; i--) {
		const struct blob_place *place = &p->place[i - 1];
		const struct repository *r = &p->repository[place->repository];

		if (place->state != want)
			continue;
		if (each != NULL)
			each(arg, r->base, r->name, &place->blob);
		n++;
	}
	pthread_mutex_unlock(&p->lock);
	return n;
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

static struct noted *
find_noted(
    struct blob_places *p, uint32_t repository, const struct digest *blob)
{
	uint64_t hash = hash_of(blob) + repository;
	size_t at;
	uint32_t i;

	for (i = hash_index_first(&p->by_both, hash, &at); i != HASH_INDEX_NONE;
	     i = hash_index_next(&p->by_both, hash, &at))
		if (p->noted[i].repository == repository &&
		    digest_equal(&p->noted[i].blob, blob))
			return &p->noted[i];
	return NULL;
}

static void
note(struct blob_places *p, uint32_t repository, const struct digest *blob,
    enum registry_way way)
{
	struct noted *noted = find_noted(p, repository, blob);

	if (noted != NULL) {
		noted->way = way;
		return;
	}
	if (!reserve((void **)&p->noted, sizeof(*p->noted), p->n_noted,
		&p->room_noted, &p->by_both))
		return;
	p->noted[p->n_noted] = (struct noted){*blob, repository, way};
	hash_index_put(
	    &p->by_both, hash_of(blob) + repository, (uint32_t)p->n_noted++);
}

void
blob_places_note(struct blob_places *p, const char *base, const char *repo,
    const struct digest *blob, enum registry_way way)
{
	const struct blob_place *place;
	uint32_t repository;

	if (p == NULL)
		return;
	pthread_mutex_lock(&p->lock);
	place = find(p, base, blob);
	if ((place == NULL || place->state < PLACE_BUSY) &&
	    claim(p, base, repo, blob))
		find(p, base, blob)->state = PLACE_THERE;
	if (way != REGISTRY_THERE &&
	    take_repository(p, base, repo, &repository))
		note(p, repository, blob, way);
	pthread_mutex_unlock(&p->lock);
}

enum registry_way
blob_places_noted(struct blob_places *p, const char *base, const char *repo,
    const struct digest *blob)
{
	enum registry_way way = REGISTRY_THERE;
	struct noted *noted;
	uint32_t repository;

	if (p == NULL)
		return way;
	pthread_mutex_lock(&p->lock);
	if (find_repository(p, base, repo, &repository) &&
	    (noted = find_noted(p, repository, blob)) != NULL) {
		way = noted->way;
		noted->way = REGISTRY_THERE;
	}
	pthread_mutex_unlock(&p->lock);
	return way;
}

void
blob_places_count(struct blob_places *p, uint64_t size)
{
	if (p == NULL)
		return;
	pthread_mutex_lock(&p->lock);
	p->uploaded++;
	p->uploaded_bytes += size;
	pthread_mutex_unlock(&p->lock);
}

void
blob_places_uploaded(struct blob_places *p, uint64_t *blobs, uint64_t *bytes)
{
	pthread_mutex_lock(&p->lock);
	*blobs = p->uploaded;
	*bytes = p->uploaded_bytes;
	pthread_mutex_unlock(&p->lock);
}
