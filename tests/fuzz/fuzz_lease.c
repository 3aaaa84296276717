/*
 * The protocol with its state: what workers say, as frames that are decoded or
 * as events, in any order and at any time (of a clock of its own), is done to a
 * scheduler as dispatch does it.  However that goes: nothing is sent to who is
 * not there, no attempt twice, a result counts once, the books add up; and
 * once a sound worker is there alone every job comes to its end.
 */
#undef NDEBUG /* the assertions are what it is for */
#include <assert.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "err.h"
#include "protocol.h"
#include "schedule/scheduler.h"
#include "schedule/scheduler_counts.h"

enum { WORKERS = 32, JOBS = 32, ACTIONS_MAX = 4096, TURNS_MAX = 20000 };

struct input {
	const uint8_t *at;
	size_t left;
};

struct world {
	struct scheduler *s;
	int64_t now;
	size_t n_workers, n_jobs;
	bool up[WORKERS];
	uint64_t attempt[JOBS];		    /* that was sent last, */
	uint64_t to[JOBS];		    /* and to whom */
	unsigned accepted[JOBS], end[JOBS]; /* how often that was said */
};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static uint8_t
byte(struct input *in)
{
	if (in->left == 0)
		return 0;
	in->left--;
	return *in->at++;
}

static void
check_books(const struct world *w)
{
	struct sched_counts c[2];
	uint64_t jobs = 0, open = 0;

	sched_count(w->s, &c[0], &c[1]);
	for (int i = 0; i < 2; i++) {
		uint64_t ended = 0;

		assert(c[i].added ==
		    c[i].queued + c[i].running + c[i].done + c[i].failed +
			c[i].left);
		for (int k = 0; k < SCHED_ENDS; k++)
			ended += c[i].ended[k];
		assert(ended <= c[i].started);
		jobs += c[i].added;
		open += c[i].queued + c[i].running;
	}
	assert(jobs == w->n_jobs && open == sched_open(w->s));
}

static void
check_action(struct world *w, const struct sched_action *a)
{
	bool of_worker = a->kind == SCHED_SEND || a->kind == SCHED_DROP;

	if (of_worker)
		assert(a->worker.v < w->n_workers && w->up[a->worker.v]);
	if (a->kind == SCHED_DROP)
		w->up[a->worker.v] = false;
	if (a->kind == SCHED_SEND) {
		assert(a->job.v < w->n_jobs && w->end[a->job.v] == 0);
		assert(a->attempt > w->attempt[a->job.v]);
		w->attempt[a->job.v] = a->attempt;
		w->to[a->job.v] = a->worker.v;
	}
	if (a->kind == SCHED_FAILED)
		assert(w->accepted[a->job.v] == 0 && w->end[a->job.v]++ == 0);
	if (a->kind == SCHED_AUDIT_SKIPPED)
		assert(w->accepted[a->job.v] == 1 && w->end[a->job.v]++ == 0);
}

static void
act(struct world *w)
{
	struct sched_action a;
	unsigned n = 0;

	while (sched_next(w->s, w->now, &a)) {
		check_action(w, &a);
		assert(++n < ACTIONS_MAX);
	}
	check_books(w);
}

static void
done(struct world *w, uint64_t worker, uint64_t job, uint64_t attempt,
    const struct digest *d)
{
	switch (sched_done(w->s, w->now, (struct worker_id){worker},
	    (struct job_id){job}, attempt, d)) {
	case SCHED_ACCEPTED:
		assert(w->accepted[job]++ == 0 && w->end[job] == 0);
		break;
	case SCHED_CONFIRMED:
		assert(w->accepted[job] == 1 && w->end[job]++ == 0);
		break;
	case SCHED_DIFFERS:
		assert(w->accepted[job] == 1);
		break;
	case SCHED_DUPLICATE:
	case SCHED_UNKNOWN:
		break;
	}
}

