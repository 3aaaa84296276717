#include "agent_state.h"

#include <errno.h>
#include <inttypes.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "agent.h"
#include "err.h"
#include "handover.h"
#include "job.h"
#include "job_pool.h"
#include "log.h"
#include "monotime.h"
#include "protocol.h"
#include "sent_answers.h"
#include "upload_place.h"
#include "uploads.h"

/* How long an answer that was sent is kept: as long as it may be asked for. */
#define KEEP_MS 15000

_Static_assert(SENT_ANSWERS_MAX <= MSG_HELD_MAX, "HELLO holds them all");

static struct job *
find_job(struct agent *a, uint64_t id, uint64_t attempt)
{
	struct job *job = a->jobs;

	/* One that nobody wants may have another session's id. */
	while (job != NULL &&
	    (job->id != id || job->attempt != attempt || job->unwanted))
		job = job->next;
	return job;
}

static void
remove_job(struct agent *a, struct job *job)
{
	struct job **at = &a->jobs;

	while (*at != job)
		at = &(*at)->next;
	*at = job->next;
	a->n_jobs--;
	job_free(job);
}

/* What a new connection has to hear again comes first. */
static int
send_again(struct agent *a, int64_t now, struct err *e)
{
	const struct msg *m;
	int rc;

	while (a->state == AGENT_READY &&
	    (m = sent_answers_due(a->sent)) != NULL) {
		if ((rc = agent_try_send(a, m, e)) != 0)
			return rc;
		sent_answers_said(a->sent, now + KEEP_MS);
	}
	return 0;
}

/* 0: sent; 1: not now; -1: *e says why never. */
static int
send_answer(struct agent *a, struct job *job, int64_t now, struct err *e)
{
	const struct msg_attempt id = {job->id, job->attempt};
	struct msg m;
	int rc;

	job_answer(job, &m);
	if ((rc = agent_try_send(a, &m, e)) != 0)
		return rc;
	/* Only a connection that can break may lose what was sent on it. */
	if (a->options->stays)
		sent_answers_keep(a->sent, &id, &m, now + KEEP_MS);
	remove_job(a, job);
	return 0;
}

int
agent_send_answers(struct agent *a, struct err *e)
{
	int64_t now = monotime_ms();
	struct job *job, *next;
	int rc;

	sent_answers_expire(a->sent, now);
	if ((rc = send_again(a, now, e)) != 0)
		return rc < 0 ? -1 : 0;
	for (job = a->jobs; job != NULL; job = next) {
		next = job->next;
		if (job->state == JOB_FINISHED && job->unwanted)
			remove_job(a, job);
		else if (job->state == JOB_FINISHED &&
		    a->state == AGENT_READY &&
		    (rc = send_answer(a, job, now, e)) != 0)
			return rc < 0 ? -1 : 0;
	}
	return 0;
}

static void
remove_assembling(struct agent *a)
{
	struct job *job, *next;

	for (job = a->jobs; job != NULL; job = next) {
		next = job->next;
		if (job->state == JOB_ASSEMBLING)
			remove_job(a, job);
	}
}

int
agent_held(struct agent *a, struct msg_attempt **out, size_t *n, struct err *e)
{
	size_t sent = sent_answers_count(a->sent), room = sent;

	remove_assembling(a);
	for (struct job *job = a->jobs; job != NULL; job = job->next)
		room += !job->unwanted;
	if (room > MSG_HELD_MAX)
		room = MSG_HELD_MAX; /* the others are done again */
	if ((*out = calloc(room + 1, sizeof(**out))) == NULL)
		return err_set(e, ERR_FATAL, errno, "jobs");
	sent_answers_list(a->sent, *out);
	*n = sent;
	for (struct job *job = a->jobs; job != NULL && *n < room;
	     job = job->next)
		if (!job->unwanted)
			(*out)[(*n)++] =
			    (struct msg_attempt){job->id, job->attempt};
	return 0;
}

void
agent_answer_again(struct agent *a)
{
	sent_answers_again(a->sent);
}

