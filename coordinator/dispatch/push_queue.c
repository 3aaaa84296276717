#include "dispatch/push_queue.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <sys/queue.h>

#include "closure/hash_index.h"
#include "dispatch/push_queue_state.h"
#include "err.h"

static void
table_free(struct table *t)
{
	for (size_t i = 0; i < t->n; i++)
		free(t->thing[i]);
	free(t->thing);
	free(t->free);
	hash_index_free(&t->by_id);
}

static int
table_reserve(struct table *t)
{
	size_t room = t->room == 0 ? 64 : 2 * t->room;
	uint32_t *slots;
	void **things;

	if (t->n_free > 0 || t->n < t->room)
		return 0;
	if (room >= HASH_INDEX_NONE || hash_index_reserve(&t->by_id, room) < 0)
		return -1;
	if ((things = reallocarray(t->thing, room, sizeof(*things))) == NULL)
		return -1;
	t->thing = things;
	if ((slots = reallocarray(t->free, room, sizeof(*slots))) == NULL)
		return -1;
	t->free = slots;
	t->room = room;
	return 0;
}

/* There is room. */
static uint32_t
table_put(struct table *t, uint64_t id, void *thing)
{
	uint32_t slot = t->n_free > 0 ? t->free[--t->n_free] : (uint32_t)t->n++;

	t->thing[slot] = thing;
	hash_index_put(&t->by_id, hash_number(0, id), slot);
	return slot;
}

static void
table_remove(struct table *t, uint64_t id, uint32_t slot)
{
	hash_index_remove(&t->by_id, hash_number(0, id), slot);
	free(t->thing[slot]);
	t->thing[slot] = NULL;
	t->free[t->n_free++] = slot;
}

struct at_work *
push_queue_at_work(struct push_queue *q, struct worker_id id)
{
	uint64_t hash = hash_number(0, id.v);
	size_t at;
	uint32_t i;

	for (i = hash_index_first(&q->workers.by_id, hash, &at);
	     i != HASH_INDEX_NONE;
	     i = hash_index_next(&q->workers.by_id, hash, &at)) {
		struct at_work *w = q->workers.thing[i];

		if (w->w.id.v == id.v)
			return w;
	}
	return NULL;
}

static struct entry *
find_entry(struct push_queue *q, uint64_t push)
{
	uint64_t hash = hash_number(0, push);
	size_t at;
	uint32_t i;

	for (i = hash_index_first(&q->entries.by_id, hash, &at);
	     i != HASH_INDEX_NONE;
	     i = hash_index_next(&q->entries.by_id, hash, &at)) {
		struct entry *entry = q->entries.thing[i];

		if (entry->push == push)
			return entry;
	}
	return NULL;
}

int
push_queue_new(struct push_queue **out, struct err *e)
{
	struct push_queue *q = calloc(1, sizeof(*q));

	if (q == NULL)
		return err_set(e, ERR_FATAL, errno, "pushes");
	TAILQ_INIT(&q->fresh);
	TAILQ_INIT(&q->offered);
	TAILQ_INIT(&q->waits);
	TAILQ_INIT(&q->over);
	TAILQ_INIT(&q->ready);
	TAILQ_INIT(&q->seers);
	*out = q;
	return 0;
}

void
push_queue_free(struct push_queue *q)
{
	if (q == NULL)
		return;
	table_free(&q->entries);
	table_free(&q->workers);
	for (size_t i = 0; i < q->n_places; i++)
		free(q->place[i]);
	free(q->place);
	free(q);
}

