/*
 * What was begun at the wrong worker: what all will wait for gets a second
 * copy, and towards the end what waits behind busy slots goes to idle ones.
 */
#include "schedule/scheduler.h"
#include "schedule/scheduler_state.h"

/* How often running jobs are looked at, ms; and 1 ms for each ten leases. */
#define LOOK_MS 50
/* A copy is not worth it for less, ms. */
#define COPY_LEAST 100
/* Nor where it would take more than this part of the time left; */
#define COPY_PART 0.875
/* if jobs come for ever, and may not be what anybody waits for. */
#define COPY_PART_IN_TURN 0.5
/* A worker nobody knows is tried only after so long. */
#define COPY_BLIND_MS 1000
/* Of two attempts, one with less than this part of the other's time wins. */
#define LOSER_PART 0.75

struct candidate {
	struct worker *from, *to;
	struct lease *lease;
	uint64_t weight;
	int64_t left;
};

/* A part of a time. */
static int64_t
part_of(int64_t ms, double part)
{
	return whole_ms((double)ms * part);
}

/* The fastest idle worker that may have it; a second copy, if it is known. */
static struct worker *
idle_for(const struct scheduler *s, int64_t now, const struct job *j)
{
	struct worker *w, *best = NULL;

	TAILQ_FOREACH(w, &s->idle, entry)
	if (worker_may_take(w, j, now) && !failed_at(j, w) && j->at[0] != w &&
	    !worker_unable(w, j) && (j->copies < COPIES || rate_known(w)) &&
	    (best == NULL || rate_of(s, w) > rate_of(s, best)))
		best = w;
	return best;
}

/* Nobody of some workers is done with a job sooner than that. */
struct bound {
	int64_t first;	/* until one has a slot, ms; INT64_MAX: there is none */
	double fastest; /* bytes/ms; 0: no idea */
	bool unknown;	/* at one nobody knows how long anything takes */
};

static void
bound_add(const struct scheduler *s, int64_t now, const struct worker *w,
    struct bound *b)
{
	int64_t first = time_to_slot(s, now, w);
	double rate = rate_of(s, w);

	if (first < b->first)
		b->first = first;
	if (rate > b->fastest)
		b->fastest = rate;
	b->unknown |= rate <= 0;
}

static int64_t
bound_of(const struct bound *b, uint64_t weight)
{
	if (b->first == INT64_MAX || b->unknown)
		return b->first;
	return b->first + whole_ms((double)weight / b->fastest);
}

/*
 * The heaviest waiting one that would be done sooner elsewhere.  Most would
 * not be anywhere: for these not all who are idle are looked at.
 */
static void
find_waiting(struct scheduler *s, int64_t now, struct candidate *c)
{
	struct bound idle = {.first = INT64_MAX};
	struct worker *w, *to;

	TAILQ_FOREACH(w, &s->idle, entry)
	bound_add(s, now, w, &idle);
	TAILQ_FOREACH(w, &s->all, all)
	for (size_t i = 0; w->n_leases > w->slots && i < w->n_leases; i++) {
		struct job *j = job_at(s, w->lease[i].job);
		int64_t here;

		if (w->lease[i].started != NOT_STARTED ||
		    (c->to != NULL && j->weight <= c->weight))
			continue;
		here = time_to_slot(s, now, w) + time_needed(s, w, j->weight);
		if (bound_of(&idle, j->weight) > here ||
		    (to = idle_for(s, now, j)) == NULL ||
		    time_needed(s, to, j->weight) + transfer_to(s, to, j) >
			here)
			continue;
		*c = (struct candidate){w, to, &w->lease[i], j->weight, 0};
	}
}

/* What waits there, if it may be taken back for this one. */
static struct lease *
lighter_waiting(
    const struct scheduler *s, struct worker *w, const struct job *j)
{
	for (size_t i = 0; i < w->n_leases; i++) {
		const struct job *other = job_at(s, w->lease[i].job);

		if (w->lease[i].started == NOT_STARTED)
			return other->weight < j->weight && other->copies == 1
			    ? &w->lease[i]
			    : NULL;
	}
	return NULL;
}

/* blind: also an idle one that nobody knows. */
static bool
may_copy_to(struct scheduler *s, int64_t now, struct worker *w,
    const struct job *j, bool blind)
{
	if (!worker_usable(w) || j->at[0] == w || failed_at(j, w) ||
	    worker_unable(w, j) || !worker_may_take(w, j, now))
		return false;
	if (!rate_known(w))
		return blind && w->n_leases < w->slots;
	return w->list != NULL ||
	    (s->queue.n > 0 && lighter_waiting(s, w, j) != NULL);
}

/* Who would be done with a copy first, and within so many ms. */
static struct worker *
soonest(struct scheduler *s, int64_t now, const struct job *j, int64_t ms,
    bool blind)
{
	struct worker *w, *best = NULL;

	TAILQ_FOREACH(w, &s->all, all)
	{
		int64_t end;

		if (!may_copy_to(s, now, w, j, blind))
			continue;
		end = time_to_slot(s, now, w) + time_needed(s, w, j->weight) +
		    transfer_to(s, w, j);
		if (end >= ms)
			continue;
		ms = end;
		best = w;
	}
	return best;
}

/* Of those that may_copy_to lets have one, whatever the job. */
static struct bound
copy_bound(const struct scheduler *s, int64_t now)
{
	struct bound b = {.first = INT64_MAX};
	struct worker *w;

	TAILQ_FOREACH(w, &s->all, all)
	if (worker_usable(w) &&
	    (w->n_leases < w->slots ||
		(rate_known(w) && (w->list != NULL || s->queue.n > 0))))
		bound_add(s, now, w, &b);
	return b;
}

