#include "serve/serve_turns.h"

#include <string.h>

#define SECOND_MS 1000

static bool
is_same(const struct link_peer *a, const struct link_peer *b)
{
	/* New connections are to be had for nothing, keys are not. */
	if (a->key[0] != '\0' || b->key[0] != '\0')
		return strcmp(a->key, b->key) == 0;
	return a->len == b->len && memcmp(a->id, b->id, a->len) == 0;
}

bool
serve_turns_take(
    struct serve_turns *t, int64_t now, const struct link_peer *peer)
{
	unsigned had = 0;

	if (now - t->since >= SECOND_MS) {
		t->since = now;
		t->n = 0;
	}
	for (size_t i = 0; i < t->n; i++)
		had += is_same(&t->to[i], peer);
	if (t->n == SERVE_TURNS_MAX || had == SERVE_TURNS_EACH)
		return false;
	t->to[t->n++] = *peer;
	return true;
}