/* The spool's disk is full: others may have room. */
static bool
spool_is_full(const struct job *job)
{
	const struct layer_spec *spec = &job->layer.spec;
	bool spooled = false;

	for (size_t i = 0; i < spec->n_outputs; i++)
		spooled |= spec->outputs[i].kind == LAYER_TO_SPOOL_TAR ||
		    spec->outputs[i].kind == LAYER_TO_SPOOL_BLOB;
	return spooled && job->err.kind != ERR_NONE &&
	    (job->err.sys == ENOSPC || job->err.sys == EDQUOT);
}

/*
 * Its blob goes into a registry, if that is known here, and takes it; else to
 * the outputs.
 */
static int
find_way(struct agent *a, struct job *job, struct err *e)
{
	struct upload_place *p = NULL;

	if (job->stream > 0 && job->streamed == LAYER_STREAM_NONE &&
	    (p = uploads_find(a->uploads, job->stream - 1)) == NULL)
		job->streamed = LAYER_STREAM_BROKEN;
	if (p != NULL && upload_place_refuses(p)) {
		job->streamed = LAYER_STREAM_REFUSED;
		upload_place_let_gop(&p);
	}
	upload_place_let_go(job->layer.stream);
	job->layer.stream = p;
	return p != NULL ? 0 : handover_begin(a->handover, job, e);
}

/*
 * The registry did not take the blob: the layer is made once more, for the
 * outputs.  That is nobody's failure.
 */
static bool
make_again(struct agent *a, struct job *job)
{
	enum layer_stream how = job->progress.stream;
	struct err why = ERR_INIT;

	if (job->err.kind == ERR_NONE || job->unwanted || job->leaving ||
	    atomic_load(&job->progress.cancel) ||
	    (how != LAYER_STREAM_REFUSED && how != LAYER_STREAM_BROKEN))
		return false;
	log_line(how == LAYER_STREAM_REFUSED ? LOG_INFO : LOG_WARNING,
	    "%s: the layer is made again, to be sent as a whole",
	    job->err.text);
	if (how == LAYER_STREAM_REFUSED)
		upload_place_refuse(job->layer.stream);
	job->streamed = how;
	job->progress.stream = LAYER_STREAM_NONE;
	job->ahead += atomic_load(&job->progress.bytes);
	atomic_store(&job->progress.bytes, 0);
	err_clear(&job->err);
	if (find_way(a, job, &why) < 0) {
		job->err = why;
		return false;
	}
	job_pool_put(a->pool, job);
	return true;
}

static void
finish_job(struct agent *a, struct job *job)
{
	job->state = JOB_FINISHED;
	if (job->progress.notice[0] != '\0')
		log_line(LOG_WARNING, "%s", job->progress.notice);
	if ((job->leaving && job->err.sys == ECANCELED) || spool_is_full(job))
		job->postponed = true;
	if (job->err.kind == ERR_NONE && !job->layer.spec.measure)
		speed_add(&a->speed, job->layer.spec.encoding.kind,
		    job->result.tar_size, job->us);
	/* The id of one that nobody wants may be another one's by now. */
	if (!job->unwanted)
		handover_end(a->handover, job);
}

/* Ends a job that the pool does not have; why is its error. */
static int
fail_job(struct agent *a, struct job *job, const struct err *why, struct err *e)
{
	job->err = *why;
	finish_job(a, job);
	return agent_send_answers(a, e);
}

/* A job that there is no room for now goes back, to be done elsewhere. */
static int
submit_if_complete(struct agent *a, struct job *job, struct err *e)
{
	struct err why = ERR_INIT;

	if (!job_complete(job))
		return 0;
	if (find_way(a, job, &why) < 0)
		return fail_job(a, job, &why, e);
	job->state = JOB_SUBMITTED;
	job_pool_put(a->pool, job);
	return 0;
}

/* Hands back a job that was not taken; if that is lost, its lease runs out. */
static int
decline(
    struct agent *a, const struct msg_job *m, const char *why, struct err *e)
{
	struct msg no = {.type = MSG_POSTPONE};

	no.postpone.job = m->job;
	no.postpone.attempt = m->attempt;
	no.postpone.text = why;
	return agent_try_send(a, &no, e) < 0 ? -1 : 0;
}

