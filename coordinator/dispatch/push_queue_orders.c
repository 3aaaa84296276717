#include "dispatch/push_queue.h"

#include "dispatch/push_queue_state.h"

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
	if (a->n_given >= a->w.most || than->n_given >= than->w.most)
		return a->n_given < than->n_given;
	if (a->w.id.v == entry->maker.v || than->w.id.v == entry->maker.v)
		return a->w.id.v == entry->maker.v;
	return a->n_given < than->n_given;
}

/* Who is to push it, now or when it has less to do; NULL: nobody can. */
static struct at_work *
choose(struct push_queue *q, const struct entry *entry)
{
	struct at_work *maker = push_queue_at_work(q, entry->maker);
	struct at_work *best = NULL, *at;

	q->steps++;
	if (entry->gone)
		return NULL;
	if (maker != NULL && push_queue_allowed(entry->place, &maker->w))
		best = maker;
	if (entry->alone ||
	    (best != NULL && !entry->failed && best->n_given < best->w.most))
		return best;
	TAILQ_FOREACH(at, &q->seers, in_seers)
	{
		q->steps++;
		if (push_queue_allowed(entry->place, &at->w) &&
		    better(entry, at, best))
			best = at;
	}
	return best;
}

/* One that is offered: true if it was given. */
static bool
offer(struct push_queue *q, struct entry *entry, struct push_order *out)
{
	struct at_work *at = choose(q, entry);
	struct place *p = entry->place;

	if (at == NULL) {
		push_queue_end(q, entry, PUSH_LEFT);
		return false;
	}
	if (at->n_given >= at->w.most || p->flow->given >= p->flow->allowed) {
		push_queue_go(q, entry,
		    at->n_given >= at->w.most ? STATE_WAITS : STATE_HELD);
		return false;
	}
	at->n_given++;
	p->flow->given++;
	entry->worker = at->w.id;
	entry->tried = true;
	entry->failed = false;
	push_queue_go(q, entry, STATE_GIVEN);
	*out = (struct push_order){.act = PUSH_GIVE,
	    .push = entry->push,
	    .what = entry->what,
	    .worker = at->w.id};
	return true;
}

/* One that waits, and that w may do. */
static struct entry *
find_for(struct push_queue *q, const struct at_work *w)
{
	struct entry *entry;

	TAILQ_FOREACH(entry, &w->waits, in_maker)
	{
		q->steps++;
		if (push_queue_allowed(entry->place, &w->w))
			return entry;
	}
	if (!w->w.files)
		return NULL;
	TAILQ_FOREACH(entry, &q->waits, in_state)
	{
		q->steps++;
		if (push_queue_allowed(entry->place, &w->w))
			return entry;
	}
	return NULL;
}

/* Whoever was to do what waits may be gone, or may not do it any more. */
static void
offer_all(struct push_queue *q)
{
	struct entry *entry;

	for (size_t i = 0; i < q->workers.n; i++) {
		struct at_work *w = q->workers.thing[i];

		while (w != NULL && (entry = TAILQ_FIRST(&w->waits)) != NULL)
			push_queue_go(q, entry, STATE_OFFERED);
	}
	while ((entry = TAILQ_FIRST(&q->waits)) != NULL)
		push_queue_go(q, entry, STATE_OFFERED);
}

/* Who has room again is offered what waits: false, if nothing does. */
static bool
offer_more(struct push_queue *q)
{
	struct entry *entry;
	struct at_work *w;

	if (q->recheck)
		offer_all(q);
	q->recheck = false;
	while (
	    TAILQ_EMPTY(&q->offered) && (w = TAILQ_FIRST(&q->ready)) != NULL) {
		entry = w->n_given < w->w.most ? find_for(q, w) : NULL;
		if (entry != NULL) {
			push_queue_go(q, entry, STATE_OFFERED);
			break;
		}
		TAILQ_REMOVE(&q->ready, w, in_ready);
		w->ready = false;
	}
	return !TAILQ_EMPTY(&q->offered);
}

/* Of one that is new: false if it is over at once. */
static bool
look(struct push_queue *q, struct entry *entry, struct push_order *out)
{
	/* Nothing is asked in vain; but a worker's word is looked into. */
	if (entry->place->barred && !(entry->tried && !entry->failed)) {
		push_queue_end(q, entry, PUSH_LEFT);
		return false;
	}
	push_queue_go(q, entry, STATE_LOOKED_FOR);
	*out = (struct push_order){
	    .act = PUSH_LOOK, .push = entry->push, .what = entry->what};
	return true;
}

bool
push_queue_next(struct push_queue *q, struct push_order *out)
{
	struct entry *entry;

	do {
		while ((entry = TAILQ_FIRST(&q->fresh)) != NULL)
			if (look(q, entry, out))
				return true;
		while ((entry = TAILQ_FIRST(&q->offered)) != NULL)
			if (offer(q, entry, out))
				return true;
	} while (offer_more(q));
	if ((entry = TAILQ_FIRST(&q->over)) == NULL)
		return false;
	*out = (struct push_order){
	    .act = PUSH_OVER,
	    .push = entry->push,
	    .what = entry->what,
	    .end = entry->end,
	};
	push_queue_forget(q, entry);
	return true;
}