/* Into the state's list, if it has one; it is in none. */
static void
enter(struct push_queue *q, struct entry *entry, enum state state)
{
	struct at_work *w;

	entry->state = state;
	switch (state) {
	case STATE_NEW:
		TAILQ_INSERT_TAIL(&q->fresh, entry, in_state);
		break;
	case STATE_OFFERED:
		TAILQ_INSERT_TAIL(&q->offered, entry, in_state);
		break;
	case STATE_OVER:
		TAILQ_INSERT_TAIL(&q->over, entry, in_state);
		break;
	case STATE_HELD:
		TAILQ_INSERT_TAIL(&entry->place->flow->held, entry, in_state);
		break;
	case STATE_WAITS:
		if (!entry->alone)
			TAILQ_INSERT_TAIL(&q->waits, entry, in_state);
		if ((w = push_queue_at_work(q, entry->maker)) != NULL)
			TAILQ_INSERT_TAIL(&w->waits, entry, in_maker);
		entry->waits_for = w;
		break;
	case STATE_GIVEN:
		w = push_queue_at_work(q, entry->worker);
		TAILQ_INSERT_TAIL(&w->given, entry, in_state);
		break;
	case STATE_LOOKED_FOR:
		break;
	}
}

static void
leave(struct push_queue *q, struct entry *entry)
{
	switch (entry->state) {
	case STATE_NEW:
		TAILQ_REMOVE(&q->fresh, entry, in_state);
		break;
	case STATE_OFFERED:
		TAILQ_REMOVE(&q->offered, entry, in_state);
		break;
	case STATE_OVER:
		TAILQ_REMOVE(&q->over, entry, in_state);
		break;
	case STATE_HELD:
		TAILQ_REMOVE(&entry->place->flow->held, entry, in_state);
		break;
	case STATE_WAITS:
		if (!entry->alone)
			TAILQ_REMOVE(&q->waits, entry, in_state);
		if (entry->waits_for != NULL)
			TAILQ_REMOVE(&entry->waits_for->waits, entry, in_maker);
		break;
	case STATE_GIVEN:
		TAILQ_REMOVE(&push_queue_at_work(q, entry->worker)->given,
		    entry, in_state);
		break;
	case STATE_LOOKED_FOR:
		break;
	}
}

void
push_queue_go(struct push_queue *q, struct entry *entry, enum state state)
{
	leave(q, entry);
	enter(q, entry, state);
}

/* Workers. */

static void
may_take_more(struct push_queue *q, struct at_work *w)
{
	if (!w->ready)
		TAILQ_INSERT_TAIL(&q->ready, w, in_ready);
	w->ready = true;
}

int
push_queue_worker(
    struct push_queue *q, const struct push_worker *w, struct err *e)
{
	struct at_work *at = push_queue_at_work(q, w->id);

	if (at == NULL) {
		if (table_reserve(&q->workers) < 0 ||
		    (at = calloc(1, sizeof(*at))) == NULL)
			return err_set(e, ERR_FATAL, ENOMEM, "pushes");
		TAILQ_INIT(&at->given);
		TAILQ_INIT(&at->waits);
		at->slot = table_put(&q->workers, w->id.v, at);
	} else {
		q->n_unsafe -= !at->w.safe;
		q->recheck |= (at->w.near && !w->near) ||
		    (at->w.safe && !w->safe) || (at->w.files && !w->files);
	}
	q->n_unsafe += !w->safe;
	if (w->files && !at->w.files)
		TAILQ_INSERT_TAIL(&q->seers, at, in_seers);
	if (!w->files && at->w.files)
		TAILQ_REMOVE(&q->seers, at, in_seers);
	at->w = *w;
	if (at->w.most == 0)
		at->w.most = PUSH_GIVEN_MAX;
	may_take_more(q, at);
	return 0;
}

int
push_queue_place(
    struct push_queue *q, bool near, size_t registry, struct err *e)
{
	size_t room = q->room_places == 0 ? 16 : 2 * q->room_places;
	struct place *p = calloc(1, sizeof(*p)), **grown;

	if (q->n_places == q->room_places) {
		grown = reallocarray(q->place, room, sizeof(*grown));
		if (grown == NULL) {
			free(p);
			return err_set(e, ERR_FATAL, errno, "pushes");
		}
		q->place = grown;
		q->room_places = room;
	}
	if (p == NULL)
		return err_set(e, ERR_FATAL, errno, "pushes");
	*p = (struct place){.near = near, .own = {.allowed = SIZE_MAX}};
	TAILQ_INIT(&p->own.held);
	q->place[q->n_places++] = p;
	p->flow = &q->place[registry]->own;
	q->open[near][false]++;
	return 0;
}