/* HELLO of one that is back: what it says to hold, and how fast it is. */
static void
back(struct world *w, uint64_t worker, const struct msg_hello *m)
{
	struct sched_held held[8];
	size_t n = 0;

	for (; n < m->n_held && n < 8; n++)
		held[n] =
		    (struct sched_held){{m->held[n].job}, m->held[n].attempt};
	sched_worker_back(w->s, w->now, (struct worker_id){worker}, held, n);
	sched_measured(w->s, (struct worker_id){worker}, m->speed[0], 1000);
}

/* That it was is told once. */
static void
answered(struct world *w, uint64_t worker, uint64_t job, uint64_t attempt)
{
	const struct worker_id by = {worker};
	const struct job_id id = {job};

	if (sched_answered(w->s, by, id, attempt))
		assert(sched_given(w->s, by, id, attempt) &&
		    !sched_answered(w->s, by, id, attempt));
}

static void
take_message(struct world *w, uint64_t worker, const struct msg *m)
{
	const struct worker_id id = {worker};

	if (m->type == MSG_DONE)
		answered(w, worker, m->done.job, m->done.attempt);
	if (m->type == MSG_FAIL)
		answered(w, worker, m->fail.job, m->fail.attempt);
	if (m->type == MSG_DONE)
		done(w, worker, m->done.job, m->done.attempt,
		    &m->done.result.digest);
	if (m->type == MSG_FAIL)
		sched_fail(w->s, w->now, id, (struct job_id){m->fail.job},
		    m->fail.attempt, m->fail.kind, m->fail.text);
	if (m->type == MSG_POSTPONE)
		sched_postpone(w->s, w->now, id,
		    (struct job_id){m->postpone.job}, m->postpone.attempt);
	for (size_t i = 0; m->type == MSG_BEAT && i < m->beat.n; i++)
		sched_progress(w->s, w->now, id,
		    (struct job_id){m->beat.progress[i].job},
		    m->beat.progress[i].attempt, m->beat.progress[i].bytes);
	if (m->type == MSG_BEAT)
		sched_beat(w->s, w->now, id, m->beat.n);
	if (m->type == MSG_BYE && m->bye.reason == MSG_BYE_DRAINING)
		sched_worker_drain(w->s, w->now, id);
	if (m->type == MSG_HELLO)
		back(w, worker, &m->hello);
}

/* The next bytes, as they come. */
static void
raw_frame(struct world *w, struct input *in, uint64_t worker)
{
	size_t n = byte(in);
	struct err e = ERR_INIT;
	struct msg m;

	if (n > in->left)
		n = in->left;
	if (msg_decode(in->at, n, &m, &e) == 0) {
		take_message(w, worker, &m);
		msg_clear(&m);
	} else {
		assert(e.kind == ERR_PEER);
		/* What dispatch does with one that breaks the protocol. */
		sched_worker_gone(w->s, w->now, (struct worker_id){worker},
		    "broke the protocol");
		w->up[worker] = false;
	}
	in->at += n;
	in->left -= n;
}

/* A message about a job, mostly of the attempt that was sent last. */
static void
answer(struct world *w, struct input *in, uint64_t worker)
{
	uint8_t what = byte(in), which = byte(in);
	uint64_t job = which % (w->n_jobs + 1);
	uint64_t attempt = job < w->n_jobs ? w->attempt[job] : 1;
	struct msg_progress p = {job, attempt - (which >> 6), 1u << what % 31};
	struct msg m = {.type = MSG_BEAT, .beat = {&p, 1}};

	if (job < w->n_jobs && (what & 64) != 0)
		worker = w->to[job];
	switch (what % 4) {
	case 0:
		m.type = MSG_DONE;
		m.done = (struct msg_done){.job = job, .attempt = p.attempt};
		m.done.result.digest.b[0] = what >> 7;
		break;
	case 1:
		m.type = MSG_FAIL;
		m.fail = (struct msg_fail){.job = job,
		    .attempt = p.attempt,
		    .kind = (what & 32) != 0 ? ERR_JOB : ERR_RETRY,
		    .text = "why"};
		break;
	case 2:
		m.type = MSG_POSTPONE;
		m.postpone.job = job;
		m.postpone.attempt = p.attempt;
		break;
	}
	take_message(w, worker, &m);
}

