#include "world.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "check.h"
#include "schedule/scheduler.h"

enum {
	MACHINES = 8,
	TASKS = 64,
	MESSAGES = 4096,
	RESTARTS = 12,
	BEAT_MS = 2000,
	LAST_MS = 1000000000
};

enum message_kind { TO_JOB, TO_CANCEL, BEAT, RESULT, FAIL, POSTPONE };

struct task {
	uint64_t job, attempt, id; /* id: who the machine was */
	double bytes;
};

struct message {
	int64_t at;
	enum message_kind kind;
	size_t machine;
	uint64_t id, job, attempt;
	uint8_t digest;
	bool job_error;
	size_t running;
	struct task task[MACHINES];
};

struct machine {
	bool up, good, liar, creeper, clumsy;
	uint64_t id;
	size_t slots, n_tasks;
	double speed;  /* bytes/ms */
	uint64_t room; /* heavier jobs are handed back */
	int64_t frozen_until, deaf_until, mute_until, back_at, beat_at;
	int64_t leaves_at; /* draining; 0: not */
	unsigned restarts;
	struct task task[TASKS];
};

struct job_kind {
	bool killer, broken;
};

struct world {
	struct check c;
	struct sched_config config;
	struct scheduler *s;
	struct world_sums *sums;
	uint64_t random;
	unsigned loss, twice, delay, trouble; /* per mille; ms; per mille */
	bool local, unable; /* jobs miss bytes at machines, or more */
	bool roomy;	    /* all machines have room for all jobs */
	unsigned leavers;   /* jobs that somebody will not want any more */
	struct machine machine[MACHINES];
	size_t n_machines;
	struct job_kind kind[CHECK_JOBS];
	struct message message[MESSAGES];
	size_t n_messages;
	uint64_t next_id;
};

static uint64_t
below(struct world *w, uint64_t n)
{
	uint64_t z = w->random += UINT64_C(0x9e3779b97f4a7c15);

	z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
	return (z ^ (z >> 31)) % n;
}

static bool
chance(struct world *w, unsigned per_mille)
{
	return below(w, 1000) < per_mille;
}

static void
post_once(struct world *w, const struct message *m)
{
	struct message *to;

	if (w->n_messages == MESSAGES)
		return; /* lost: a full queue */
	to = &w->message[w->n_messages++];
	*to = *m;
	to->at = w->c.now + (int64_t)below(w, w->delay + 1);
}

static void
post(struct world *w, const struct message *m)
{
	const struct machine *at = &w->machine[m->machine];
	bool to = m->kind == TO_JOB || m->kind == TO_CANCEL;

	if (!at->good &&
	    (chance(w, w->loss) ||
		w->c.now < (to ? at->deaf_until : at->mute_until)))
		return;
	post_once(w, m);
	if (chance(w, w->twice))
		post_once(w, m);
}

static struct machine *
machine_of(struct world *w, uint64_t id)
{
	for (size_t i = 0; i < w->n_machines; i++)
		if (w->machine[i].up && w->machine[i].id == id)
			return &w->machine[i];
	return NULL;
}

static void
count_action(struct world *w, const struct sched_action *a)
{
	struct world_sums *n = w->sums;

	n->sent += a->kind == SCHED_SEND;
	n->copies += a->kind == SCHED_SEND && w->c.job[a->job.v].n_leases == 2;
	n->dropped += a->kind == SCHED_DROP;
	n->failed += a->kind == SCHED_FAILED;
	n->aside += a->kind == SCHED_SET_ASIDE;
	n->skipped += a->kind == SCHED_AUDIT_SKIPPED;
}

/* Does what the scheduler says, until it says no more. */
static void
act(struct world *w)
{
	struct sched_counts jobs, measures;
	struct sched_action a;

	while (sched_next(w->s, w->c.now, &a)) {
		struct machine *m = machine_of(w, a.worker.v);
		struct message out = {
		    .id = a.worker.v, .job = a.job.v, .attempt = a.attempt};

		check_action(&w->c, &a);
		count_action(w, &a);
		if (m == NULL ||
		    (a.kind != SCHED_SEND && a.kind != SCHED_CANCEL))
			continue;
		out.machine = (size_t)(m - w->machine);
		out.kind = a.kind == SCHED_SEND ? TO_JOB : TO_CANCEL;
		post(w, &out);
	}
	check_rest(&w->c, sched_open(w->s));
	sched_count(w->s, &jobs, &measures);
	check_counts(&w->c, &jobs, &measures);
}

