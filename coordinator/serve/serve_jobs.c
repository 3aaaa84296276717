#include "serve/serve_state.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "transfer/blob_check.h"
#include "transfer/blob_offer.h"
#include "output/blob_request.h"
#include "dispatch/dispatch.h"
#include "dispatch/path_table.h"
#include "encoder_version.h"
#include "err.h"
#include "log.h"
#include "monotime.h"
#include "own.h"
#include "serve/serve_cache.h"

/* Of a suspect blob, between two looks at everything else. */
#define CHECK_STEPS 8
/* So long a job waits at most until workers have said who has its paths. */
#define LEARN_MS 1000

/* What was made, by whom, and how long it took. */
struct made {
	const char *worker;
	uint64_t ms;
};

/* The client may have it: it is offered before that is said. */
static int
give(struct serve *s, struct serve_client *c, const struct data_id *id,
    const struct layer_result *r, bool encoded, const struct made *made,
    struct err *e)
{
	struct msg m = {.type = MSG_MADE};

	if (serve_offer(s, c, id, r, encoded, e) < 0)
		return -1;
	if (made != NULL) {
		m.made = (struct msg_made){.job = id->job,
		    .attempt = id->attempt,
		    .worker = made->worker,
		    .ms = made->ms};
		serve_client_say(s, c, &m);
	}
	m = (struct msg){.type = MSG_DONE,
	    .done = {.job = id->job, .attempt = id->attempt, .result = *r}};
	serve_client_say(s, c, &m);
	c->done++;
	return 0;
}

static int
give_all(struct serve *s, struct serve_job *job, const struct layer_result *r,
    const struct made *made, struct err *e)
{
	bool encoded = job->order->spec.encoding.kind != ENCODING_NONE;
	struct serve_want *w;

	TAILQ_FOREACH(w, &job->wants, of_job)
	if (give(s, w->flow->client, &w->id, r, encoded, made, e) < 0)
		return -1;
	return 0;
}

/* Learning. */

static void
learnt(struct serve *s, struct serve_order *o)
{
	if (o->learns_until != 0)
		TAILQ_REMOVE(&s->learning, o, learning);
	o->learns_until = 0;
}

/* A held job waits for its turn once it is known who has its store paths. */
static int
learn(struct serve *s, struct serve_job *job, struct err *e)
{
	struct serve_order *o = job->order;

	if (dispatch_learn(s->dispatch, &o->job, e) < 0)
		return -1;
	if (dispatch_knows(s->dispatch, &o->job)) {
		serve_queue_release(s->queue, job);
		return 0;
	}
	o->learns_until = serve_now(s) + LEARN_MS;
	TAILQ_INSERT_TAIL(&s->learning, o, learning);
	return 0;
}

/* What the first one waits for the others do, too, as a rule. */
static void
learn_tick(struct serve *s)
{
	struct serve_order *o;

	while ((o = TAILQ_FIRST(&s->learning)) != NULL &&
	    (serve_now(s) >= o->learns_until ||
		dispatch_knows(s->dispatch, &o->job))) {
		learnt(s, o);
		serve_queue_release(s->queue, o->owner);
	}
}

int64_t
serve_jobs_deadline(const struct serve *s)
{
	const struct serve_order *o = TAILQ_FIRST(&s->learning);

	return o == NULL ? INT64_MAX : o->learns_until;
}

static void
end(struct serve *s, struct serve_job *job)
{
	learnt(s, job->order);
	dispatch_unlearn(s->dispatch, &job->order->job);
	serve_order_free(job->order);
	serve_queue_end(s->queue, job);
}

static void
fail_all(struct serve *s, struct serve_job *job, const struct err *why)
{
	enum err_kind kind = why->kind == ERR_JOB ? ERR_JOB : ERR_RETRY;
	size_t label = strlen(job->order->label);
	const char *text = why->text;
	struct serve_want *w;

	log_line(LOG_WARNING, "%s", text);
	/* Each client has a name of its own for it. */
	if (strncmp(text, job->order->label, label) == 0 &&
	    strncmp(text + label, ": ", 2) == 0)
		text += label + 2;
	TAILQ_FOREACH(w, &job->wants, of_job)
	serve_refuse(s, w->flow->client, &w->id, kind, text);
	end(s, job);
}

/* Checks. */

