#include "dispatch/zap.h"

#include <errno.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <zmq.h>

#include "curve_key.h"
#include "err.h"
#include "dispatch/key_list.h"
#include "link.h"
#include "log.h"
#include "quiet_thread.h"

#define ENDPOINT "inproc://zeromq.zap.01"
#define CONTROL "inproc://quarry.zap.control"
#define FRAMES 7 /* of a request with one credential */
#define FRAME_MAX 256

struct zap {
	void *handler; /* REP: the thread's own */
	void *there;   /* PAIR: the thread's end */
	void *here;    /* PAIR: ours; anything said ends the thread */
	pthread_t thread;
	pthread_mutex_t lock;
	struct key_list *keys;		 /* under the lock */
	const char *who;		 /* under the lock, too */
	char refused[CURVE_KEY_LEN + 1]; /* the thread's: said last */
};

/* A request, frame by frame; those that are too long are cut. */
struct request {
	uint8_t frame[FRAMES][FRAME_MAX];
	size_t len[FRAMES], n;
};

enum { VERSION, ID, DOMAIN, ADDRESS, IDENTITY, MECHANISM, CREDENTIAL };

static int
receive(void *socket, struct request *r)
{
	int more = 1;
	size_t size = sizeof(more);

	memset(r, 0, sizeof(*r));
	while (more) {
		uint8_t frame[FRAME_MAX];
		int n = zmq_recv(socket, frame, sizeof(frame), 0);

		if (n < 0)
			return -1;
		if (r->n < FRAMES) {
			r->len[r->n] =
			    n < FRAME_MAX ? (size_t)n : (size_t)FRAME_MAX;
			memcpy(r->frame[r->n], frame, r->len[r->n]);
		}
		r->n++;
		if (zmq_getsockopt(socket, ZMQ_RCVMORE, &more, &size) != 0)
			return -1;
	}
	return 0;
}

static bool
is(const struct request *r, size_t frame, const char *text)
{
	return r->len[frame] == strlen(text) &&
	    memcmp(r->frame[frame], text, r->len[frame]) == 0;
}

static int
answer(void *socket, const struct request *r, const char *status,
    const char *text, const char *user)
{
	const struct {
		const void *data;
		size_t len;
	} frame[] = {{"1.0", 3}, {r->frame[ID], r->len[ID]},
	    {status, strlen(status)}, {text, strlen(text)},
	    {user, strlen(user)}, {"", 0}};

	for (size_t i = 0; i < 6; i++)
		if (zmq_send(socket, frame[i].data, frame[i].len,
			i < 5 ? ZMQ_SNDMORE : 0) < 0)
			return -1;
	return 0;
}

bool
zap_allows(struct zap *z, const char *key, char *name, size_t size)
{
	const char *found;

	pthread_mutex_lock(&z->lock);
	if ((found = key_list_find(z->keys, key)) != NULL && name != NULL)
		snprintf(name, size, "%s", found);
	pthread_mutex_unlock(&z->lock);
	return found != NULL;
}

/* Said once, however often it comes again. */
static void
say_refused(struct zap *z, const struct request *r, const char *key)
{
	const char *who;

	if (strcmp(z->refused, key) == 0)
		return;
	memcpy(z->refused, key, sizeof(z->refused));
	pthread_mutex_lock(&z->lock);
	who = z->who;
	pthread_mutex_unlock(&z->lock);
	log_line(LOG_WARNING,
	    "a %s at %.*s was refused: its key %s is not listed", who,
	    (int)r->len[ADDRESS], (const char *)r->frame[ADDRESS], key);
}

/* One request is answered, whatever it holds; -1: the socket is no more. */
static int
serve(struct zap *z)
{
	char key[CURVE_KEY_LEN + 1];
	struct request r;

	if (receive(z->handler, &r) < 0)
		return -1;
	if (r.n != FRAMES || !is(&r, VERSION, "1.0") ||
	    !is(&r, DOMAIN, LINK_ZAP_DOMAIN) || !is(&r, MECHANISM, "CURVE") ||
	    r.len[CREDENTIAL] != 32 ||
	    zmq_z85_encode(key, r.frame[CREDENTIAL], 32) == NULL)
		return answer(z->handler, &r, "400", "not by a key", "");
	if (!zap_allows(z, key, NULL, 0)) {
		say_refused(z, &r, key);
		return answer(z->handler, &r, "400", "key is not listed", "");
	}
	return answer(z->handler, &r, "200", "OK", key);
}