/* What some jobs miss at a machine, or that it cannot do them. */
static void
tell_missing(struct world *w, const struct machine *m)
{
	struct err e = ERR_INIT;
	uint64_t id = m->id;

	for (size_t i = 0; i < w->c.n_jobs; i++) {
		struct check_job *j = &w->c.job[i];
		uint64_t bytes = below(w, 2000000000);

		if (below(w, 2) == 0 || !w->c.worker[id].up)
			continue;
		/* Who can and has no room is waited for, maybe for ever. */
		if (w->unable && below(w, 3) == 0 && (w->roomy || id > 0))
			bytes = SCHED_UNABLE;
		j->local = true;
		j->unable[id] = bytes == SCHED_UNABLE;
		check_trace(&w->c, "job %d misses %.0f at %d", (int)i,
		    (double)bytes, (int)id);
		if (sched_set_missing(w->s, (struct worker_id){id},
			(struct job_id){i}, bytes, &e) < 0)
			abort();
	}
	act(w);
}

static void
join(struct world *w, struct machine *m)
{
	struct err e = ERR_INIT;
	char name[16];

	m->up = true;
	m->id = w->next_id++;
	m->beat_at = w->c.now;
	m->leaves_at = 0;
	snprintf(name, sizeof(name), "w%d", (int)m->id);
	if (sched_worker_up(w->s, w->c.now, (struct worker_id){m->id}, m->slots,
		name, &e) < 0)
		abort();
	check_up(&w->c, m->id, m->slots);
	/* Of some it is said how fast they are, or anything. */
	if (below(w, 2) > 0)
		sched_measured(w->s, (struct worker_id){m->id},
		    below(w, UINT64_MAX) >> below(w, 64), 1000);
	act(w);
	if (w->local && below(w, 4) > 0)
		tell_missing(w, m);
}

static void
gone(struct world *w, uint64_t id)
{
	check_gone(&w->c, id);
	sched_worker_gone(w->s, w->c.now, (struct worker_id){id}, "killed");
	act(w);
}

/* Half of the deaths are told by the system, others come out by silence. */
static void
die(struct world *w, struct machine *m)
{
	bool told = below(w, 2) == 0;

	check_trace(&w->c, "machine %d dies", (int)(m - w->machine));
	m->up = false;
	m->n_tasks = 0;
	m->back_at = m->restarts++ < RESTARTS && below(w, 4) > 0
	    ? w->c.now + (int64_t)below(w, 30000)
	    : LAST_MS;
	w->sums->restarts += m->back_at < LAST_MS;
	if (told)
		gone(w, m->id);
}

static void
take_job(struct world *w, struct machine *m, const struct message *in)
{
	uint64_t weight = w->c.job[in->job].weight;

	if (!m->good && (weight > m->room || chance(w, w->trouble / 4))) {
		struct message out = *in;

		out.kind = POSTPONE;
		post(w, &out);
		return;
	}
	if (m->n_tasks < TASKS)
		m->task[m->n_tasks++] =
		    (struct task){in->job, in->attempt, in->id, 0};
}

static void
drop_task(struct machine *m, size_t i)
{
	memmove(&m->task[i], &m->task[i + 1],
	    (--m->n_tasks - i) * sizeof(m->task[0]));
}

static void
beat_came(struct world *w, const struct message *m)
{
	struct machine *at = &w->machine[m->machine];

	if (!w->c.worker[m->id].up) {
		/* A stranger: it has to say who it is again. */
		if (at->up && at->id == m->id && at->restarts++ < RESTARTS) {
			if (below(w, 2) == 0)
				at->n_tasks = 0;
			join(w, at);
		}
		return;
	}
	for (size_t i = 0; i < m->running; i++) {
		const struct task *t = &m->task[i];

		check_progress(
		    &w->c, m->id, t->job, t->attempt, (uint64_t)t->bytes);
		sched_progress(w->s, w->c.now, (struct worker_id){m->id},
		    (struct job_id){t->job}, t->attempt, (uint64_t)t->bytes);
	}
	check_beat(&w->c, m->id, m->running);
	sched_beat(w->s, w->c.now, (struct worker_id){m->id}, m->running);
}

static void
result_came(struct world *w, const struct message *m)
{
	const struct digest fingerprint = {{m->digest}};
	enum sched_verdict v =
	    sched_done(w->s, w->c.now, (struct worker_id){m->id},
		(struct job_id){m->job}, m->attempt, &fingerprint);

	check_done(&w->c, m->id, m->job, m->attempt, m->digest, v);
	w->sums->accepted += v == SCHED_ACCEPTED;
	w->sums->confirmed += v == SCHED_CONFIRMED;
	w->sums->differs += v == SCHED_DIFFERS;
}

