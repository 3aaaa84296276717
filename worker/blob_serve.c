#include "blob_serve.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "data_protocol.h"
#include "err.h"
#include "link.h"
#include "monotime.h"
#include "own.h"
#include "quiet_thread.h"
#include "spool.h"

/* Files that are served at a time; more than a coordinator may ask for. */
#define STREAMS_MAX (2 * DATA_TRANSFERS_MAX)
/* Between attempts to send what could not be sent. */
#define RETRY_MS 20

/* A file that was asked for, and how far. */
struct stream {
	bool used;
	struct data_id id;
	enum data_form form;
	uint64_t pull;
	uint64_t at;	 /* where the next chunk starts */
	uint64_t chunks; /* credit that is left */
	int fd;
	uint64_t size;
	bool failed; /* why is to be sent */
	struct err why;
	uint64_t turn; /* when it was asked for last */
};

struct blob_serve {
	struct spool *spool;
	struct link *link;
	uint8_t token[DATA_TOKEN_SIZE];
	int64_t hello_ms, next_hello;
	struct stream stream[STREAMS_MAX];
	uint64_t turns;
	uint8_t *chunk; /* of DATA_CHUNK bytes */

	pthread_t thread;
	atomic_bool stop;
	int stop_fd;  /* wakes the thread */
	int ended_fd; /* says that it has ended */
	atomic_bool ended;
	struct err err; /* why; read after ended */
};

/* 0: sent; 1: not now; -1: *e says why never. */
static int
try_send(struct blob_serve *s, const struct data_msg *m, struct err *e)
{
	if (link_send_data(s->link, NULL, m, e) == 0)
		return 0;
	if (e->kind != ERR_PEER)
		return -1;
	err_clear(e);
	return 1;
}

static void
stream_close(struct stream *t)
{
	own_closep(&t->fd);
	*t = (struct stream){.fd = -1};
}

static struct stream *
find_stream(struct blob_serve *s, const struct data_id *id, enum data_form form)
{
	for (size_t i = 0; i < STREAMS_MAX; i++) {
		struct stream *t = &s->stream[i];

		if (t->used && t->id.job == id->job &&
		    t->id.attempt == id->attempt && t->form == form)
			return t;
	}
	return NULL;
}

/* A free place, or that of the one that has been idle for longest; NULL. */
static struct stream *
free_stream(struct blob_serve *s)
{
	struct stream *oldest = NULL;

	for (size_t i = 0; i < STREAMS_MAX; i++) {
		struct stream *t = &s->stream[i];

		if (!t->used)
			return t;
		if (t->chunks == 0 && !t->failed &&
		    (oldest == NULL || t->turn < oldest->turn))
			oldest = t;
	}
	if (oldest != NULL)
		stream_close(oldest);
	return oldest;
}

/* There is no more to be had of it: the coordinator is told why. */
static void
stream_fail(struct stream *t, const struct err *why)
{
	own_closep(&t->fd);
	t->chunks = 0;
	t->failed = true;
	t->why = *why;
}

/* A pull that is new to the stream: from m's offset on. */
static void
stream_start(
    struct blob_serve *s, struct stream *t, const struct data_msg_pull *m)
{
	struct err why = ERR_INIT;

	t->used = true;
	t->id = m->id;
	t->form = m->form;
	t->pull = m->pull;
	t->at = m->offset;
	t->chunks = m->chunks;
	t->failed = false;
	if (t->fd < 0 &&
	    spool_open(s->spool, &m->id, m->form, &t->fd, &t->size, &why) < 0)
		stream_fail(t, &why);
}

/*
 * A newer pull takes the place of an older one; the same one again goes on
 * where it ends.  What does neither came too late.
 */
static void
take_pull(struct blob_serve *s, const struct data_msg_pull *m)
{
	struct stream *t = find_stream(s, &m->id, m->form);
	struct err why = ERR_INIT;

	if (t != NULL && m->pull < t->pull)
		return;
	if (t == NULL && (t = free_stream(s)) == NULL)
		return; /* it will ask again */
	t->turn = ++s->turns;
	if (!t->used || m->pull > t->pull) {
		stream_start(s, t, m);
		return;
	}
	if (t->failed)
		return;
	if (m->offset != t->at + t->chunks * DATA_CHUNK ||
	    t->chunks + m->chunks > DATA_WINDOW_MAX) {
		err_set(&why, ERR_RETRY, 0,
		    "pull of %" PRIu64 " chunks at %" PRIu64
		    " does not follow on the one before",
		    m->chunks, m->offset);
		stream_fail(t, &why);
		return;
	}
	t->chunks += m->chunks;
}

