#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "schedule/scheduler.h"
#include "schedule/scheduler_state.h"

struct worker *
worker_find(const struct scheduler *s, struct worker_id id)
{
	uint32_t slot = job_queue_slot(id.v);
	struct worker *w = slot < s->n_ids ? s->by_id[slot] : NULL;

	return w != NULL && w->id.v == id.v ? w : NULL;
}

void
worker_free(struct worker *w)
{
	free(w->name);
	free(w->lease);
	free(w);
}

bool
worker_usable(const struct worker *w)
{
	return !w->aside && !w->draining;
}

/* Puts the worker into the list that its free slots say. */
void
worker_list(struct scheduler *s, struct worker *w)
{
	struct worker_list *list = !worker_usable(w) ? NULL
	    : w->n_leases < w->slots		     ? &s->idle
	    : w->n_leases == w->slots		     ? &s->ahead
						     : NULL;

	s->losses += !worker_usable(w);
	if (list == w->list && list != &s->idle)
		return;
	if (w->list != NULL)
		TAILQ_REMOVE(w->list, w, entry);
	/* The next job goes to another idle worker. */
	if (list != NULL) {
		TAILQ_INSERT_TAIL(list, w, entry);
		w->listed = ++s->listed;
	}
	w->list = list;
	s->changed = true;
}

static int
worker_index(struct scheduler *s, struct worker *w)
{
	uint32_t slot = job_queue_slot(w->id.v);
	struct worker **by_id;

	if (slot >= s->n_ids) {
		size_t n = (size_t)slot + 1;

		by_id = reallocarray(s->by_id, n, sizeof(*by_id));
		if (by_id == NULL)
			return -1;
		memset(by_id + s->n_ids, 0, (n - s->n_ids) * sizeof(*by_id));
		s->by_id = by_id;
		s->n_ids = n;
	}
	return 0;
}

int
sched_worker_up(struct scheduler *s, int64_t now, struct worker_id worker,
    size_t slots, const char *name, struct err *e)
{
	struct worker *w;

	assert(worker_find(s, worker) == NULL && slots > 0);
	s->leases += slots + 1;
	if ((w = calloc(1, sizeof(*w))) == NULL ||
	    (w->name = strdup(name)) == NULL ||
	    (w->lease = calloc(slots + 1, sizeof(*w->lease))) == NULL ||
	    (w->id = worker, worker_index(s, w)) < 0 ||
	    pending_reserve(s) < 0) {
		if (w != NULL)
			worker_free(w);
		s->leases -= slots + 1;
		return err_set(e, ERR_FATAL, errno, "worker %s", name);
	}
	assert(s->by_id[job_queue_slot(worker.v)] == NULL);
	s->by_id[job_queue_slot(worker.v)] = w;
	w->slots = slots;
	s->slots += slots;
	s->usable++;
	s->gains++;
	s->met_at = now;
	w->silent_at = lease_deadline(s, now + s->config.silent_ms);
	TAILQ_INSERT_TAIL(&s->all, w, all);
	worker_list(s, w);
	s->plan.stale = true;
	return 0;
}

/* It is told once, whatever it is by then. */
static void
tell(struct scheduler *s, struct worker *w)
{
	if (!w->news)
		queue_action(s, SCHED_SET_ASIDE, 0, 0, w->id);
	w->news = true;
}

void
worker_use_again(struct scheduler *s, struct worker *w)
{
	sched_worker_use(s, w->id);
	tell(s, w);
}

void
workers_use_all(struct scheduler *s)
{
	struct worker *w;

	TAILQ_FOREACH(w, &s->all, all)
	if (w->aside && !w->draining)
		worker_use_again(s, w);
}

void
sched_worker_use(struct scheduler *s, struct worker_id worker)
{
	struct worker *w = worker_find(s, worker);

	if (w == NULL || !w->aside)
		return;
	w->aside = false;
	w->failures_in_a_row = 0;
	s->usable += worker_usable(w);
	s->gains++;
	worker_list(s, w);
}

void
worker_failed(struct scheduler *s, struct worker *w)
{
	w->failures_in_a_row++;
	if (w->failures_in_a_row < SCHED_BLAME_MAX || !worker_usable(w) ||
	    s->usable == 1)
		return;
	w->aside = true;
	s->usable--;
	worker_list(s, w);
	tell(s, w);
}

void
sched_worker_drain(struct scheduler *s, int64_t now, struct worker_id worker)
{
	struct worker *w = worker_find(s, worker);

	(void)now;
	if (w == NULL || w->draining)
		return;
	s->usable -= worker_usable(w);
	w->draining = true;
	worker_list(s, w);
	s->changed = true;
	/* Whoever was set aside is better than nobody. */
	if (s->usable == 0)
		workers_use_all(s);
}