static void
add_worker(struct world *w, size_t slots)
{
	struct err e = ERR_INIT;

	if (w->n_workers == WORKERS)
		return;
	assert(sched_worker_up(w->s, w->now, (struct worker_id){w->n_workers},
		   slots, "w", &e) == 0);
	w->up[w->n_workers++] = true;
}

static void
add_job(struct world *w, uint8_t what)
{
	struct err e = ERR_INIT;
	struct job_id id;

	if (w->n_jobs == JOBS)
		return;
	assert(sched_add_job(w->s, (uint64_t)1 << what % 40, &id, &e) == 0);
	assert(id.v == w->n_jobs++);
	if ((what & 64) != 0)
		sched_audit(w->s, id);
}

static void
lose(struct world *w, uint64_t worker)
{
	sched_worker_gone(w->s, w->now, (struct worker_id){worker}, "lost");
	w->up[worker] = false;
}

static void
step(struct world *w, struct input *in)
{
	uint8_t what = byte(in), more = byte(in);
	uint64_t worker = w->n_workers > 0 ? more % w->n_workers : 0;
	uint64_t job = w->n_jobs > 0 ? (more >> 3) % w->n_jobs : 0;
	struct err e = ERR_INIT;

	if (what % 10 == 0)
		add_job(w, more);
	else if (what % 10 == 1)
		add_worker(w, 1 + more % 3);
	else if (what % 10 == 2)
		w->now += (int64_t)more * more;
	else if (w->n_workers == 0 || !w->up[worker])
		return;
	else if (what % 10 == 3)
		raw_frame(w, in, worker);
	else if (what % 10 < 8)
		answer(w, in, worker);
	else if (what % 10 == 8 && what < 80)
		lose(w, worker);
	else if (what % 10 == 8 && w->n_jobs > 0 && what > 230) {
		if (w->end[job] == 0 && w->accepted[job] == 0) {
			sched_cancel(w->s, w->now, (struct job_id){job});
			w->end[job]++;
		}
	} else if (w->n_jobs > 0)
		assert(sched_set_missing(w->s, (struct worker_id){worker},
			   (struct job_id){job},
			   what > 128 ? SCHED_UNABLE : (uint64_t)what << 20,
			   &e) == 0);
}

/* One that does what it gets, and nobody else. */
static void
finish(struct world *w)
{
	const struct digest d = {{0}};
	uint64_t last;

	for (size_t i = 0; i < w->n_workers; i++)
		if (w->up[i])
			lose(w, i);
	act(w);
	if (w->n_workers == WORKERS)
		return;
	last = w->n_workers;
	add_worker(w, 2);
	for (int turn = 0; sched_open(w->s) > 0; turn++) {
		assert(turn < TURNS_MAX);
		act(w);
		for (size_t j = 0; j < w->n_jobs; j++)
			if (w->to[j] == last && w->attempt[j] > 0)
				done(w, last, j, w->attempt[j], &d);
		w->now += 100;
		sched_beat(w->s, w->now, (struct worker_id){last}, 0);
	}
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const struct sched_config config = {.silent_ms = 10000,
	    .lease_ms = 20000,
	    .poison = 3,
	    .copy_percent = 50};
	struct input in = {data, size};
	struct world w = {.now = 1};
	struct err e = ERR_INIT;

	assert(sched_new(&config, &w.s, &e) == 0);
	while (in.left > 0) {
		step(&w, &in);
		act(&w);
	}
	finish(&w);
	check_books(&w);
	sched_free(w.s);
	return 0;
}
