/*
 * Towards the end: what waits behind busy slots goes to idle ones, and what
 * all will wait for gets a second copy.
 */
#include "schedule/scheduler.h"
#include "schedule/scheduler_state.h"

/* How often running jobs are looked at, ms. */
#define LOOK_MS 1000
/* While jobs are queued; and 1 ms for each ten leases. */
#define CRITICAL_MS 50

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
	    !worker_unable(w, j) &&
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
	for (size_t i = 0; w->n_leases > w->slots && i < w->n_leases; i++) {
		struct job *j = job_at(s, w->lease[i].job);

		if (w->lease[i].started != NOT_STARTED ||
		    (c->to != NULL && j->weight <= c->weight) ||
		    (to = idle_for(s, now, j)) == NULL ||
		    time_needed(s, to, j->weight) + transfer_to(s, to, j) >
			time_to_slot(s, now, w) + time_needed(s, w, j->weight))
			continue;
		*c = (struct candidate){w, to, &w->lease[i], j->weight, 0};
	}
}

/*
 * The running job with the most time left, over `least`, that would be done
 * sooner on an idle slot: there is a copy of it to make.
 */
static void
find_straggler(
    struct scheduler *s, int64_t now, int64_t least, struct candidate *c)
{
	struct worker *w, *to;

	c->left = least;
	TAILQ_FOREACH(w, &s->all, all)
	for (size_t i = 0; i < w->n_leases; i++) {
		struct lease *lease = &w->lease[i];
		struct job *j = job_at(s, lease->job);
		int64_t left;

		if (lease->started == NOT_STARTED || j->copies == COPIES ||
		    (left = time_left(s, now, w, lease)) <= c->left ||
		    (to = idle_for(s, now, j)) == NULL ||
		    time_needed(s, to, j->weight) + transfer_to(s, to, j) >=
			left)
			continue;
		*c = (struct candidate){w, to, lease, j->weight, left};
	}
}

/*
 * The same while others are queued, for one that all will wait for in the
 * end: where a worker with room is known to need less than half of the time.
 */
static void
find_critical(
    struct scheduler *s, int64_t now, int64_t least, struct candidate *c)
{
	struct worker *to = TAILQ_FIRST(&s->idle), *w;
	int64_t wait;

	if (to == NULL)
		to = TAILQ_LAST(&s->ahead, worker_list);
	if (to == NULL || to->rate.bytes <= 0)
		return;
	wait = time_to_slot(s, now, to);
	c->left = least;
	TAILQ_FOREACH(w, &s->all, all)
	for (size_t i = 0; i < w->n_leases; i++) {
		struct lease *lease = &w->lease[i];
		struct job *j = job_at(s, lease->job);
		int64_t left;

		if (lease->started == NOT_STARTED || j->copies == COPIES ||
		    (left = time_left(s, now, w, lease)) <= c->left ||
		    w == to || failed_at(j, to) || worker_unable(to, j) ||
		    !worker_may_take(to, j, now) ||
		    wait + time_needed(s, to, j->weight) +
			    transfer_to(s, to, j) >=
			left / 2)
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

static int64_t
straggle_ms(const struct scheduler *s)
{
	int64_t least = 2 * took_median(s);

	return least > SCHED_STRAGGLE_MS ? least : SCHED_STRAGGLE_MS;
}

static void
send_copy(struct scheduler *s, int64_t now, const struct candidate *c,
    struct sched_action *out)
{
	uint64_t job = c->lease->job;

	lease_begin(s, now, c->to, job);
	*out = (struct sched_action){
	    .kind = SCHED_SEND,
	    .job = {job},
	    .attempt = job_at(s, job)->attempt,
	    .worker = c->to->id,
	    .why = SCHED_COPY,
	};
	counts_of(s, job_at(s, job))->copies++;
}

static void
move_waiting(struct scheduler *s, int64_t now, const struct candidate *c,
    struct sched_action *out)
{
	uint64_t job = c->lease->job;

	*out = (struct sched_action){
	    .kind = SCHED_CANCEL,
	    .job = {job},
	    .attempt = c->lease->attempt,
	    .worker = c->from->id,
	};
	lease_end(s, now, c->from, c->lease, SCHED_END_MOVED);
	lease_begin(s, now, c->to, job);
	queue_action(s, SCHED_SEND, job, job_at(s, job)->attempt, c->to->id);
	s->pending.action[s->pending.n - 1].why = SCHED_MOVED;
}

bool
late_move(struct scheduler *s, int64_t now, struct sched_action *out)
{
	struct candidate c = {0};

	if (now < s->late_at)
		return false;
	s->late_at = INT64_MAX;
	if (s->queue.n > 0 || TAILQ_EMPTY(&s->idle) || s->open == s->audits.n)
		return false;
	s->late_at = now;
	find_waiting(s, now, &c);
	if (c.to != NULL) {
		move_waiting(s, now, &c, out);
		return true;
	}
	if (now >= s->straggle_at && may_copy(s))
		find_straggler(s, now, straggle_ms(s), &c);
	if (c.to == NULL) {
		if (now >= s->straggle_at)
			s->straggle_at = now + LOOK_MS;
		s->late_at = s->straggle_at;
		return false;
	}
	send_copy(s, now, &c, out);
	return true;
}

bool
critical_move(struct scheduler *s, int64_t now, struct sched_action *out)
{
	double rate = s->rate.ms > 0 ? s->rate.bytes / s->rate.ms : 0;
	struct candidate c = {0};
	int64_t least, rest;

	if (now < s->critical_at || s->queue.n == 0 || rate <= 0 ||
	    !may_copy(s))
		return false;
	s->critical_at = now + CRITICAL_MS + (int64_t)s->leases / 10;
	rest = whole_ms(s->queued / (rate * (double)s->slots));
	least = straggle_ms(s);
	find_critical(s, now, least > rest ? least : rest, &c);
	if (c.to == NULL)
		return false;
	send_copy(s, now, &c, out);
	return true;
}
