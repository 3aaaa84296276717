#include "closure/hash_index.h"

#include <assert.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#define ROOM_MIN 16

/* value HASH_INDEX_NONE: the slot is free. */
struct hash_slot {
	uint64_t hash;
	uint32_t value;
};

static size_t
home(const struct hash_index *x, uint64_t hash)
{
	return (size_t)hash & (x->room - 1);
}

static size_t
after(const struct hash_index *x, size_t at)
{
	return (at + 1) & (x->room - 1);
}

int
hash_index_reserve(struct hash_index *x, size_t n)
{
	struct hash_index new = {.room = ROOM_MIN, .looks = x->looks};

	/* At most three quarters full. */
	if (n <= x->room / 4 * 3)
		return 0;
	while (new.room / 4 * 3 < n)
		new.room *= 2;
	new.slot = reallocarray(NULL, new.room, sizeof(*new.slot));
	if (new.slot == NULL)
		return -1;
	for (size_t i = 0; i < new.room; i++)
		new.slot[i].value = HASH_INDEX_NONE;
	for (size_t i = 0; i < x->room; i++)
		if (x->slot[i].value != HASH_INDEX_NONE)
			hash_index_put(&new, x->slot[i].hash, x->slot[i].value);
	free(x->slot);
	*x = new;
	return 0;
}

void
hash_index_free(struct hash_index *x)
{
	free(x->slot);
	*x = (struct hash_index){0};
}

void
hash_index_put(struct hash_index *x, uint64_t hash, uint32_t value)
{
	size_t at;

	assert(value != HASH_INDEX_NONE && x->n < x->room / 4 * 3);
	at = home(x, hash);
	while (x->slot[at].value != HASH_INDEX_NONE)
		at = after(x, at);
	x->slot[at] = (struct hash_slot){hash, value};
	x->n++;
}

static size_t
place_of(const struct hash_index *x, uint64_t hash, uint32_t value)
{
	size_t at = home(x, hash);

	while (x->slot[at].value != value || x->slot[at].hash != hash) {
		assert(x->slot[at].value != HASH_INDEX_NONE);
		at = after(x, at);
	}
	return at;
}

void
hash_index_remove(struct hash_index *x, uint64_t hash, uint32_t value)
{
	size_t hole = place_of(x, hash, value), at = hole;

	/* Those behind it move up, unless that were before their home. */
	for (;;) {
		size_t from;

		at = after(x, at);
		if (x->slot[at].value == HASH_INDEX_NONE)
			break;
		from = home(x, x->slot[at].hash);
		if (((at - from) & (x->room - 1)) <
		    ((at - hole) & (x->room - 1)))
			continue;
		x->slot[hole] = x->slot[at];
		hole = at;
	}
	x->slot[hole].value = HASH_INDEX_NONE;
	x->n--;
}

void
hash_index_change(
    struct hash_index *x, uint64_t hash, uint32_t value, uint32_t to)
{
	assert(to != HASH_INDEX_NONE);
	x->slot[place_of(x, hash, value)].value = to;
}

/* From *at on, which is left behind what was found. */
static uint32_t
walk(struct hash_index *x, uint64_t hash, size_t *at)
{
	for (;;) {
		const struct hash_slot *s = &x->slot[*at];

		x->looks++;
		if (s->value == HASH_INDEX_NONE)
			return HASH_INDEX_NONE;
		*at = after(x, *at);
		if (s->hash == hash)
			return s->value;
	}
}

uint32_t
hash_index_first(struct hash_index *x, uint64_t hash, size_t *at)
{
	if (x->n == 0)
		return HASH_INDEX_NONE;
	*at = home(x, hash);
	return walk(x, hash, at);
}

uint32_t
hash_index_next(struct hash_index *x, uint64_t hash, size_t *at)
{
	return walk(x, hash, at);
}

uint64_t
hash_number(uint64_t seed, uint64_t number)
{
	uint64_t h = (seed ^ number) + UINT64_C(0x9e3779b97f4a7c15);

	h = (h ^ (h >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
	h = (h ^ (h >> 27)) * UINT64_C(0x94d049bb133111eb);
	return h ^ (h >> 31);
}

uint64_t
hash_bytes(uint64_t seed, const void *data, size_t len)
{
	const uint8_t *at = data;
	uint64_t h = hash_number(seed, len);

	while (len > 0) {
		uint64_t word = 0;
		size_t n = len < sizeof(word) ? len : sizeof(word);

		memcpy(&word, at, n);
		h = hash_number(h, word);
		at += n;
		len -= n;
	}
	return h;
}
