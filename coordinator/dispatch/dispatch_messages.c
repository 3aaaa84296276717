#include "dispatch/dispatch_state.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "transfer/blob_fetch.h"
#include "dispatch/dispatch.h"
#include "err.h"
#include "dispatch/local_workers.h"
#include "log.h"
#include "monotime.h"
#include "own.h"
#include "progress/progress.h"
#include "protocol.h"

#define PART_STEP_MS 20
#define MESSAGES_MAX 64 /* of a socket, before all else has its turn */
/* More of a layer is not shown: sums of it do not overflow. */
#define BEAT_BYTES_MAX ((uint64_t)1 << 50)
/* Caches that break off have a NAR sent again; it is shorter than its tar. */
#define FETCHED_MOST 4

void
peer_gone(struct dispatch *d, struct peer *p, const char *why)
{
	struct err e = ERR_INIT;

	progress_worker_gone(
	    d->progress, dispatch_worker_index(p->worker), !p->left);
	d->room -= p->room;
	d->seen.leaves += p->left;
	d->seen.losses += !p->left;
	if (d->sched != NULL)
		sched_worker_gone(d->sched, dispatch_now(d), p->worker, why);
	if (p->local != 0)
		local_workers_kill(d->local, p->local);
	dispatch_shared_gone(d, p);
	dispatch_push_gone(d, p);
	dispatch_locality_gone(d, p);
	dispatch_audit_gone(d, p->worker);
	/* Out of memory: what it may still send is for no job that is open. */
	if (p->via == d->remote &&
	    blob_fetch_worker_gone(d->fetch, p->token, &e) < 0)
		log_line(LOG_DEBUG, "worker=%s: %s", p->name, e.text);
	peer_worker_id_free(d, p->worker);
	peer_remove(d, p);
}

void
dispatch_say(const struct dispatch_from *from, const struct msg *m)
{
	struct err e = ERR_INIT;

	/* What does not get there is asked for again. */
	if (link_send(from->via, &from->link, m, &e) < 0)
		log_line(LOG_DEBUG, "%s", e.text);
}

static void
on_beat(struct dispatch *d, const struct peer *p, const struct msg_beat *beat)
{
	int64_t now = dispatch_now(d);

	for (size_t i = 0; i < beat->n; i++) {
		const struct msg_progress *at = &beat->progress[i];
		struct task *t = dispatch_task_of(d, at->job);
		uint64_t bytes = BEAT_BYTES_MAX;

		/* Of others' jobs it can say nothing. */
		if (t == NULL ||
		    !sched_progress(d->sched, now, p->worker, t->id,
			at->attempt, at->bytes))
			continue;
		dispatch_stream_goes_on(d, p, t, at->attempt);
		if (at->bytes < BEAT_BYTES_MAX)
			bytes = at->bytes;
		if (bytes > t->bytes)
			t->bytes = bytes;
		progress_job(d->progress, dispatch_worker_index(p->worker),
		    (size_t)t->id.v, t->job->label, bytes, t->job->weight);
	}
	sched_beat(d->sched, now, p->worker, beat->n);
}

/*
 * Whether the result can be true: of the kind that was asked for, sizes that
 * were fixed before, digests that must agree, and (made here) blobs that lie
 * where they should with the size they should have.  The bytes' own digest was
 * taken as they were written.
 */
static bool
result_holds(const struct dispatch_job *job, bool measured, bool here,
    const struct layer_result *r)
{
	const struct layer_spec *spec = job->spec;

	if (spec->measure != measured || r->tar_size == 0 ||
	    r->tar_size % TAR_BLOCK != 0)
		return false;
	if (measured)
		return true;
	if (spec->encoding.kind == ENCODING_NONE &&
	    (!digest_equal(&r->diff_id, &r->digest) || r->size != r->tar_size))
		return false;
	/* What is made elsewhere is verified when it comes. */
	for (size_t i = 0; here && i < spec->n_outputs; i++) {
		const struct layer_output *o = &spec->outputs[i];
		char hex[DIGEST_HEX_LEN + 1], path[4096];
		struct stat st;

		if (o->kind == LAYER_TO_FILE) {
			if (o->size != LAYER_SIZE_UNKNOWN &&
			    o->size != r->tar_size)
				return false;
			continue;
		}
		digest_hex(&r->digest, hex);
		snprintf(path, sizeof(path), "%s/%s", o->path, hex);
		if (stat(path, &st) < 0 || (uint64_t)st.st_size != r->size)
			return false;
	}
	return true;
}

static void
job_ended(struct dispatch *d, struct worker_id worker, const struct task *t)
{
	progress_job_end(d->progress, dispatch_worker_index(worker),
	    (size_t)t->id.v, t->job->label, 0, 0, false);
}