static void
check_free(struct serve *s, struct serve_check *check)
{
	if (check == NULL)
		return;
	TAILQ_REMOVE(&s->checks, check, entry);
	check->job->order->check = NULL;
	serve_cache_drop(s->cache, &check->result.digest);
	blob_check_free(check->check);
	free(check->request);
	free(check);
}

/* The reference to the blob is the check's from then on. */
static int
check_begin(struct serve *s, struct serve_job *job,
    const struct layer_result *r, struct err *e)
{
	struct serve_check *check = calloc(1, sizeof(*check));

	if (check == NULL ||
	    (check->request = calloc(1, sizeof(*check->request))) == NULL) {
		free(check);
		return err_set(e, ERR_FATAL, errno, "check");
	}
	check->job = job;
	job->order->check = check;
	check->result = *r;
	check->request->way = BLOB_CHECK;
	check->request->result = *r;
	check->request->encoded =
	    job->order->spec.encoding.kind != ENCODING_NONE;
	check->request->n_outputs = 1;
	check->request->outputs[0] = (struct layer_output){
	    .kind = LAYER_TO_BLOB, .path = serve_cache_pins(s->cache)};
	TAILQ_INSERT_TAIL(&s->checks, check, entry);
	return blob_check_new(check->request, monotime_ms(), &check->check, e);
}

/* It is as it was said to be; or it is not, and is made again. */
static int
check_ended(struct serve *s, struct serve_check *check, const struct err *bad,
    struct err *e)
{
	struct serve_job *job = check->job;
	int rc;

	if (bad != NULL) {
		log_line(LOG_WARNING, "layer cache: %s: it is made again",
		    bad->text);
		serve_cache_condemn(
		    s->cache, &job->order->cache_key, &check->result.digest);
		check_free(s, check);
		return learn(s, job, e);
	}
	serve_cache_trust(s->cache, &check->result.digest);
	s->cached += job->n_wants;
	job->known = true;
	rc = give_all(s, job, &check->result, NULL, e);
	check_free(s, check);
	end(s, job);
	return rc;
}

int
serve_checks_step(struct serve *s, struct err *e)
{
	struct serve_check *check;

	for (int i = 0; i < CHECK_STEPS; i++) {
		struct err bad = ERR_INIT;
		int rc;

		if ((check = TAILQ_FIRST(&s->checks)) == NULL)
			return 0;
		rc = blob_check_step(check->check, monotime_ms(), &bad);
		if (rc != 0 &&
		    check_ended(s, check, rc < 0 ? &bad : NULL, e) < 0)
			return -1;
	}
	return 1;
}

/* Jobs. */

/*
 * Besides what its bytes depend on, all that makes a job fail: whether it is
 * verified, and the sizes that are expected then.  A client that is wrong must
 * not take others along.
 */
static int
share_key(const struct serve_order *o, struct digest *out, struct err *e)
{
	AUTO(sha256_freep) struct sha256 *h = NULL;
	const uint8_t verify = o->spec.verify;

	if (sha256_new(&h, e) < 0)
		return -1;
	sha256_update(h, o->cache_key.b, DIGEST_SIZE);
	sha256_update(h, &verify, sizeof(verify));
	for (size_t i = 0; i < o->n; i++)
		sha256_update(
		    h, &o->item[i].nar_size, sizeof(o->item[i].nar_size));
	sha256_final(h, out);
	return 0;
}

/* A new job, which owns its order. */
static int
job_new(struct serve *s, struct serve_client *c, const struct data_id *id,
    const struct digest *key, struct serve_order **order,
    struct serve_job **out, struct err *e)
{
	struct serve_order *o = *order;

	/* What is learned of it takes memory, too. */
	o->bytes += o->n * sizeof(struct path_need);
	if (serve_queue_add(s->queue, key, o->weight, o->bytes, out, e) < 0)
		return -1;
	(*out)->order = o;
	o->owner = *out;
	*order = NULL;
	return serve_queue_want(s->queue, c->flow, *out, id, o->bytes, e);
}

