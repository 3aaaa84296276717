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
#include "own.h"
#include "protocol.h"

/* What is not pulled yet when a job of 0 bytes is: progress is never 0. */
#define FETCH_BEAT_MS 1000

#define PULLS_MIN 16

/*
 * A job whose result a worker of another machine has told, and whose bytes are
 * being pulled from its spool: until then the result counts for nothing.
 */
struct dispatch_pull {
	struct job_id job;
	bool differs; /* from the result that counts: only to be compared */
	struct worker_id worker;
	char name[64]; /* of the worker */
	uint64_t attempt;
	struct layer_result result;
};

static struct dispatch_pull *
pull_find(struct dispatch *d, struct job_id id)
{
	uint64_t hash = hash_number(d->hash_seed, id.v);
	size_t at;
	uint32_t i = hash_index_first(&d->pull_of, hash, &at);

	while (i != HASH_INDEX_NONE && d->pull[i].job.v != id.v)
		i = hash_index_next(&d->pull_of, hash, &at);
	return i == HASH_INDEX_NONE ? NULL : &d->pull[i];
}

static int
pull_reserve(struct dispatch *d, struct err *e)
{
	size_t room = d->room_pulls == 0 ? PULLS_MIN : 2 * d->room_pulls;
	struct dispatch_pull *pull;

	if (d->n_pulls < d->room_pulls)
		return 0;
	if ((pull = reallocarray(d->pull, room, sizeof(*pull))) != NULL)
		d->pull = pull;
	if (pull == NULL || hash_index_reserve(&d->pull_of, room) < 0)
		return err_set(e, ERR_FATAL, errno, "layers to fetch");
	d->room_pulls = room;
	return 0;
}

/* There must be room. */
static void
pull_put(struct dispatch *d, const struct peer *p, struct job_id id,
    uint64_t attempt, const struct layer_result *r, bool differs)
{
	struct dispatch_pull *pull = &d->pull[d->n_pulls];

	*pull = (struct dispatch_pull){.job = id,
	    .differs = differs,
	    .worker = p->worker,
	    .attempt = attempt,
	    .result = *r};
	memcpy(pull->name, p->name, sizeof(pull->name));
	hash_index_put(&d->pull_of, hash_number(d->hash_seed, id.v),
	    (uint32_t)d->n_pulls++);
	d->n_differ += differs;
}

/* The last one takes its place. */
static void
pull_remove(struct dispatch *d, struct dispatch_pull *pull)
{
	uint32_t at = (uint32_t)(pull - d->pull), last;

	d->n_differ -= pull->differs;
	last = (uint32_t)--d->n_pulls;
	hash_index_remove(
	    &d->pull_of, hash_number(d->hash_seed, pull->job.v), at);
	if (at == last)
		return;
	*pull = d->pull[last];
	hash_index_change(
	    &d->pull_of, hash_number(d->hash_seed, pull->job.v), last, at);
}

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

static void
forget_pulls(struct dispatch *d)
{
	own_freep(&d->flags);
	own_freep(&d->pull);
	hash_index_free(&d->pull_of);
	d->n_pulls = d->room_pulls = d->n_differ = 0;
}

void
dispatch_blobs_close(struct dispatch *d)
{
	blob_fetch_freep(&d->fetch);
	forget_pulls(d);
}

