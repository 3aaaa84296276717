#include "dispatch/push_queue.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "err.h"

enum state {
	STATE_NEW, /* to be looked for */
	STATE_LOOKED_FOR,
	STATE_WAITS, /* for a worker */
	STATE_GIVEN,
	STATE_OVER
};

struct entry {
	uint64_t push;
	size_t place;
	enum state state;
	enum push_end end;
	struct worker_id maker, worker; /* worker: that has or had it */
	bool alone;
	bool tried, failed; /* it was given it, and failed */
	bool uploaded;	    /* by its own word */
	unsigned tries;
};

struct place {
	bool near, token, barred;
	unsigned failures; /* in a row */
	size_t given, allowed;
};

struct at_work {
	struct push_worker w;
	size_t given;
};

struct push_queue {
	struct entry *entry; /* in the order they came */
	size_t n, room;
	struct at_work *worker;
	size_t n_workers, room_workers;
	struct place place[PUSH_PLACES_MAX];
	size_t n_places;
	uint64_t last;
	bool changed; /* since push_queue_next said false */
};

int
push_queue_new(struct push_queue **out, struct err *e)
{
	if ((*out = calloc(1, sizeof(**out))) == NULL)
		return err_set(e, ERR_FATAL, errno, "pushes");
	return 0;
}

void
push_queue_free(struct push_queue *q)
{
	if (q == NULL)
		return;
	free(q->entry);
	free(q->worker);
	free(q);
}

static struct at_work *
find_worker(const struct push_queue *q, struct worker_id id)
{
	for (size_t i = 0; i < q->n_workers; i++)
		if (q->worker[i].w.id.v == id.v)
			return &q->worker[i];
	return NULL;
}

static struct entry *
find_entry(const struct push_queue *q, uint64_t push)
{
	for (size_t i = 0; i < q->n; i++)
		if (q->entry[i].push == push)
			return &q->entry[i];
	return NULL;
}

int
push_queue_worker(
    struct push_queue *q, const struct push_worker *w, struct err *e)
{
	struct at_work *at = find_worker(q, w->id);

	q->changed = true;
	if (at != NULL) {
		at->w = *w;
		return 0;
	}
	if (q->n_workers == q->room_workers) {
		size_t room = q->room_workers == 0 ? 16 : 2 * q->room_workers;

		at = reallocarray(q->worker, room, sizeof(*at));
		if (at == NULL)
			return err_set(e, ERR_FATAL, errno, "pushes");
		q->worker = at;
		q->room_workers = room;
	}
	q->worker[q->n_workers++] = (struct at_work){.w = *w};
	return 0;
}

int
push_queue_place(struct push_queue *q, bool near, struct err *e)
{
	if (q->n_places == PUSH_PLACES_MAX)
		return err_set(e, ERR_FATAL, 0, "too many registries");
	q->place[q->n_places++] =
	    (struct place){.near = near, .allowed = SIZE_MAX};
	return 0;
}

void
push_queue_bar(struct push_queue *q, size_t place)
{
	q->place[place].barred = true;
	q->changed = true;
}

bool
push_queue_barred(const struct push_queue *q, size_t place)
{
	return q->place[place].barred;
}

static bool
may(const struct place *p, const struct push_worker *w)
{
	return !p->barred && (w->near || !p->near) && (w->safe || !p->token);
}

bool
push_queue_may(const struct push_queue *q, struct worker_id worker)
{
	const struct at_work *at = find_worker(q, worker);

	for (size_t i = 0; at != NULL && i < q->n_places; i++)
		if (may(&q->place[i], &at->w))
			return true;
	return false;
}

int
push_queue_add(struct push_queue *q, const struct push_blob_at *b,
    uint64_t *push, struct err *e)
{
	struct entry *entry;

	if (q->n == q->room) {
		size_t room = q->room == 0 ? 64 : 2 * q->room;

		entry = reallocarray(q->entry, room, sizeof(*entry));
		if (entry == NULL)
			return err_set(e, ERR_FATAL, errno, "pushes");
		q->entry = entry;
		q->room = room;
	}
	*push = ++q->last;
	q->entry[q->n++] = (struct entry){
	    .push = *push,
	    .place = b->place,
	    .maker = b->maker,
	    .alone = b->alone,
	};
	q->changed = true;
	return 0;
}

static void
end(struct push_queue *q, struct entry *entry, enum push_end how)
{
	entry->state = STATE_OVER;
	entry->end = how;
	q->changed = true;
}

/* Once more, if it was not tried too often. */
static void
again(struct push_queue *q, struct entry *entry, enum state state)
{
	if (++entry->tries >= PUSH_TRIES)
		end(q, entry, PUSH_LEFT);
	else
		entry->state = state;
	q->changed = true;
}

void
push_queue_looked(
    struct push_queue *q, uint64_t push, enum push_seen seen, bool token)
{
	struct entry *entry = find_entry(q, push);

