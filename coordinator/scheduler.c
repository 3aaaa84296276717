#include "scheduler.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "scheduler_state.h"

int
sched_new(
    const struct sched_config *config, struct scheduler **out, struct err *e)
{
	struct scheduler *s;

	assert(config->poison >= 1 && config->poison <= SCHED_POISON_MAX);
	if ((s = calloc(1, sizeof(*s))) == NULL)
		return err_set(e, ERR_FATAL, errno, "scheduler");
	s->config = *config;
	job_queue_init(&s->queue);
	job_queue_init(&s->audits);
	TAILQ_INIT(&s->all);
	TAILQ_INIT(&s->idle);
	TAILQ_INIT(&s->ahead);
	s->check_at = s->place_at = s->late_at = INT64_MAX;
	*out = s;
	return 0;
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
		free(s->job[i].locality);
	}
	free(s->job);
	job_queue_free(&s->queue);
	job_queue_free(&s->audits);
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

/* Room for every job was made when it was added, or its audit wanted. */
void
job_enqueue(struct scheduler *s, uint64_t id)
{
	struct job *j = &s->job[id];

	j->state = JOB_QUEUED;
	job_queue_put(
	    j->accepted ? &s->audits : &s->queue, job_order(s, j), id);
	s->queued += (double)j->weight;
	s->changed = true;
}

void
job_dequeue(struct scheduler *s, uint64_t id)
{
	job_queue_remove(s->job[id].accepted ? &s->audits : &s->queue, id);
	s->queued -= (double)s->job[id].weight;
	/* An empty queue is what late moves wait for. */
	s->changed = true;
}

void
job_close(struct scheduler *s, int64_t now, uint64_t id, enum job_state state)
{
	struct job *j = &s->job[id];

	if (j->state == JOB_QUEUED)
		job_dequeue(s, id);
	while (j->copies > 0)
		lease_cancel(s, now, j->at[0], lease_find(j->at[0], id));
	j->state = state;
	free(j->locality);
	j->locality = NULL;
	s->open--;
	s->changed = true;
}

int
sched_add_job(
    struct scheduler *s, uint64_t weight, struct job_id *out, struct err *e)
{
	size_t room = s->room_jobs;

	if (s->n_jobs == room) {
		void *job;

		room = room == 0 ? 64 : room * 2;
		job = reallocarray(s->job, room, sizeof(*s->job));
		if (job != NULL)
			s->job = job;
		if (job == NULL || job_queue_reserve(&s->queue, room) < 0 ||
		    (s->audits.node != NULL &&
			job_queue_reserve(&s->audits, room) < 0))
			return err_set(e, ERR_FATAL, errno, "job table");
		s->room_jobs = room;
	}
	s->job[s->n_jobs] = (struct job){.weight = weight, .order = weight};
	job_enqueue(s, s->n_jobs);
	s->open++;
	out->v = s->n_jobs++;
	return 0;
}

void
sched_set_order(struct scheduler *s, struct job_id job, uint64_t order)
{
	assert(job.v < s->n_jobs && s->job[job.v].state == JOB_QUEUED);
	job_dequeue(s, job.v);
	s->job[job.v].order = order;
	s->ordered = true;
	job_enqueue(s, job.v);
}

int
sched_audit(struct scheduler *s, struct job_id job, struct err *e)
{
	struct job *j = &s->job[job.v];

	assert(job.v < s->n_jobs && !j->accepted);
	if (s->audits.node == NULL &&
	    job_queue_reserve(&s->audits, s->room_jobs) < 0)
		return err_set(e, ERR_FATAL, errno, "audits");
	j->audit = true;
	return 0;
}

void
sched_cancel(struct scheduler *s, int64_t now, struct job_id job)
{
	assert(job.v < s->n_jobs);
	if (s->job[job.v].state == JOB_QUEUED ||
	    s->job[job.v].state == JOB_LEASED)
		job_close(s, now, job.v, JOB_LEFT);
}

int
sched_set_missing(struct scheduler *s, struct worker_id worker,
    struct job_id job, uint64_t bytes, struct err *e)
{
	struct job *j = &s->job[job.v];
	struct locality *l = j->locality;
	size_t n = l == NULL ? 0 : l->n;

	assert(job.v < s->n_jobs);
	s->changed = true;
	s->unable |= bytes == SCHED_UNABLE;
	for (size_t i = 0; i < n; i++)
		if (l->at[i].worker.v == worker.v) {
			l->at[i].bytes = bytes;
			return 0;
		}
	/* Nothing, or too late. */
	if (bytes == 0 || j->state > JOB_LEASED)
		return 0;
	/* Doubles at powers of two. */
	if ((n & (n - 1)) == 0) {
		size_t room = n == 0 ? 1 : 2 * n;

		l = realloc(l, sizeof(*l) + room * sizeof(l->at[0]));
		if (l == NULL)
			return err_set(e, ERR_FATAL, errno, "locality");
		if (n == 0)
			*l = (struct locality){0};
		j->locality = l;
	}
	l->at[l->n++] = (struct missing){worker, bytes};
	return 0;
}

/*
 * Actions are queued by leases that end (FAILED or AUDIT_SKIPPED of its own
 * job, or CANCEL) and by workers set aside or used again, one each.  Leases
 * begin only when no action is left (one that moves queues its own SEND).  So
 * this much is enough, and events need not allocate.
 */
int
pending_reserve(struct scheduler *s)
{
	struct pending *p = &s->pending;
	size_t room = p->n - p->next + s->leases + s->n_ids + 1;
	struct sched_action *action;

	if (p->next > 0) {
		memmove(p->action, p->action + p->next,
		    (p->n - p->next) * sizeof(*p->action));
		p->n -= p->next;
		p->next = 0;
	}
	if (room <= p->room)
		return 0;
	room += room / 2;
	action = reallocarray(p->action, room, sizeof(*p->action));
	if (action == NULL)
		return -1;
	p->action = action;
	p->room = room;
	return 0;
}

void
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
