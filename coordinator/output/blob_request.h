/*
 * What is to be fetched or checked, as data: a layer that a worker says it
 * made, and where it belongs.  A copy owns its paths.
 */
#ifndef BLOB_REQUEST_H
#define BLOB_REQUEST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "data_protocol.h"
#include "err.h"
#include "layer_spec.h"

enum blob_way {
	BLOB_PULL, /* from the worker's spool into the outputs */
	BLOB_CHECK /* the worker wrote into the outputs: is it there? */
};

struct blob_request {
	enum blob_way way;
	uint8_t token[DATA_TOKEN_SIZE]; /* of the worker */
	struct data_id id;
	struct layer_result result; /* what the worker says */
	bool keep;    /* the spool does, after a pull that went well */
	bool encoded; /* else tar and blob are the same, and so the digests */
	struct layer_output outputs[LAYER_OUTPUTS_MAX]; /* file and blob only */
	size_t n_outputs;
};

/* What came of it. */
struct blob_outcome {
	struct data_id id;
	uint8_t token[DATA_TOKEN_SIZE];
	enum blob_way way;
	/*
	 * ERR_NONE: all is where it belongs.  ERR_PEER: the worker broke the
	 * protocol, or its bytes are not what it said; ERR_RETRY: it could
	 * not be had, another worker may do; ERR_JOB: the worker says so;
	 * ERR_FATAL: the output cannot be written.  The text names the worker
	 * (not for ERR_FATAL) and what differs.
	 */
	struct err err;
	bool broken; /* ERR_FATAL: the thread itself has failed, for all */
};

/* ERR_FATAL: no memory, ERR_PEER: the result contradicts itself. */
int blob_request_copy(
    const struct blob_request *from, struct blob_request *out, struct err *e);
void blob_request_clear(struct blob_request *r);

/* Whether the layer's tar (else: its blob) is needed for the outputs. */
bool blob_request_needs(const struct blob_request *r, enum data_form form);

/* Size and digest of a form, as the worker says. */
void blob_request_want(const struct blob_request *r, enum data_form form,
    uint64_t *size, struct digest *digest);

/*
 * spec as it is sent to a worker that does not share the outputs' folders:
 * file and blob outputs become spool outputs.  Strings are spec's.
 */
void blob_request_spool(const struct layer_spec *spec, struct layer_spec *out);

#endif
