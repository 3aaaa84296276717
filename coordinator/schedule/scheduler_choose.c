#include "schedule/scheduler.h"
#include "schedule/scheduler_state.h"

/* What a failure at that worker weighs, in ms: more than any wait. */
#define FAILED_HERE (INT64_MAX / 4)
/* An empty worker is worth so much more than one whose slots are busy. */
#define SPREAD 0.25
#define HOPELESS_LOOK_MS 1000

bool
worker_may_take(const struct worker *w, const struct job *j, int64_t now)
{
	return (now >= w->limit_until || j->weight < w->limit) &&
	    !(j->accepted && j->by.v == w->id.v);
}

/* Where the job failed: but others would not have it for long. */
static bool
shuns(const struct job *j, const struct worker *w)
{
	return j->failures > 0 && j->postponed < SCHED_POSTPONED_MAX &&
	    failed_at(j, w);
}

static double
worth(const struct scheduler *s, const struct worker *w)
{
	double busy = (double)w->n_leases / (double)w->slots;

	return rate_of(s, w) * (1 + SPREAD * (1 - busy));
}

/*
 * One with room; rather one that the job did not fail on.  Of the idle ones
 * the fastest, but jobs are spread; else the one that was idle longest.  Of
 * those that are busy the last to become so: it has the lightest jobs before
 * it.
 */
static struct worker *
any_with_room(const struct scheduler *s, int64_t now, const struct job *j)
{
	struct worker *w, *best = NULL, *second = NULL;

	TAILQ_FOREACH(w, &s->idle, entry)
	{
		if (!worker_may_take(w, j, now) ||
		    (s->planned && j->weight >= w->most))
			continue;
		if (shuns(j, w))
			second = w;
		else if (best == NULL || worth(s, w) > worth(s, best))
			best = w;
	}
	if (best != NULL)
		return best;
	TAILQ_FOREACH_REVERSE(w, &s->ahead, worker_list, entry)
	{
		if (!worker_may_take(w, j, now) ||
		    (s->planned && j->weight >= w->most))
			continue;
		if (!shuns(j, w))
			return w;
		if (second == NULL)
			second = w;
	}
	return second;
}

/* Marks what the job misses where. */
static void
look_at(struct scheduler *s, const struct locality *l)
{
	s->mark++;
	for (size_t i = 0; i < l->n; i++) {
		struct worker *w = worker_find(s, l->at[i].worker);

		if (w == NULL)
			continue;
		w->missing = l->at[i].bytes;
		w->mark = s->mark;
	}
}

static int64_t
fetch_ms(const struct scheduler *s, const struct worker *w, uint64_t bytes)
{
	const struct rate *r =
	    w->bandwidth.bytes > 0 ? &w->bandwidth : &s->bandwidth;
	double bandwidth =
	    r->bytes > 0 ? r->bytes / r->ms : (double)SCHED_BANDWIDTH;
	double ms;

	ms = (double)bytes / bandwidth;
	return ms < 1e12 ? (int64_t)ms : (int64_t)1e12;
}

/* Of the job that is looked at. */
static int64_t
transfer_ms(const struct scheduler *s, const struct worker *w)
{
	return w->mark == s->mark ? fetch_ms(s, w, w->missing) : 0;
}

static uint64_t
missing_at(const struct worker *w, const struct job *j)
{
	const struct locality *l = j->locality;
	size_t i;

	if (l == NULL)
		return 0;
	i = missing_place(l, w->id);
	return i < l->n && l->at[i].worker.v == w->id.v ? l->at[i].bytes : 0;
}

int64_t
transfer_to(
    const struct scheduler *s, const struct worker *w, const struct job *j)
{
	return fetch_ms(s, w, missing_at(w, j));
}

bool
worker_unable(const struct worker *w, const struct job *j)
{
	return missing_at(w, j) == SCHED_UNABLE;
}

/* Of the job that is looked at. */
static bool
is_unable(const struct scheduler *s, const struct worker *w)
{
	return w->mark == s->mark && w->missing == SCHED_UNABLE;
}

/*
 * Whether somebody could do the job that is looked at, now or later.  Who was
 * set aside is better than who cannot.
 */
