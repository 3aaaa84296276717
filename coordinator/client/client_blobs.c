#include "client/client_state.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "transfer/blob_fetch.h"
#include "data_endpoint.h"
#include "dispatch/dispatch.h"
#include "err.h"
#include "own.h"

int
client_blobs_open(struct client *c, const struct msg_welcome *m, struct err *e)
{
	const struct blob_fetch_server server = {
	    .name = c->config.endpoint, .token = m->token};
	AUTO(own_freep) char *endpoint = NULL;
	struct blob_fetch_config config;

	client_blobs_close(c);
	if (data_endpoint(c->config.endpoint, m->data, &endpoint, e) < 0) {
		e->kind = ERR_FATAL;
		return err_ctx(e, "server %s", c->config.endpoint);
	}
	if ((c->data = strdup(m->data)) == NULL)
		return err_set(e, ERR_FATAL, errno, "data endpoint");
	memcpy(c->token, m->token, sizeof(c->token));
	blob_fetch_defaults(&config);
	config.endpoint = endpoint;
	config.keys = c->config.keys;
	config.server = &server;
	config.pace.silent_ms = c->config.pace.pull_silent_ms;
	return blob_fetch_new(c->ctx, &config, &c->fetch, e);
}

void
client_blobs_close(struct client *c)
{
	blob_fetch_freep(&c->fetch);
	free(c->data);
	c->data = NULL;
}

static int
drop(struct client *c, size_t i, struct err *e)
{
	const struct data_id id = {
	    .job = c->base + i, .attempt = c->want[i].attempt};

	return blob_fetch_drop(c->fetch, c->token, &id, e);
}

int
client_blobs_refuse(struct client *c, size_t i, const char *why, struct err *e)
{
	if (drop(c, i, e) < 0)
		return -1;
	return client_job_again(c, i, why, e);
}

int
client_blobs_pull(struct client *c, size_t i, struct err *e)
{
	const struct layer_spec *spec = c->job[i].spec;
	struct want *w = &c->want[i];
	struct blob_request request = {
	    .way = BLOB_PULL,
	    .id = {.job = c->base + i, .attempt = w->attempt},
	    .result = w->result,
	    .encoded = spec->encoding.kind != ENCODING_NONE,
	    .n_outputs = spec->n_outputs,
	    .keep = w->pushing,
	};
	struct err bad = ERR_INIT;

	/* Only its digests are of interest. */
	if (spec->n_outputs == 0)
		return drop(c, i, e) < 0 ? -1 : client_job_done(c, i, e);
	memcpy(request.token, c->token, sizeof(request.token));
	memcpy(request.outputs, spec->outputs, sizeof(request.outputs));
	w->kept = w->pushing;
	if (blob_fetch_add(c->fetch, &request, &bad) == 0) {
		w->step = WANT_MADE;
		return 0;
	}
	if (bad.kind != ERR_PEER) {
		*e = bad;
		return -1;
	}
	return client_blobs_refuse(c, i, bad.text, e);
}

int
client_blobs_collect(struct client *c, struct err *e)
{
	struct blob_outcome o;

	while (c->fetch != NULL && blob_fetch_take(c->fetch, &o)) {
		int rc;
		size_t i;

		if (!client_job_of(c, o.id.job, o.id.attempt, WANT_MADE, &i))
			continue;
		if (o.err.kind == ERR_FATAL) {
			*e = o.err;
			return -1;
		}
		/* It was kept to be pushed, which is over before it. */
		if (o.err.kind == ERR_NONE && c->want[i].kept &&
		    !c->want[i].pushing && client_push_end(c, i, e) < 0)
			return -1;
		/* What was damaged the fetch has dropped. */
		rc = o.err.kind == ERR_NONE
		    ? client_job_done(c, i, e)
		    : client_job_again(c, i, o.err.text, e);
		if (rc < 0)
			return -1;
	}
	return 0;
}