void
worker_end(struct scheduler *s, int64_t now, struct worker *w, const char *why)
{
	s->usable -= worker_usable(w);
	s->met_at = now;
	s->slots -= w->slots;
	s->leases -= w->slots + 1;
	/* What waits now will not start here. */
	for (size_t i = 0; i < w->n_leases; i++)
		w->lease[i].spared =
		    w->lease[i].started == NOT_STARTED || w->draining;
	w->aside = true;
	worker_list(s, w);
	while (w->n_leases > 0) {
		const struct lease lease = w->lease[0];

		lease_end(s, now, w, &w->lease[0], SCHED_END_LOST);
		if (!lease.spared)
			job_failed(s, now, lease.job, w, ERR_RETRY, why);
		else
			job_again(s, now, lease.job);
	}
	TAILQ_REMOVE(&s->all, w, all);
	s->by_id[job_queue_slot(w->id.v)] = NULL;
	worker_free(w);
	s->changed = true;
	/* Whoever was set aside is better than nobody. */
	if (s->usable == 0)
		workers_use_all(s);
}

void
sched_worker_gone(
    struct scheduler *s, int64_t now, struct worker_id worker, const char *why)
{
	struct worker *w = worker_find(s, worker);

	if (w != NULL)
		worker_end(s, now, w, why);
}

static int
compare_held(const void *a, const void *b)
{
	const struct sched_held *x = a, *y = b;

	if (x->job.v != y->job.v)
		return x->job.v < y->job.v ? -1 : 1;
	return (x->attempt > y->attempt) - (x->attempt < y->attempt);
}

static bool
is_held(const struct lease *lease, const struct sched_held *held, size_t n)
{
	const struct sched_held key = {{lease->job}, lease->attempt};

	return n > 0 &&
	    bsearch(&key, held, n, sizeof(*held), compare_held) != NULL;
}

void
sched_worker_back(struct scheduler *s, int64_t now, struct worker_id worker,
    struct sched_held *held, size_t n)
{
	struct worker *w = worker_find(s, worker);

	if (w == NULL)
		return;
	/* Both can be thousands, and who is back may be again. */
	if (n > 0)
		qsort(held, n, sizeof(*held), compare_held);
	w->silent_at = now + s->config.silent_ms;
	for (size_t i = w->n_leases; i-- > 0;) {
		uint64_t id = w->lease[i].job;

		if (is_held(&w->lease[i], held, n))
			continue;
		lease_end(s, now, w, &w->lease[i], SCHED_END_LOST);
		job_again(s, now, id);
	}
}

bool
sched_fetched(struct scheduler *s, int64_t now, struct worker_id worker,
    struct job_id job, uint64_t attempt, uint64_t bytes, int64_t ms)
{
	struct worker *w = worker_find(s, worker);
	const struct lease *lease = w == NULL ? NULL : lease_find(w, job.v);
	uint64_t most;

	if (lease == NULL || lease->attempt != attempt)
		return false;
	if (lease->started == NOT_STARTED)
		return true;
	if (ms > now - lease->started)
		ms = now - lease->started;
	if (ms < 1)
		ms = 1;
	most = (uint64_t)ms * SCHED_BANDWIDTH_MAX;
	if (bytes > most)
		bytes = most;
	rate_add(&w->bandwidth, bytes, ms);
	rate_add(&s->bandwidth, bytes, ms);
	return true;
}

void
sched_measured(
    struct scheduler *s, struct worker_id worker, uint64_t bytes, int64_t ms)
{
	struct worker *w = worker_find(s, worker);

	if (w == NULL || ms < 1)
		return;
	if (bytes / (uint64_t)ms > SCHED_BANDWIDTH_MAX)
		bytes = (uint64_t)ms * SCHED_BANDWIDTH_MAX;
	w->said = (double)bytes / (double)ms;
	if (s->said_scale <= 0)
		s->said_scale = 1;
	s->plan.stale = true;
}

bool
sched_progress(struct scheduler *s, int64_t now, struct worker_id worker,
    struct job_id job, uint64_t attempt, uint64_t bytes)
{
	struct worker *w = worker_find(s, worker);
	struct lease *lease = w == NULL ? NULL : lease_find(w, job.v);

	if (lease == NULL || lease->attempt != attempt)
		return false;
	if (bytes <= lease->bytes)
		return true;
	if (lease->started == NOT_STARTED)
		lease_start(s, now, w, lease);
	lease_tell(s, now, w, lease, bytes);
	lease->until = now + s->config.lease_ms;
	return true;
}

void
sched_verifying(struct scheduler *s, int64_t now, struct worker_id worker,
    struct job_id job, uint64_t attempt)
{
	struct worker *w = worker_find(s, worker);
	struct lease *lease = w == NULL ? NULL : lease_find(w, job.v);

	if (lease == NULL || lease->attempt != attempt)
		return;
	lease->until = now + s->config.lease_ms;
	lease->deadline = INT64_MAX;
}

void
sched_beat(
    struct scheduler *s, int64_t now, struct worker_id worker, size_t running)
{
	struct worker *w = worker_find(s, worker);

	if (w == NULL)
		return;
	w->silent_at = now + s->config.silent_ms;
	/* What waits behind busy slots has not been forgotten. */
	for (size_t i = 0; running >= w->slots && i < w->n_leases; i++)
		if (w->lease[i].started == NOT_STARTED)
			w->lease[i].until = now + s->config.lease_ms;
}