static bool
somebody_can(struct scheduler *s, const struct job *j)
{
	struct worker *w, *aside = NULL;

	TAILQ_FOREACH(w, &s->all, all)
	{
		if (w->draining || is_unable(s, w) ||
		    (j->accepted && j->by.v == w->id.v))
			continue;
		if (!w->aside)
			return true;
		aside = w;
	}
	if (aside == NULL || j->accepted)
		return false;
	worker_use_again(s, aside);
	return true;
}

/* With room: only who was put into a list since is looked at. */
static bool
all_unable(const struct scheduler *s, struct job *j)
{
	struct locality *l = j->locality;
	const struct worker *w;

	TAILQ_FOREACH_REVERSE(w, &s->idle, worker_list, entry)
	{
		if (w->listed <= l->looked)
			break;
		if (!worker_unable(w, j))
			return false;
	}
	TAILQ_FOREACH_REVERSE(w, &s->ahead, worker_list, entry)
	{
		if (w->listed <= l->looked)
			break;
		if (!worker_unable(w, j))
			return false;
	}
	l->looked = s->listed;
	return true;
}

/*
 * Whether somebody can do the job that is looked at, as somebody_can, which is
 * asked only if it may be different now: many jobs may wait for one worker.
 */
static bool
is_able(struct scheduler *s, struct job *j)
{
	struct locality *l = j->locality;
	bool able;

	if (l->able == ABLE_SOMEBODY && l->able_at == s->losses)
		return true;
	if (l->able == ABLE_NOBODY && l->able_at == s->gains)
		return false;
	look_at(s, l);
	able = somebody_can(s, j);
	l->able = able ? ABLE_SOMEBODY : ABLE_NOBODY;
	l->able_at = able ? s->losses : s->gains;
	return able;
}

/* Until a slot is free for one that is held back for it. */
static int64_t
wait_ms(const struct scheduler *s, int64_t now, const struct worker *w)
{
	int64_t wait = time_to_room(s, now, w);

	return w->pass != s->pass
	    ? wait
	    : wait + whole_ms((double)w->promised / (double)w->slots);
}

static int64_t
cost_at(const struct scheduler *s, int64_t now, const struct job *j,
    struct worker *w)
{
	int64_t cost = transfer_ms(s, w) + wait_ms(s, now, w) +
	    time_needed(s, w, j->weight);

	return shuns(j, w) ? cost + FAILED_HERE : cost;
}

/* Of equals, the one with most of its slots free. */
static bool
is_freer(const struct worker *a, const struct worker *b)
{
	return a->n_leases * b->slots < b->n_leases * a->slots;
}

/* unable: nobody can, so it may be anybody. */
static struct worker *
cheapest(struct scheduler *s, int64_t now, const struct job *j, bool unable,
    bool with_room)
{
	int64_t least = INT64_MAX;
	struct worker *w, *best = NULL;

	TAILQ_FOREACH(w, &s->all, all)
	{
		int64_t cost;

		if (!worker_usable(w) || (with_room && w->list == NULL) ||
		    !worker_may_take(w, j, now) || (!unable && is_unable(s, w)))
			continue;
		cost = cost_at(s, now, j, w);
		if (cost < least || (cost == least && is_freer(w, best))) {
			least = cost;
			best = w;
		}
	}
	return best;
}

/* Each is one look at all workers, about. */
static unsigned
held_max(const struct scheduler *s)
{
	size_t most = SCHED_HELD_LOOKS / (s->n_ids + 1);

	return most > SCHED_HELD_MIN ? (unsigned)most : SCHED_HELD_MIN;
}

/* A job that is to be fetched for: once nobody with room has better to do. */
struct fallback {
	uint64_t job;
	struct worker *w; /* NULL: none */
};

/* All would wait for it in the end. */
static bool
is_critical(const struct scheduler *s, const struct job *j, struct worker *w)
{
	double rate = s->rate.ms > 0 ? s->rate.bytes / s->rate.ms : 0;

	return rate > 0 &&
	    transfer_ms(s, w) + time_needed(s, w, j->weight) >=
	    whole_ms(s->queued / (rate * (double)s->slots));
}

