#include "dispatch/dispatch_state.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "dispatch/dispatch.h"
#include "err.h"
#include "own.h"
#include "progress/progress.h"

#define SHARE_AHEAD 64
#define SLOT_MASK (((uint64_t)1 << SCHED_SLOT_BITS) - 1)

struct task *
task_find(const struct dispatch *d, struct job_id id)
{
	size_t slot = (size_t)(id.v & SLOT_MASK);
	struct task *t;

	if (slot >= d->n_tasks)
		return NULL;
	t = &d->task[slot];
	return t->job != NULL && t->id.v == id.v ? t : NULL;
}

struct task *
dispatch_task_of(const struct dispatch *d, uint64_t wire)
{
	if (wire < d->base)
		return NULL;
	return task_find(d, (struct job_id){wire - d->base});
}

/* By chance, so that nobody knows which: a worker that lies is found out. */
static bool
audit_this(const struct dispatch *d, const struct dispatch_job *job)
{
	uint32_t random;

	if (d->audit == 0 || job->spec->measure)
		return false;
	/* Without random numbers: all of them. */
	if (getentropy(&random, sizeof(random)) < 0)
		return true;
	return random % 100 < d->audit;
}

int
tasks_reserve(struct dispatch *d, size_t room, struct err *e)
{
	struct task *t;

	if (room <= d->room_tasks)
		return 0;
	if ((t = reallocarray(d->task, room, sizeof(*t))) == NULL)
		return err_set(e, ERR_FATAL, errno, "jobs");
	d->task = t;
	d->room_tasks = room;
	return sched_reserve(d->sched, room, e);
}

int
task_add(struct dispatch *d, struct dispatch_job *job, struct task **out,
    struct err *e)
{
	struct task *t;
	struct job_id id;
	size_t slot;

	assert(job->made != NULL || (d->pushes == NULL && d->audit == 0));
	if ((d->n_tasks == d->room_tasks &&
		tasks_reserve(d, d->n_tasks == 0 ? 64 : 2 * d->n_tasks, e) <
		    0) ||
	    sched_add_job(d->sched, job->weight, &id, e) < 0)
		return -1;
	slot = (size_t)(id.v & SLOT_MASK);
	assert(slot <= d->n_tasks);
	if (slot == d->n_tasks)
		d->n_tasks++;
	t = &d->task[slot];
	*t = (struct task){.id = id, .job = job, .audited = audit_this(d, job)};
	if (job->order != 0)
		sched_set_order(d->sched, id, job->order);
	if (job->spec->measure)
		sched_measures(d->sched, id);
	if (t->audited)
		sched_audit(d->sched, id);
	*out = t;
	return 0;
}

/* Whatever comes of it late is of no job. */
static void
forget(struct dispatch *d, struct task *t)
{
	dispatch_blobs_end(d, t);
	sched_release(d->sched, t->id);
	*t = (struct task){.job = NULL};
}

int
task_done(struct dispatch *d, struct task *t, struct err *e)
{
	const struct dispatch_job *job = t->job;

	if (dispatch_push_layer(d, t, e) < 0)
		return -1;
	if (d->open)
		forget(d, t);
	if (d->hooks.done == NULL || job->spec->measure)
		return 0;
	d->news = true;
	return d->hooks.done(d->hooks.arg, job, e);
}

int
task_failed(
    struct dispatch *d, struct task *t, const struct err *why, struct err *e)
{
	const struct dispatch_job *job = t->job;

	sched_give_up(d->sched, dispatch_now(d), t->id);
	if (d->hooks.failed == NULL) {
		*e = *why;
		return -1;
	}
	if (d->open)
		forget(d, t);
	d->news = true;
	return d->hooks.failed(d->hooks.arg, job, why, e);
}

/* Bytes of one reason of several, and of one that is all. */
#define REASON 280
#define REASON_ALONE 600

/* Why the job failed for good, for people: the last reasons. */
int
task_reasons(const struct dispatch *d, const struct task *t, struct err *e)
{
	const struct job_id id = t->id;
	unsigned n = sched_failures(d->sched, id);
	const char *label = t->job->label, *why;
	enum err_kind kind;
	bool same = true;

	/* In turn, nobody was asked to try; else there was no memory. */
	if (n == 0 && d->open)
		return dispatch_needs_reason(d, t->job, e);
	if (n == 0)
		return err_set(e, ERR_FATAL, 0, "%s: out of memory", label);
	why = sched_reason(d->sched, id, n - 1, &kind);
	if (kind == ERR_JOB)
		return err_set(e, ERR_JOB, 0, "%s: %s", label, why);
	/* The same again is said once, and then there is more room. */
	for (unsigned i = n - 1; i > 0; i--)
		same &=
		    strcmp(sched_reason(d->sched, id, i - 1, &kind), why) == 0;
	err_set(e, ERR_FATAL, 0, "%.*s", same ? REASON_ALONE : REASON, why);
	for (unsigned i = n - 1; i > 0; i--) {
		const char *before = sched_reason(d->sched, id, i - 1, &kind);

		if (strcmp(before, why) != 0)
			err_ctx(e, "%.*s; then", REASON, before);
		why = before;
	}
	return err_ctx(e, "%s: failed %u times", label, n);
}

void
tasks_clear(struct dispatch *d)
{
	for (size_t i = 0; i < d->n_tasks; i++)
		own_freep(&d->task[i].pull);
	own_freep(&d->task);
	d->n_tasks = d->room_tasks = d->n_pulls = d->n_differ = 0;
	TAILQ_INIT(&d->pulls);
}

int
dispatch_add(struct dispatch *d, struct dispatch_job *job, struct job_id *out,
    struct err *e)
{
	struct task *t;

	assert(d->open);
	if (task_add(d, job, &t, e) < 0)
		return -1;
	*out = t->id;
	d->fresh++;
	return dispatch_needs_added(d, t, e);
}

void
dispatch_cancel(struct dispatch *d, struct job_id id)
{
	struct task *t = task_find(d, id);

	if (t == NULL)
		return;
	sched_cancel(d->sched, dispatch_now(d), id);
	forget(d, t);
}

uint64_t
dispatch_bytes(const struct dispatch *d, struct job_id id)
{
	const struct task *t = task_find(d, id);

	return t == NULL ? 0 : t->bytes;
}

size_t
dispatch_room(const struct dispatch *d)
{
	return d->room;
}

size_t
dispatch_wants(const struct dispatch *d)
{
	struct sched_counts jobs, measures;
	size_t taken;

	sched_count(d->sched, &jobs, &measures);
	taken = (size_t)jobs.running + d->fresh;
	return taken >= d->room || jobs.queued >= DISPATCH_WAITING_MAX
	    ? 0
	    : d->room - taken;
}

size_t
dispatch_share(const struct dispatch *d)
{
	struct sched_counts jobs, measures;
	size_t share = d->room + SHARE_AHEAD, left = 1;

	sched_count(d->sched, &jobs, &measures);
	if (jobs.queued < DISPATCH_WAITING_MAX)
		left = DISPATCH_WAITING_MAX - (size_t)jobs.queued;
	return share < left ? share : left;
}

size_t
dispatch_worker_index(struct worker_id worker)
{
	return (size_t)(worker.v & SLOT_MASK);
}
