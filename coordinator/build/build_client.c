#include "build/build_state.h"

#include <stdio.h>

#include "build/build_cache.h"
#include "build/build_shared.h"
#include "client/client.h"
#include "curve_key.h"
#include "dispatch/dispatch.h"
#include "encoder_version.h"
#include "err.h"
#include "build/image_layers.h"
#include "link.h"
#include "options/options.h"
#include "output/output.h"
#include "own.h"
#include "progress/progress.h"
#include "protocol.h"

/*
 * The root layer is made of what is on this machine, so here; it is the last
 * job.
 */
static int
make_root(struct build *b, struct err *e)
{
	const struct options *o = b->options;
	const enum encoding_kind kind = build_cache_encoding(o).kind;
	const struct dispatch_config config = {
	    .slots = 1,
	    .workers = 1,
	    .worker_program = o->worker_program,
	    .caches = &o->caches,
	    .progress = b->progress,
	    .encoding = o->encoding,
	    /* The server's is the same, or it does not take us. */
	    .encoder = kind != ENCODING_NONE ? encoder_version(kind) : NULL,
	    .hooks = {.arg = b,
		.done = b->cache != NULL ? build_job_done : NULL},
	};

	progress_phase(b->progress, "building the root layer");
	if (dispatch_new(&config, b->scratch, &b->workers.dispatch, e) < 0 ||
	    dispatch_run(b->workers.dispatch, &b->job[b->n_jobs - 1], 1, e) < 0)
		return -1;
	dispatch_freep(&b->workers.dispatch);
	return 0;
}

static int
read_keys(struct build *b, char server[static CURVE_KEY_LEN + 1], struct err *e)
{
	const struct options *o = b->options;

	if (curve_key_public(o->server_key, server, e) < 0)
		return err_ctx(e, "--server-key");
	if (curve_key_read(o->key_file, &b->key, e) < 0)
		return err_ctx(e, "--key");
	return 0;
}

/* The socket connects while the root layer is made. */
static int
make_layers(struct build *b, const struct link_keys *keys, struct err *e)
{
	const struct image *image = &b->layers->image;
	AUTO(client_freep) struct client *client = NULL;
	struct client_config config;
	char name[MSG_NAME_MAX + 1];

	snprintf(name, sizeof(name), "%s%s%s", image->name,
	    image->tag != NULL ? ":" : "",
	    image->tag != NULL ? image->tag : "");
	client_defaults(&config);
	config.endpoint = b->options->coordinator;
	config.keys = keys;
	config.image = name;
	config.progress = b->progress;
	if (b->cache != NULL) {
		config.done = build_job_done;
		config.done_arg = b;
	}
	if (client_new(&config, &client, e) < 0 || make_root(b, e) < 0)
		return -1;
	progress_phase(b->progress, "building layers");
	progress_tell_jobs(b->progress);
	return client_run(client, b->job, b->n_jobs - 1, e);
}

int
build_by_server(struct build *b, struct err *e)
{
	char server[CURVE_KEY_LEN + 1];
	const struct link_keys keys = {.own = &b->key, .server = server};
	bool has_keys = b->options->key_file != NULL;
	int rc;

	if (has_keys && read_keys(b, server, e) < 0)
		return -1;
	/* Without sizes: nothing is written in place by the server's workers.
	 */
	for (size_t i = 0; i < b->n_outputs; i++)
		output_stage(b->output[i]);
	if (build_place(b, e) < 0)
		return -1;
	/* All that is missing may be known already: then nobody is asked. */
	rc = b->n_jobs > 1 ? make_layers(b, has_keys ? &keys : NULL, e)
			   : make_root(b, e);
	build_shared_made_by(
	    b, encoder_version(build_cache_encoding(b->options).kind));
	curve_key_clear(&b->key);
	return rc;
}
