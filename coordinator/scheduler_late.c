/*
 * When nothing is queued: what waits behind busy slots goes to idle ones, and
 * stragglers get a second copy.
 */
#include "scheduler.h"
#include "scheduler_state.h"

/* How often running jobs are looked at, ms. */
#define LOOK_MS 1000

struct candidate {
	struct worker *from, *to;
	struct lease *lease;
	uint64_t weight;
	int64_t left;
};

/* The fastest idle worker that may have it. */
static struct worker *
idle_for(const struct scheduler *s, int64_t now, const struct job *j)
{
	struct worker *w, *best = NULL;

	TAILQ_FOREACH(w, &s->idle, entry)
	if (worker_may_take(w, j, now) && !failed_at(j, w) && j->at[0] != w &&
	    (best == NULL || rate_of(s, w) > rate_of(s, best)))
		best = w;
	return best;
}

/* The heaviest waiting one that would be done sooner elsewhere. */
static void
find_waiting(struct scheduler *s, int64_t now, struct candidate *c)
{
	struct worker *w, *to;

	TAILQ_FOREACH(w, &s->all, all)
	for (size_t i = 0; i < w->n_leases; i++) {
		struct job *j = &s->job[w->lease[i].job];

		if (w->lease[i].started != NOT_STARTED ||
		    (c->to != NULL && j->weight <= c->weight) ||
		    (to = idle_for(s, now, j)) == NULL ||
		    time_needed(s, to, j->weight) >
			time_to_slot(s, now, w) + time_needed(s, w, j->weight))
			continue;
		*c = (struct candidate){w, to, &w->lease[i], j->weight, 0};
	}
}

/* The one with the most time left, where a copy helps. */
static void
find_straggler(struct scheduler *s, int64_t now, struct candidate *c)
{
	int64_t least = 2 * took_median(s);
	struct worker *w, *to;

	if (least < SCHED_STRAGGLE_MS)
		least = SCHED_STRAGGLE_MS;
	c->left = least;
	TAILQ_FOREACH(w, &s->all, all)
	for (size_t i = 0; i < w->n_leases; i++) {
		struct lease *lease = &w->lease[i];
		struct job *j = &s->job[lease->job];
		int64_t left;

		if (lease->started == NOT_STARTED || j->copies == COPIES ||
		    (left = time_left(s, now, w, lease)) <= c->left ||
		    (to = idle_for(s, now, j)) == NULL ||
		    time_needed(s, to, j->weight) >= left)
			continue;
		*c = (struct candidate){w, to, lease, j->weight, left};
	}
}

static bool
may_copy(const struct scheduler *s)
{
	size_t most = s->slots * s->config.copy_percent / 100;

	if (most == 0 && s->config.copy_percent > 0)
		most = 1;
	return s->extra < most;
}

bool
late_move(struct scheduler *s, int64_t now, struct sched_action *out)
{
	struct candidate c = {0};
	uint64_t job;

	if (now < s->late_at)
		return false;
	s->late_at = INT64_MAX;
	if (s->queue.n > 0 || TAILQ_EMPTY(&s->idle) || s->open == s->audits.n)
		return false;
	s->late_at = now;
	find_waiting(s, now, &c);
	if (c.to != NULL) {
		job = c.lease->job;
		*out = (struct sched_action){
		    .kind = SCHED_CANCEL,
		    .job = {job},
		    .attempt = c.lease->attempt,
		    .worker = c.from->id,
		};
		lease_end(s, now, c.from, c.lease);
		job_enqueue(s, job);
		return true;
	}
	if (may_copy(s))
		find_straggler(s, now, &c);
	if (c.to == NULL) {
		s->late_at = now + LOOK_MS;
		return false;
	}
	job = c.lease->job;
	lease_begin(s, now, c.to, job);
	*out = (struct sched_action){
	    .kind = SCHED_SEND,
	    .job = {job},
	    .attempt = s->job[job].attempt,
	    .worker = c.to->id,
	};
	return true;
}
