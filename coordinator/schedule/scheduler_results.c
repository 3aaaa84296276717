#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "schedule/scheduler.h"
#include "schedule/scheduler_state.h"

struct lease *
lease_find(struct worker *w, uint64_t job)
{
	for (size_t i = 0; i < w->n_leases; i++)
		if (w->lease[i].job == job)
			return &w->lease[i];
	return NULL;
}

int64_t
lease_deadline(struct scheduler *s, int64_t at)
{
	if (at < s->check_at)
		s->check_at = at;
	return at;
}

void
lease_start(
    struct scheduler *s, int64_t now, struct worker *w, struct lease *lease)
{
	lease->started = lease->told = now;
	lease->until = lease_deadline(s, now + s->config.lease_ms);
	lease->deadline =
	    lease_deadline(s, now + attempt_ms(s, w, job_at(s, lease->job)));
}

void
lease_begin(struct scheduler *s, int64_t now, struct worker *w, uint64_t id)
{
	struct lease *lease = &w->lease[w->n_leases++];
	struct job *j = job_at(s, id);

	if (j->copies > 0)
		s->extra++;
	count_start(s, j);
	j->state = JOB_LEASED;
	j->at[j->copies++] = w;
	/* Out of memory: what older attempts answer is not known for theirs. */
	if (j->attempt > 0 && job_past(s, j) != NULL)
		j->past->given[j->attempt % SCHED_ATTEMPTS_KNOWN] = j->given;
	j->attempt++;
	j->given = w->id;
	j->answered &= (uint8_t) ~(1U << j->attempt % SCHED_ATTEMPTS_KNOWN);
	if (j->locality != NULL)
		j->locality->held_until = 0;
	*lease = (struct lease){
	    .job = id,
	    .attempt = j->attempt,
	    .started = NOT_STARTED,
	    .until = lease_deadline(s, now + s->config.lease_ms),
	    .deadline = INT64_MAX,
	};
	if (w->n_leases <= w->slots)
		lease_start(s, now, w, lease);
	worker_list(s, w);
}

/* As far as it can be true: a lie shall not make anybody the fastest. */
static double
live_bytes(const struct lease *lease)
{
	double most =
	    (double)(lease->told - lease->started) * SCHED_BANDWIDTH_MAX;

	return (double)lease->bytes < most ? (double)lease->bytes : most;
}

void
lease_tell(struct scheduler *s, int64_t now, struct worker *w,
    struct lease *lease, uint64_t bytes)
{
	bool known = rate_worked(w);

	w->live.bytes -= live_bytes(lease);
	w->live.ms += (double)(now - lease->told);
	lease->bytes = bytes;
	lease->told = now;
	w->live.bytes += live_bytes(lease);
	if (known || !rate_worked(w))
		return;
	s->plan.stale = true;
	s->changed = true;
}

/* Its job is out of the worker's way, and the next one runs. */
void
lease_end(struct scheduler *s, int64_t now, struct worker *w,
    struct lease *lease, enum sched_end how)
{
	struct job *j = job_at(s, lease->job);
	size_t i = (size_t)(lease - w->lease), running = 0;

	count_end(s, j, w, how);
	if (lease->started != NOT_STARTED) {
		w->live.bytes -= live_bytes(lease);
		w->live.ms -= (double)(lease->told - lease->started);
	}
	if (j->at[0] == w)
		j->at[0] = j->at[1];
	if (--j->copies > 0)
		s->extra--;
	memmove(lease, lease + 1, (w->n_leases - i - 1) * sizeof(*lease));
	w->n_leases--;
	for (i = 0; i < w->n_leases; i++)
		running += w->lease[i].started != NOT_STARTED;
	for (i = 0; i < w->n_leases && running < w->slots; i++)
		if (w->lease[i].started == NOT_STARTED) {
			lease_start(s, now, w, &w->lease[i]);
			running++;
		}
	w->limit_until = 0;
	worker_list(s, w);
}

void
lease_lose(
    struct scheduler *s, int64_t now, struct worker *w, struct lease *lease)
{
	/* How fast it was is known all the same. */
	if (lease->bytes > 0)
		rate_add(&w->rate, (uint64_t)live_bytes(lease),
		    lease->told - lease->started);
	lease_end(s, now, w, lease, SCHED_END_CANCELLED);
}

void
lease_cancel(
    struct scheduler *s, int64_t now, struct worker *w, struct lease *lease)
{
	queue_action(s, SCHED_CANCEL, lease->job, lease->attempt, w->id);
	lease_lose(s, now, w, lease);
}