void
push_queue_place_again(struct push_queue *q, size_t place, bool near)
{
	struct place *p = q->place[place];

	assert(p->flow == &p->own);
	if (!p->barred)
		q->open[p->near][p->token]--;
	*p = (struct place){
	    .near = near, .flow = &p->own, .own = {.allowed = SIZE_MAX}};
	TAILQ_INIT(&p->own.held);
	q->open[near][false]++;
}

/* What is held, so many of them: it is held again, if it has to be. */
static void
let_go(struct push_queue *q, struct flow *flow, size_t n)
{
	struct entry *entry;

	for (; n > 0 && (entry = TAILQ_FIRST(&flow->held)) != NULL; n--)
		push_queue_go(q, entry, STATE_OFFERED);
}

/* One is over: others may go. */
static void
go_on(struct push_queue *q, struct flow *flow)
{
	if (flow->given < flow->allowed)
		let_go(q, flow, flow->allowed - flow->given);
}

/*
 * Asked too much: half as many; when as many went well as may go at a time,
 * one more may.
 */
static void
adapt(struct flow *flow, bool throttled, bool well)
{
	if (throttled) {
		flow->allowed = flow->given > 2 ? flow->given / 2 : 1;
		flow->went = 0;
	} else if (well && flow->allowed < SIZE_MAX &&
	    ++flow->went >= flow->allowed) {
		flow->allowed++;
		flow->went = 0;
	}
}

static void
bar(struct push_queue *q, struct place *p)
{
	if (p->barred)
		return;
	p->barred = true;
	q->open[p->near][p->token]--;
	q->recheck = true;
	let_go(q, p->flow, SIZE_MAX);
}

void
push_queue_bar(struct push_queue *q, size_t place)
{
	bar(q, q->place[place]);
}

bool
push_queue_barred(const struct push_queue *q, size_t place)
{
	return q->place[place]->barred;
}

static void
set_token(struct push_queue *q, struct place *p, bool token)
{
	if (p->token == token)
		return;
	if (!p->barred) {
		q->open[p->near][p->token]--;
		q->open[p->near][token]++;
	}
	p->token = token;
	q->recheck |= token && q->n_unsafe > 0;
}

bool
push_queue_allowed(const struct place *p, const struct push_worker *w)
{
	return !p->barred && (w->near || !p->near) && (w->safe || !p->token);
}

void
push_queue_token(struct push_queue *q, size_t place, bool token)
{
	set_token(q, q->place[place], token);
}

bool
push_queue_may_at(struct push_queue *q, size_t place, struct worker_id worker)
{
	const struct at_work *at = push_queue_at_work(q, worker);

	return at != NULL && push_queue_allowed(q->place[place], &at->w);
}

bool
push_queue_may(struct push_queue *q, struct worker_id worker)
{
	const struct at_work *at = push_queue_at_work(q, worker);
	size_t n = 0;

	if (at == NULL)
		return false;
	for (int near = 0; near <= at->w.near; near++)
		for (int token = 0; token <= at->w.safe; token++)
			n += q->open[near][token];
	return n > 0;
}

int
push_queue_add(struct push_queue *q, const struct push_blob_at *b,
    uint64_t *push, struct err *e)
{
	struct entry *entry;

	if (table_reserve(&q->entries) < 0 ||
	    (entry = calloc(1, sizeof(*entry))) == NULL)
		return err_set(e, ERR_FATAL, ENOMEM, "pushes");
	*push = ++q->last;
	*entry = (struct entry){
	    .push = *push,
	    .place = q->place[b->place],
	    .what = b->what,
	    .maker = b->maker,
	    .alone = b->alone,
	    .gone = b->gone,
	    .tried = b->said,
	    .uploaded = b->uploaded,
	};
	entry->slot = table_put(&q->entries, *push, entry);
	enter(q, entry, STATE_NEW);
	return 0;
}

void *
push_queue_what(struct push_queue *q, uint64_t push)
{
	struct entry *entry = find_entry(q, push);

	return entry != NULL ? entry->what : NULL;
}

