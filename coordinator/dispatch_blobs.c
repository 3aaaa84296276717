#include "dispatch_state.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "blob_fetch.h"
#include "dispatch.h"
#include "endpoint.h"
#include "err.h"
#include "log.h"
#include "protocol.h"

/* What is not pulled yet when a job of 0 bytes is: progress is never 0. */
#define FETCH_BEAT_MS 1000

/*
 * A job whose result a worker of another machine has told, and whose bytes are
 * being pulled from its spool: until then the result counts for nothing.
 */
struct dispatch_pull {
	bool on;
	bool done; /* the job is: by this or any other result */
	struct worker_id worker;
	char name[64]; /* of the worker */
	uint64_t attempt;
	struct layer_result result;
	/* Attempts that were sent to one that writes into the outputs itself.
	 */
	uint64_t shared[SCHED_ATTEMPTS_KNOWN];
};

/* The port after the control socket's; any, where that was any. */
static int
data_listen(const char *listen, char *out, size_t size, struct err *e)
{
	const char *colon = strrchr(listen, ':');
	struct endpoint where;
	unsigned long port;

	if (endpoint_check(listen, true, &where, e) < 0)
		return -1;
	if (where.kind == ENDPOINT_IPC) {
		snprintf(out, size, "%s.data", listen);
		return 0;
	}
	if (strcmp(colon, ":*") == 0) {
		snprintf(out, size, "%s", listen);
		return 0;
	}
	port = strtoul(colon + 1, NULL, 10) + 1;
	if (port > 65535)
		return err_set(e, ERR_USAGE, 0,
		    "--listen %.120s: the port after it is needed, too",
		    listen);
	snprintf(out, size, "%.*s:%lu", (int)(colon - listen), listen, port);
	return 0;
}

int
dispatch_blobs_open(struct dispatch *d, const struct dispatch_config *c,
    const struct link_keys *keys, struct err *e)
{
	char endpoint[ENDPOINT_MAX + 8];
	struct blob_fetch_config config;

	if (data_listen(c->listen, endpoint, sizeof(endpoint), e) < 0)
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
	free(d->pull);
	d->pull = NULL;
}

int
dispatch_blobs_start(struct dispatch *d, struct err *e)
{
	free(d->pull);
	d->n_pulls = 0;
	if ((d->pull = calloc(d->n_jobs + 1, sizeof(*d->pull))) == NULL)
		return err_set(e, ERR_FATAL, errno, "jobs");
	return 0;
}

/* Whether the job's bytes have to come over the network. */
bool
dispatch_blobs_wanted(
    const struct dispatch *d, const struct peer *p, struct job_id id)
{
	const struct layer_spec *spec = d->job[id.v].spec;

	return p->via == d->remote && !spec->measure && spec->n_outputs > 0;
}

static struct data_id
data_id(const struct dispatch *d, struct job_id id, uint64_t attempt)
{
	return (struct data_id){.job = d->base + id.v, .attempt = attempt};
}

void
dispatch_blobs_sent(struct dispatch *d, const struct peer *p, struct job_id id,
    uint64_t attempt)
{
	d->pull[id.v].shared[attempt % SCHED_ATTEMPTS_KNOWN] =
	    dispatch_shared_is(p) ? attempt : 0;
}

static int
drop(struct dispatch *d, const struct peer *p, struct job_id id,
    uint64_t attempt, struct err *e)
{
	const struct data_id data = data_id(d, id, attempt);

	return blob_fetch_drop(d->fetch, p->token, &data, e);
}

/* Its worker has written into the outputs itself. */
static bool
is_shared(const struct dispatch_pull *pull, uint64_t attempt)
{
	return pull->shared[attempt % SCHED_ATTEMPTS_KNOWN] == attempt;
}

