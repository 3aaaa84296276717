#include "blob_serve.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "data_hello.h"
#include "data_protocol.h"
#include "data_streams.h"
#include "err.h"
#include "link.h"
#include "monotime.h"
#include "own.h"
#include "quiet_thread.h"
#include "spool.h"
#include "wake_fd.h"

/* Between attempts to send what could not be sent. */
#define RETRY_MS 20

struct blob_serve {
	struct spool *spool;
	struct link *link;
	struct data_hello hello;
	struct data_streams streams;
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
take_pull(struct blob_serve *s, const struct data_msg_pull *m)
{
	struct data_stream *t = data_streams_pull(&s->streams, m);
	struct err why = ERR_INIT;
	uint64_t size;
	int fd;

	if (t == NULL)
		return;
	if (spool_open(s->spool, &m->id, m->form, &fd, &size, &why) < 0)
		data_stream_fail(t, &why);
	else
		data_stream_open(t, fd, size);
}

/* If the answer is lost the coordinator says it again. */
static int
take_release(struct blob_serve *s, const struct data_id *id, struct err *e)
{
	struct data_msg m = {.type = DATA_MSG_RELEASED, .released = {*id}};

	data_streams_release(&s->streams, id);
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

/*
 * A chunk of each stream, so that all get on, and then what came is looked at.
 * 1: it cannot be sent now; 0: sent.
 */
static int
serve_round(struct blob_serve *s, struct err *e)
{
	struct data_stream *t;
	struct data_msg m;
	int rc;

	for (size_t i = 0; i < DATA_STREAMS_MAX; i++) {
		if ((t = data_streams_next(&s->streams)) == NULL)
			return 0;
		data_stream_message(t, s->chunk, &m);
		if ((rc = try_send(s, &m, e)) != 0)
			return rc;
		data_stream_sent(t, &m);
	}
	return 0;
}

static int
serve_loop(struct blob_serve *s, struct err *e)
{
	struct pollfd fds[] = {
	    {link_fd(s->link), POLLIN, 0}, {s->stop_fd, POLLIN, 0}};

	while (!atomic_load(&s->stop)) {
		int64_t wait;
		int stuck;

		if (data_hello_say(&s->hello, s->link, monotime_ms(), e) < 0 ||
		    (stuck = serve_round(s, e)) < 0 ||
		    /* Last before sleeping: see link_recv. */
		    receive(s, e) < 0)
			return -1;
		wait = s->hello.next - monotime_ms();
		if (wait < 0 || (!stuck && data_streams_due(&s->streams)))
			continue;
		if (stuck && wait > RETRY_MS)
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

	if (serve_loop(s, &s->err) < 0)
		err_ctx(&s->err, "data socket");
	data_streams_close(&s->streams);
	link_close(s->link, 0);
	atomic_store(&s->ended, true);
	wake_fd_set(s->ended_fd);
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
	s->hello.every_ms = config->hello_ms;
	memcpy(s->hello.token, config->token, sizeof(s->hello.token));
	data_streams_init(&s->streams);
	s->stop_fd = wake_fd_new();
	s->ended_fd = wake_fd_new();
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
	if (s == NULL)
		return true;
	atomic_store(&s->stop, true);
	wake_fd_set(s->stop_fd);
	if (!monotime_wait(s->ended_fd, timeout_ms))
		return false;
	pthread_join(s->thread, NULL);
	serve_free(s);
	return true;
}