bool
failed_at(const struct job *j, const struct worker *w)
{
	for (unsigned i = 0; i < j->failures; i++)
		if (j->past->failure[i].worker.v == w->id.v)
			return true;
	return false;
}

/* The rule is in scheduler.h. */
static bool
poisonous(const struct scheduler *s, const struct job *j)
{
	unsigned distinct = 0;
	struct worker *w;

	if (j->failures >= 2 * s->config.poison)
		return true;
	for (unsigned i = 0; i < j->failures; i++) {
		unsigned k = 0;

		while (j->past->failure[k].worker.v !=
		    j->past->failure[i].worker.v)
			k++;
		distinct += k == i;
	}
	if (distinct >= s->config.poison)
		return true;
	if (j->failures < s->config.poison)
		return false;
	TAILQ_FOREACH(w, &s->all, all)
	if (worker_usable(w) && !failed_at(j, w) && !worker_unable(w, j))
		return false;
	return true;
}

/* False: out of memory. */
static bool
remember_failure(struct scheduler *s, struct job *j, const struct worker *w,
    enum err_kind kind, const char *why)
{
	const unsigned most = 2 * s->config.poison;
	char *text;

	if (job_past(s, j) == NULL || j->failures == most ||
	    asprintf(&text, "%s: %.*s", w->name, SCHED_REASON_MAX, why) < 0)
		return false;
	j->past->failure[j->failures++] =
	    (struct failure){.worker = w->id, .kind = kind, .text = text};
	return true;
}

static void
end_for_good(struct scheduler *s, int64_t now, uint64_t id)
{
	struct job *j = job_at(s, id);

	counts_of(s, j)->skipped += j->accepted;
	queue_action(s, j->accepted ? SCHED_AUDIT_SKIPPED : SCHED_FAILED, id,
	    j->attempt, j->by);
	job_close(s, now, id, j->accepted ? JOB_DONE : JOB_FAILED);
}

void
job_again(struct scheduler *s, int64_t now, uint64_t id)
{
	struct job *j = job_at(s, id);

	if (j->copies > 0)
		return; /* the other copy goes on */
	if (poisonous(s, j) ||
	    (j->accepted && j->postponed >= SCHED_POSTPONED_AUDIT_MAX))
		end_for_good(s, now, id);
	else {
		counts_of(s, j)->retried[j->ended]++;
		job_enqueue(s, id);
	}
}

void
job_failed(struct scheduler *s, int64_t now, uint64_t id,
    const struct worker *w, enum err_kind kind, const char *why)
{
	struct job *j = job_at(s, id);

	/* Out of memory: rather fail the job than lose count. */
	if (!remember_failure(s, j, w, kind, why) ||
	    (kind != ERR_RETRY && !j->accepted))
		end_for_good(s, now, id);
	else
		job_again(s, now, id);
}

/* A late answer counts, but not one of a worker that never had the attempt. */
static bool
was_given(const struct job *j, uint64_t attempt, struct worker_id worker)
{
	if (attempt == 0 || attempt > j->attempt ||
	    j->attempt - attempt >= SCHED_ATTEMPTS_KNOWN)
		return false;
	if (attempt == j->attempt)
		return j->given.v == worker.v;
	return j->past != NULL &&
	    j->past->given[attempt % SCHED_ATTEMPTS_KNOWN].v == worker.v;
}

bool
sched_given(const struct scheduler *s, struct worker_id worker,
    struct job_id job, uint64_t attempt)
{
	const struct job *j = job_find(s, job.v);

	return j != NULL && was_given(j, attempt, worker);
}

bool
sched_answered(struct scheduler *s, struct worker_id worker, struct job_id job,
    uint64_t attempt)
{
	struct job *j = job_find(s, job.v);
	uint8_t bit = (uint8_t)(1U << attempt % SCHED_ATTEMPTS_KNOWN);

	if (j == NULL || !was_given(j, attempt, worker) ||
	    (j->answered & bit) != 0)
		return false;
	j->answered |= bit;
	return true;
}

/* The job's first result. */
static enum sched_verdict
accept(struct scheduler *s, int64_t now, uint64_t id, struct worker_id worker,
    const struct digest *fingerprint)
{
	struct job *j = job_at(s, id);

	j->fingerprint = *fingerprint;
	j->by = worker;
	if (!j->audit) {
		job_close(s, now, id, JOB_DONE);
		j->accepted = true;
		return SCHED_ACCEPTED;
	}
	if (j->state == JOB_QUEUED)
		job_dequeue(s, id);
	j->accepted = true;
	j->postponed = 0;
	/* A copy that another worker makes is the audit. */
	for (unsigned i = j->copies; i > 0; i--)
		if (j->copies > 1 || j->at[i - 1]->id.v == worker.v)
			lease_cancel(
			    s, now, j->at[i - 1], lease_find(j->at[i - 1], id));
	if (j->copies == 0)
		job_enqueue(s, id);
	return SCHED_ACCEPTED;
}