int
dispatch_blobs_pull(struct dispatch *d, struct peer *p, struct job_id id,
    uint64_t attempt, const struct layer_result *r, struct err *e)
{
	const struct layer_spec *spec = d->job[id.v].spec;
	struct dispatch_pull *pull = &d->pull[id.v];
	struct blob_request request = {
	    .way = is_shared(pull, attempt) ? BLOB_CHECK : BLOB_PULL,
	    .id = data_id(d, id, attempt),
	    .result = *r,
	    .encoded = spec->encoding.kind != ENCODING_NONE,
	    .n_outputs = spec->n_outputs,
	};
	struct err bad = ERR_INIT;

	if (pull->on) {
		/* Said twice, or another one's copy: one is enough. */
		if (pull->worker.v == p->worker.v && pull->attempt == attempt)
			return 0;
		sched_postpone(
		    d->sched, dispatch_now(d), p->worker, id, attempt);
		return drop(d, p, id, attempt, e);
	}
	memcpy(request.token, p->token, sizeof(request.token));
	memcpy(request.outputs, spec->outputs, sizeof(request.outputs));
	if (blob_fetch_add(d->fetch, &request, &bad) < 0) {
		if (bad.kind != ERR_PEER) {
			*e = bad;
			return -1;
		}
		log_line(LOG_WARNING, "worker %s: attempt %llu of %s: %s",
		    p->name, (unsigned long long)attempt, d->job[id.v].label,
		    bad.text);
		peer_gone(d, p, bad.text);
		return 0;
	}
	pull->on = true;
	pull->worker = p->worker;
	pull->attempt = attempt;
	pull->result = *r;
	memcpy(pull->name, p->name, sizeof(pull->name));
	d->n_pulls++;
	return 0;
}

bool
dispatch_blobs_done(const struct dispatch *d, struct job_id id)
{
	return d->pull[id.v].done;
}

void
dispatch_blobs_set_done(struct dispatch *d, struct job_id id)
{
	d->pull[id.v].done = true;
}

int
dispatch_blobs_drop(struct dispatch *d, const struct peer *p, struct job_id id,
    uint64_t attempt, struct err *e)
{
	if (!dispatch_blobs_wanted(d, p, id))
		return 0;
	return drop(d, p, id, attempt, e);
}

/* A pull that came to nothing: whose fault, and what follows. */
static int
pull_failed(struct dispatch *d, struct peer *p, struct job_id id,
    const struct blob_outcome *o, struct err *e)
{
	int64_t now = dispatch_now(d);

	if (o->err.kind == ERR_FATAL) {
		*e = o->err;
		return -1;
	}
	log_line(LOG_WARNING, "worker %s: attempt %llu of %s: %s",
	    d->pull[id.v].name, (unsigned long long)o->id.attempt,
	    d->job[id.v].label, o->err.text);
	if (p == NULL)
		return 0; /* its jobs went elsewhere when it did */
	if (o->err.kind == ERR_PEER) {
		peer_gone(d, p, o->err.text);
		return 0;
	}
	/* Whatever it says: that worker cannot hand it over, others may. */
	sched_fail(d->sched, now, p->worker, id, o->id.attempt, ERR_RETRY,
	    o->err.text);
	return 0;
}

static int
take_outcome(struct dispatch *d, const struct blob_outcome *o, struct err *e)
{
	struct peer *p = peer_by_token(d, o->token);
	struct dispatch_pull *pull;
	struct job_id id;

	if (o->id.job < d->base || o->id.job - d->base >= d->n_jobs)
		return 0;
	id.v = o->id.job - d->base;
	pull = &d->pull[id.v];
	if (!pull->on || pull->attempt != o->id.attempt)
		return 0;
	pull->on = false;
	d->n_pulls--;
	if (o->err.kind != ERR_NONE)
		return pull_failed(d, p, id, o, e);
	if (!is_shared(pull, pull->attempt))
		d->seen.bytes_pulled += pull->result.size;
	return dispatch_accept(d, pull->worker, pull->name, id, pull->attempt,
	    &pull->result.digest, &pull->result, e);
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
	size_t n = 0;

	for (size_t i = 0; d->n_pulls > 0 && i < d->n_jobs; i++)
		if (d->pull[i].on && d->pull[i].worker.v == p->worker.v)
			out[n++] = (struct sched_held){{i}, d->pull[i].attempt};
	return n;
}

void
dispatch_blobs_beat(struct dispatch *d)
{
	int64_t now = dispatch_now(d);

	if (d->n_pulls == 0 || now < d->pull_beat)
		return;
	d->pull_beat = now + FETCH_BEAT_MS;
	/* The pull has its own patience: while it goes on, the lease does. */
	for (size_t i = 0; i < d->n_jobs; i++)
		if (d->pull[i].on)
			sched_verifying(d->sched, now, d->pull[i].worker,
			    (struct job_id){i}, d->pull[i].attempt);
}
