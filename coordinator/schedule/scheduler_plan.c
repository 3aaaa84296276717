/*
 * When all could be done, and how heavy a job each worker may begin for that.
 * One look at all workers now and then, and its figures in between.
 */
#include "schedule/scheduler.h"
#include "schedule/scheduler_state.h"

/* How long a look is good for, ms; and 1 ms for each ten leases. */
#define LOOK_MS 20
/* Where all jobs are below, no plan is needed: bytes. */
#define PLAN_LEAST 1000000
/* Of the whole run: what a worker nobody knows begins with, */
#define PROBE_PART 0.02
/* how long the heaviest jobs wait until all are known, */
#define KNOWING_PART 0.03
/* at most: a beat and more, ms. */
#define KNOWING_MS 300
/* So much later than planned is no harm. */
#define SLACK 1.02
/* So little of the whole run is nothing to look at. */
#define EASY_PART 0.125

/* So that no sum of lies overflows. */
static uint64_t
whole_bytes(double bytes)
{
	return bytes < 1e18 ? (uint64_t)bytes : (uint64_t)1e18;
}

struct sums {
	double rest, speeds, fastest, slowest; /* bytes, bytes/ms */
	size_t slots, unknown;
	int64_t youngest; /* since when the last unknown one works, ms */
	double longest;	  /* what a running one takes at least, ms */
};

static void
add_worker(const struct scheduler *s, int64_t now, const struct worker *w,
    struct sums *n)
{
	double rate = rate_of(s, w);
	int64_t age = 0;

	n->slots += w->slots;
	n->speeds += rate * (double)w->slots;
	if (!rate_known(w)) {
		if (w->n_leases > 0 && w->lease[0].started != NOT_STARTED)
			age = now - w->lease[0].started;
		if (n->unknown++ == 0 || age < n->youngest)
			n->youngest = age;
		return;
	}
	if (rate > n->fastest)
		n->fastest = rate;
	if (n->slowest <= 0 || rate < n->slowest)
		n->slowest = rate;
}

static void
add_leases(const struct scheduler *s, int64_t now, const struct worker *w,
    struct sums *n)
{
	for (size_t i = 0; i < w->n_leases; i++) {
		const struct lease *lease = &w->lease[i];
		const struct job *j = job_at(s, lease->job);
		double weight = (double)j->weight, bytes = (double)lease->bytes;
		double ms;

		/* A second attempt does what is counted already. */
		if (j->at[0] == w && weight > bytes)
			n->rest += weight - bytes;
		if (lease->started == NOT_STARTED || n->fastest <= 0)
			continue;
		/* Or as long as a copy would take. */
		ms = (double)time_left(s, now, w, lease);
		if (ms > weight / n->fastest)
			ms = weight / n->fastest;
		if (ms > n->longest)
			n->longest = ms;
	}
}

/* Until the heaviest that is queued could be done. */
static double
soonest(const struct scheduler *s, int64_t now, uint64_t heaviest)
{
	double first = -1;
	struct worker *w;

	TAILQ_FOREACH(w, &s->all, all)
	{
		double ms;

		if (!worker_usable(w) || !rate_known(w))
			continue;
		ms = (double)(time_to_room(s, now, w) +
		    time_needed(s, w, heaviest));
		if (first < 0 || ms < first)
			first = ms;
	}
	return first;
}

static void
plan_make(struct scheduler *s, int64_t now, uint64_t first)
{
	const uint64_t heaviest = job_at(s, first)->weight;
	struct sums n = {.rest = s->queued};
	struct plan *p = &s->plan;
	struct worker *w;
	double share, ms, end;

	rate_scale(s);
	TAILQ_FOREACH(w, &s->all, all)
	if (worker_usable(w))
		add_worker(s, now, w, &n);
	TAILQ_FOREACH(w, &s->all, all)
	add_leases(s, now, w, &n);
	*p =
	    (struct plan){.made = now, .heaviest = first, .fastest = n.fastest};
	share = n.slots > 0 ? n.rest / (double)n.slots : 0;
	if (share < (double)heaviest)
		share = (double)heaviest;
	p->probe = whole_bytes(share * PROBE_PART) + 1;
	if (n.fastest <= 0)
		return;
	ms = n.rest / n.speeds;
	end = soonest(s, now, heaviest);
	if (ms < end)
		ms = end;
	if (ms < n.longest)
		ms = n.longest;
	p->ends = now + whole_ms(ms * SLACK);
	p->knowing = n.unknown > 0 && n.youngest < KNOWING_MS &&
	    (double)n.youngest < ms * KNOWING_PART;
	if (n.unknown == 0)
		p->easy = whole_bytes(ms * EASY_PART * n.slowest);
}

/* A look at all for each worker that is new, or job, would be too much. */
static int64_t
soon(const struct scheduler *s)
{
	return (int64_t)s->leases / 1000;
}

bool
plan_made(struct scheduler *s, int64_t now)
{
	const struct plan *p = &s->plan;
	uint64_t first = job_queue_first(&s->queue);
	int64_t again = p->stale ? soon(s) : LOOK_MS + (int64_t)s->leases / 10;

	if (first == JOB_QUEUE_NONE)
		return false;
	if (now - p->made >= again || p->made > now)
		plan_make(s, now, first);
	return p->fastest > 0;
}

bool
plan_holds(struct scheduler *s, int64_t now)
{
	uint64_t first = job_queue_first(&s->queue), heaviest;

	if (first == JOB_QUEUE_NONE || s->config.in_turn || s->ordered ||
	    s->located || s->usable < 2)
		return false;
	heaviest = job_at(s, first)->weight;
	if (heaviest < PLAN_LEAST)
		return false;
	if (!plan_made(s, now))
		return true;
	/* The one before it has gone: this one may take longer elsewhere. */
	if (heaviest >= s->plan.easy && s->plan.heaviest != first &&
	    now - s->plan.made >= soon(s))
		plan_make(s, now, first);
	return heaviest >= s->plan.easy;
}

uint64_t
plan_most(const struct scheduler *s, int64_t now, const struct worker *w)
{
	const struct plan *p = &s->plan;
	bool idle = w->n_leases < w->slots;
	int64_t ms = p->ends - now;
	double most;

	if (!rate_known(w))
		return idle ? p->probe : 0;
	if (!idle)
		ms -= time_to_slot(s, now, w);
	if (ms <= 0)
		return 0;
	most = (double)ms * rate_of(s, w) + 1;
	if (p->knowing && most > (double)p->probe)
		return p->probe;
	return whole_bytes(most);
}
