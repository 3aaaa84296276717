#include "scheduler.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

#include "job_heap.h"

enum job_state { JOB_QUEUED, JOB_LEASED, JOB_DONE, JOB_FAILED };

struct job {
	enum job_state state;
	unsigned failures;
	uint64_t weight;
	uint64_t attempt;  /* the newest; older ones may still answer */
	struct worker *at; /* leased: who holds it */
	/* Who was given the newest attempt, and the one before it. */
	struct worker_id given[2];
	struct digest fingerprint;
	struct failure {
		struct worker_id worker;
		enum err_kind kind;
		char *text;
	} * failure; /* poison of them, once there is one */
};

struct lease {
	uint64_t job, attempt, bytes;
	int64_t until;
};

struct worker {
	struct worker_id id;
	char *name;
	size_t slots, n_leases;
	struct lease *lease; /* oldest first: the first `slots` are running */
	int64_t silent_at;
	struct worker_list *list; /* the list it is in, or NULL */
	TAILQ_ENTRY(worker) all, entry;
};
TAILQ_HEAD(worker_list, worker);

/* Actions that an event caused, until sched_next hands them out. */
struct pending {
	struct sched_action *action;
	size_t n, next, room;
};

struct scheduler {
	struct sched_config config;
	struct job *job;
	size_t n_jobs, room_jobs, open;
	struct job_heap queue;
	struct worker_list all, idle, ahead; /* ahead: room for one more */
	struct worker **by_id;		     /* NULL: gone, or never there */
	size_t n_ids;
	int64_t check_at; /* no deadline is earlier */
	struct pending pending;
};

int
sched_new(
    const struct sched_config *config, struct scheduler **out, struct err *e)
{
	struct scheduler *s;

	assert(config->poison >= 1 && config->poison <= SCHED_POISON_MAX);
	if ((s = calloc(1, sizeof(*s))) == NULL)
		return err_set(e, ERR_FATAL, errno, "scheduler");
	s->config = *config;
	TAILQ_INIT(&s->all);
	TAILQ_INIT(&s->idle);
	TAILQ_INIT(&s->ahead);
	s->check_at = INT64_MAX;
	*out = s;
	return 0;
}

static void
worker_free(struct worker *w)
{
	free(w->name);
	free(w->lease);
	free(w);
}

void
sched_free(struct scheduler *s)
{
	struct worker *w;

	if (s == NULL)
		return;
	while ((w = TAILQ_FIRST(&s->all)) != NULL) {
		TAILQ_REMOVE(&s->all, w, all);
		worker_free(w);
	}
	for (size_t i = 0; i < s->n_jobs; i++) {
		for (unsigned f = 0; f < s->job[i].failures; f++)
			free(s->job[i].failure[f].text);
		free(s->job[i].failure);
	}
	free(s->job);
	job_heap_free(&s->queue);
	free(s->pending.action);
	free(s->by_id);
	free(s);
}

void
sched_freep(struct scheduler **s)
{
	sched_free(*s);
	*s = NULL;
}

static void
enqueue(struct scheduler *s, uint64_t id)
{
	/* Room for every job was made when it was added. */
	s->job[id].state = JOB_QUEUED;
	job_heap_push(&s->queue, s->job[id].weight, id);
}

int
sched_add_job(
    struct scheduler *s, uint64_t weight, struct job_id *out, struct err *e)
{
	size_t room = s->room_jobs;

	if (s->n_jobs == room) {
		void *job, *action;
		int rc;

		room = room == 0 ? 64 : room * 2;
		if ((job = realloc(s->job, room * sizeof(*s->job))) != NULL)
			s->job = job;
		rc = job_heap_reserve(&s->queue, room);
		/*
		 * Each event queues at most one action a job (CANCEL or
		 * FAILED), so an event never needs to allocate.
		 */
		action = realloc(
		    s->pending.action, 2 * room * sizeof(*s->pending.action));
		if (action != NULL)
			s->pending.action = action;
		if (job == NULL || rc < 0 || action == NULL)
			return err_set(e, ERR_FATAL, errno, "job table");
		s->room_jobs = room;
		s->pending.room = 2 * room;
	}
	s->job[s->n_jobs] = (struct job){.weight = weight};
	enqueue(s, s->n_jobs);
	s->open++;
	out->v = s->n_jobs++;
	return 0;
}