/*
 * The running job with the most time left, over `least`, that would be done
 * sooner elsewhere: there is a copy of it to make.
 */
static void
find_straggler(
    struct scheduler *s, int64_t now, int64_t least, struct candidate *c)
{
	double part = s->config.in_turn ? COPY_PART_IN_TURN : COPY_PART;
	struct bound all = copy_bound(s, now);
	struct worker *w, *to;

	c->left = least;
	TAILQ_FOREACH(w, &s->all, all)
	for (size_t i = 0; i < w->n_leases; i++) {
		struct lease *lease = &w->lease[i];
		struct job *j = job_at(s, lease->job);
		int64_t left;
		bool blind;

		if (lease->started == NOT_STARTED || j->copies == COPIES ||
		    (left = time_left(s, now, w, lease)) <= c->left ||
		    bound_of(&all, j->weight) >= part_of(left, part))
			continue;
		blind = s->queue.n == 0 && left > SCHED_STRAGGLE_MS &&
		    now - lease->started >= COPY_BLIND_MS;
		to = soonest(s, now, j, part_of(left, part), blind);
		if (to != NULL)
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

/* The other attempt at the job, if this one is sure to be done sooner. */
static struct lease *
loser_of(const struct scheduler *s, int64_t now, const struct worker *w,
    const struct lease *lease, struct worker **at)
{
	const struct job *j = job_at(s, lease->job);
	struct lease *other;

	if (j->copies < COPIES || lease->bytes == 0)
		return NULL;
	*at = j->at[j->at[0] == w];
	other = lease_find(*at, lease->job);
	return other->bytes > 0 &&
		time_left(s, now, w, lease) <
		    part_of(time_left(s, now, *at, other), LOSER_PART)
	    ? other
	    : NULL;
}

/* What is sure to lose makes room for something else. */
static bool
cancel_loser(struct scheduler *s, int64_t now, struct sched_action *out)
{
	struct worker *w, *at;
	struct lease *loser;

	TAILQ_FOREACH(w, &s->all, all)
	for (size_t i = 0; i < w->n_leases; i++) {
		loser = loser_of(s, now, w, &w->lease[i], &at);
		if (loser == NULL)
			continue;
		*out = (struct sched_action){
		    .kind = SCHED_CANCEL,
		    .job = {loser->job},
		    .attempt = loser->attempt,
		    .worker = at->id,
		};
		lease_lose(s, now, at, loser);
		return true;
	}
	return false;
}

static void
send_copy(struct scheduler *s, int64_t now, const struct candidate *c,
    struct sched_action *out)
{
	uint64_t job = c->lease->job, back;
	struct sched_action copy;
	struct lease *waiting = NULL;

	if (c->to->list == NULL)
		waiting = lighter_waiting(s, c->to, job_at(s, job));
	if (waiting != NULL) {
		back = waiting->job;
		*out = (struct sched_action){
		    .kind = SCHED_CANCEL,
		    .job = {back},
		    .attempt = waiting->attempt,
		    .worker = c->to->id,
		};
		lease_end(s, now, c->to, waiting, SCHED_END_MOVED);
		job_again(s, now, back);
	}
	lease_begin(s, now, c->to, job);
	counts_of(s, job_at(s, job))->copies++;
	copy = (struct sched_action){
	    .kind = SCHED_SEND,
	    .job = {job},
	    .attempt = job_at(s, job)->attempt,
	    .worker = c->to->id,
	    .why = SCHED_COPY,
	};
	if (waiting == NULL) {
		*out = copy;
		return;
	}
	queue_action(s, SCHED_SEND, job, copy.attempt, c->to->id);
	s->pending.action[s->pending.n - 1].why = SCHED_COPY;
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

/* Cancels a loser or starts a copy of what will take longer than this. */
static bool
copy_move(
    struct scheduler *s, int64_t now, int64_t least, struct sched_action *out)
{
	struct candidate c = {0};

	if (s->extra > 0 && cancel_loser(s, now, out))
		return true;
	if (!may_copy(s))
		return false;
	find_straggler(s, now, least > COPY_LEAST ? least : COPY_LEAST, &c);
	if (c.to == NULL)
		return false;
	send_copy(s, now, &c, out);
	return true;
}

bool
late_move(struct scheduler *s, int64_t now, struct sched_action *out)
{
	struct candidate c = {0};
	bool looked = now >= s->move_at;

	if (now < s->late_at)
		return false;
	s->late_at = INT64_MAX;
	if (s->queue.n > 0 || TAILQ_EMPTY(&s->idle) || s->open == s->audits.n)
		return false;
	s->late_at = now;
	if (looked) {
		find_waiting(s, now, &c);
		if (c.to != NULL) {
			move_waiting(s, now, &c, out);
			return true;
		}
		s->move_at = now + (int64_t)s->leases / 1000;
	}
	if (now >= s->copy_at) {
		if (copy_move(s, now, 0, out))
			return true;
		s->copy_at = now + LOOK_MS + (int64_t)s->leases / 10;
	}
	s->late_at = s->copy_at;
	if (!looked && s->move_at < s->late_at)
		s->late_at = s->move_at;
	return false;
}

bool
critical_move(struct scheduler *s, int64_t now, struct sched_action *out)
{
	int64_t least;

	if (now < s->copy_at || s->queue.n == 0 || !plan_made(s, now))
		return false;
	least = s->plan.ends - now;
	if (s->config.in_turn && least < SCHED_STRAGGLE_MS)
		least = SCHED_STRAGGLE_MS;
	if (copy_move(s, now, least, out))
		return true;
	s->copy_at = now + LOOK_MS + (int64_t)s->leases / 10;
	return false;
}