/* If the answer is lost the coordinator says it again. */
static int
take_release(struct blob_serve *s, const struct data_id *id, struct err *e)
{
	struct data_msg m = {.type = DATA_MSG_RELEASED, .released = {*id}};
	struct stream *t;

	for (unsigned form = DATA_TAR; form <= DATA_BLOB; form++)
		if ((t = find_stream(s, id, (enum data_form)form)) != NULL)
			stream_close(t);
	spool_remove(s->spool, id);
	return try_send(s, &m, e) < 0 ? -1 : 0;
}

/* What is no message of ours changes nothing. */
static int
receive(struct blob_serve *s, struct err *e)
{
	struct data_msg m;
	int rc;

	while (!atomic_load(&s->stop)) {
		if ((rc = link_recv_data(s->link, NULL, &m, e)) == 0)
			return 0;
		if (rc < 0 && e->kind != ERR_PEER)
			return -1;
		if (rc < 0) {
			err_clear(e);
			continue;
		}
		rc = 0;
		if (m.type == DATA_MSG_PULL)
			take_pull(s, &m.pull);
		else if (m.type == DATA_MSG_COMMITTED)
			rc = take_release(s, &m.committed.id, e);
		else if (m.type == DATA_MSG_DROP)
			rc = take_release(s, &m.drop.id, e);
		data_msg_clear(&m);
		if (rc < 0)
			return -1;
	}
	return 0;
}

/* The length of the stream's next chunk, in s->chunk; 0: it has failed. */
static size_t
read_chunk(struct blob_serve *s, struct stream *t)
{
	struct err why = ERR_INIT;
	size_t want, have = 0;

	if (t->at >= t->size) {
		err_set(&why, ERR_RETRY, 0,
		    "the %s has %" PRIu64 " bytes, more are asked for",
		    data_form_name(t->form), t->size);
		stream_fail(t, &why);
		return 0;
	}
	want = t->size - t->at < DATA_CHUNK ? (size_t)(t->size - t->at)
					    : DATA_CHUNK;
	while (have < want) {
		ssize_t n = pread(
		    t->fd, s->chunk + have, want - have, (off_t)(t->at + have));

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
		stream_fail(t, &why);
		return 0;
	}
	return want;
}

static int
send_failure(struct blob_serve *s, struct stream *t, struct err *e)
{
	struct data_msg m = {.type = DATA_MSG_PULL_FAIL};
	int rc;

	m.pull_fail.id = t->id;
	m.pull_fail.form = t->form;
	m.pull_fail.pull = t->pull;
	m.pull_fail.kind = t->why.kind == ERR_JOB ? ERR_JOB : ERR_RETRY;
	m.pull_fail.sys = t->why.sys > 0 ? t->why.sys : 0;
	m.pull_fail.text = t->why.text;
	if ((rc = try_send(s, &m, e)) == 0)
		t->failed = false;
	return rc;
}

/* As try_send, for what the stream owes next. */
static int
serve_one(struct blob_serve *s, struct stream *t, struct err *e)
{
	struct data_msg m = {.type = DATA_MSG_CHUNK};
	size_t len;
	int rc;

	if (!t->failed && (len = read_chunk(s, t)) > 0) {
		m.chunk.id = t->id;
		m.chunk.form = t->form;
		m.chunk.pull = t->pull;
		m.chunk.offset = t->at;
		m.chunk.bytes = s->chunk;
		m.chunk.len = len;
		if ((rc = try_send(s, &m, e)) == 0) {
			t->chunks--;
			t->at += DATA_CHUNK;
		}
		return rc;
	}
	return send_failure(s, t, e);
}

/*
 * One chunk of each stream, so that all get on.  1: some are left, and can be
 * sent now; 2: they cannot be sent now; 0: nothing is left.
 */
static int
serve_round(struct blob_serve *s, struct err *e)
{
	int left = 0;

	for (size_t i = 0; i < STREAMS_MAX; i++) {
		struct stream *t = &s->stream[i];
		int rc;

		if (!t->used || (t->chunks == 0 && !t->failed))
			continue;
		if ((rc = serve_one(s, t, e)) < 0)
			return -1;
		if (rc > 0)
			return 2;
		if (t->chunks > 0)
			left = 1;
	}
	return left;
}