static void
job_done(struct dispatch *d, struct worker_id worker, const char *name,
    const struct task *t, const struct layer_result *r)
{
	const struct dispatch_job *job = t->job;
	struct dispatch_made *made = job->made;
	double seconds = (double)(dispatch_now(d) - t->started) / 1000;

	if (made != NULL) {
		*made = (struct dispatch_made){.result = *r,
		    .only_pushed = t->only_pushed,
		    .seconds = seconds};
		snprintf(made->worker, sizeof(made->worker), "%s", name);
	}
	if (!job->spec->measure)
		dispatch_status_add(&d->seen.bytes_made, r->tar_size);
	progress_job_end(d->progress, dispatch_worker_index(worker),
	    (size_t)t->id.v, job->label, r->tar_size, seconds, true);
}

int
dispatch_accept(struct dispatch *d, struct worker_id worker, const char *name,
    struct task *t, uint64_t attempt, const struct digest *fingerprint,
    const struct layer_result *r, struct err *e)
{
	switch (sched_done(
	    d->sched, dispatch_now(d), worker, t->id, attempt, fingerprint)) {
	case SCHED_ACCEPTED:
		t->done = true;
		t->maker = worker;
		t->made = (uint32_t)attempt;
		job_done(d, worker, name, t, r);
		return t->audited ? 0 : task_done(d, t, e);
	case SCHED_DIFFERS:
		return dispatch_audit_fault(d, worker, name, t, attempt, r, e);
	case SCHED_CONFIRMED:
		job_ended(d, worker, t);
		progress_audit(d->progress, t->job->label, true);
		return task_done(d, t, e);
	case SCHED_DUPLICATE:
	case SCHED_UNKNOWN:
		job_ended(d, worker, t);
		break;
	}
	return 0;
}

/* Drops a worker whose result cannot be true. */
static bool
check_result(struct dispatch *d, struct peer *p, const struct task *t,
    uint64_t attempt, bool measured, const struct layer_result *r)
{
	/* A second copy is nowhere in the outputs. */
	bool here =
	    p->via == d->link && !t->done && !dispatch_stream_is(t, attempt);

	if (result_holds(t->job, measured, here, r))
		return true;
	log_line(LOG_WARNING,
	    "worker %s: its result for %s, attempt %llu, does not hold: "
	    "dropped",
	    p->name, t->job->label, (unsigned long long)attempt);
	peer_gone(d, p, "its result did not hold");
	return false;
}

/* A layer is made, p says: it is fetched first, or counts at once. */
static int
take_made(struct dispatch *d, struct peer *p, struct task *t,
    const struct msg_done *m, struct err *e)
{
	const struct layer_result *r = &m->result;
	const struct worker_id worker = p->worker;
	const struct job_id id = t->id;

	if (!t->done && dispatch_stream_is(t, m->attempt) &&
	    sched_given(d->sched, worker, id, m->attempt))
		return dispatch_blobs_push(d, p, t, m->attempt, r, e);
	/* Not from one that was never asked: others' results would wait. */
	if (dispatch_blobs_wanted(d, p, t) &&
	    sched_given(d->sched, worker, id, m->attempt)) {
		if (!t->done && t->pull == NULL &&
		    dispatch_push_instead(d, t, p))
			return dispatch_blobs_push(d, p, t, m->attempt, r, e);
		if (!t->done)
			return dispatch_blobs_pull(d, p, t, m->attempt, r, e);
		if (t->job->made != NULL &&
		    !digest_equal(&t->job->made->result.digest, &r->digest) &&
		    dispatch_blobs_pull_copy(d, p, t, m->attempt, r))
			return 0;
	}
	if (dispatch_blobs_wanted(d, p, t) &&
	    dispatch_blobs_drop(d, p, m->job, m->attempt, e) < 0)
		return -1;
	/* After it the job may be forgotten. */
	if (dispatch_accept(
		d, worker, p->name, t, m->attempt, &r->digest, r, e) < 0)
		return -1;
	dispatch_audit_end(d, worker, id, m->attempt);
	return 0;
}

/* What each attempt has read, also in vain, once. */
static void
take_read(struct dispatch *d, const struct peer *p, const struct task *t,
    uint64_t attempt, uint64_t bytes)
{
	if (!sched_answered(d->sched, p->worker, t->id, attempt))
		return;
	dispatch_status_add(&d->seen.bytes_read, bytes);
	progress_read(d->progress, bytes);
}

