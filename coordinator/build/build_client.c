#include "build/build_state.h"

#include <stdio.h>

#include "build/build_cache.h"
#include "build/build_shared.h"
#include "client/client.h"
#include "dispatch/dispatch.h"
#include "encoder_version.h"
#include "err.h"
#include "build/image_layers.h"
#include "build/server_client.h"
#include "output/output.h"
#include "progress/progress.h"
#include "protocol.h"

/*
 * The root layer is made of what is on this machine, so here; it is the last
 * job.
 */
static int
make_root(struct build *b, struct err *e)
{
	const struct dispatch_hooks hooks = {
	    .arg = b, .done = b->cache != NULL ? build_job_done : NULL};
	const struct encoding encoding = build_cache_encoding(b->options);

	progress_phase(b->progress, "building the root layer");
	if (server_client_worker(b->options, &hooks, &encoding, b->progress,
		b->scratch, &b->workers.dispatch, e) < 0 ||
	    dispatch_run(b->workers.dispatch, &b->job[b->n_jobs - 1], 1, e) < 0)
		return -1;
	dispatch_freep(&b->workers.dispatch);
	return 0;
}

/* The socket connects while the root layer is made. */
static int
make_layers(struct build *b, struct server_client *server, struct err *e)
{
	const struct image *image = &b->layers->image;
	struct client_config config;
	char name[MSG_NAME_MAX + 1];

	snprintf(name, sizeof(name), "%s%s%s", image->name,
	    image->tag != NULL ? ":" : "",
	    image->tag != NULL ? image->tag : "");
	client_defaults(&config);
	config.n_pushes = build_pushes(b);
	config.pushes = b->pushes;
	config.only_pushed = build_pushed_only(b, config.n_pushes);
	config.image = name;
	config.progress = b->progress;
	if (b->cache != NULL) {
		config.done = build_job_done;
		config.arg = b;
	}
	if (server_client_open(server, b->options, &config, e) < 0 ||
	    make_root(b, e) < 0)
		return -1;
	progress_phase(b->progress, "building layers");
	progress_tell_jobs(b->progress);
	if (client_run(server->client, b->job, b->n_jobs - 1, e) < 0)
		return -1;
	return build_pushed_check(b, server->client, e);
}

int
build_by_server(struct build *b, struct err *e)
{
	struct server_client server = {.client = NULL};
	int rc;

	if (server_client_keys(&server, b->options, e) < 0)
		return -1;
	/*
	 * Without sizes: nothing is written in place by the server's workers.
	 */
	for (size_t i = 0; i < b->n_outputs; i++)
		output_stage(b->output[i]);
	rc = build_place(b, e);
	/* All that is missing may be known already: then nobody is asked. */
	if (rc == 0)
		rc = b->n_jobs > 1 ? make_layers(b, &server, e)
				   : make_root(b, e);
	server_client_close(&server);
	build_shared_made_by(
	    b, encoder_version(build_cache_encoding(b->options).kind));
	return rc;
}