static struct worker *
worker_find(const struct scheduler *s, struct worker_id id)
{
	return id.v < s->n_ids ? s->by_id[id.v] : NULL;
}

static int
worker_index(struct scheduler *s, struct worker *w)
{
	struct worker **by_id;

	if (w->id.v >= s->n_ids) {
		size_t n = (size_t)w->id.v + 1;

		by_id = realloc(s->by_id, n * sizeof(*by_id));
		if (by_id == NULL)
			return -1;
		memset(by_id + s->n_ids, 0, (n - s->n_ids) * sizeof(*by_id));
		s->by_id = by_id;
		s->n_ids = n;
	}
	s->by_id[w->id.v] = w;
	return 0;
}

/* A deadline was set: it may be the earliest. */
static int64_t
deadline(struct scheduler *s, int64_t at)
{
	if (at < s->check_at)
		s->check_at = at;
	return at;
}

/* Puts the worker into the list that its free slots say. */
static void
worker_list(struct scheduler *s, struct worker *w)
{
	struct worker_list *list = w->n_leases < w->slots ? &s->idle
	    : w->n_leases == w->slots			  ? &s->ahead
							  : NULL;

	if (list == w->list)
		return;
	if (w->list != NULL)
		TAILQ_REMOVE(w->list, w, entry);
	if (list != NULL)
		TAILQ_INSERT_TAIL(list, w, entry);
	w->list = list;
}

int
sched_worker_up(struct scheduler *s, int64_t now, struct worker_id worker,
    size_t slots, const char *name, struct err *e)
{
	struct worker *w;

	assert(worker_find(s, worker) == NULL && slots > 0);
	if ((w = calloc(1, sizeof(*w))) == NULL ||
	    (w->name = strdup(name)) == NULL ||
	    (w->lease = calloc(slots + 1, sizeof(*w->lease))) == NULL ||
	    (w->id = worker, worker_index(s, w)) < 0) {
		if (w != NULL)
			worker_free(w);
		return err_set(e, ERR_FATAL, errno, "worker %s", name);
	}
	w->slots = slots;
	w->silent_at = deadline(s, now + s->config.silent_ms);
	TAILQ_INSERT_TAIL(&s->all, w, all);
	worker_list(s, w);
	return 0;
}

static void
queue_action(struct scheduler *s, enum sched_action_kind kind, uint64_t job,
    uint64_t attempt, struct worker_id worker)
{
	struct pending *p = &s->pending;

	if (p->next == p->n)
		p->next = p->n = 0;
	assert(p->n < p->room);
	p->action[p->n++] = (struct sched_action){
	    .kind = kind,
	    .job = {job},
	    .attempt = attempt,
	    .worker = worker,
	};
}

static struct lease *
lease_find(struct worker *w, uint64_t job, uint64_t attempt)
{
	for (size_t i = 0; w != NULL && i < w->n_leases; i++)
		if (w->lease[i].job == job && w->lease[i].attempt == attempt)
			return &w->lease[i];
	return NULL;
}

static void
lease_end(struct scheduler *s, struct worker *w, struct lease *lease)
{
	size_t i = (size_t)(lease - w->lease);

	s->job[lease->job].at = NULL;
	memmove(lease, lease + 1, (w->n_leases - i - 1) * sizeof(*lease));
	w->n_leases--;
	worker_list(s, w);
}

/* Remembers why, and decides: again, or never. */
static void
job_failed(struct scheduler *s, uint64_t id, const struct worker *w,
    enum err_kind kind, const char *why)
{
	struct job *j = &s->job[id];
	char *text = NULL;

	if (j->failure == NULL)
		j->failure = calloc(s->config.poison, sizeof(*j->failure));
	if (j->failure != NULL &&
	    asprintf(&text, "%s: %.*s", w->name, SCHED_REASON_MAX, why) >= 0) {
		j->failure[j->failures].worker = w->id;
		j->failure[j->failures].kind = kind;
		j->failure[j->failures].text = text;
		j->failures++;
	} else {
		/* Out of memory: rather fail the job than lose count. */
		kind = ERR_JOB;
	}
	if (kind == ERR_RETRY && j->failures < s->config.poison) {
		enqueue(s, id);
		return;
	}
	j->state = JOB_FAILED;
	s->open--;
	queue_action(s, SCHED_FAILED, id, j->attempt, w->id);
}

