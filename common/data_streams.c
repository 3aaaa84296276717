#include "data_streams.h"

#include <errno.h>
#include <inttypes.h>
#include <unistd.h>

#include "own.h"

void
data_stream_forget(struct data_stream *t)
{
	own_closep(&t->fd);
	*t = (struct data_stream){.fd = -1};
}

void
data_streams_init(struct data_streams *s)
{
	*s = (struct data_streams){.turns = 0};
	for (size_t i = 0; i < DATA_STREAMS_MAX; i++)
		s->stream[i].fd = -1;
}

void
data_streams_close(struct data_streams *s)
{
	for (size_t i = 0; i < DATA_STREAMS_MAX; i++)
		data_stream_forget(&s->stream[i]);
}

static struct data_stream *
find_stream(
    struct data_streams *s, const struct data_id *id, enum data_form form)
{
	for (size_t i = 0; i < DATA_STREAMS_MAX; i++) {
		struct data_stream *t = &s->stream[i];

		if (t->used && t->id.job == id->job &&
		    t->id.attempt == id->attempt && t->form == form)
			return t;
	}
	return NULL;
}

static bool
is_due(const struct data_stream *t)
{
	return t->used && (t->chunks > 0 || t->failed);
}

/* A free place, or that of the one that has been idle for longest; NULL. */
static struct data_stream *
free_stream(struct data_streams *s)
{
	struct data_stream *oldest = NULL;

	for (size_t i = 0; i < DATA_STREAMS_MAX; i++) {
		struct data_stream *t = &s->stream[i];

		if (!t->used)
			return t;
		if (!is_due(t) && (oldest == NULL || t->turn < oldest->turn))
			oldest = t;
	}
	if (oldest != NULL)
		data_stream_forget(oldest);
	return oldest;
}

void
data_stream_open(struct data_stream *t, int fd, uint64_t size)
{
	t->fd = fd;
	t->size = size;
}

void
data_stream_fail(struct data_stream *t, const struct err *why)
{
	own_closep(&t->fd);
	t->chunks = 0;
	t->failed = true;
	t->why = *why;
}

/* A pull that is new to the stream: from m's offset on. */
static void
stream_start(struct data_stream *t, const struct data_msg_pull *m)
{
	t->used = true;
	t->id = m->id;
	t->form = m->form;
	t->pull = m->pull;
	t->at = m->offset;
	t->chunks = m->chunks;
	t->failed = false;
}

struct data_stream *
data_streams_pull(struct data_streams *s, const struct data_msg_pull *m)
{
	struct data_stream *t = find_stream(s, &m->id, m->form);
	struct err why = ERR_INIT;

	if (t != NULL && m->pull < t->pull)
		return NULL;
	if (t == NULL && (t = free_stream(s)) == NULL)
		return NULL; /* it will ask again */
	t->turn = ++s->turns;
	if (!t->used || m->pull > t->pull) {
		stream_start(t, m);
		return t->fd < 0 ? t : NULL;
	}
	if (t->fd < 0)
		return NULL; /* that it has failed is said once */
	if (m->offset != t->at + t->chunks * DATA_CHUNK ||
	    t->chunks + m->chunks > DATA_WINDOW_MAX) {
		err_set(&why, ERR_RETRY, 0,
		    "pull of %" PRIu64 " chunks at %" PRIu64
		    " does not follow on the one before",
		    m->chunks, m->offset);
		data_stream_fail(t, &why);
		return NULL;
	}
	t->chunks += m->chunks;
	return NULL;
}

void
data_streams_release(struct data_streams *s, const struct data_id *id)
{
	struct data_stream *t;

	for (unsigned form = DATA_TAR; form <= DATA_BLOB; form++)
		if ((t = find_stream(s, id, (enum data_form)form)) != NULL)
			data_stream_forget(t);
}

bool
data_streams_due(const struct data_streams *s)
{
	for (size_t i = 0; i < DATA_STREAMS_MAX; i++)
		if (is_due(&s->stream[i]))
			return true;
	return false;
}

struct data_stream *
data_streams_next(struct data_streams *s)
{
	for (size_t i = 0; i < DATA_STREAMS_MAX; i++) {
		struct data_stream *t = &s->stream[s->next];

		s->next = (s->next + 1) % DATA_STREAMS_MAX;
		if (is_due(t))
			return t;
	}
	return NULL;
}

/* The length of the stream's next chunk; 0: it has failed. */
static size_t
read_chunk(struct data_stream *t, uint8_t *chunk)
{
	struct err why = ERR_INIT;
	size_t want, have = 0;

	if (t->at >= t->size) {
		err_set(&why, ERR_RETRY, 0,
		    "the %s has %" PRIu64 " bytes, more are asked for",
		    data_form_name(t->form), t->size);
		data_stream_fail(t, &why);
		return 0;
	}
	want = t->size - t->at < DATA_CHUNK ? (size_t)(t->size - t->at)
					    : DATA_CHUNK;
	while (have < want) {
		ssize_t n = pread(
		    t->fd, chunk + have, want - have, (off_t)(t->at + have));

		if (n < 0 && errno == EINTR)
			continue;
		if (n > 0) {
			have += (size_t)n;
			continue;
		}
		if (n < 0)
			err_set(&why, ERR_RETRY, errno, "read the %s",
			    data_form_name(t->form));
		else
			err_set(&why, ERR_RETRY, 0,
			    "the %s in the spool has shrunk",
			    data_form_name(t->form));
		data_stream_fail(t, &why);
		return 0;
	}
	return want;
}

static void
failure(const struct data_stream *t, struct data_msg *out)
{
	*out = (struct data_msg){.type = DATA_MSG_PULL_FAIL};
	out->pull_fail.id = t->id;
	out->pull_fail.form = t->form;
	out->pull_fail.pull = t->pull;
	out->pull_fail.kind = t->why.kind == ERR_JOB ? ERR_JOB : ERR_RETRY;
	out->pull_fail.sys = t->why.sys > 0 ? t->why.sys : 0;
	out->pull_fail.text = t->why.text;
}

void
data_stream_message(struct data_stream *t, uint8_t *chunk, struct data_msg *out)
{
	size_t len;

	if (t->failed || (len = read_chunk(t, chunk)) == 0) {
		failure(t, out);
		return;
	}
	*out = (struct data_msg){.type = DATA_MSG_CHUNK};
	out->chunk.id = t->id;
	out->chunk.form = t->form;
	out->chunk.pull = t->pull;
	out->chunk.offset = t->at;
	out->chunk.bytes = chunk;
	out->chunk.len = len;
}

void
data_stream_sent(struct data_stream *t, const struct data_msg *m)
{
	if (m->type == DATA_MSG_PULL_FAIL) {
		t->failed = false;
		return;
	}
	t->chunks--;
	t->at += DATA_CHUNK;
}
