#include "dispatch/dispatch_state.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "transfer/blob_fetch.h"
#include "data_endpoint.h"
#include "dispatch/dispatch.h"
#include "endpoint.h"
#include "err.h"
#include "log.h"
#include "own.h"
#include "protocol.h"

/* What is not pulled yet when a job of 0 bytes is: progress is never 0. */
#define FETCH_BEAT_MS 1000

/*
 * A job whose result a worker of another machine has told, and whose bytes are
 * being pulled from its spool: until then the result counts for nothing.
 */
struct dispatch_pull {
	struct job_id job;
	struct worker_id worker;
	char name[64]; /* of the worker */
	uint64_t attempt;
	struct layer_result result;
	bool differs; /* from the one that counts: only to be compared */
	TAILQ_ENTRY(dispatch_pull) entry;
};

int
dispatch_blobs_open(struct dispatch *d, const struct dispatch_config *c,
    const struct link_keys *keys, struct err *e)
{
	char endpoint[ENDPOINT_MAX + 8];
	struct blob_fetch_config config;

	if (data_endpoint_beside(c->listen, endpoint, sizeof(endpoint), e) < 0)
		return -1;
	blob_fetch_defaults(&config);
	config.endpoint = endpoint;
	config.keys = keys;
	return blob_fetch_new(d->ctx, &config, &d->fetch, e);
}

void
dispatch_blobs_close(struct dispatch *d)
{
	blob_fetch_freep(&d->fetch);
}

/* Whether the job's bytes have to come over the network. */
bool
dispatch_blobs_wanted(
    const struct dispatch *d, const struct peer *p, const struct task *t)
{
	const struct layer_spec *spec = t->job->spec;

	return p->via == d->remote && !spec->measure && spec->n_outputs > 0;
}

static struct data_id
data_id(const struct dispatch *d, struct job_id id, uint64_t attempt)
{
	return (struct data_id){.job = d->base + id.v, .attempt = attempt};
}

static struct task_attempt *
attempt_of(struct task *t, uint64_t attempt)
{
	return &t->attempt[attempt % SCHED_ATTEMPTS_KNOWN];
}

void
dispatch_blobs_sent(struct task *t, uint64_t attempt, bool shares)
{
	attempt_of(t, attempt)->shared = shares;
	attempt_of(t, attempt)->kept = false;
}

int
dispatch_blobs_drop(struct dispatch *d, const struct peer *p, uint64_t wire,
    uint64_t attempt, struct err *e)
{
	const struct data_id data = {.job = wire, .attempt = attempt};

	/* Of those of this machine nothing is spooled. */
	if (p->via != d->remote)
		return 0;
	return blob_fetch_drop(d->fetch, p->token, &data, e);
}

bool
dispatch_blobs_kept(const struct task *t, uint64_t attempt)
{
	return t->attempt[attempt % SCHED_ATTEMPTS_KNOWN].kept;
}

/* Its worker has written into the outputs itself. */
static bool
is_shared(const struct task *t, uint64_t attempt)
{
	return t->attempt[attempt % SCHED_ATTEMPTS_KNOWN].shared;
}

/* The pull that is on has come to its end. */
static void
pull_ended(struct dispatch *d, struct task *t)
{
	d->n_differ -= t->pull->differs;
	TAILQ_REMOVE(&d->pulls, t->pull, entry);
	own_freep(&t->pull);
	d->n_pulls--;
}

void
dispatch_blobs_end(struct dispatch *d, struct task *t)
{
	const struct dispatch_pull *pull = t->pull;
	struct err e = ERR_INIT;
	const struct peer *p;

	if (pull == NULL)
		return;
	/* Of a worker that is gone it has ended, or will. */
	p = peer_by_worker(d, pull->worker);
	if (p != NULL &&
	    dispatch_blobs_drop(d, p, d->base + t->id.v, pull->attempt, &e) < 0)
		log_line(LOG_DEBUG, "worker=%s %s attempt=%llu: %s", p->name,
		    t->job->label, (unsigned long long)pull->attempt, e.text);
	pull_ended(d, t);
}

/* Another one's copy is one too many. */
static int
pull_twice(struct dispatch *d, const struct peer *p, const struct task *t,
    uint64_t attempt, struct err *e)
{
	/* Said twice. */
	if (t->pull->worker.v == p->worker.v && t->pull->attempt == attempt)
		return 0;
	sched_postpone(d->sched, dispatch_now(d), p->worker, t->id, attempt);
	return dispatch_blobs_drop(d, p, d->base + t->id.v, attempt, e);
}

