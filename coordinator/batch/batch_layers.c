#include "batch/batch_layers.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "err.h"

void
batch_layers_clear(struct batch_layers *t)
{
	for (size_t i = 0; i < t->n; i++)
		free(t->layer[i].path);
	free(t->layer);
	free(t->wait);
	hash_index_free(&t->by_key);
	*t = (struct batch_layers){0};
}

static uint64_t
hash_of(const struct digest *key)
{
	uint64_t hash;

	memcpy(&hash, key->b, sizeof(hash));
	return hash;
}

static uint32_t
find(struct batch_layers *t, const struct digest *key)
{
	uint64_t hash = hash_of(key);
	size_t at;
	uint32_t i;

	for (i = hash_index_first(&t->by_key, hash, &at); i != HASH_INDEX_NONE;
	     i = hash_index_next(&t->by_key, hash, &at))
		if (digest_equal(&t->layer[i].key, key))
			return i;
	return BATCH_NONE;
}

static int
make_room(struct batch_layers *t, struct err *e)
{
	void *grown;

	if (t->n == t->room) {
		size_t room = t->room == 0 ? 256 : 2 * t->room;

		if (room >= HASH_INDEX_NONE ||
		    hash_index_reserve(&t->by_key, room) < 0 ||
		    (grown = reallocarray(t->layer, room, sizeof(*t->layer))) ==
			NULL)
			return err_set(e, ERR_FATAL, ENOMEM, "layers");
		t->layer = grown;
		t->room = room;
	}
	if (t->n_waits == t->room_waits) {
		size_t room = t->room_waits == 0 ? 256 : 2 * t->room_waits;

		if (room >= BATCH_NONE ||
		    (grown = reallocarray(t->wait, room, sizeof(*t->wait))) ==
			NULL)
			return err_set(e, ERR_FATAL, ENOMEM, "layers");
		t->wait = grown;
		t->room_waits = room;
	}
	return 0;
}

int
batch_layers_want(struct batch_layers *t, uint32_t image,
    const struct digest *key, uint32_t *out, bool *fresh, struct err *e)
{
	uint32_t i = key == NULL ? BATCH_NONE : find(t, key);
	struct batch_layer *layer;

	if (make_room(t, e) < 0)
		return -1;
	*fresh = i == BATCH_NONE;
	if (*fresh) {
		i = (uint32_t)t->n++;
		t->layer[i] = (struct batch_layer){.image = image,
		    .wait = BATCH_NONE,
		    .job = BATCH_NONE,
		    .has_key = key != NULL};
	}
	layer = &t->layer[i];
	if (*fresh && key != NULL) {
		layer->key = *key;
		hash_index_put(&t->by_key, hash_of(key), i);
	}
	if (layer->state == BATCH_LEFT)
		layer->state = BATCH_WANTED; /* again */
	t->wait[t->n_waits] = (struct batch_wait){image, layer->wait};
	layer->wait = (uint32_t)t->n_waits++;
	layer->waiting++;
	*out = i;
	return 0;
}

uint32_t
batch_layers_next(const struct batch_layers *t, uint32_t layer, uint64_t *at)
{
	uint32_t i = *at == 0 ? t->layer[layer].wait : (uint32_t)(*at - 1);

	if (i == BATCH_NONE)
		return BATCH_NONE;
	*at = (uint64_t)t->wait[i].next + 1;
	return t->wait[i].image;
}

bool
batch_layers_leave(struct batch_layers *t, uint32_t layer)
{
	struct batch_layer *l = &t->layer[layer];

	assert(l->waiting > 0);
	if (--l->waiting > 0 || l->state != BATCH_WANTED)
		return false;
	l->state = BATCH_LEFT;
	return true;
}

void
batch_layers_count(const struct batch_layers *t, struct batch_counts *out)
{
	*out = (struct batch_counts){.wanted = t->n_waits, .distinct = t->n};
	for (size_t i = 0; i < t->n; i++) {
		const struct batch_layer *l = &t->layer[i];

		out->known += l->state == BATCH_KNOWN;
		out->made += l->state == BATCH_MADE;
		out->failed += l->state == BATCH_FAILED;
		if (l->state == BATCH_MADE)
			out->made_bytes += l->made.result.tar_size;
	}
}
