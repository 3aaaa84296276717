#include "transfer/blob_source.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <openssl/crypto.h>

#include "err.h"

static struct blob_source *
make(const char *what, const char *name, struct err *e)
{
	struct blob_source *s = calloc(1, sizeof(*s));

	if (s == NULL) {
		err_set(e, ERR_FATAL, errno, "%s %s", what, name);
		return NULL;
	}
	s->what = what;
	snprintf(s->name, sizeof(s->name), "%s", name);
	return s;
}

int
blob_source_new(const char *what, const char *name, const char *key,
    struct blob_source **out, struct err *e)
{
	struct blob_source *s = make(what, name, e);

	if (s == NULL)
		return -1;
	snprintf(s->key, sizeof(s->key), "%s", key);
	if (getentropy(s->token, sizeof(s->token)) < 0) {
		free(s);
		return err_set(e, ERR_FATAL, errno, "%s %s: token", what, name);
	}
	*out = s;
	return 0;
}

int
blob_source_server(const char *name, const uint8_t *token,
    struct blob_source **out, struct err *e)
{
	struct blob_source *s = make("server", name, e);

	if (s == NULL)
		return -1;
	memcpy(s->token, token, sizeof(s->token));
	*out = s;
	return 0;
}

void
blob_source_free(struct blob_source *s)
{
	if (s == NULL)
		return;
	free(s->release);
	free(s);
}

struct blob_source *
blob_source_by_token(struct blob_source *list, const uint8_t *token)
{
	/* How long it takes tells nothing of the tokens that there are. */
	while (list != NULL &&
	    CRYPTO_memcmp(list->token, token, DATA_TOKEN_SIZE) != 0)
		list = list->next;
	return list;
}

static bool
is_peer(const struct blob_source *s, const struct link_peer *peer)
{
	return s->connected && s->peer.len == peer->len &&
	    memcmp(s->peer.id, peer->id, peer->len) == 0;
}

struct blob_source *
blob_source_by_peer(struct blob_source *list, const struct link_peer *peer)
{
	while (list != NULL && !is_peer(list, peer))
		list = list->next;
	return list;
}

bool
blob_source_tie(struct blob_source *list, struct blob_source *s,
    const struct link_peer *peer)
{
	struct blob_source *before = blob_source_by_peer(list, peer);

	if (before == s)
		return false;
	if (before != NULL)
		before->connected = false;
	s->peer = *peer;
	s->connected = true;
	return true;
}

static struct blob_release *
find_release(struct blob_source *s, const struct data_id *id)
{
	for (size_t i = 0; i < s->n_releases; i++)
		if (s->release[i].id.job == id->job &&
		    s->release[i].id.attempt == id->attempt)
			return &s->release[i];
	return NULL;
}

const struct blob_release *
blob_source_release(
    struct blob_source *s, const struct data_id *id, bool committed)
{
	struct blob_release *r;

	if (find_release(s, id) != NULL)
		return NULL;
	if (s->n_releases == BLOB_RELEASES_MAX)
		s->release[0] = s->release[--s->n_releases];
	if (s->n_releases == s->room_releases) {
		size_t room = s->room_releases == 0 ? 16 : 2 * s->room_releases;

		r = reallocarray(s->release, room, sizeof(*r));
		if (r == NULL)
			return NULL; /* the file stays till the worker ends */
		s->release = r;
		s->room_releases = room;
	}
	r = &s->release[s->n_releases++];
	*r = (struct blob_release){*id, committed};
	return r;
}

void
blob_source_released(struct blob_source *s, const struct data_id *id)
{
	struct blob_release *r = find_release(s, id);

	if (r != NULL)
		*r = s->release[--s->n_releases];
}