/* The worker is no more: its running jobs are blamed, its waiting one not. */
static void
worker_end(struct scheduler *s, struct worker *w, const char *why)
{
	for (size_t i = 0; w->n_leases > 0; i++) {
		uint64_t id = w->lease[0].job;

		lease_end(s, w, &w->lease[0]);
		if (i < w->slots) {
			job_failed(s, id, w, ERR_RETRY, why);
		} else {
			enqueue(s, id);
		}
	}
	if (w->list != NULL)
		TAILQ_REMOVE(w->list, w, entry);
	TAILQ_REMOVE(&s->all, w, all);
	s->by_id[w->id.v] = NULL;
	worker_free(w);
}

void
sched_worker_gone(
    struct scheduler *s, int64_t now, struct worker_id worker, const char *why)
{
	struct worker *w = worker_find(s, worker);

	(void)now;
	if (w != NULL)
		worker_end(s, w, why);
}

void
sched_progress(struct scheduler *s, int64_t now, struct worker_id worker,
    struct job_id job, uint64_t attempt, uint64_t bytes)
{
	struct worker *w = worker_find(s, worker);
	struct lease *lease = lease_find(w, job.v, attempt);

	if (lease == NULL || bytes <= lease->bytes)
		return;
	lease->bytes = bytes;
	lease->until = now + s->config.lease_ms;
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
	for (size_t i = w->slots; running >= w->slots && i < w->n_leases; i++)
		w->lease[i].until = now + s->config.lease_ms;
}

/* A late answer counts, but not one of a worker that never had the attempt. */
static bool
was_given(const struct job *j, uint64_t attempt, struct worker_id worker)
{
	return attempt > 0 && attempt <= j->attempt &&
	    j->attempt - attempt < 2 &&
	    j->given[j->attempt - attempt].v == worker.v;
}

enum sched_verdict
sched_done(struct scheduler *s, int64_t now, struct worker_id worker,
    struct job_id job, uint64_t attempt, const struct digest *fingerprint)
{
	struct worker *w = worker_find(s, worker);
	struct lease *lease = lease_find(w, job.v, attempt);
	struct job *j;

	if (job.v >= s->n_jobs || !was_given(&s->job[job.v], attempt, worker))
		return SCHED_UNKNOWN;
	if (w != NULL)
		w->silent_at = now + s->config.silent_ms;
	if (lease != NULL) {
		lease_end(s, w, lease);
		if (w->n_leases >= w->slots)
			w->lease[w->slots - 1].until = now + s->config.lease_ms;
	}
	j = &s->job[job.v];
	if (j->state == JOB_DONE)
		return digest_equal(&j->fingerprint, fingerprint)
		    ? SCHED_DUPLICATE
		    : SCHED_DIFFERS;
	if (j->state == JOB_FAILED)
		return SCHED_DUPLICATE;
	if (j->state == JOB_LEASED && j->at != NULL) {
		/* A late answer of an older attempt: the newer may stop. */
		struct worker *other = j->at;
		struct lease *theirs = lease_find(other, job.v, j->attempt);

		queue_action(s, SCHED_CANCEL, job.v, j->attempt, other->id);
		lease_end(s, other, theirs);
	}
	/* If it is queued, sched_next passes over it. */
	j->state = JOB_DONE;
	j->fingerprint = *fingerprint;
	s->open--;
	return SCHED_ACCEPTED;
}

void
sched_fail(struct scheduler *s, int64_t now, struct worker_id worker,
    struct job_id job, uint64_t attempt, enum err_kind kind, const char *text)
{
	struct worker *w = worker_find(s, worker);
	struct lease *lease = lease_find(w, job.v, attempt);

	/* Only who holds the lease can lose it. */
	if (lease == NULL)
		return;
	w->silent_at = now + s->config.silent_ms;
	lease_end(s, w, lease);
	if (w->n_leases >= w->slots)
		w->lease[w->slots - 1].until = now + s->config.lease_ms;
	job_failed(s, job.v, w, kind, text);
}

