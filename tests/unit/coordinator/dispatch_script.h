/*
 * A dispatch that stays up, over TCP on this machine, for tests whose workers
 * are scripted, in the same thread.  Whoever includes this has included
 * cmocka.h.
 */
#ifndef DISPATCH_SCRIPT_H
#define DISPATCH_SCRIPT_H

#include <unistd.h>

#include <zmq.h>

#include "dispatch/dispatch.h"
#include "dispatch/dispatch_state.h"
#include "err.h"
#include "link.h"
#include "process/scratch.h"
#include "progress/progress.h"
#include "protocol.h"

struct dispatch_script {
	void *ctx; /* of the workers */
	struct scratch *scratch;
	struct progress *progress;
	struct dispatch *d; /* once begun */
};

static struct err e;

static inline void
script_open(struct dispatch_script *s)
{
	err_clear(&e);
	assert_int_equal(scratch_new(&s->scratch, &e), 0);
	assert_int_equal(progress_new(PROGRESS_NONE, &s->progress, &e), 0);
	assert_non_null(s->ctx = zmq_ctx_new());
}

/* config: what the test wants beside the rest. */
static inline void
script_begin(struct dispatch_script *s, struct dispatch_config config)
{
	const struct layer_output to = {
	    .kind = LAYER_TO_BLOB, .path = "/tmp/no-such-folder"};

	config.listen = "tcp://127.0.0.1:*";
	config.progress = s->progress;
	config.all_encodings = true;
	assert_int_equal(dispatch_new(&config, s->scratch, &s->d, &e), 0);
	assert_int_equal(dispatch_begin(s->d, &to, &e), 0);
}

/* After the workers' links. */
static inline void
script_close(struct dispatch_script *s)
{
	dispatch_free(s->d);
	zmq_ctx_term(s->ctx);
	progress_free(s->progress);
	scratch_free(s->scratch);
}

/* A worker that has said HELLO. */
static inline struct link *
script_join(struct dispatch_script *s, struct msg_hello hello)
{
	struct msg m = {.type = MSG_HELLO};
	struct link *worker = NULL;

	hello.protocol = PROTOCOL_VERSION;
	hello.program = QUARRY_VERSION;
	hello.gzip = "g";
	hello.zstd = "z";
	hello.fetches = true;
	m.hello = hello;
	assert_int_equal(link_connect(s->ctx, link_endpoint(s->d->remote), NULL,
			     &worker, &e),
	    0);
	while (link_send(worker, NULL, &m, &e) < 0) {
		err_clear(&e);
		usleep(1000);
	}
	return worker;
}

static struct layer_spec script_spec = {.store_dir = "/nix/store",
    .store_root = "",
    .uname = "root",
    .gname = "root",
    .file = ""};
static struct layer_item script_item = {
    .path = "/nix/store/0123456789abcdfghijklmnpqrsvwxy1-one"};

/* Of whatever was done last. */
static struct dispatch_made script_made;

static inline struct dispatch_job
new_job(void)
{
	return (struct dispatch_job){.spec = &script_spec,
	    .item = &script_item,
	    .n = 1,
	    .weight = 1000,
	    .label = "layer",
	    .made = &script_made};
}

#endif