static void
deliver(struct world *w, const struct message *m)
{
	struct machine *at = &w->machine[m->machine];

	switch (m->kind) {
	case TO_JOB:
		if (at->up && at->id == m->id)
			take_job(w, at, m);
		return;
	case TO_CANCEL:
		for (size_t i = 0; i < at->n_tasks; i++)
			if (at->up && at->task[i].job == m->job &&
			    at->task[i].attempt == m->attempt) {
				drop_task(at, i);
				break;
			}
		return;
	case BEAT:
		beat_came(w, m);
		break;
	case RESULT:
		/* A stranger's word for it, and only then the worker's. */
		if (below(w, 16) == 0) {
			struct message lie = *m;

			lie.id = below(w, w->next_id);
			lie.attempt += below(w, 2);
			result_came(w, &lie);
			act(w);
		}
		result_came(w, m);
		break;
	case FAIL:
		check_fail(&w->c, m->id, m->job, m->attempt, m->job_error);
		sched_fail(w->s, w->c.now, (struct worker_id){m->id},
		    (struct job_id){m->job}, m->attempt,
		    m->job_error ? ERR_JOB : ERR_RETRY, "no");
		break;
	case POSTPONE:
		w->sums->postponed++;
		check_postpone(&w->c, m->id, m->job, m->attempt);
		sched_postpone(w->s, w->c.now, (struct worker_id){m->id},
		    (struct job_id){m->job}, m->attempt);
		break;
	}
	act(w);
}

static void
deliver_due(struct world *w)
{
	for (size_t i = 0; i < w->n_messages;) {
		struct message m = w->message[i];

		if (m.at > w->c.now) {
			i++;
			continue;
		}
		w->message[i] = w->message[--w->n_messages];
		deliver(w, &m);
	}
}

/* What becomes of a task that has come to its end. */
static void
end_task(struct world *w, struct machine *m, const struct task *t)
{
	const struct job_kind *k = &w->kind[t->job];
	struct message out = {.kind = RESULT,
	    .machine = (size_t)(m - w->machine),
	    .id = t->id,
	    .job = t->job,
	    .attempt = t->attempt,
	    .digest = 1};

	if (k->killer && !m->good) {
		die(w, m);
		return;
	}
	if (k->broken || k->killer || w->c.job[t->job].unable[t->id] ||
	    (!m->good && chance(w, m->clumsy ? 900 : w->trouble))) {
		out.kind = FAIL;
		out.job_error = k->broken;
	} else if (m->liar && chance(w, 300)) {
		out.digest = (uint8_t)(2 + below(w, 2));
	}
	post(w, &out);
}

static void
work(struct world *w, struct machine *m, int64_t ms)
{
	for (size_t i = 0; m->up && i < m->n_tasks && i < m->slots;) {
		struct task *t = &m->task[i], ended;

		t->bytes += m->creeper ? 1 : m->speed * (double)ms;
		if (m->creeper || t->bytes < (double)w->c.job[t->job].weight) {
			i++;
			continue;
		}
		ended = *t;
		drop_task(m, i);
		end_task(w, m, &ended);
	}
}

static void
beat(struct world *w, struct machine *m)
{
	struct message out = {
	    .kind = BEAT, .machine = (size_t)(m - w->machine), .id = m->id};

	if (w->c.now < m->beat_at)
		return;
	m->beat_at = w->c.now + BEAT_MS;
	for (size_t i = 0; i < m->n_tasks && i < m->slots; i++)
		if (m->task[i].id == m->id)
			out.task[out.running++] = m->task[i];
	post(w, &out);
}

static void
leave(struct world *w, struct machine *m)
{
	if (m->leaves_at == 0 || w->c.now < m->leaves_at)
		return;
	for (size_t i = 0; i < m->n_tasks; i++) {
		const struct task *t = &m->task[i];
		struct message out = {.kind = POSTPONE,
		    .machine = (size_t)(m - w->machine),
		    .id = t->id,
		    .job = t->job,
		    .attempt = t->attempt};

		deliver(w, &out);
	}
	die(w, m);
}

/* Something bad, now and then, to all but the good machine. */
static void
trouble(struct world *w, struct machine *m, int64_t ms)
{
	int64_t until = w->c.now + 1 + (int64_t)below(w, 40000);

	if (m->good || !chance(w, (unsigned)((uint64_t)ms * w->trouble / 4000)))
		return;
	switch (below(w, 6)) {
	case 0:
		die(w, m);
		break;
	case 1:
		m->frozen_until = until;
		break;
	case 2:
		m->deaf_until = until;
		break;
	case 3:
		m->mute_until = until;
		break;
	case 4:
		m->deaf_until = m->mute_until = until;
		break;
	case 5:
		if (m->leaves_at != 0 || !w->c.worker[m->id].up)
			break;
		check_drain(&w->c, m->id);
		sched_worker_drain(w->s, w->c.now, (struct worker_id){m->id});
		act(w);
		m->leaves_at = until;
		break;
	}
}

