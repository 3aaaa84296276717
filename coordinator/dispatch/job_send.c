#include "dispatch/job_send.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "closure/closure.h"
#include "dispatch/dispatch.h"
#include "err.h"
#include "link.h"
#include "own.h"
#include "protocol.h"

/* Bytes of one item besides its strings: headers, digest, numbers. */
#define ITEM_BYTES 64
/*
 * Of short ones a part's bytes are the limit: queues count messages, and all of
 * a job's have to fit.
 */
#define BATCH 8192

struct sending {
	struct link *link;
	const struct link_peer *peer;
	const struct dispatch_job *job;
	uint64_t id, attempt;
};

/* Item i of the job, wherever it has them. */
static struct layer_item
item_of(const struct dispatch_job *job, size_t i)
{
	const struct closure *c = job->closure;
	struct layer_item item = {.path = NULL};
	uint32_t at;

	if (c == NULL)
		return job->item[i];
	at = job->path[i];
	item.path = c->path[at];
	if (c->nar_hash != NULL && c->nar_size != NULL) {
		item.has_hash = true;
		item.nar_hash = c->nar_hash[at];
		item.nar_size = c->nar_size[at];
	}
	return item;
}

static int
send_items(const struct sending *s, struct err *e)
{
	AUTO(own_freep) struct layer_item *item = NULL;
	struct msg m = {.type = MSG_ITEMS};
	size_t i = 0, room = s->job->n < BATCH ? s->job->n : BATCH;

	if (room == 0)
		return 0;
	if ((item = reallocarray(NULL, room, sizeof(*item))) == NULL)
		return err_set(e, ERR_FATAL, errno, "job");
	while (i < s->job->n) {
		size_t n = 0, bytes = 0;

		for (; i < s->job->n && n < BATCH && bytes < MSG_PART_MAX;
		     i++, n++) {
			item[n] = item_of(s->job, i);
			bytes += strlen(item[n].path) + ITEM_BYTES;
		}
		m.items = (struct msg_items){
		    .job = s->id, .attempt = s->attempt, .item = item, .n = n};
		if (link_send(s->link, s->peer, &m, e) < 0)
			return -1;
	}
	return 0;
}

static int
send_entries(const struct sending *s, struct err *e)
{
	struct msg m = {.type = MSG_ENTRIES};
	size_t i = 0;

	while (i < s->job->n) {
		size_t start = i, bytes = 0;

		for (;
		     i < s->job->n && i - start < BATCH && bytes < MSG_PART_MAX;
		     i++)
			bytes += strlen(s->job->entry[i].name) +
			    strlen(s->job->entry[i].target) + ITEM_BYTES;
		m.entries = (struct msg_entries){
		    .job = s->id,
		    .attempt = s->attempt,
		    .entry = (struct layer_entry *)&s->job->entry[start],
		    .n = i - start,
		};
		if (link_send(s->link, s->peer, &m, e) < 0)
			return -1;
	}
	return 0;
}

int
job_send(struct link *link, const struct link_peer *peer,
    const struct dispatch_job *job, uint64_t id, uint64_t attempt,
    uint64_t stream, struct err *e)
{
	const struct sending s = {link, peer, job, id, attempt};
	struct msg m = {
	    .type = MSG_JOB,
	    .job = {.job = id,
		.attempt = attempt,
		.n_items = job->n,
		.spec = *job->spec,
		.stream = stream},
	};

	if (link_send(link, peer, &m, e) < 0)
		return -1;
	if (job->spec->source == LAYER_FROM_STORE)
		return send_items(&s, e);
	if (job->spec->source == LAYER_FROM_ENTRIES)
		return send_entries(&s, e);
	return 0;
}