/* Once, by who was asked for it. */
static void
take_fetched(struct dispatch *d, const struct peer *p, const struct task *t,
    const struct msg_done *m)
{
	uint64_t bytes = m->result.fetched;

	if (bytes == 0 ||
	    !sched_fetched(d->sched, dispatch_now(d), p->worker, t->id,
		m->attempt, bytes, (int64_t)(m->result.fetch_us / 1000)))
		return;
	/* Nor more than can be of what became that layer. */
	if (bytes / FETCHED_MOST > m->result.tar_size)
		bytes = FETCHED_MOST * m->result.tar_size;
	dispatch_status_add(&d->seen.bytes_fetched, bytes);
	progress_fetched(d->progress, bytes);
}

/* lie: what it does, or NULL. */
static void
drop_liar(struct dispatch *d, struct peer *p, const char *lie)
{
	if (lie == NULL)
		return;
	log_line(LOG_WARNING, "worker %s %s: dropped", p->name, lie);
	peer_gone(d, p, "broke the protocol");
}

static int
on_done(
    struct dispatch *d, struct peer *p, const struct msg_done *m, struct err *e)
{
	struct task *t = dispatch_task_of(d, m->job);

	/* Of one that is forgotten: nor shall its spool keep it. */
	if (t == NULL)
		return d->open && p->via == d->remote
		    ? dispatch_blobs_drop(d, p, m->job, m->attempt, e)
		    : 0;
	if (!dispatch_stream_told(d, p, t, m)) {
		drop_liar(d, p, "says that a registry has what it made");
		return 0;
	}
	if (!check_result(d, p, t, m->attempt, false, &m->result))
		return 0;
	take_fetched(d, p, t, m);
	take_read(d, p, t, m->attempt, m->result.bytes_read);
	return take_made(d, p, t, m, e);
}

static int
on_sized(struct dispatch *d, struct peer *p, const struct msg_sized *m,
    struct err *e)
{
	struct layer_result r = {
	    .tar_size = m->tar_size, .entries = m->entries};
	struct task *t = dispatch_task_of(d, m->job);
	struct digest of_size;

	if (t == NULL || !check_result(d, p, t, m->attempt, true, &r))
		return 0;
	digest_of(&r.tar_size, sizeof(r.tar_size), &of_size);
	return dispatch_accept(
	    d, p->worker, p->name, t, m->attempt, &of_size, &r, e);
}

static void
on_fail(struct dispatch *d, struct peer *p, const struct msg_fail *m)
{
	enum err_kind kind = m->kind;
	const struct task *t = dispatch_task_of(d, m->job);

	if (t == NULL)
		return;
	log_line(LOG_DEBUG, "worker=%s %s attempt=%llu: %s", p->name,
	    t->job->label, (unsigned long long)m->attempt, m->text);
	take_read(d, p, t, m->attempt, m->read);
	job_ended(d, p->worker, t);
	dispatch_audit_end(d, p->worker, t->id, m->attempt);
	dispatch_needs_failed(d, p, t->job);
	/* What is missing or broken in its store may be sound in another's. */
	if (p->via == d->remote)
		kind = ERR_RETRY;
	sched_fail(d->sched, dispatch_now(d), p->worker, t->id, m->attempt,
	    kind, m->text);
}

static void
on_postpone(struct dispatch *d, struct peer *p, const struct msg_postpone *m)
{
	struct task *t = dispatch_task_of(d, m->job);
	bool counts;

	if (t == NULL)
		return;
	take_read(d, p, t, m->attempt, m->read);
	counts = sched_postpone(
	    d->sched, dispatch_now(d), p->worker, t->id, m->attempt);
	if (counts)
		dispatch_postponed(d, p, t, m->text);
	job_ended(d, p->worker, t);
	dispatch_audit_end(d, p->worker, t->id, m->attempt);
	/* The next one that makes it again need not keep it. */
	t->no_copy |= t->done;
	/* One that leaves says nothing of the job; a copy may have its end. */
	if (counts && d->hooks.postponed != NULL && p->room > 0 && !t->done)
		d->hooks.postponed(d->hooks.arg, t->job, m->text);
}

static void
on_bye(struct dispatch *d, struct peer *p, const struct msg_bye *m)
{
	if (m->reason == MSG_BYE_DRAINING) {
		d->room -= p->room;
		p->room = 0;
		if (d->sched != NULL)
			sched_worker_drain(
			    d->sched, dispatch_now(d), p->worker);
		return;
	}
	if (p->via == d->remote)
		log_line(LOG_INFO, "worker %s has left", p->name);
	p->left = true;
	peer_gone(d, p, "left");
}

static int
on_have(
    struct dispatch *d, struct peer *p, const struct msg_have *m, struct err *e)
{
	const char *lie;

	if (dispatch_locality_have(d, p, m, &lie, e) < 0)
		return -1;
	drop_liar(d, p, lie);
	return 0;
}