int
dispatch_blobs_start(struct dispatch *d, struct err *e)
{
	forget_pulls(d);
	if ((d->flags = calloc(d->n_jobs + 1, sizeof(*d->flags))) == NULL)
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

bool
dispatch_blobs_is(const struct dispatch *d, struct job_id id, unsigned flag)
{
	return (d->flags[id.v] & flag) != 0;
}

void
dispatch_blobs_set(struct dispatch *d, struct job_id id, unsigned flag)
{
	d->flags[id.v] |= (uint8_t)flag;
}

/* Whether the attempt went to one that writes into the outputs itself. */
static unsigned
shared_bit(uint64_t attempt)
{
	_Static_assert(1u << SCHED_ATTEMPTS_KNOWN <= JOB_FLAG_DONE,
	    "a bit for each attempt that may still answer");
	return 1u << attempt % SCHED_ATTEMPTS_KNOWN;
}

void
dispatch_blobs_sent(
    struct dispatch *d, struct job_id id, uint64_t attempt, bool shares)
{
	const unsigned bit = shared_bit(attempt);

	d->flags[id.v] &= (uint8_t)~bit;
	if (shares)
		dispatch_blobs_set(d, id, bit);
}

static int
drop(struct dispatch *d, const struct peer *p, struct job_id id,
    uint64_t attempt, struct err *e)
{
	const struct data_id data = data_id(d, id, attempt);

	return blob_fetch_drop(d->fetch, p->token, &data, e);
}

/* BLOB_PULL's; the outputs are the job's. */
static void
request_for(struct dispatch *d, const struct peer *p, struct job_id id,
    uint64_t attempt, const struct layer_result *r, struct blob_request *out)
{
	const struct layer_spec *spec = d->job[id.v].spec;

	*out = (struct blob_request){
	    .way = BLOB_PULL,
	    .id = data_id(d, id, attempt),
	    .result = *r,
	    .encoded = spec->encoding.kind != ENCODING_NONE,
	    .n_outputs = spec->n_outputs,
	};
	memcpy(out->token, p->token, sizeof(out->token));
	memcpy(out->outputs, spec->outputs, sizeof(out->outputs));
}

int
dispatch_blobs_pull(struct dispatch *d, struct peer *p, struct job_id id,
    uint64_t attempt, const struct layer_result *r, struct err *e)
{
	const struct dispatch_pull *pull = pull_find(d, id);
	struct blob_request request;
	struct err bad = ERR_INIT;

	if (pull != NULL) {
		/* Said twice, or another one's copy: one is enough. */
		if (pull->worker.v == p->worker.v && pull->attempt == attempt)
			return 0;
		sched_postpone(
		    d->sched, dispatch_now(d), p->worker, id, attempt);
		return drop(d, p, id, attempt, e);
	}
	if (pull_reserve(d, e) < 0)
		return -1;
	request_for(d, p, id, attempt, r, &request);
	if (dispatch_blobs_is(d, id, shared_bit(attempt)))
		request.way = BLOB_CHECK;
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
	pull_put(d, p, id, attempt, r, false);
	return 0;
}

bool
dispatch_blobs_pull_copy(struct dispatch *d, const struct peer *p,
    struct job_id id, uint64_t attempt, const struct layer_result *r)
{
	const struct dispatch_pull *pull = pull_find(d, id);
	const char *folder = dispatch_audit_folder(d);
	struct blob_request request;
	struct err bad = ERR_INIT;

	if (pull != NULL)
		return pull->worker.v == p->worker.v &&
		    pull->attempt == attempt;
	/* One that shares the outputs has put it there, if anywhere. */
	if (folder == NULL || dispatch_blobs_is(d, id, shared_bit(attempt)))
		return false;
	request_for(d, p, id, attempt, r, &request);
	request.outputs[0] =
	    (struct layer_output){.kind = LAYER_TO_BLOB, .path = folder};
	request.n_outputs = 1;
	if (pull_reserve(d, &bad) < 0 ||
	    blob_fetch_add(d->fetch, &request, &bad) < 0) {
		log_line(LOG_WARNING, "worker %s: its copy of %s: %s", p->name,
		    d->job[id.v].label, bad.text);
		return false;
	}
	pull_put(d, p, id, attempt, r, true);
	return true;
}

int
dispatch_blobs_drop(struct dispatch *d, const struct peer *p, struct job_id id,
    uint64_t attempt, struct err *e)
{
	struct dispatch_pull *pull = pull_find(d, id);

	if (!dispatch_blobs_wanted(d, p, id))
		return 0;
	if (pull != NULL && pull->worker.v == p->worker.v &&
	    pull->attempt == attempt)
		pull_remove(d, pull);
	return drop(d, p, id, attempt, e);
}

/* A pull that came to nothing: whose fault, and what follows. */
static int
pull_failed(struct dispatch *d, struct peer *p,
    const struct dispatch_pull *pull, const struct blob_outcome *o,
    struct err *e)
{
	int64_t now = dispatch_now(d);

	if (o->err.kind == ERR_FATAL) {
		*e = o->err;
		return -1;
	}
	log_line(LOG_WARNING, "worker %s: attempt %llu of %s: %s", pull->name,
	    (unsigned long long)o->id.attempt, d->job[pull->job.v].label,
	    o->err.text);
	if (o->err.kind == ERR_PEER) {
		if (p != NULL)
			peer_gone(d, p, o->err.text);
		return 0;
	}
	/* That it differs it has said; why will not be known. */
	if (pull->differs)
		return dispatch_accept(d, pull->worker, pull->name, pull->job,
		    pull->attempt, &pull->result.digest, &pull->result, e);
	if (p == NULL)
		return 0; /* its jobs went elsewhere when it did */
	/* Whatever it says: that worker cannot hand it over, others may. */
	sched_fail(d->sched, now, p->worker, pull->job, o->id.attempt,
	    ERR_RETRY, o->err.text);
	return 0;
}

static int
take_outcome(struct dispatch *d, const struct blob_outcome *o, struct err *e)
{
	struct peer *p = peer_by_token(d, o->token);
	struct dispatch_pull *at, pull;
	struct job_id id;

	if (!dispatch_job_of(d, o->id.job, &id))
		return 0;
	at = pull_find(d, id);
	if (at == NULL || at->attempt != o->id.attempt)
		return 0;
	pull = *at;
	pull_remove(d, at);
	if (o->err.kind != ERR_NONE)
		return pull_failed(d, p, &pull, o, e);
	return dispatch_accept(d, pull.worker, pull.name, id, pull.attempt,
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
	size_t n = 0;

	for (size_t i = 0; i < d->n_pulls; i++)
		if (d->pull[i].worker.v == p->worker.v)
			out[n++] = (struct sched_held){
			    d->pull[i].job, d->pull[i].attempt};
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
	for (size_t i = 0; i < d->n_pulls; i++)
		sched_verifying(d->sched, now, d->pull[i].worker,
		    d->pull[i].job, d->pull[i].attempt);
}