/* Also after a new connection: it says whose that is. */
static int
say_hello(struct blob_serve *s, struct err *e)
{
	struct data_msg m = {.type = DATA_MSG_HELLO};
	int64_t now = monotime_ms();
	int rc;

	if (now < s->next_hello)
		return 0;
	memcpy(m.data_hello.token, s->token, sizeof(m.data_hello.token));
	if ((rc = try_send(s, &m, e)) < 0)
		return -1;
	s->next_hello = now + (rc == 0 ? s->hello_ms : RETRY_MS);
	return 0;
}

static int
serve_loop(struct blob_serve *s, struct err *e)
{
	struct pollfd fds[] = {
	    {link_fd(s->link), POLLIN, 0}, {s->stop_fd, POLLIN, 0}};

	while (!atomic_load(&s->stop)) {
		int64_t wait;
		int left;

		if (say_hello(s, e) < 0 || (left = serve_round(s, e)) < 0 ||
		    /* Last before sleeping: see link_recv. */
		    receive(s, e) < 0)
			return -1;
		for (size_t i = 0; i < STREAMS_MAX && left == 0; i++)
			if (s->stream[i].chunks > 0 || s->stream[i].failed)
				left = 1;
		wait = s->next_hello - monotime_ms();
		if (left == 1 || wait < 0)
			continue;
		if (left == 2 && wait > RETRY_MS)
			wait = RETRY_MS;
		if (poll(fds, 2, (int)wait) < 0 && errno != EINTR)
			return err_set(e, ERR_FATAL, errno, "poll");
	}
	return 0;
}

static void *
serve_thread(void *arg)
{
	struct blob_serve *s = arg;
	const uint64_t one = 1;

	if (serve_loop(s, &s->err) < 0)
		err_ctx(&s->err, "data socket");
	for (size_t i = 0; i < STREAMS_MAX; i++)
		stream_close(&s->stream[i]);
	link_close(s->link, 0);
	atomic_store(&s->ended, true);
	/* Fails only where 2^64 - 1 wake-ups are unread. */
	if (write(s->ended_fd, &one, sizeof(one)) < 0)
		return NULL;
	return NULL;
}

static void
serve_free(struct blob_serve *s)
{
	own_closep(&s->stop_fd);
	own_closep(&s->ended_fd);
	free(s->chunk);
	free(s);
}

int
blob_serve_new(void *ctx, const struct blob_serve_config *config,
    struct spool *spool, struct blob_serve **out, struct err *e)
{
	struct blob_serve *s;
	int rc;

	if ((s = calloc(1, sizeof(*s))) == NULL)
		return err_set(e, ERR_FATAL, errno, "data socket");
	s->spool = spool;
	s->hello_ms = config->hello_ms;
	memcpy(s->token, config->token, sizeof(s->token));
	for (size_t i = 0; i < STREAMS_MAX; i++)
		s->stream[i].fd = -1;
	s->stop_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	s->ended_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	s->chunk = malloc(DATA_CHUNK);
	if (s->stop_fd < 0 || s->ended_fd < 0 || s->chunk == NULL) {
		err_set(e, ERR_FATAL, errno, "data socket");
		serve_free(s);
		return -1;
	}
	if (link_connect_data(
		ctx, config->endpoint, config->keys, &s->link, e) < 0) {
		serve_free(s);
		return -1;
	}
	/* The socket is the thread's from here on. */
	rc = quiet_thread(&s->thread, serve_thread, s);
	if (rc != 0) {
		link_close(s->link, 0);
		serve_free(s);
		return err_set(e, ERR_FATAL, rc, "data socket's thread");
	}
	*out = s;
	return 0;
}

int
blob_serve_fd(const struct blob_serve *s)
{
	return s->ended_fd;
}

int
blob_serve_check(struct blob_serve *s, struct err *e)
{
	if (!atomic_load(&s->ended))
		return 0;
	if (s->err.kind == ERR_NONE)
		return err_set(e, ERR_FATAL, 0, "data socket: closed");
	*e = s->err;
	return -1;
}

bool
blob_serve_stop(struct blob_serve *s, int timeout_ms)
{
	const uint64_t one = 1;

	if (s == NULL)
		return true;
	atomic_store(&s->stop, true);
	/* Fails only where 2^64 - 1 wake-ups are unread. */
	if (write(s->stop_fd, &one, sizeof(one)) < 0)
		errno = 0;
	if (!monotime_wait(s->ended_fd, timeout_ms))
		return false;
	pthread_join(s->thread, NULL);
	serve_free(s);
	return true;
}
