/*
 * Makes one layer in one pass: store files or NARs (or entries, or a finished
 * tar) to tar, SHA-256, encoder, SHA-256 and the outputs; or measures its tar.
 * Runs in the thread that calls it; memory does not depend on the layer's size.
 */
#ifndef LAYER_RUN_H
#define LAYER_RUN_H

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#include "err.h"
#include "layer_spec.h"

struct encode_crew;
struct layer_inputs;
struct upload_place;
struct write_behind;

struct layer_job {
	struct layer_spec spec;
	struct layer_inputs *inputs;	 /* borrowed; NULL: no caches */
	const struct layer_item *item;	 /* LAYER_FROM_STORE */
	const struct layer_entry *entry; /* LAYER_FROM_ENTRIES */
	size_t n;			 /* items or entries */
	struct write_behind *behind;	 /* of the thread that runs it */
	struct encode_crew *crew;	 /* borrowed, or NULL */
	size_t files_ahead; /* so many are opened before they are read */
	/* Where the blob goes in place of all outputs; borrowed, or NULL. */
	struct upload_place *stream;
};

/*
 * Shared with the thread that watches; written by the job, read by it (the
 * rest once the job has ended).
 */
struct layer_progress {
	atomic_uint_fast64_t bytes; /* of tar made so far */
	atomic_bool cancel;	    /* set from outside: stop soon */
	/* What was wrong with a cache though the layer was made, or "". */
	char notice[ERR_TEXT_MAX];
	enum layer_stream stream;
	uint64_t read;	     /* bytes of files, by all tries of the job */
	atomic_bool sending; /* it waits for the registry */
};

/*
 * On success *out holds digests and sizes (measure: tar_size and entries
 * only) and all outputs are written.  ERR_JOB: the input can never become
 * this layer (a file changed, vanished, is a socket; narHash differs); the
 * text names the store path's file.  ERR_RETRY: this machine's trouble (disk
 * full, I/O error), a store path that neither its store nor its caches have,
 * or cancelled (sys ECANCELED).  Blobs of a failed job do not appear.  If
 * progress->stream says so, it was the registry's, and without it may do.
 */
int layer_run(const struct layer_job *job, struct layer_progress *progress,
    struct layer_result *out, struct err *e);

#endif
