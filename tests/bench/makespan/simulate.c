#include "simulate.h"

#include <stdio.h>
#include <stdlib.h>

#include "schedule/scheduler.h"

enum { BEAT_MS = 200, WAITS = -1 };

struct task {
	uint64_t job, attempt;
	int64_t started, ends; /* or WAITS */
	double speed;
};

struct worker {
	bool up;
	size_t n_tasks;
	struct task task[SLOTS_MAX + 1];
};

/* Ends of tasks and beats; stale ones are passed over. */
struct event {
	int64_t at;
	size_t worker;
	uint64_t attempt; /* 0: a beat */
	uint64_t job;
};

struct run {
	const struct instance *x;
	const struct simulation *how;
	struct scheduler *s;
	struct worker *worker;
	struct event *heap;
	size_t n_events, room;
	int64_t now;
	double made; /* bytes */
	uint64_t copies;
};

static void
push(struct run *r, struct event new)
{
	size_t i = r->n_events++;

	if (i == r->room) {
		r->room = 2 * r->room + 1024;
		r->heap = realloc(r->heap, r->room * sizeof(*r->heap));
		if (r->heap == NULL)
			abort();
	}
	for (; i > 0 && new.at < r->heap[(i - 1) / 2].at; i = (i - 1) / 2)
		r->heap[i] = r->heap[(i - 1) / 2];
	r->heap[i] = new;
}

static struct event
pop(struct run *r)
{
	struct event top = r->heap[0], last = r->heap[--r->n_events];
	size_t i = 0, child;

	while ((child = 2 * i + 1) < r->n_events) {
		if (child + 1 < r->n_events &&
		    r->heap[child + 1].at < r->heap[child].at)
			child++;
		if (last.at <= r->heap[child].at)
			break;
		r->heap[i] = r->heap[child];
		i = child;
	}
	r->heap[i] = last;
	return top;
}

/* Up to `part` up or down. */
static double
off_by(double part)
{
	return 1 + part * ((double)(random_u64() % 2001) / 1000 - 1);
}

/* What slots are free for. */
static void
start(struct run *r, size_t id)
{
	struct worker *w = &r->worker[id];

	for (size_t i = 0; i < w->n_tasks && i < r->x->slots; i++) {
		struct task *t = &w->task[i];

		if (t->started != WAITS)
			continue;
		t->speed = r->x->speed[id] * off_by(r->how->noise);
		t->started = r->now;
		t->ends = r->now +
		    (int64_t)((double)r->x->weight[t->job] / t->speed + 0.5);
		push(r, (struct event){t->ends, id, t->attempt, t->job});
	}
}

static double
bytes_of(const struct run *r, const struct task *t)
{
	return t->started == WAITS ? 0
				   : (double)(r->now - t->started) * t->speed;
}

static void
drop(struct run *r, size_t id, struct task *t)
{
	struct worker *w = &r->worker[id];

	r->made += bytes_of(r, t);
	*t = w->task[--w->n_tasks];
	start(r, id);
}

static struct task *
find(struct worker *w, uint64_t job, uint64_t attempt)
{
	for (size_t i = 0; i < w->n_tasks; i++)
		if (w->task[i].job == job && w->task[i].attempt == attempt)
			return &w->task[i];
	return NULL;
}

static void
act(struct run *r)
{
	struct sched_action a;

	while (sched_next(r->s, r->now, &a)) {
		struct worker *w = &r->worker[a.worker.v];
		struct task *t;

		/* What a dead one is told changes nothing. */
		if ((a.kind == SCHED_SEND || a.kind == SCHED_CANCEL) && !w->up)
			continue;
		if (a.kind == SCHED_SEND) {
			w->task[w->n_tasks++] =
			    (struct task){a.job.v, a.attempt, WAITS, 0, 0};
			r->copies += a.why == SCHED_COPY;
			start(r, a.worker.v);
		} else if (a.kind == SCHED_CANCEL) {
			t = find(w, a.job.v, a.attempt);
			if (t != NULL)
				drop(r, a.worker.v, t);
		} else if (a.kind != SCHED_DROP) {
			fprintf(stderr, "makespan: action %d\n", (int)a.kind);
			exit(1);
		}
	}
}

static void
beat(struct run *r, size_t id)
{
	const struct worker *w = &r->worker[id];
	size_t running = 0;

	for (size_t i = 0; i < w->n_tasks; i++) {
		const struct task *t = &w->task[i];

		if (t->started == WAITS)
			continue;
		running++;
		sched_progress(r->s, r->now, (struct worker_id){id},
		    (struct job_id){t->job}, t->attempt,
		    (uint64_t)bytes_of(r, t));
	}
	sched_beat(r->s, r->now, (struct worker_id){id}, running);
	push(r, (struct event){r->now + BEAT_MS, id, 0, 0});
}

static double
said_speed(const struct run *r, size_t worker)
{
	double scale = r->how->scale > 0 ? r->how->scale : 1;

	return r->x->speed[worker] * off_by(r->how->wrong) * scale;
}

static void
begin(struct run *r)
{
	static const struct sched_config config = {
	    .silent_ms = 10000,
	    .lease_ms = 120000,
	    .poison = 3,
	    .copy_percent = 10,
	};
	struct err e = ERR_INIT;
	struct job_id id;

	r->worker = calloc(r->x->n_workers, sizeof(*r->worker));
	if (r->worker == NULL || sched_new(&config, &r->s, &e) < 0)
		abort();
	for (size_t i = 0; i < r->x->n_jobs; i++)
		if (sched_add_job(r->s, r->x->weight[i], &id, &e) < 0)
			abort();
	for (size_t i = 0; i < r->x->n_workers; i++) {
		r->worker[i].up = true;
		if (sched_worker_up(r->s, 0, (struct worker_id){i}, r->x->slots,
			"w", &e) < 0)
			abort();
		if (r->how->measured)
			sched_measured(r->s, (struct worker_id){i},
			    (uint64_t)(said_speed(r, i) * 1000), 1000);
		push(r,
		    (struct event){(int64_t)(random_u64() % BEAT_MS), i, 0, 0});
	}
}

static void
happen(struct run *r, const struct event *v)
{
	static const struct digest same;
	struct worker *w = &r->worker[v->worker];
	struct task *t;

	if (v->attempt == 0) {
		beat(r, v->worker);
		return;
	}
	t = find(w, v->job, v->attempt);
	if (t == NULL)
		return;
	sched_done(r->s, r->now, (struct worker_id){v->worker},
	    (struct job_id){v->job}, v->attempt, &same);
	drop(r, v->worker, t);
}

struct simulated
simulate(const struct instance *x, const struct simulation *how)
{
	struct run r = {.x = x, .how = how};
	size_t victim;
	double needed = 0;

	begin(&r);
	victim = random_u64() % x->n_workers;
	for (act(&r); sched_open(r.s) > 0; act(&r)) {
		struct event v = pop(&r);

		r.now = v.at;
		if (r.now >= how->kill_at && r.worker[victim].up) {
			r.worker[victim].up = false;
			if (how->told)
				sched_worker_gone(r.s, r.now,
				    (struct worker_id){victim}, "killed");
		}
		if (r.worker[v.worker].up)
			happen(&r, &v);
	}
	for (size_t i = 0; i < x->n_jobs; i++)
		needed += (double)x->weight[i];
	sched_free(r.s);
	free(r.worker);
	free(r.heap);
	return (struct simulated){
	    .ms = r.now,
	    .twice = r.made / needed - 1,
	    .copies = r.copies,
	};
}