void
push_queue_end(struct push_queue *q, struct entry *entry, enum push_end how)
{
	push_queue_go(q, entry, STATE_OVER);
	entry->end = how;
}

/* Once more, if it was not tried too often. */
static void
again(struct push_queue *q, struct entry *entry, enum state state)
{
	if (++entry->tries >= PUSH_TRIES)
		push_queue_end(q, entry, PUSH_LEFT);
	else
		push_queue_go(q, entry, state);
}

void
push_queue_looked(
    struct push_queue *q, uint64_t push, enum push_seen seen, bool token)
{
	struct entry *entry = find_entry(q, push);

	if (entry == NULL || entry->state != STATE_LOOKED_FOR)
		return;
	set_token(q, entry->place, token);
	switch (seen) {
	case PUSH_SEEN:
		push_queue_end(
		    q, entry, entry->uploaded ? PUSH_UPLOADED : PUSH_THERE);
		break;
	case PUSH_NOT_SEEN:
		/* A worker has said that it is there. */
		if (entry->tried && !entry->failed)
			again(q, entry, STATE_OFFERED);
		else
			push_queue_go(q, entry, STATE_OFFERED);
		entry->uploaded = false;
		break;
	case PUSH_UNSURE:
		push_queue_end(q, entry, PUSH_LEFT);
		break;
	}
}

/* The worker does not have it any more; it is in no list. */
static void
take_from(struct push_queue *q, struct entry *entry)
{
	struct at_work *at = push_queue_at_work(q, entry->worker);

	leave(q, entry);
	entry->state = STATE_LOOKED_FOR;
	at->n_given--;
	entry->place->flow->given--;
	may_take_more(q, at);
	go_on(q, entry->place->flow);
}

bool
push_queue_pushed(struct push_queue *q, struct worker_id worker, uint64_t push,
    bool well, bool uploaded, bool throttled)
{
	struct entry *entry = find_entry(q, push);
	struct place *p;

	if (entry == NULL || entry->state != STATE_GIVEN ||
	    entry->worker.v != worker.v)
		return false;
	p = entry->place;
	adapt(p->flow, throttled, well);
	take_from(q, entry);
	entry->failed = !well;
	entry->uploaded = uploaded;
	if (well)
		push_queue_go(q, entry, STATE_NEW);
	else
		push_queue_end(q, entry, PUSH_LEFT);
	p->failures = well ? 0 : p->failures + 1;
	if (p->failures == PUSH_FAILURES_MAX)
		bar(q, p);
	return true;
}

void
push_queue_drop(struct push_queue *q, uint64_t push)
{
	struct entry *entry = find_entry(q, push);

	if (entry == NULL || entry->state == STATE_OVER)
		return;
	if (entry->state == STATE_GIVEN)
		take_from(q, entry);
	push_queue_end(q, entry, PUSH_LEFT);
}

void
push_queue_worker_gone(struct push_queue *q, struct worker_id worker)
{
	struct at_work *at = push_queue_at_work(q, worker);
	struct entry *entry;

	if (at == NULL)
		return;
	while ((entry = TAILQ_FIRST(&at->given)) != NULL) {
		take_from(q, entry);
		entry->failed = true;
		again(q, entry, STATE_NEW);
	}
	while ((entry = TAILQ_FIRST(&at->waits)) != NULL)
		push_queue_go(q, entry, STATE_OFFERED);
	if (at->ready)
		TAILQ_REMOVE(&q->ready, at, in_ready);
	if (at->w.files) {
		TAILQ_REMOVE(&q->seers, at, in_seers);
		q->recheck = true;
	}
	q->n_unsafe -= !at->w.safe;
	table_remove(&q->workers, at->w.id.v, at->slot);
}

void
push_queue_forget(struct push_queue *q, struct entry *entry)
{
	leave(q, entry);
	table_remove(&q->entries, entry->push, entry->slot);
}

size_t
push_queue_open(const struct push_queue *q)
{
	return q->entries.n - q->entries.n_free;
}

uint64_t
push_queue_steps(const struct push_queue *q)
{
	return q->steps + q->entries.by_id.looks + q->workers.by_id.looks;
}