int
serve_job_wanted(struct serve *s, struct serve_client *c,
    const struct data_id *id, struct serve_order **order, struct err *e)
{
	struct serve_order *o = *order;
	bool encoded = o->spec.encoding.kind != ENCODING_NONE;
	enum serve_found found = SERVE_MISSING;
	struct layer_result r;
	struct serve_job *job;
	struct digest key;

	if (o->has_key) {
		if (share_key(o, &key, e) < 0)
			return -1;
		if ((job = serve_queue_find(s->queue, &key)) != NULL)
			return serve_queue_want(
			    s->queue, c->flow, job, id, o->bytes, e);
		found = serve_cache_find(
		    s->cache, &o->cache_key, o->spec.verify, &r);
	}
	if (found == SERVE_FOUND) {
		int rc = give(s, c, id, &r, encoded, NULL, e);

		serve_cache_drop(s->cache, &r.digest);
		s->cached++;
		return rc;
	}
	if (job_new(s, c, id, o->has_key ? &key : NULL, order, &job, e) < 0)
		return -1;
	if (found == SERVE_SUSPECT)
		return check_begin(s, job, &r, e);
	return learn(s, job, e);
}

int
serve_job_cancel(struct serve *s, struct serve_client *c,
    const struct data_id *id, struct err *e)
{
	struct serve_want *w = serve_queue_want_of(c->flow, id);

	if (w != NULL) {
		serve_queue_unwant(s->queue, w, INT64_MIN);
		serve_refuse(s, c, id, ERR_RETRY, "cancelled");
	}
	return serve_offer_cancel(s, c, id, e);
}

int
serve_job_done(void *serve, const struct dispatch_job *job, struct err *e)
{
	/* The job is the order's first. */
	const struct serve_order *o = (const struct serve_order *)job;
	const struct made made = {
	    o->made.worker, (uint64_t)(o->made.seconds * 1000)};
	struct serve *s = serve;
	struct err why = ERR_INIT;
	int rc;

	serve_cache_put(s->cache, o->has_key ? &o->cache_key : NULL,
	    &o->made.result, o->spec.verify, &why);
	if (why.kind != ERR_NONE) {
		fail_all(s, o->owner, &why);
		return 0;
	}
	log_line(LOG_DEBUG, "%s: %llu bytes by %s", o->label,
	    (unsigned long long)o->made.result.tar_size, o->made.worker);
	rc = give_all(s, o->owner, &o->made.result, &made, e);
	serve_cache_drop(s->cache, &o->made.result.digest);
	end(s, o->owner);
	return rc;
}

int
serve_job_failed(void *serve, const struct dispatch_job *job,
    const struct err *why, struct err *e)
{
	const struct serve_order *o = (const struct serve_order *)job;

	(void)e;
	fail_all(serve, o->owner, why);
	return 0;
}

void
serve_job_end_unwanted(struct serve *s, struct serve_job *job)
{
	if (job->state == SERVE_RUNNING)
		dispatch_cancel(s->dispatch, job->id);
	check_free(s, job->order->check);
	end(s, job);
}

/* Which encoder workers have is known only now, if nobody was there before. */
static int
start(struct serve *s, struct serve_job *job, struct err *e)
{
	const struct serve_order *o = job->order;
	const char *encoder =
	    dispatch_encoder(s->dispatch, o->spec.encoding.kind);
	struct err why = ERR_INIT;

	if (strcmp(o->encoder, encoder) == 0)
		return dispatch_add(s->dispatch, &job->order->job, &job->id, e);
	err_set(&why, ERR_JOB, 0,
	    "its layers are of %.80s, those that are made here of %.80s",
	    o->encoder, encoder);
	fail_all(s, job, &why);
	return 0;
}

int
serve_jobs_tick(struct serve *s, struct err *e)
{
	struct serve_job *job;
	size_t wanted;

	while ((job = serve_queue_expired(s->queue, serve_now(s))) != NULL)
		serve_job_end_unwanted(s, job);
	learn_tick(s);
	serve_wait_tick(s);
	serve_queue_share(s->queue, dispatch_share(s->dispatch));
	for (wanted = dispatch_wants(s->dispatch); wanted > 0; wanted--)
		if ((job = serve_queue_next(s->queue)) == NULL)
			break;
		else if (start(s, job, e) < 0)
			return -1;
	return 0;
}

void
serve_jobs_clear(struct serve *s)
{
	struct serve_job *job;

	if (s->queue == NULL)
		return;
	while ((job = serve_queue_any(s->queue)) != NULL)
		serve_job_end_unwanted(s, job);
}