static int
pull_began(struct dispatch *d, const struct peer *p, struct task *t,
    uint64_t attempt, const struct layer_result *r, struct err *e)
{
	struct dispatch_pull *pull = calloc(1, sizeof(*pull));

	if (pull == NULL)
		return err_set(e, ERR_FATAL, errno, "jobs");
	pull->job = t->id;
	pull->worker = p->worker;
	pull->attempt = attempt;
	pull->result = *r;
	pull->differs = t->done;
	memcpy(pull->name, p->name, sizeof(pull->name));
	TAILQ_INSERT_TAIL(&d->pulls, pull, entry);
	t->pull = pull;
	d->n_pulls++;
	d->n_differ += pull->differs;
	return 0;
}

/* Into the job's outputs. */
static void
request_for(struct dispatch *d, const struct peer *p, const struct task *t,
    uint64_t attempt, const struct layer_result *r, struct blob_request *out)
{
	const struct layer_spec *spec = t->job->spec;

	*out = (struct blob_request){
	    .way = is_shared(t, attempt) ? BLOB_CHECK : BLOB_PULL,
	    .id = data_id(d, t->id, attempt),
	    .result = *r,
	    .encoded = spec->encoding.kind != ENCODING_NONE,
	    .n_outputs = spec->n_outputs,
	    .keep = dispatch_blobs_kept(t, attempt),
	};
	memcpy(out->token, p->token, sizeof(out->token));
	memcpy(out->outputs, spec->outputs, sizeof(out->outputs));
}

int
dispatch_blobs_pull(struct dispatch *d, struct peer *p, struct task *t,
    uint64_t attempt, const struct layer_result *r, struct err *e)
{
	struct blob_request request;
	struct err bad = ERR_INIT;

	if (t->pull != NULL)
		return pull_twice(d, p, t, attempt, e);
	attempt_of(t, attempt)->kept =
	    !is_shared(t, attempt) && dispatch_push_keeps(d, p);
	request_for(d, p, t, attempt, r, &request);
	if (blob_fetch_add(d->fetch, &request, &bad) < 0) {
		if (bad.kind != ERR_PEER) {
			*e = bad;
			return -1;
		}
		log_line(LOG_WARNING, "worker %s: attempt %llu of %s: %s",
		    p->name, (unsigned long long)attempt, t->job->label,
		    bad.text);
		peer_gone(d, p, bad.text);
		return 0;
	}
	return pull_began(d, p, t, attempt, r, e);
}

int
dispatch_blobs_push(struct dispatch *d, struct peer *p, struct task *t,
    uint64_t attempt, const struct layer_result *r, struct err *e)
{
	if (t->pull != NULL)
		return pull_twice(d, p, t, attempt, e);
	if (pull_began(d, p, t, attempt, r, e) < 0)
		return -1;
	return dispatch_push_spooled(d, t, p, attempt, r, e);
}

int
dispatch_blobs_pushed(struct dispatch *d, struct job_id id,
    struct worker_id worker, uint64_t attempt, bool there, struct err *e)
{
	struct task *t = task_find(d, id);
	struct dispatch_pull pull;
	struct peer *p;

	if (t == NULL || t->pull == NULL || t->pull->attempt != attempt ||
	    t->pull->worker.v != worker.v)
		return 0;
	pull = *t->pull;
	pull_ended(d, t);
	p = peer_by_worker(d, worker);
	/* The jobs of one that is gone went elsewhere when it did. */
	if (!there && p == NULL)
		return 0;
	if (!there && dispatch_stream_is(t, attempt)) {
		dispatch_stream_lost(d, p, t, attempt);
		return 0;
	}
	if (!there)
		return dispatch_blobs_pull(d, p, t, attempt, &pull.result, e);
	if (p != NULL &&
	    dispatch_blobs_drop(d, p, d->base + id.v, attempt, e) < 0)
		return -1;
	log_line(LOG_DEBUG, "worker=%s %s is in the registries alone",
	    pull.name, t->job->label);
	t->only_pushed = true;
	return dispatch_accept(d, worker, pull.name, t, attempt,
	    &pull.result.digest, &pull.result, e);
}

bool
dispatch_blobs_pull_copy(struct dispatch *d, const struct peer *p,
    struct task *t, uint64_t attempt, const struct layer_result *r)
{
	const char *folder = dispatch_audit_folder(d);
	struct blob_request request;
	struct err bad = ERR_INIT;

