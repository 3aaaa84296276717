#include "output/blob_request.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

int
blob_request_copy(
    const struct blob_request *from, struct blob_request *out, struct err *e)
{
	struct blob_request r = *from;

	if (r.n_outputs > LAYER_OUTPUTS_MAX)
		return err_set(e, ERR_FATAL, 0, "%zu outputs", r.n_outputs);
	if (!r.encoded &&
	    (!digest_equal(&r.result.digest, &r.result.diff_id) ||
		r.result.size != r.result.tar_size))
		return err_set(e, ERR_PEER, 0,
		    "its blob is not encoded, but is not its tar");
	if (r.result.size > INT64_MAX || r.result.tar_size > INT64_MAX)
		return err_set(e, ERR_PEER, 0, "its size is past any file's");
	for (size_t i = 0; i < r.n_outputs; i++) {
		const struct layer_output *o = &from->outputs[i];

		r.outputs[i].path = NULL;
		if (o->kind != LAYER_TO_FILE || o->size == LAYER_SIZE_UNKNOWN ||
		    o->size == r.result.tar_size)
			continue;
		return err_set(e, ERR_PEER, 0,
		    "its tar has %" PRIu64 " bytes, %" PRIu64 " were measured",
		    r.result.tar_size, o->size);
	}
	for (size_t i = 0; i < r.n_outputs; i++)
		if ((r.outputs[i].path = strdup(from->outputs[i].path)) ==
		    NULL) {
			err_set(e, ERR_FATAL, errno, "request");
			blob_request_clear(&r);
			return -1;
		}
	*out = r;
	return 0;
}

void
blob_request_clear(struct blob_request *r)
{
	for (size_t i = 0; i < r->n_outputs; i++)
		free((char *)r->outputs[i].path);
	memset(r, 0, sizeof(*r));
}

static bool
form_of(enum layer_output_kind kind, bool encoded, enum data_form *form)
{
	switch (kind) {
	case LAYER_TO_FILE:
		*form = DATA_TAR;
		return true;
	case LAYER_TO_BLOB:
		*form = encoded ? DATA_BLOB : DATA_TAR;
		return true;
	case LAYER_TO_SPOOL_TAR:
	case LAYER_TO_SPOOL_BLOB:
		break;
	}
	return false;
}

bool
blob_request_needs(const struct blob_request *r, enum data_form form)
{
	enum data_form of;

	for (size_t i = 0; i < r->n_outputs; i++)
		if (form_of(r->outputs[i].kind, r->encoded, &of) && of == form)
			return true;
	return false;
}

void
blob_request_want(const struct blob_request *r, enum data_form form,
    uint64_t *size, struct digest *digest)
{
	*size = form == DATA_TAR ? r->result.tar_size : r->result.size;
	*digest = form == DATA_TAR ? r->result.diff_id : r->result.digest;
}

void
blob_request_spool(const struct layer_spec *spec, struct layer_spec *out)
{
	bool encoded = spec->encoding.kind != ENCODING_NONE;
	bool wanted[] = {[DATA_TAR] = false, [DATA_BLOB] = false};
	uint64_t size = LAYER_SIZE_UNKNOWN;
	enum data_form form;

	*out = *spec;
	out->n_outputs = 0;
	for (size_t i = 0; i < spec->n_outputs; i++) {
		if (!form_of(spec->outputs[i].kind, encoded, &form))
			continue;
		wanted[form] = true;
		if (spec->outputs[i].kind == LAYER_TO_FILE)
			size = spec->outputs[i].size;
	}
	if (wanted[DATA_TAR])
		out->outputs[out->n_outputs++] = (struct layer_output){
		    .kind = LAYER_TO_SPOOL_TAR, .path = "", .size = size};
	if (wanted[DATA_BLOB])
		out->outputs[out->n_outputs++] = (struct layer_output){
		    .kind = LAYER_TO_SPOOL_BLOB, .path = "", .size = size};
}