/* From when it is first said, for the transfer's time and a little more. */
static bool
has_waited(struct scheduler *s, int64_t now, struct job *j, int64_t transfer)
{
	struct locality *l = j->locality;

	transfer += SCHED_HOLD_LEAST_MS;
	if (l->held_until == 0)
		l->held_until =
		    now + (transfer < SCHED_HOLD_MS ? transfer : SCHED_HOLD_MS);
	if (now >= l->held_until)
		return true;
	if (l->held_until < s->place_at)
		s->place_at = l->held_until;
	return false;
}

/* Whether it is held back for a better one. */
static bool
hold(struct scheduler *s, int64_t now, struct job *j, struct worker *better,
    int64_t transfer)
{
	if (has_waited(s, now, j, transfer))
		return false;
	if (better->pass != s->pass)
		better->promised = 0;
	better->pass = s->pass;
	better->promised += time_needed(s, better, j->weight);
	return true;
}

/* One that can may come, or come back; if it does not there is no hope. */
static void
wait_for_able(struct scheduler *s, int64_t now, struct job *j)
{
	struct locality *l = j->locality;

	if (l->able_until == 0)
		l->able_until = now + SCHED_ABLE_MS;
	if (now >= l->able_until)
		s->hopeless = j->node.id;
	else if (l->able_until < s->place_at)
		s->place_at = l->able_until;
}

/*
 * Whether a worker with room can be found for it; *unable: nobody can do it,
 * and so it may be anybody.
 */
static bool
is_for_room(struct scheduler *s, int64_t now, struct job *j, bool *unable)
{
	bool room;

	if (j->accepted) {
		look_at(s, j->locality);
		/* The audit can be done without. */
		return somebody_can(s, j);
	}
	room = !all_unable(s, j);
	*unable = !is_able(s, j);
	if (!*unable)
		j->locality->able_until = 0;
	else if (s->config.in_turn)
		wait_for_able(s, now, j);
	return *unable ? !s->config.in_turn : room;
}

/* NULL: none can, or it is held back for a better one; then *held grows. */
static struct worker *
choose_near(struct scheduler *s, int64_t now, uint64_t id, unsigned *held,
    struct fallback *f)
{
	struct job *j = job_at(s, id);
	struct worker *w, *better;
	int64_t transfer;
	bool unable = false;

	if (s->unable && !is_for_room(s, now, j, &unable))
		return NULL;
	look_at(s, j->locality);
	if ((w = cheapest(s, now, j, unable, true)) == NULL)
		return NULL;
	transfer = transfer_ms(s, w);
	if (transfer == 0)
		return w;
	if (*held >= held_max(s))
		return f->w == NULL ? w : NULL;
	++*held;
	if ((better = cheapest(s, now, j, unable, false)) != w &&
	    hold(s, now, j, better, transfer))
		return NULL;
	if (is_critical(s, j, w) ||
	    (s->config.in_turn && has_waited(s, now, j, transfer)))
		return w;
	if (f->w == NULL)
		*f = (struct fallback){id, w};
	return NULL;
}

/*
 * Only jobs lighter than this may find a worker with room; another, when the
 * first worker's limit is over.
 */
static uint64_t
ceiling(struct scheduler *s, int64_t now)
{
	const struct worker_list *lists[] = {&s->idle, &s->ahead};
	uint64_t most = 0;
	struct worker *w;

	for (size_t i = 0; i < 2; i++)
		TAILQ_FOREACH(w, lists[i], entry)
		{
			uint64_t limit = UINT64_MAX;

			if (s->planned)
				limit = w->most = plan_most(s, now, w);
			if (now < w->limit_until) {
				if (w->limit_until < s->place_at)
					s->place_at = w->limit_until;
				if (w->limit < limit)
					limit = w->limit;
			}
			if (limit > most)
				most = limit;
		}
	return most;
}

/* The next one in the queue after j that may be light enough. */
static uint64_t
below_ceiling(const struct scheduler *s, const struct job_queue *q,
    const struct job *j, uint64_t *below)
{
	uint64_t at = *below;

	if (s->config.in_turn || s->ordered)
		return job_queue_after(q, j->node.weight, j->node.id);
	/* All that follow are. */
	*below = UINT64_MAX;
	return job_queue_after(q, at, UINT64_MAX);
}

