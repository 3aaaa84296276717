#include "batch/batch_state.h"

#include <stdio.h>

#include "build/server_client.h"
#include "client/client.h"
#include "dispatch/dispatch.h"
#include "options/options.h"
#include "progress/progress.h"
#include "protocol.h"

static int
begin(struct batch *b, struct server_client *server,
    const struct dispatch_hooks *hooks, struct err *e)
{
	struct client_config config;
	char name[MSG_NAME_MAX + 1];

	client_defaults(&config);
	snprintf(name, sizeof(name), "%zu images", b->n);
	config.image = name;
	config.progress = b->progress;
	config.done = hooks->done;
	config.failed = hooks->failed;
	config.pushed = hooks->pushed;
	config.arg = hooks->arg;
	if (batch_homes_find(b, e) < 0)
		return -1;
	batch_homes_tell(b, &config.pushes, &config.n_pushes);
	if (server_client_keys(server, b->options, e) < 0)
		return -1;
	/* All that is missing may be known already: then nobody is asked. */
	if (b->n_store > 0 &&
	    server_client_open(server, b->options, &config, e) < 0)
		return -1;
	return server_client_worker(b->options, hooks, &b->encoding,
	    b->progress, b->scratch, &b->workers.dispatch, e);
}

/* Root layers first: then images are whole as the server makes layers. */
static int
run(struct batch *b, struct server_client *server, struct err *why)
{
	int rc;

	progress_phase(b->progress, "building root layers");
	b->first = b->n_store;
	b->running = true;
	rc = dispatch_run(b->workers.dispatch, b->job + b->n_store,
	    b->n_jobs - b->n_store, why);
	b->running = false;
	dispatch_inputs(b->workers.dispatch, &b->read, &b->fetched);
	dispatch_freep(&b->workers.dispatch);
	if (rc < 0 || b->n_store == 0)
		return rc;
	progress_phase(b->progress, "building layers");
	progress_tell_jobs(b->progress);
	rc = client_run(server->client, b->job, b->n_store, why);
	/* Of what the server knew that is nothing. */
	for (size_t i = 0; i < b->n_store; i++) {
		b->read += b->job[i].made->result.bytes_read;
		b->fetched += b->job[i].made->result.fetched;
	}
	return rc;
}

int
batch_jobs_by_server(struct batch *b, struct err *why, struct err *e)
{
	struct server_client server = {.client = NULL};
	const struct dispatch_hooks hooks = batch_jobs_hooks(b);
	int rc = begin(b, &server, &hooks, e);

	if (rc == 0)
		run(b, &server, why);
	server_client_close(&server);
	return rc;
}
