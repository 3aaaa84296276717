#include "layer_sink.h"

#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>

#include "blob_dir.h"
#include "blob_stream.h"
#include "err.h"
#include "layer_spec.h"
#include "own.h"
#include "sink.h"

struct layer_sink {
	struct sink *head;
	struct write_behind *behind;
	struct encode_crew *crew;
	struct blob_stream *stream; /* or NULL */
	bool encoded;
	struct digest diff_id, digest;
	uint64_t tar_size, size;
	struct blob_writer *blob[LAYER_OUTPUTS_MAX];
	size_t n_blobs;
};

/* In place of all outputs. */
static int
open_stream(struct layer_sink *ls, struct sink **next, size_t *n, struct err *e)
{
	if (sink_stream_new(ls->stream, &next[*n], e) < 0)
		return -1;
	++*n;
	return 0;
}

/* Appends to next[] the outputs that take the tar, or those that take blobs. */
static int
open_outputs(struct layer_sink *ls, const struct layer_spec *spec, bool tar,
    struct sink **next, size_t *n, struct err *e)
{
	if (ls->stream != NULL)
		return tar ? 0 : open_stream(ls, next, n, e);
	for (size_t i = 0; i < spec->n_outputs; i++) {
		const struct layer_output *o = &spec->outputs[i];
		struct blob_writer **w = &ls->blob[ls->n_blobs];

		if (tar !=
		    (o->kind == LAYER_TO_FILE || o->kind == LAYER_TO_SPOOL_TAR))
			continue;
		if (o->kind != LAYER_TO_BLOB) {
			if (sink_file_new(o->path, o->offset,
				tar ? o->size : LAYER_SIZE_UNKNOWN, ls->behind,
				&next[*n], e) < 0)
				return -1;
		} else {
			if (blob_writer_new(o->path, ls->behind, w, e) < 0)
				return -1;
			ls->n_blobs++;
			if (sink_blob_new(*w, &next[*n], e) < 0)
				return -1;
		}
		++*n;
	}
	return 0;
}

static void
free_all(struct sink **s, size_t n)
{
	for (size_t i = 0; i < n; i++)
		sink_free(s[i]);
}

/* Encoder, hash and blobs, as one sink. */
static int
open_encoder(struct layer_sink *ls, const struct layer_spec *spec,
    struct sink **out, struct err *e)
{
	struct sink *next[SINK_TEE_MAX], *tee, *hash;
	size_t n = 0;

	if (open_outputs(ls, spec, false, next, &n, e) < 0) {
		free_all(next, n);
		return -1;
	}
	if (sink_tee_new(next, n, &tee, e) < 0 ||
	    sink_hash_new(tee, &ls->digest, &ls->size, &hash, e) < 0)
		return -1;
	return sink_encode_new(hash, &spec->encoding, ls->crew, out, e);
}

static int
open_chain(struct layer_sink *ls, const struct layer_spec *spec, struct err *e)
{
	struct sink *next[SINK_TEE_MAX], *tee;
	size_t n = 0;
	int rc;

	rc = open_outputs(ls, spec, true, next, &n, e);
	if (rc == 0 && ls->encoded &&
	    (rc = open_encoder(ls, spec, &next[n], e)) == 0)
		n++;
	else if (rc == 0 && !ls->encoded)
		rc = open_outputs(ls, spec, false, next, &n, e);
	if (rc < 0) {
		free_all(next, n);
		return -1;
	}
	if (sink_tee_new(next, n, &tee, e) < 0 ||
	    (n > 0 && sink_async_new(tee, &tee, e) < 0))
		return -1;
	return sink_hash_new(tee, &ls->diff_id, &ls->tar_size, &ls->head, e);
}

int
layer_sink_new(const struct layer_spec *spec, struct write_behind *behind,
    struct encode_crew *crew, struct blob_stream *stream,
    struct layer_sink **out, struct err *e)
{
	AUTO(layer_sink_freep) struct layer_sink *ls = NULL;

	if (spec->n_outputs > LAYER_OUTPUTS_MAX)
		return err_set(e, ERR_JOB, 0, "%zu outputs, at most %d",
		    spec->n_outputs, LAYER_OUTPUTS_MAX);
	if (encoding_check(&spec->encoding, e) < 0)
		return -1;
	if ((ls = calloc(1, sizeof(*ls))) == NULL)
		return err_set(e, ERR_RETRY, errno, "layer");
	ls->behind = behind;
	ls->crew = crew;
	ls->stream = stream;
	ls->encoded = spec->encoding.kind != ENCODING_NONE;
	if (open_chain(ls, spec, e) < 0)
		return -1;
	*out = STEAL(&ls);
	return 0;
}

int
layer_sink_write(
    struct layer_sink *ls, const void *data, size_t len, struct err *e)
{
	return sink_write(ls->head, data, len, e);
}

/*
 * Every byte has gone the whole way before the first blob appears.  Should a
 * later folder's disk fail then, the blobs before it stay: each is whole, and
 * nothing names them yet.
 */
int
layer_sink_commit(
    struct layer_sink *ls, struct layer_result *result, struct err *e)
{
	if (sink_close(ls->head, e) < 0)
		return -1;
	if (!ls->encoded) {
		ls->digest = ls->diff_id;
		ls->size = ls->tar_size;
	}
	if (ls->stream != NULL &&
	    blob_stream_finish(ls->stream, &ls->digest, ls->size, e) < 0)
		return -1;
	for (size_t i = 0; i < ls->n_blobs; i++)
		if (blob_commit(ls->blob[i], &ls->digest, e) < 0)
			return -1;
	result->diff_id = ls->diff_id;
	result->tar_size = ls->tar_size;
	result->digest = ls->digest;
	result->size = ls->size;
	return 0;
}

void
layer_sink_free(struct layer_sink *ls)
{
	if (ls == NULL)
		return;
	sink_free(ls->head);
	for (size_t i = 0; i < ls->n_blobs; i++)
		blob_writer_free(ls->blob[i]);
	free(ls);
}

void
layer_sink_freep(struct layer_sink **ls)
{
	layer_sink_free(*ls);
	*ls = NULL;
}