/* One more result of a job that has one. */
static enum sched_verdict
compare(struct scheduler *s, int64_t now, uint64_t id, struct worker_id worker,
    const struct digest *fingerprint)
{
	struct job *j = job_at(s, id);
	bool open = j->state == JOB_QUEUED || j->state == JOB_LEASED;

	if (!digest_equal(&j->fingerprint, fingerprint)) {
		/* Which one is right nobody knows. */
		if (open)
			job_close(s, now, id, JOB_FAILED);
		return SCHED_DIFFERS;
	}
	if (!open || worker.v == j->by.v)
		return SCHED_DUPLICATE;
	job_close(s, now, id, JOB_DONE);
	return SCHED_CONFIRMED;
}

enum sched_verdict
sched_done(struct scheduler *s, int64_t now, struct worker_id worker,
    struct job_id job, uint64_t attempt, const struct digest *fingerprint)
{
	struct worker *w = worker_find(s, worker);
	struct lease *lease = w == NULL ? NULL : lease_find(w, job.v);
	struct job *j = job_find(s, job.v);
	enum sched_verdict verdict;

	if (lease != NULL && lease->attempt != attempt)
		lease = NULL;
	if (j == NULL || (lease == NULL && !was_given(j, attempt, worker)))
		return SCHED_UNKNOWN;
	if (w != NULL) {
		w->silent_at = now + s->config.silent_ms;
		w->failures_in_a_row = 0;
	}
	if (lease != NULL) {
		if (lease->started != NOT_STARTED) {
			int64_t ms = now - lease->started;

			if (!rate_worked(w))
				s->plan.stale = true;
			rate_add(&w->rate, j->weight, ms);
			rate_add(&s->rate, j->weight, ms);
		}
		lease_end(s, now, w, lease, SCHED_END_RESULT);
	}
	if (j->accepted)
		verdict = compare(s, now, job.v, worker, fingerprint);
	else if (j->state == JOB_FAILED || j->state == JOB_LEFT)
		verdict = SCHED_DUPLICATE;
	else
		verdict = accept(s, now, job.v, worker, fingerprint);
	count_result(s, j, w, verdict);
	return verdict;
}

void
sched_fail(struct scheduler *s, int64_t now, struct worker_id worker,
    struct job_id job, uint64_t attempt, enum err_kind kind, const char *text)
{
	struct worker *w = worker_find(s, worker);
	struct lease *lease = w == NULL ? NULL : lease_find(w, job.v);

	/* Only who holds the lease can lose it. */
	if (lease == NULL || lease->attempt != attempt)
		return;
	w->silent_at = now + s->config.silent_ms;
	lease_end(s, now, w, lease, SCHED_END_FAILED);
	if (kind == ERR_RETRY)
		worker_failed(s, w);
	job_failed(s, now, job.v, w, kind, text);
}

bool
sched_postpone(struct scheduler *s, int64_t now, struct worker_id worker,
    struct job_id job, uint64_t attempt)
{
	struct worker *w = worker_find(s, worker);
	struct lease *lease = w == NULL ? NULL : lease_find(w, job.v);
	struct job *j;
	uint64_t limit;

	if (lease == NULL || lease->attempt != attempt)
		return false;
	w->silent_at = now + s->config.silent_ms;
	j = job_at(s, job.v);
	limit = j->weight;
	if (now < w->limit_until && w->limit < limit)
		limit = w->limit;
	lease_end(s, now, w, lease, SCHED_END_POSTPONED);
	w->limit = limit;
	w->limit_until = now + SCHED_POSTPONE_MS;
	if (w->limit_until > s->limited_until)
		s->limited_until = w->limit_until;
	/* Counts on from 248 to 255, for ever. */
	j->postponed =
	    j->postponed < UINT8_MAX ? j->postponed + 1 : UINT8_MAX - 7;
	job_again(s, now, job.v);
	if (j->postponed % SCHED_POSTPONED_MAX == 0)
		workers_use_all(s);
	return true;
}

void
sched_lost(struct scheduler *s, int64_t now, struct worker_id worker,
    struct job_id job, uint64_t attempt)
{
	struct worker *w = worker_find(s, worker);
	struct lease *lease = w == NULL ? NULL : lease_find(w, job.v);

	if (lease == NULL || lease->attempt != attempt)
		return;
	lease_end(s, now, w, lease, SCHED_END_LOST);
	job_again(s, now, job.v);
}
