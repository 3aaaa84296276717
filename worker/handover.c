#include "handover.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "blob_serve.h"
#include "data_endpoint.h"
#include "data_protocol.h"
#include "err.h"
#include "job.h"
#include "own.h"
#include "spool.h"

/* Between two chunks a thread looks whether it is to end. */
#define REJOIN_MS 5000

struct handover {
	struct spool *spool;
	struct blob_serve *serve;
};

int
handover_join(void *ctx, const struct handover_config *config,
    struct handover **h, struct err *e)
{
	AUTO(own_freep) char *endpoint = NULL;
	struct blob_serve_config serve = {.keys = config->keys,
	    .token = config->token,
	    .hello_ms = DATA_HELLO_MS};

	if (data_endpoint(config->control, config->data, &endpoint, e) < 0)
		return -1;
	serve.endpoint = endpoint;
	if (*h == NULL) {
		if ((*h = calloc(1, sizeof(**h))) == NULL)
			return err_set(e, ERR_FATAL, errno, "spool");
		if (spool_new(
			config->folder, SPOOL_KEEP_FREE, &(*h)->spool, e) < 0)
			return -1;
	}
	/* The socket and the token of before are nobody's now. */
	if (!blob_serve_stop((*h)->serve, REJOIN_MS))
		return err_set(
		    e, ERR_FATAL, 0, "data socket: its thread does not end");
	(*h)->serve = NULL;
	return blob_serve_new(ctx, &serve, (*h)->spool, &(*h)->serve, e);
}

bool
handover_holds(const struct handover *h)
{
	return h != NULL && spool_holds(h->spool);
}

int
handover_open(
    const struct handover *h, const struct data_id *id, int *fd, struct err *e)
{
	struct err none = ERR_INIT;
	uint64_t size;

	if (h == NULL)
		return err_set(e, ERR_RETRY, 0, "there is no spool");
	/* Where nothing is encoded the tar is the blob. */
	if (spool_open(h->spool, id, DATA_BLOB, fd, &size, e) == 0)
		return 0;
	if (spool_open(h->spool, id, DATA_TAR, fd, &size, &none) < 0)
		return -1;
	err_clear(e);
	return 0;
}

void
handover_forget(struct handover *h)
{
	if (h != NULL)
		spool_clear(h->spool);
}

int
handover_fd(const struct handover *h)
{
	return h == NULL || h->serve == NULL ? -1 : blob_serve_fd(h->serve);
}

int
handover_check(struct handover *h, struct err *e)
{
	return h == NULL || h->serve == NULL ? 0
					     : blob_serve_check(h->serve, e);
}

static bool
form_of(const struct layer_output *o, enum data_form *form)
{
	switch (o->kind) {
	case LAYER_TO_SPOOL_TAR:
		*form = DATA_TAR;
		return true;
	case LAYER_TO_SPOOL_BLOB:
		*form = DATA_BLOB;
		return true;
	case LAYER_TO_FILE:
	case LAYER_TO_BLOB:
		break;
	}
	return false;
}

/* Bits of SPOOL_TAR and SPOOL_BLOB; ERR_RETRY: one twice. */
static int
forms_of(const struct job *job, unsigned *forms, struct err *e)
{
	enum data_form form;

	*forms = 0;
	for (size_t i = 0; i < job->layer.spec.n_outputs; i++) {
		if (!form_of(&job->layer.spec.outputs[i], &form))
			continue;
		if ((*forms & 1u << form) != 0)
			return err_set(e, ERR_RETRY, 0,
			    "the %s is wanted twice in the spool",
			    data_form_name(form));
		*forms |= 1u << form;
	}
	return 0;
}

/* Paths live as long as the job. */
static int
set_paths(struct handover *h, struct job *job, const struct data_id *id,
    struct err *e)
{
	for (size_t i = 0; i < job->layer.spec.n_outputs; i++) {
		struct layer_output *o = &job->layer.spec.outputs[i];
		AUTO(own_freep) char *path = NULL;
		enum data_form form;

		if (!form_of(o, &form))
			continue;
		path = spool_path(h->spool, id, form);
		if (path == NULL || (o->path = job_keep(job, path)) == NULL)
			return err_set(e, ERR_RETRY, ENOMEM, "spool");
		o->offset = 0;
	}
	return 0;
}

int
handover_begin(struct handover *h, struct job *job, struct err *e)
{
	const struct data_id id = {job->id, job->attempt};
	unsigned forms;

	if (forms_of(job, &forms, e) < 0)
		return -1;
	if (forms == 0 || job->layer.spec.measure)
		return 0;
	if (h == NULL)
		return err_set(e, ERR_RETRY, 0,
		    "there is no data socket to hand the layer over");
	if (spool_take(h->spool, &id, forms, spool_need(&job->layer), e) < 0)
		return -1;
	if (set_paths(h, job, &id, e) < 0) {
		spool_remove(h->spool, &id);
		return -1;
	}
	return 0;
}

void
handover_end(struct handover *h, const struct job *job)
{
	const struct data_id id = {job->id, job->attempt};

	if (h == NULL)
		return;
	if (job->err.kind == ERR_NONE)
		spool_settle(h->spool, &id);
	else
		spool_remove(h->spool, &id);
}

bool
handover_stop(struct handover *h, int timeout_ms)
{
	if (h == NULL)
		return true;
	if (!blob_serve_stop(h->serve, timeout_ms))
		return false;
	spool_free(h->spool);
	free(h);
	return true;
}