	if (t->pull != NULL)
		return t->pull->worker.v == p->worker.v &&
		    t->pull->attempt == attempt;
	/* One that shares the outputs has put it there, if anywhere. */
	if (folder == NULL || is_shared(t, attempt))
		return false;
	request_for(d, p, t, attempt, r, &request);
	request.outputs[0] =
	    (struct layer_output){.kind = LAYER_TO_BLOB, .path = folder};
	request.n_outputs = 1;
	if (blob_fetch_add(d->fetch, &request, &bad) < 0 ||
	    pull_began(d, p, t, attempt, r, &bad) < 0) {
		log_line(LOG_WARNING, "worker %s: its copy of %s: %s", p->name,
		    t->job->label, bad.text);
		return false;
	}
	return true;
}

/* A pull that came to nothing: whose fault, and what follows. */
static int
pull_failed(struct dispatch *d, struct peer *p, struct task *t,
    const struct dispatch_pull *pull, const struct blob_outcome *o,
    struct err *e)
{
	int64_t now = dispatch_now(d);

	if (o->err.kind == ERR_FATAL && o->broken) {
		*e = o->err;
		return -1;
	}
	/* The disk is full, say: nobody can have it. */
	if (o->err.kind == ERR_FATAL && !pull->differs)
		return task_failed(d, t, &o->err, e);
	log_line(LOG_WARNING, "worker %s: attempt %llu of %s: %s", pull->name,
	    (unsigned long long)o->id.attempt, t->job->label, o->err.text);
	if (o->err.kind == ERR_PEER) {
		if (p != NULL)
			peer_gone(d, p, o->err.text);
		return 0;
	}
	/* That it differs it has said; why will not be known. */
	if (pull->differs)
		return dispatch_accept(d, pull->worker, pull->name, t,
		    pull->attempt, &pull->result.digest, &pull->result, e);
	if (p == NULL)
		return 0; /* its jobs went elsewhere when it did */
	/* Whatever it says: that worker cannot hand it over, others may. */
	sched_fail(d->sched, now, p->worker, t->id, o->id.attempt, ERR_RETRY,
	    o->err.text);
	return 0;
}

static int
take_outcome(struct dispatch *d, const struct blob_outcome *o, struct err *e)
{
	struct peer *p = peer_by_token(d, o->token);
	struct task *t = dispatch_task_of(d, o->id.job);
	struct dispatch_pull pull;

	if (t == NULL || t->pull == NULL || t->pull->attempt != o->id.attempt)
		return 0;
	pull = *t->pull;
	pull_ended(d, t);
	if (o->err.kind != ERR_NONE)
		return pull_failed(d, p, t, &pull, o, e);
	if (!is_shared(t, pull.attempt))
		dispatch_status_add(&d->seen.bytes_pulled, pull.result.size);
	/* Another one was faster, whose layer is pushed. */
	if (p != NULL && t->done && dispatch_blobs_kept(t, pull.attempt) &&
	    dispatch_blobs_drop(d, p, d->base + t->id.v, pull.attempt, e) < 0)
		return -1;
	return dispatch_accept(d, pull.worker, pull.name, t, pull.attempt,
	    &pull.result.digest, &pull.result, e);
}

int
dispatch_blobs_collect(struct dispatch *d, struct err *e)
{
	struct blob_outcome o;

	while (d->fetch != NULL && blob_fetch_take(d->fetch, &o))
		if (take_outcome(d, &o, e) < 0)
			return -1;
	return 0;
}

size_t
dispatch_blobs_held(
    const struct dispatch *d, const struct peer *p, struct sched_held *out)
{
	const struct dispatch_pull *pull;
	size_t n = 0;

	TAILQ_FOREACH(pull, &d->pulls, entry)
	if (pull->worker.v == p->worker.v)
		out[n++] = (struct sched_held){pull->job, pull->attempt};
	return n;
}

void
dispatch_blobs_beat(struct dispatch *d)
{
	const struct dispatch_pull *pull;
	int64_t now = dispatch_now(d);

	if (d->n_pulls == 0 || now < d->pull_beat)
		return;
	d->pull_beat = now + FETCH_BEAT_MS;
	/* The pull has its own patience: while it goes on, the lease does. */
	TAILQ_FOREACH(pull, &d->pulls, entry)
	sched_verifying(d->sched, now, pull->worker, pull->job, pull->attempt);
}