static bool
failed_at(const struct job *j, const struct worker *w)
{
	for (unsigned i = 0; i < j->failures; i++)
		if (j->failure[i].worker.v == w->id.v)
			return true;
	return false;
}

/* A worker with room; for a job that failed, rather one that it did not. */
static struct worker *
worker_for(const struct scheduler *s, const struct job *j)
{
	const struct worker_list *lists[] = {&s->idle, &s->ahead};
	struct worker *w;

	for (size_t i = 0; i < 2; i++)
		TAILQ_FOREACH(w, lists[i], entry)
	if (!failed_at(j, w))
		return w;
	w = TAILQ_FIRST(&s->idle);
	return w != NULL ? w : TAILQ_FIRST(&s->ahead);
}

static bool
next_send(struct scheduler *s, int64_t now, struct sched_action *out)
{
	while (s->queue.n > 0) {
		struct job *j = &s->job[s->queue.item[0].id];
		struct worker *w;
		struct lease *lease;

		if (j->state != JOB_QUEUED) { /* done meanwhile */
			job_heap_pop(&s->queue);
			continue;
		}
		if ((w = worker_for(s, j)) == NULL)
			return false;
		j->state = JOB_LEASED;
		j->at = w;
		j->attempt++;
		j->given[1] = j->given[0];
		j->given[0] = w->id;
		lease = &w->lease[w->n_leases++];
		*lease = (struct lease){
		    .job = job_heap_pop(&s->queue),
		    .attempt = j->attempt,
		    .until = deadline(s, now + s->config.lease_ms),
		};
		worker_list(s, w);
		*out = (struct sched_action){
		    .kind = SCHED_SEND,
		    .job = {lease->job},
		    .attempt = lease->attempt,
		    .worker = w->id,
		};
		return true;
	}
	return false;
}

static bool
expire_worker(struct scheduler *s, struct worker *w, struct sched_action *out)
{
	*out = (struct sched_action){.kind = SCHED_DROP, .worker = w->id};
	worker_end(s, w, "no sign of life");
	return true;
}

static bool
expire_lease(struct scheduler *s, struct worker *w, struct lease *lease,
    struct sched_action *out)
{
	uint64_t id = lease->job;

	*out = (struct sched_action){
	    .kind = SCHED_CANCEL,
	    .job = {id},
	    .attempt = lease->attempt,
	    .worker = w->id,
	};
	lease_end(s, w, lease);
	job_failed(s, id, w, ERR_RETRY, "no progress");
	return true;
}

/* Silent workers and leases whose time is over. */
static bool
next_expired(struct scheduler *s, int64_t now, struct sched_action *out)
{
	int64_t first = INT64_MAX;
	struct worker *w;

	if (now < s->check_at)
		return false;
	TAILQ_FOREACH(w, &s->all, all)
	{
		if (now >= w->silent_at)
			return expire_worker(s, w, out);
		if (w->silent_at < first)
			first = w->silent_at;
		for (size_t i = 0; i < w->n_leases; i++) {
			if (now >= w->lease[i].until)
				return expire_lease(s, w, &w->lease[i], out);
			if (w->lease[i].until < first)
				first = w->lease[i].until;
		}
	}
	s->check_at = first;
	return false;
}

bool
sched_next(struct scheduler *s, int64_t now, struct sched_action *out)
{
	if (s->pending.next < s->pending.n) {
		*out = s->pending.action[s->pending.next++];
		return true;
	}
	return next_expired(s, now, out) || next_send(s, now, out);
}

int64_t
sched_deadline(const struct scheduler *s)
{
	return s->check_at;
}

size_t
sched_open(const struct scheduler *s)
{
	return s->open;
}

unsigned
sched_failures(const struct scheduler *s, struct job_id job)
{
	return s->job[job.v].failures;
}

const char *
sched_reason(const struct scheduler *s, struct job_id job, unsigned i,
    enum err_kind *kind)
{
	*kind = s->job[job.v].failure[i].kind;
	return s->job[job.v].failure[i].text;
}
