#include "schedule/scheduler.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "schedule/scheduler_state.h"

int
sched_new(
    const struct sched_config *config, struct scheduler **out, struct err *e)
{
	struct scheduler *s;

	assert(config->poison >= 1 && config->poison <= SCHED_POISON_MAX);
	if ((s = calloc(1, sizeof(*s))) == NULL)
		return err_set(e, ERR_FATAL, errno, "scheduler");
	s->config = *config;
	job_queue_init(&s->queue, sizeof(struct job));
	job_queue_init(&s->audits, sizeof(struct job));
	s->hopeless = JOB_QUEUE_NONE;
	TAILQ_INIT(&s->all);
	TAILQ_INIT(&s->idle);
	TAILQ_INIT(&s->ahead);
	s->check_at = s->place_at = s->late_at = INT64_MAX;
	*out = s;
	return 0;
}

static void
job_clear(struct job *j)
{
	for (unsigned f = 0; f < j->failures; f++)
		free(j->past->failure[f].text);
	free(j->past);
	free(j->locality);
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
	for (size_t i = 0; i < s->n_jobs; i++)
		if (s->job[i].state != JOB_RELEASED)
			job_clear(&s->job[i]);
	free(s->job);
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

struct past *
job_past(const struct scheduler *s, struct job *j)
{
	const size_t failures = 2 * s->config.poison;
	struct past *past = j->past;

	if (past != NULL)
		return past;
	past = calloc(1, sizeof(*past) + failures * sizeof(past->failure[0]));
	if (past == NULL)
		return NULL;
	for (size_t i = 0; i < SCHED_ATTEMPTS_KNOWN; i++)
		past->given[i].v = UINT64_MAX; /* nobody */
	return j->past = past;
}

void
job_enqueue(struct scheduler *s, uint64_t id)
{
	struct job *j = job_at(s, id);

	j->state = JOB_QUEUED;
	job_queue_put(j->accepted ? &s->audits : &s->queue, id);
	s->queued += (double)j->weight;
	counts_of(s, j)->queued++;
	s->changed = true;
}

void
job_dequeue(struct scheduler *s, uint64_t id)
{
	job_queue_remove(job_at(s, id)->accepted ? &s->audits : &s->queue, id);
	s->queued -= (double)job_at(s, id)->weight;
	/* What was rounded away does not add up. */
	if (s->queue.n + s->audits.n == 0)
		s->queued = 0;
	counts_of(s, job_at(s, id))->queued--;
	/* An empty queue is what late moves wait for. */
	s->changed = true;
}

void
job_close(struct scheduler *s, int64_t now, uint64_t id, enum job_state state)
{
	struct job *j = job_at(s, id);

	if (j->state == JOB_QUEUED)
		job_dequeue(s, id);
	while (j->copies > 0)
		lease_cancel(s, now, j->at[0], lease_find(j->at[0], id));
	j->state = state;
	count_close(s, j, state);
	free(j->locality);
	j->locality = NULL;
	s->open--;
	s->changed = true;
}

int
sched_reserve(struct scheduler *s, size_t room, struct err *e)
{
	struct job *job;

	if (room <= s->room_jobs)
		return 0;
	if (room > JOB_QUEUE_SLOTS_MAX)
		return err_set(e, ERR_FATAL, EOVERFLOW, "job table");
	job = reallocarray(s->job, room, sizeof(*s->job));
	if (job == NULL)
		return err_set(e, ERR_FATAL, errno, "job table");
	s->job = job;
	job_queue_at(&s->queue, job);
	job_queue_at(&s->audits, job);
	s->room_jobs = room;
	return 0;
}

/* Grows from id to id: a new slot is the highest, a reused one counts up. */
static uint64_t
new_id(struct scheduler *s)
{
	uint64_t slot = s->n_jobs;

	if (s->n_released > 0) {
		slot = s->released;
		s->released = s->job[slot].node.id;
		s->n_released--;
		s->reused++;
	} else {
		s->n_jobs++;
	}
	return s->reused << SCHED_SLOT_BITS | slot;
}

int
sched_add_job(
    struct scheduler *s, uint64_t weight, struct job_id *out, struct err *e)
{
	uint64_t id;

	if (s->n_released == 0 && s->n_jobs == s->room_jobs &&
	    sched_reserve(s, s->n_jobs == 0 ? 64 : 2 * s->n_jobs, e) < 0)
		return -1;
	id = new_id(s);
	*job_at(s, id) = (struct job){
	    .node = {.id = id, .weight = s->config.in_turn ? 0 : weight},
	    .weight = weight};
	job_enqueue(s, id);
	s->open++;
	s->counts[0].added++;
	out->v = id;
	return 0;
}

void
sched_set_order(struct scheduler *s, struct job_id job, uint64_t order)
{
	struct job *j = job_find(s, job.v);

	assert(j != NULL && j->state == JOB_QUEUED);
	if (s->config.in_turn)
		return;
	job_dequeue(s, job.v);
	j->node.weight = order;
	s->ordered = true;
	job_enqueue(s, job.v);
}

void
sched_release(struct scheduler *s, struct job_id job)
{
	struct job *j = job_find(s, job.v);

	assert(j != NULL && j->state > JOB_LEASED);
	job_clear(j);
	*j = (struct job){.node = {.id = s->released}, .state = JOB_RELEASED};
	s->released = job_queue_slot(job.v);
	s->n_released++;
}

void
sched_audit(struct scheduler *s, struct job_id job)
{
	struct job *j = job_find(s, job.v);

	assert(j != NULL && !j->accepted);
	j->audit = true;
}

static void
close_open(
    struct scheduler *s, int64_t now, struct job_id job, enum job_state state)
{
	const struct job *j = job_find(s, job.v);

	assert(j != NULL);
	if (j->state == JOB_QUEUED || j->state == JOB_LEASED)
		job_close(s, now, job.v, state);
}

void
sched_cancel(struct scheduler *s, int64_t now, struct job_id job)
{
	close_open(s, now, job, JOB_LEFT);
}

void
sched_give_up(struct scheduler *s, int64_t now, struct job_id job)
{
	close_open(s, now, job, JOB_FAILED);
}

size_t
missing_place(const struct locality *l, struct worker_id worker)
{
	size_t from = 0, to = l == NULL ? 0 : l->n;

	/* Most are told of in the order in which they came. */
	if (to > 0 && l->at[to - 1].worker.v < worker.v)
		return to;
	while (from < to) {
		size_t middle = from + (to - from) / 2;

		if (l->at[middle].worker.v < worker.v)
			from = middle + 1;
		else
			to = middle;
	}
	return from;
}

int
sched_set_missing(struct scheduler *s, struct worker_id worker,
    struct job_id job, uint64_t bytes, struct err *e)
{
	struct job *j = job_find(s, job.v);
	struct locality *l;
	size_t n, i;

	assert(j != NULL);
	l = j->locality;
	n = l == NULL ? 0 : l->n;
	s->changed = true;
	s->unable |= bytes == SCHED_UNABLE;
	i = missing_place(l, worker);
	if (l != NULL) {
		l->able = ABLE_UNKNOWN;
		l->looked = 0;
	}
	if (i < n && l->at[i].worker.v == worker.v) {
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
		s->located = true;
	}
	memmove(&l->at[i + 1], &l->at[i], (n - i) * sizeof(l->at[0]));
	l->at[i] = (struct missing){worker, bytes};
	l->n++;
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
	return job_at(s, job.v)->failures;
}

const char *
sched_reason(const struct scheduler *s, struct job_id job, unsigned i,
    enum err_kind *kind)
{
	const struct past *past = job_at(s, job.v)->past;

	*kind = past->failure[i].kind;
	return past->failure[i].text;
}