static void *
run(void *arg)
{
	struct zap *z = arg;
	zmq_pollitem_t items[] = {
	    {z->handler, 0, ZMQ_POLLIN, 0}, {z->there, 0, ZMQ_POLLIN, 0}};

	for (;;) {
		if (zmq_poll(items, 2, -1) < 0 && errno != EINTR)
			break;
		if (items[1].revents != 0)
			break;
		if (items[0].revents != 0 && serve(z) < 0 && errno != EINTR)
			break;
	}
	zmq_close(z->handler);
	zmq_close(z->there);
	return NULL;
}

static int
fault(struct err *e, const char *what)
{
	return err_set(
	    e, ERR_FATAL, 0, "key check: %s: %s", what, zmq_strerror(errno));
}

static int
open_sockets(struct zap *z, void *ctx, struct err *e)
{
	int zero = 0;

	if ((z->handler = zmq_socket(ctx, ZMQ_REP)) == NULL ||
	    (z->there = zmq_socket(ctx, ZMQ_PAIR)) == NULL ||
	    (z->here = zmq_socket(ctx, ZMQ_PAIR)) == NULL)
		return fault(e, "socket");
	zmq_setsockopt(z->handler, ZMQ_LINGER, &zero, sizeof(zero));
	zmq_setsockopt(z->there, ZMQ_LINGER, &zero, sizeof(zero));
	zmq_setsockopt(z->here, ZMQ_LINGER, &zero, sizeof(zero));
	if (zmq_bind(z->handler, ENDPOINT) != 0 ||
	    zmq_bind(z->there, CONTROL) != 0 ||
	    zmq_connect(z->here, CONTROL) != 0)
		return fault(e, "bind");
	return 0;
}

/* The handler says no to what it must not let in: so it is there. */
static int
try_out(void *ctx, struct err *e)
{
	void *asker = zmq_socket(ctx, ZMQ_REQ);
	static const char *const frame[] = {
	    "1.0", "0", LINK_ZAP_DOMAIN, "127.0.0.1", "", "NULL"};
	int linger = 0, timeout = 10000, rc = -1;
	struct request r = {.n = 0};

	if (asker == NULL)
		return fault(e, "socket");
	zmq_setsockopt(asker, ZMQ_LINGER, &linger, sizeof(linger));
	zmq_setsockopt(asker, ZMQ_RCVTIMEO, &timeout, sizeof(timeout));
	if (zmq_connect(asker, ENDPOINT) == 0) {
		rc = 0;
		for (size_t i = 0; i < 6 && rc >= 0; i++)
			rc = zmq_send(asker, frame[i], strlen(frame[i]),
			    i < 5 ? ZMQ_SNDMORE : 0);
		if (rc >= 0)
			rc = receive(asker, &r);
	}
	if (rc < 0 || r.n != 6 || !is(&r, 2, "400"))
		rc = fault(e, "its handler does not answer");
	zmq_close(asker);
	return rc < 0 ? -1 : 0;
}

static void
end_thread(struct zap *z)
{
	/* Cannot fail: its queue is empty and its peer lives. */
	zmq_send(z->here, "", 0, ZMQ_DONTWAIT);
	pthread_join(z->thread, NULL);
}

static void
zap_free(struct zap *z)
{
	if (z->here != NULL)
		zmq_close(z->here);
	key_list_free(z->keys);
	pthread_mutex_destroy(&z->lock);
	free(z);
}

int
zap_start(void *ctx, struct key_list **keys, struct zap **out, struct err *e)
{
	struct zap *z;
	int rc = 0;

	if ((z = calloc(1, sizeof(*z))) == NULL)
		return err_set(e, ERR_FATAL, errno, "key check");
	pthread_mutex_init(&z->lock, NULL);
	z->keys = *keys;
	z->who = "worker";
	if (open_sockets(z, ctx, e) < 0 ||
	    (rc = quiet_thread(&z->thread, run, z)) != 0) {
		if (e->kind == ERR_NONE)
			err_set(e, ERR_FATAL, rc, "key check's thread");
		if (z->handler != NULL)
			zmq_close(z->handler);
		if (z->there != NULL)
			zmq_close(z->there);
		z->keys = NULL;
		zap_free(z);
		return -1;
	}
	if (try_out(ctx, e) < 0) {
		end_thread(z);
		z->keys = NULL;
		zap_free(z);
		return -1;
	}
	*keys = NULL;
	*out = z;
	return 0;
}

void
zap_call(struct zap *z, const char *who)
{
	pthread_mutex_lock(&z->lock);
	z->who = who;
	pthread_mutex_unlock(&z->lock);
}

void
zap_replace(struct zap *z, struct key_list **keys)
{
	struct key_list *old;

	pthread_mutex_lock(&z->lock);
	old = z->keys;
	z->keys = *keys;
	*keys = NULL;
	pthread_mutex_unlock(&z->lock);
	key_list_free(old);
}

void
zap_stop(struct zap *z)
{
	if (z == NULL)
		return;
	end_thread(z);
	zap_free(z);
}