int
agent_take_job(struct agent *a, struct msg *m, struct err *e)
{
	const struct msg_attempt id = {m->job.job, m->job.attempt};
	struct err why = ERR_INIT;
	struct job *job, *next;
	int64_t soon;

	if (find_job(a, id.job, id.attempt) != NULL ||
	    sent_answers_know(a->sent, &id))
		return 0;
	/* A new attempt: the parts of an older one will not come. */
	for (job = a->jobs; job != NULL; job = next) {
		next = job->next;
		if (job->id == m->job.job && job->state == JOB_ASSEMBLING)
			remove_job(a, job);
	}
	if (a->draining)
		return decline(a, &m->job, "this worker is leaving", e);
	if (a->n_jobs >= AGENT_JOBS_MAX(a->options->slots))
		return decline(a, &m->job, "this worker has jobs enough", e);
	if (job_new(m, &job, &why) < 0)
		return decline(a, &m->job, why.text, e);
	job->layer.inputs = a->options->inputs;
	job->next = a->jobs;
	a->jobs = job;
	a->n_jobs++;
	/* It was idle, maybe. */
	soon = monotime_ms() + a->beat_ms;
	if (a->next_beat > soon)
		a->next_beat = soon;
	return submit_if_complete(a, job, e);
}

int
agent_take_part(struct agent *a, const struct msg *m, struct err *e)
{
	struct err why = ERR_INIT;
	struct job *job;
	int rc;

	if (m->type == MSG_ITEMS)
		job = find_job(a, m->items.job, m->items.attempt);
	else
		job = find_job(a, m->entries.job, m->entries.attempt);
	if (job == NULL || job->state != JOB_ASSEMBLING)
		return 0;
	if (m->type == MSG_ITEMS)
		rc = job_add_items(job, &m->items, &why);
	else
		rc = job_add_entries(job, &m->entries, &why);
	if (rc < 0)
		return fail_job(a, job, &why, e);
	return submit_if_complete(a, job, e);
}

/* Stops it at once, or soon; whichever it is, it ends as finished. */
static void
stop_job(struct agent *a, struct job *job, const char *why)
{
	if (job->state == JOB_FINISHED)
		return;
	if (job->state == JOB_SUBMITTED && !job_pool_withdraw(a->pool, job)) {
		atomic_store(&job->progress.cancel, true);
		return;
	}
	err_set(&job->err, ERR_RETRY, ECANCELED, "%s", why);
	finish_job(a, job);
}

int
agent_cancel_job(struct agent *a, const struct msg_cancel *m, struct err *e)
{
	struct job *job = find_job(a, m->job, m->attempt);
	char name[32];

	if (job == NULL)
		return 0;
	snprintf(name, sizeof(name), "job %" PRIu64, job->id);
	stop_job(a, job, name);
	return agent_send_answers(a, e);
}

void
agent_collect(struct agent *a)
{
	struct job *job;

	while ((job = job_pool_take(a->pool)) != NULL)
		if (!make_again(a, job))
			finish_job(a, job);
}

void
agent_forget_jobs(struct agent *a)
{
	for (struct job *job = a->jobs; job != NULL; job = job->next) {
		stop_job(a, job, "nobody waits for it");
		job->unwanted = true;
	}
	sent_answers_forget(a->sent);
	uploads_forget(a->uploads);
	handover_forget(a->handover);
}

void
agent_hand_back(struct agent *a)
{
	for (struct job *job = a->jobs; job != NULL; job = job->next)
		if (job->state == JOB_ASSEMBLING ||
		    (job->state == JOB_SUBMITTED &&
			job_pool_withdraw(a->pool, job))) {
			err_set(&job->err, ERR_RETRY, ECANCELED,
			    "this worker is leaving");
			job->leaving = true;
			finish_job(a, job);
		}
}

void
agent_stop_jobs(struct agent *a)
{
	for (struct job *job = a->jobs; job != NULL; job = job->next)
		if (job->state == JOB_SUBMITTED) {
			/* Unless it is done by then. */
			job->leaving = true;
			atomic_store(&job->progress.cancel, true);
		}
}

void
agent_free_jobs(struct agent *a)
{
	while (a->jobs != NULL)
		remove_job(a, a->jobs);
}