static int
on_worker_message(
    struct dispatch *d, struct peer *p, const struct msg *m, struct err *e)
{
	switch (m->type) {
	case MSG_BEAT:
		on_beat(d, p, &m->beat);
		return 0;
	case MSG_SIZED:
		return on_sized(d, p, &m->sized, e);
	case MSG_DONE:
		return on_done(d, p, &m->done, e);
	case MSG_FAIL:
		on_fail(d, p, &m->fail);
		return 0;
	case MSG_BYE:
		on_bye(d, p, &m->bye);
		return 0;
	case MSG_POSTPONE:
		on_postpone(d, p, &m->postpone);
		return 0;
	case MSG_HELLO:
	case MSG_WELCOME:
	case MSG_REFUSE:
	case MSG_JOB:
	case MSG_ITEMS:
	case MSG_ENTRIES:
	case MSG_CANCEL:
	case MSG_PROBE:
	case MSG_WHO:
	case MSG_ASK:
	case MSG_PATHS:
	case MSG_CLIENT:
	case MSG_MADE:
	case MSG_STATUS:
	case MSG_STATE:
	case MSG_PUSH:
	case MSG_TOKEN:
		break;
	case MSG_PUSHED:
		dispatch_push_pushed(d, p, &m->pushed);
		return 0;
	case MSG_EXPIRED:
		return dispatch_push_expired(d, p, &m->expired, e);
	case MSG_WANT:
		drop_liar(d, p, dispatch_locality_want(d, p, &m->want));
		return 0;
	case MSG_HAVE:
		return on_have(d, p, &m->have, e);
	case MSG_PROBED:
		dispatch_shared_answered(d, p, &m->probed);
		return 0;
	}
	log_line(LOG_WARNING,
	    "worker %s sent %s, which no worker sends: dropped", p->name,
	    msg_name(m->type));
	peer_gone(d, p, "broke the protocol");
	return 0;
}

static int
on_message(struct dispatch *d, const struct dispatch_from *from,
    const struct msg *m, struct err *e)
{
	const struct msg who = {.type = MSG_WHO};
	struct peer *p = peer_by_link(d, from);

	if (m->type == MSG_HELLO)
		return dispatch_hello(d, from, &m->hello, e);
	if (p == NULL) {
		/* A new connection of one that was known, or may be known. */
		dispatch_say(from, &who);
		return 0;
	}
	p->heard = dispatch_now(d);
	return on_worker_message(d, p, m, e);
}

static int
receive_from(struct dispatch *d, struct link *via, struct err *e)
{
	for (int n = 0; n < MESSAGES_MAX; n++) {
		struct dispatch_from from = {.via = via};
		struct err bad = ERR_INIT;
		struct msg m;
		struct peer *p;
		int rc = link_recv(via, &from.link, &m, &bad);

		if (rc == 0)
			return 0;
		if (rc < 0 && bad.kind != ERR_PEER) {
			*e = bad;
			return -1;
		}
		if (rc < 0) {
			p = peer_by_link(d, &from);
			log_line(LOG_WARNING, "worker %s: message refused: %s",
			    p != NULL ? p->name : "?", bad.text);
			if (p != NULL)
				peer_gone(d, p, "broke the protocol");
			continue;
		}
		rc = on_message(d, &from, &m, e);
		msg_clear(&m);
		if (rc < 0)
			return -1;
	}
	d->more = true;
	return 0;
}

/* Workers of other machines that have not said BYE. */
static size_t
still_here(const struct dispatch *d)
{
	size_t n = 0;

	for (size_t i = 0; i < d->n_peers; i++)
		n += d->peer[i].via == d->remote;
	return n;
}

void
dispatch_part(struct dispatch *d, int ms)
{
	int64_t until = monotime_ms() + ms;
	struct pollfd fd = {.events = POLLIN};

	if (d->remote == NULL)
		return;
	fd.fd = link_fd(d->remote);
	while (still_here(d) > 0 && monotime_ms() < until) {
		struct dispatch_from from = {.via = d->remote};
		struct err e = ERR_INIT;
		struct peer *p;
		struct msg m;
		int rc = link_recv(d->remote, &from.link, &m, &e);

		if (rc > 0 && m.type == MSG_BYE &&
		    (p = peer_by_link(d, &from)) != NULL)
			peer_remove(d, p);
		if (rc > 0)
			msg_clear(&m);
		else if (rc < 0 && e.kind != ERR_PEER)
			return;
		else if (rc == 0)
			poll(&fd, 1, PART_STEP_MS);
	}
}

int
dispatch_receive(struct dispatch *d, struct err *e)
{
	d->more = false;
	if (receive_from(d, d->link, e) < 0)
		return -1;
	return d->remote == NULL ? 0 : receive_from(d, d->remote, e);
}
