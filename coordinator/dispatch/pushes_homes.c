#include "dispatch/pushes.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "err.h"
#include "output/push.h"

static uint64_t
hash_of(size_t registry, const struct digest *blob)
{
	uint64_t hash;

	memcpy(&hash, blob->b, sizeof(hash));
	return hash + registry;
}

static struct pushes_first *
find(struct pushes *ps, size_t registry, const struct digest *blob)
{
	uint64_t hash = hash_of(registry, blob);
	size_t at;
	uint32_t i;

	for (i = hash_index_first(&ps->by_blob, hash, &at);
	     i != HASH_INDEX_NONE; i = hash_index_next(&ps->by_blob, hash, &at))
		if (ps->first[i].registry == registry &&
		    digest_equal(&ps->first[i].blob, blob))
			return &ps->first[i];
	return NULL;
}

static int
take(struct pushes *ps, size_t registry, const struct digest *blob,
    struct pushes_first **out, struct err *e)
{
	size_t room = ps->room_first == 0 ? 256 : 2 * ps->room_first;
	struct pushes_first *grown;

	if ((*out = find(ps, registry, blob)) != NULL)
		return 0;
	if (ps->n_first == ps->room_first) {
		if (room >= HASH_INDEX_NONE ||
		    hash_index_reserve(&ps->by_blob, room) < 0 ||
		    (grown = reallocarray(ps->first, room, sizeof(*grown))) ==
			NULL)
			return err_set(e, ERR_FATAL, ENOMEM, "pushes");
		ps->first = grown;
		ps->room_first = room;
	}
	*out = &ps->first[ps->n_first];
	**out = (struct pushes_first){.blob = *blob, .registry = registry};
	hash_index_put(
	    &ps->by_blob, hash_of(registry, blob), (uint32_t)ps->n_first++);
	return 0;
}

/* It leads, or follows, or is mounted from where the first one put it. */
static int
begin(struct pushes *ps, struct pushing *p, struct err *e)
{
	struct pushes_first *f;
	const char *from;

	if (take(ps, ps->place[p->place].registry, &p->item->digest, &f, e) < 0)
		return -1;
	if (f->leader != NULL) {
		TAILQ_INSERT_TAIL(&f->leader->followers, p, follow);
		return 0;
	}
	from = f->there && f->place != p->place
	    ? push_repo(ps->place[f->place].push)
	    : NULL;
	if (!f->there)
		f->leader = p;
	return pushing_begin(ps, p, from, e);
}

int
pushes_home(
    struct pushes *ps, size_t place, struct pushes_item *item, struct err *e)
{
	struct pushing *p;

	if (pushing_new(ps, place, item, &p, e) < 0)
		return -1;
	return begin(ps, p, e);
}

int
pushes_home_over(
    struct pushes *ps, struct pushing *p, bool there, struct err *e)
{
	struct pushes_first *f =
	    find(ps, ps->place[p->place].registry, &p->item->digest);
	struct pushing *next;

	if (f->leader == p) {
		f->leader = NULL;
		f->there = there;
		f->place = p->place;
	}
	while ((next = TAILQ_FIRST(&p->followers)) != NULL) {
		TAILQ_REMOVE(&p->followers, next, follow);
		if (begin(ps, next, e) < 0)
			return -1;
	}
	return 0;
}

void
pushes_homes_free(struct pushes *ps)
{
	free(ps->first);
	hash_index_free(&ps->by_blob);
}