	if (entry == NULL || entry->state != STATE_LOOKED_FOR)
		return;
	q->place[entry->place].token = token;
	switch (seen) {
	case PUSH_SEEN:
		end(q, entry, entry->uploaded ? PUSH_UPLOADED : PUSH_THERE);
		break;
	case PUSH_NOT_SEEN:
		/* A worker has said that it is there. */
		if (entry->tried && !entry->failed)
			again(q, entry, STATE_WAITS);
		else
			entry->state = STATE_WAITS;
		entry->uploaded = false;
		break;
	case PUSH_UNSURE:
		end(q, entry, PUSH_LEFT);
		break;
	}
	q->changed = true;
}

/* The worker does not have it any more. */
static void
take_from(struct push_queue *q, struct entry *entry)
{
	struct at_work *at = find_worker(q, entry->worker);

	if (at != NULL)
		at->given--;
	q->place[entry->place].given--;
	q->changed = true;
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
	p = &q->place[entry->place];
	if (throttled)
		p->allowed = p->given > 2 ? p->given / 2 : 1;
	else if (well && p->allowed < SIZE_MAX)
		p->allowed++;
	take_from(q, entry);
	entry->failed = !well;
	entry->uploaded = uploaded;
	if (!well)
		end(q, entry, PUSH_LEFT);
	else
		entry->state = STATE_NEW;
	p->failures = well ? 0 : p->failures + 1;
	p->barred |= p->failures == PUSH_FAILURES_MAX;
	return true;
}

void
push_queue_worker_gone(struct push_queue *q, struct worker_id worker)
{
	struct at_work *at = find_worker(q, worker);

	if (at == NULL)
		return;
	for (size_t i = 0; i < q->n; i++) {
		struct entry *entry = &q->entry[i];

		if (entry->state != STATE_GIVEN || entry->worker.v != worker.v)
			continue;
		take_from(q, entry);
		entry->failed = true;
		again(q, entry, STATE_NEW);
	}
	*at = q->worker[--q->n_workers];
	q->changed = true;
}

/* Whether w has what is to be pushed. */
static bool
has(const struct entry *entry, const struct push_worker *w)
{
	return (w->files && !entry->alone) || w->id.v == entry->maker.v;
}

/* Its maker, if there is no reason not to, or who has least to do. */
static bool
better(const struct entry *entry, const struct at_work *a,
    const struct at_work *than)
{
	bool shuns = entry->failed && a->w.id.v == entry->worker.v;

	if (than == NULL)
		return true;
	if (shuns != (entry->failed && than->w.id.v == entry->worker.v))
		return !shuns;
	if (a->given >= PUSH_GIVEN_MAX || than->given >= PUSH_GIVEN_MAX)
		return a->given < than->given;
	if (a->w.id.v == entry->maker.v || than->w.id.v == entry->maker.v)
		return a->w.id.v == entry->maker.v;
	return a->given < than->given;
}

/* *any: whether one could ever do it. */
static struct at_work *
choose(const struct push_queue *q, const struct entry *entry, bool *any)
{
	const struct place *p = &q->place[entry->place];
	struct at_work *best = NULL;

	for (size_t i = 0; i < q->n_workers; i++) {
		struct at_work *at = &q->worker[i];

		if (may(p, &at->w) && has(entry, &at->w) &&
		    better(entry, at, best))
			best = at;
	}
	*any = best != NULL;
	return best != NULL && best->given < PUSH_GIVEN_MAX &&
		p->given < p->allowed
	    ? best
	    : NULL;
}

/* Whether there is anything to be told of it. */
static bool
step(struct push_queue *q, struct entry *entry, struct push_order *out)
{
	struct at_work *at;
	bool any;

	*out = (struct push_order){.push = entry->push};
	/* Nothing is asked in vain; but a worker's word is looked into. */
	if (q->place[entry->place].barred && entry->state == STATE_NEW &&
	    !(entry->tried && !entry->failed))
		end(q, entry, PUSH_LEFT);
	if (entry->state == STATE_NEW) {
		entry->state = STATE_LOOKED_FOR;
		out->act = PUSH_LOOK;
		return true;
	}
	if (entry->state == STATE_WAITS) {
		at = choose(q, entry, &any);
		if (!any)
			end(q, entry, PUSH_LEFT);
		if (at == NULL)
			return false;
		at->given++;
		q->place[entry->place].given++;
		entry->state = STATE_GIVEN;
		entry->worker = at->w.id;
		entry->tried = true;
		entry->failed = false;
		out->act = PUSH_GIVE;
		out->worker = at->w.id;
		return true;
	}
	return false;
}

static void
forget(struct push_queue *q, size_t i)
{
	memmove(
	    &q->entry[i], &q->entry[i + 1], (--q->n - i) * sizeof(*q->entry));
}

bool
push_queue_next(struct push_queue *q, struct push_order *out)
{
	while (q->changed) {
		q->changed = false;
		for (size_t i = 0; i < q->n; i++) {
			if (step(q, &q->entry[i], out)) {
				q->changed = true;
				return true;
			}
			if (q->entry[i].state != STATE_OVER)
				continue;
			*out = (struct push_order){
			    .act = PUSH_OVER,
			    .push = q->entry[i].push,
			    .end = q->entry[i].end,
			};
			forget(q, i);
			q->changed = true;
			return true;
		}
	}
	return false;
}

size_t
push_queue_open(const struct push_queue *q)
{
	return q->n;
}
