#include "job.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "own.h"
#include "protocol.h"
#include "store_path.h"
#include "upload_place.h"

/* Items are announced, but memory is taken only for those that came. */
#define ROOM_MIN 64

int
job_new(struct msg *m, struct job **out, struct err *e)
{
	struct job *job;

	if ((job = calloc(1, sizeof(*job))) == NULL)
		return err_set(e, ERR_RETRY, errno, "job");
	job->id = m->job.job;
	job->attempt = m->job.attempt;
	job->state = JOB_ASSEMBLING;
	job->layer.spec = m->job.spec;
	job->n_items = m->job.n_items;
	job->stream = m->job.stream;
	job->strings = STEAL(&m->zone);
	*out = job;
	return 0;
}

void
job_free(struct job *job)
{
	if (job == NULL)
		return;
	free(job->item);
	free(job->entry);
	upload_place_let_go(job->layer.stream);
	if (job->strings != NULL)
		msgpack_zone_free(job->strings);
	free(job);
}

/* Whether a part of n elements from source is the job's; room for it then. */
static int
make_room(struct job *job, enum layer_source source, size_t n, struct err *e)
{
	size_t want = job->layer.n + n, room = job->room;
	void *grown;

	if (job->layer.spec.source != source)
		return err_set(
		    e, ERR_RETRY, 0, "a part of another kind than the job's");
	if (n > job->n_items - job->layer.n)
		return err_set(e, ERR_RETRY, 0,
		    "more parts than the %" PRIu64 " items announced",
		    job->n_items);
	if (want <= room)
		return 0;
	room = room * 2 > ROOM_MIN ? room * 2 : ROOM_MIN;
	room = room > want ? room : want;
	room = room < job->n_items ? room : job->n_items;
	if (source == LAYER_FROM_STORE) {
		grown = reallocarray(job->item, room, sizeof(*job->item));
		job->item = grown != NULL ? grown : job->item;
		job->layer.item = job->item;
	} else {
		grown = reallocarray(job->entry, room, sizeof(*job->entry));
		job->entry = grown != NULL ? grown : job->entry;
		job->layer.entry = job->entry;
	}
	if (grown == NULL)
		return err_set(e, ERR_RETRY, errno, "room for %zu items", room);
	job->room = room;
	return 0;
}

const char *
job_keep(struct job *job, const char *s)
{
	size_t size = strlen(s) + 1;
	char *copy = msgpack_zone_malloc_no_align(job->strings, size);

	return copy == NULL ? NULL : memcpy(copy, s, size);
}

static const char *
keep(struct job *job, const char *s, struct err *e)
{
	const char *copy = job_keep(job, s);

	if (copy == NULL)
		err_set(e, ERR_RETRY, ENOMEM, "%s", s);
	return copy;
}

int
job_add_items(struct job *job, const struct msg_items *m, struct err *e)
{
	struct err bad = ERR_INIT;

	if (make_room(job, LAYER_FROM_STORE, m->n, e) < 0)
		return -1;
	for (size_t i = 0; i < m->n; i++) {
		struct layer_item *item = &job->item[job->layer.n];

		*item = m->item[i];
		if (store_path_check(
			item->path, job->layer.spec.store_dir, &bad) < 0)
			return err_set(e, ERR_JOB, 0, "%s", bad.text);
		if ((item->path = keep(job, item->path, e)) == NULL)
			return -1;
		job->layer.n++;
	}
	return 0;
}

int
job_add_entries(struct job *job, const struct msg_entries *m, struct err *e)
{
	if (make_room(job, LAYER_FROM_ENTRIES, m->n, e) < 0)
		return -1;
	for (size_t i = 0; i < m->n; i++) {
		struct layer_entry *entry = &job->entry[job->layer.n];

		*entry = m->entry[i];
		if ((entry->name = keep(job, entry->name, e)) == NULL ||
		    (entry->target = keep(job, entry->target, e)) == NULL)
			return -1;
		job->layer.n++;
	}
	return 0;
}

bool
job_complete(const struct job *job)
{
	return job->layer.n == job->n_items;
}

void
job_answer(const struct job *job, struct msg *out)
{
	memset(out, 0, sizeof(*out));
	if (job->postponed) {
		out->type = MSG_POSTPONE;
		out->postpone.job = job->id;
		out->postpone.attempt = job->attempt;
		out->postpone.text = job->err.text;
		out->postpone.read = job->progress.read;
	} else if (job->err.kind != ERR_NONE) {
		out->type = MSG_FAIL;
		out->fail.job = job->id;
		out->fail.attempt = job->attempt;
		/* What is not the layer's fault another worker may try. */
		out->fail.kind = job->err.kind == ERR_JOB ? ERR_JOB : ERR_RETRY;
		out->fail.sys = job->err.sys > 0 ? job->err.sys : 0;
		out->fail.text = job->err.text;
		out->fail.read = job->progress.read;
	} else if (job->layer.spec.measure) {
		out->type = MSG_SIZED;
		out->sized.job = job->id;
		out->sized.attempt = job->attempt;
		out->sized.tar_size = job->result.tar_size;
		out->sized.entries = job->result.entries;
	} else {
		out->type = MSG_DONE;
		out->done.job = job->id;
		out->done.attempt = job->attempt;
		out->done.result = job->result;
		out->done.cpu_us = job->cpu_us;
		out->done.stream = job->streamed != LAYER_STREAM_NONE
		    ? job->streamed
		    : job->progress.stream;
	}
}
