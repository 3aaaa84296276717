#include "dispatch/dispatch_state.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "err.h"
#include "closure/hash_index.h"

#define ROOM_MIN 16

/* Of what a peer is looked up by. */
struct hashes {
	uint64_t link, instance, worker, token;
};

static uint64_t
link_hash(const struct dispatch *d, const struct link *via,
    const struct link_peer *link)
{
	return hash_bytes(
	    d->hash_seed + (via == d->remote), link->id, link->len);
}

static struct hashes
hashes_of(const struct dispatch *d, const struct peer *p)
{
	return (struct hashes){
	    .link = link_hash(d, p->via, &p->link),
	    .instance =
		hash_bytes(d->hash_seed, p->instance, sizeof(p->instance)),
	    .worker = hash_number(d->hash_seed, p->worker.v),
	    .token = hash_bytes(d->hash_seed, p->token, sizeof(p->token)),
	};
}

static struct peer *
peer_at(struct dispatch *d, uint32_t at)
{
	return at == HASH_INDEX_NONE ? NULL : &d->peer[at];
}

struct peer *
peer_by_link(struct dispatch *d, const struct dispatch_from *from)
{
	const struct link_peer *link = &from->link;
	uint64_t hash = link_hash(d, from->via, link);
	struct peer *p;
	size_t at;

	p = peer_at(d, hash_index_first(&d->by_link, hash, &at));
	while (p != NULL &&
	    (p->via != from->via || p->link.len != link->len ||
		memcmp(p->link.id, link->id, link->len) != 0))
		p = peer_at(d, hash_index_next(&d->by_link, hash, &at));
	return p;
}

struct peer *
peer_by_worker(struct dispatch *d, struct worker_id worker)
{
	uint64_t hash = hash_number(d->hash_seed, worker.v);
	struct peer *p;
	size_t at;

	p = peer_at(d, hash_index_first(&d->by_worker, hash, &at));
	while (p != NULL && p->worker.v != worker.v)
		p = peer_at(d, hash_index_next(&d->by_worker, hash, &at));
	return p;
}

struct peer *
peer_by_instance(
    struct dispatch *d, const struct link *via, const uint8_t *instance)
{
	uint64_t hash = hash_bytes(d->hash_seed, instance, MSG_INSTANCE_SIZE);
	struct peer *p;
	size_t at;

	p = peer_at(d, hash_index_first(&d->by_instance, hash, &at));
	while (p != NULL &&
	    (p->via != via ||
		memcmp(p->instance, instance, MSG_INSTANCE_SIZE) != 0))
		p = peer_at(d, hash_index_next(&d->by_instance, hash, &at));
	return p;
}

struct peer *
peer_by_token(struct dispatch *d, const uint8_t *token)
{
	uint64_t hash = hash_bytes(d->hash_seed, token, DATA_TOKEN_SIZE);
	struct peer *p;
	size_t at;

	p = peer_at(d, hash_index_first(&d->by_token, hash, &at));
	while (p != NULL && memcmp(p->token, token, DATA_TOKEN_SIZE) != 0)
		p = peer_at(d, hash_index_next(&d->by_token, hash, &at));
	return p;
}

int
peer_reserve(struct dispatch *d, struct err *e)
{
	size_t room = d->room_peers == 0 ? ROOM_MIN : 2 * d->room_peers;
	struct peer *p;

	uint32_t *slot;

	if (d->n_peers < d->room_peers)
		return 0;
	if ((p = reallocarray(d->peer, room, sizeof(*p))) != NULL)
		d->peer = p;
	slot = reallocarray(d->worker_slot, room, sizeof(*slot));
	if (slot != NULL)
		d->worker_slot = slot;
	if (p == NULL || slot == NULL ||
	    hash_index_reserve(&d->by_link, room) < 0 ||
	    hash_index_reserve(&d->by_instance, room) < 0 ||
	    hash_index_reserve(&d->by_worker, room) < 0 ||
	    hash_index_reserve(&d->by_token, room) < 0)
		return err_set(e, ERR_FATAL, errno, "workers");
	d->room_peers = room;
	return 0;
}

/* Of slots there are as many as were peers at once, so there is room. */
struct worker_id
peer_worker_id(struct dispatch *d)
{
	uint64_t slot = d->next_worker;

	if (d->n_worker_slots > 0) {
		slot = d->worker_slot[--d->n_worker_slots];
		d->reused_workers++;
	} else {
		d->next_worker++;
	}
	return (struct worker_id){d->reused_workers << SCHED_SLOT_BITS | slot};
}

void
peer_worker_id_free(struct dispatch *d, struct worker_id worker)
{
	d->worker_slot[d->n_worker_slots++] =
	    (uint32_t)dispatch_worker_index(worker);
}

struct peer *
peer_add(struct dispatch *d, const struct peer *p)
{
	const struct hashes h = hashes_of(d, p);
	uint32_t at = (uint32_t)d->n_peers++;

	assert(at < d->room_peers);
	d->peer[at] = *p;
	hash_index_put(&d->by_link, h.link, at);
	hash_index_put(&d->by_instance, h.instance, at);
	hash_index_put(&d->by_worker, h.worker, at);
	if (p->via == d->remote)
		hash_index_put(&d->by_token, h.token, at);
	return &d->peer[at];
}

/* The last one takes its place. */
void
peer_remove(struct dispatch *d, struct peer *p)
{
	uint32_t at = (uint32_t)(p - d->peer), last = (uint32_t)--d->n_peers;
	struct hashes h = hashes_of(d, p);

	hash_index_remove(&d->by_link, h.link, at);
	hash_index_remove(&d->by_instance, h.instance, at);
	hash_index_remove(&d->by_worker, h.worker, at);
	if (p->via == d->remote)
		hash_index_remove(&d->by_token, h.token, at);
	if (at == last)
		return;
	*p = d->peer[last];
	h = hashes_of(d, p);
	hash_index_change(&d->by_link, h.link, last, at);
	hash_index_change(&d->by_instance, h.instance, last, at);
	hash_index_change(&d->by_worker, h.worker, last, at);
	if (p->via == d->remote)
		hash_index_change(&d->by_token, h.token, last, at);
}

void
peer_relink(
    struct dispatch *d, struct peer *p, const struct dispatch_from *from)
{
	uint32_t at = (uint32_t)(p - d->peer);

	assert(p->via == from->via);
	hash_index_remove(&d->by_link, link_hash(d, p->via, &p->link), at);
	p->link = from->link;
	hash_index_put(&d->by_link, link_hash(d, p->via, &p->link), at);
}

void
peers_free(struct dispatch *d)
{
	hash_index_free(&d->by_link);
	hash_index_free(&d->by_instance);
	hash_index_free(&d->by_worker);
	hash_index_free(&d->by_token);
	free(d->worker_slot);
	d->worker_slot = NULL;
	d->n_worker_slots = 0;
	free(d->peer);
	d->peer = NULL;
	d->n_peers = d->room_peers = 0;
}