static void
step(struct world *w)
{
	int64_t ms = 1 + (int64_t)below(w, 1000);

	w->c.now += ms;
	deliver_due(w);
	for (size_t i = 0; i < w->n_machines; i++) {
		struct machine *m = &w->machine[i];

		if (!m->up && w->c.now >= m->back_at)
			join(w, m);
		if (!m->up || w->c.now < m->frozen_until)
			continue;
		work(w, m, ms);
		if (m->up)
			trouble(w, m, ms);
		if (m->up)
			leave(w, m);
		if (m->up && w->c.now >= m->frozen_until)
			beat(w, m);
	}
	if (w->leavers > 0 && below(w, 20) == 0) {
		uint64_t job = below(w, w->c.n_jobs);

		w->leavers--;
		w->sums->left += w->c.job[job].state <= AUDITED;
		check_cancel(&w->c, job);
		sched_cancel(w->s, w->c.now, (struct job_id){job});
	}
	act(w);
}

static void
add_jobs(struct world *w)
{
	bool audits = below(w, 3) == 0, bad = below(w, 3) == 0;
	struct err e = ERR_INIT;

	w->c.n_jobs = 1 + below(w, below(w, 4) == 0 ? CHECK_JOBS : 16);
	for (size_t i = 0; i < w->c.n_jobs; i++) {
		struct check_job *j = &w->c.job[i];
		struct job_id id;

		/* A heavy tail: up to 2 GB. */
		j->weight = below(w, 1 + (2000000000u >> below(w, 16)));
		j->stuck_since = -1;
		w->kind[i].killer = bad && below(w, 12) == 0;
		w->kind[i].broken = bad && below(w, 24) == 0;
		if (sched_add_job(w->s, j->weight, &id, &e) < 0)
			abort();
		j->measures = w->c.seed % 2 == 1 && i % 3 == 0;
		if (j->measures)
			sched_measures(w->s, id);
		j->audit = audits && below(w, 2) == 0;
		if (j->audit)
			sched_audit(w->s, id);
	}
	w->sums->jobs += w->c.n_jobs;
}

/* The good one and as many others: their first selves. */
static void
add_machines(struct world *w)
{
	bool liars = below(w, 4) == 0;

	w->n_machines = 1 + below(w, MACHINES);
	for (size_t i = 0; i < w->n_machines; i++) {
		struct machine *m = &w->machine[i];

		m->good = i == 0;
		m->slots = 1 + below(w, 4);
		m->speed = 1000.0 * (double)(1 + below(w, 50));
		m->liar = liars && i > 0 && below(w, 3) == 0;
		m->creeper = i > 0 && below(w, 16) == 0;
		if (m->creeper)
			check_trace(&w->c, "machine %d creeps", (int)i);
		m->clumsy = i > 0 && below(w, 12) == 0;
		m->room = !w->roomy && below(w, 3) == 0 ? 10000000 : UINT64_MAX;
		join(w, m);
	}
}

void
world_run(uint64_t seed, bool trace, struct world_sums *sums)
{
	static struct world w;
	struct err e = ERR_INIT;

	memset(&w, 0, sizeof(w));
	w.random = seed;
	w.sums = sums;
	w.config = (struct sched_config){
	    .silent_ms = 10000,
	    .lease_ms = 30000,
	    .poison = 3,
	    .copy_percent = (unsigned)below(&w, 3) * 10,
	};
	w.config.awaits_second = seed % 2 == 0;
	w.c.seed = seed;
	w.c.trace = trace;
	w.c.config = &w.config;
	w.loss = below(&w, 2) == 0 ? 0 : (unsigned)below(&w, 200);
	w.twice = below(&w, 2) == 0 ? 0 : (unsigned)below(&w, 300);
	w.delay = (unsigned)below(&w, below(&w, 2) == 0 ? 50 : 3000);
	w.trouble = below(&w, 4) == 0 ? 0 : (unsigned)below(&w, 200);
	w.local = below(&w, 3) == 0;
	w.unable = below(&w, 2) == 0;
	w.roomy = w.unable && below(&w, 2) == 0;
	w.leavers = below(&w, 4) == 0 ? 1 + (unsigned)below(&w, 3) : 0;
	if (sched_new(&w.config, &w.s, &e) < 0)
		abort();
	add_jobs(&w);
	add_machines(&w);
	act(&w);
	while (sched_open(w.s) > 0) {
		step(&w);
		if (w.c.now > LAST_MS)
			check_breach(
			    &w.c, "no end: %zu jobs are open", sched_open(w.s));
	}
	/* What is still under way changes nothing. */
	for (int i = 0; i < 20; i++)
		step(&w);
	check_end(&w.c);
	sums->ms += w.c.now;
	if (w.c.now > sums->longest_ms)
		sums->longest_ms = w.c.now;
	sched_free(w.s);
	check_free(&w.c);
}