/*
 * Nothing fits who is idle: better the lightest job than none; of equals the
 * oldest.
 */
static struct worker *
choose_lightest(
    struct scheduler *s, int64_t now, const struct job_queue *q, uint64_t *job)
{
	uint64_t last = job_queue_last(q);
	uint64_t id =
	    job_queue_after(q, job_at(s, last)->node.weight + 1, UINT64_MAX);
	struct worker *w;

	TAILQ_FOREACH(w, &s->idle, entry)
	w->most = UINT64_MAX;
	TAILQ_FOREACH(w, &s->ahead, entry)
	w->most = 0;
	w = any_with_room(s, now, job_at(s, id));
	for (; w == NULL && last != JOB_QUEUE_NONE;
	     last = job_queue_before(q, job_at(s, id)->node.weight, id)) {
		id = last;
		w = any_with_room(s, now, job_at(s, id));
	}
	*job = id;
	return w;
}

static struct worker *
choose_from(
    struct scheduler *s, int64_t now, struct job_queue *q, uint64_t *job)
{
	uint64_t id = job_queue_first(q), below = UINT64_MAX;
	struct fallback f = {.w = NULL};
	unsigned held = 0;
	struct worker *w;

	s->planned = q == &s->queue && plan_holds(s, now);
	if (s->planned || now < s->limited_until)
		below = ceiling(s, now);
	while (id != JOB_QUEUE_NONE) {
		struct job *j = job_at(s, id);

		if (j->weight >= below && below < UINT64_MAX) {
			id = below_ceiling(s, q, j, &below);
			continue;
		}
		w = j->locality == NULL ? any_with_room(s, now, j)
					: choose_near(s, now, id, &held, &f);
		if (w != NULL) {
			*job = id;
			return w;
		}
		/* Enough was looked at. */
		if (f.w != NULL && held >= held_max(s))
			break;
		id = job_queue_after(q, j->node.weight, id);
	}
	if (s->planned && !TAILQ_EMPTY(&s->idle))
		return choose_lightest(s, now, q, job);
	*job = f.job;
	return f.w;
}

/*
 * While nobody has room nobody looks for jobs; but those that nobody can do do
 * not wait for that.  Now and then: it takes a look at each.
 */
static void
find_hopeless(struct scheduler *s, int64_t now)
{
	uint64_t id = job_queue_first(&s->queue);
	bool unable;

	if (!s->config.in_turn || !s->unable || id == JOB_QUEUE_NONE)
		return;
	if (now >= s->hopeless_at) {
		s->hopeless_at = now + HOPELESS_LOOK_MS;
		for (; id != JOB_QUEUE_NONE && s->hopeless == JOB_QUEUE_NONE;
		     id = job_queue_after(
			 &s->queue, job_at(s, id)->node.weight, id))
			if (job_at(s, id)->locality != NULL)
				is_for_room(s, now, job_at(s, id), &unable);
		/* There may be more. */
		if (s->hopeless != JOB_QUEUE_NONE)
			s->hopeless_at = now;
	}
	if (s->hopeless_at < s->place_at)
		s->place_at = s->hopeless_at;
}

struct worker *
choose(struct scheduler *s, int64_t now, uint64_t *job)
{
	bool audits_first = s->config.in_turn;
	struct job_queue *first = audits_first ? &s->audits : &s->queue;
	struct job_queue *then = audits_first ? &s->queue : &s->audits;
	struct worker *w;

	if (!s->changed && now < s->place_at)
		return NULL;
	s->place_at = INT64_MAX;
	s->pass++;
	if (TAILQ_EMPTY(&s->idle) && TAILQ_EMPTY(&s->ahead))
		find_hopeless(s, now);
	else if ((w = choose_from(s, now, first, job)) != NULL ||
	    (w = choose_from(s, now, then, job)) != NULL)
		return w;
	s->changed = false;
	s->late_at = now;
	return NULL;
}
