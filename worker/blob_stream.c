#include "blob_stream.h"

#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "digest.h"
#include "err.h"
#include "own.h"
#include "quiet_thread.h"
#include "registry.h"
#include "registry_stream.h"
#include "timed_cond.h"
#include "upload_place.h"

#define STEP_MS 100 /* how soon a cancelled one ends */
#define ROOM_MIN ((size_t)64 << 10)

enum order {
	NOTHING,
	BEGIN, /* an upload in parts */
	PART,  /* what is handed on */
	LAST,  /* the same, and that was all */
	WHOLE  /* it is the whole blob */
};

struct buffer {
	uint8_t *data;
	size_t room, len;
};

struct blob_stream {
	struct upload_place *place;
	const atomic_bool *cancelled; /* the job */
	atomic_bool *sending;
	atomic_bool cancel;
	size_t part;
	bool begun;
	struct buffer in;

	pthread_t thread;
	bool started;
	pthread_mutex_t lock; /* order to err */
	pthread_cond_t change;
	enum order order; /* NOTHING: what follows is the caller's */
	bool stop;
	struct buffer out;
	const struct digest *digest;
	uint64_t sent, size;
	enum layer_stream end;
	struct err err;

	/* The thread's. */
	struct upload_session session;
	struct registry_stream upload;
};

int
blob_stream_new(struct upload_place *place, const atomic_bool *cancel,
    atomic_bool *sending, struct blob_stream **out, struct err *e)
{
	struct blob_stream *b = calloc(1, sizeof(*b));

	if (b == NULL)
		return err_set(e, ERR_RETRY, errno, "upload");
	pthread_mutex_init(&b->lock, NULL);
	timed_cond_init(&b->change);
	b->place = place;
	b->cancelled = cancel;
	b->sending = sending;
	b->part = REGISTRY_STREAM_PART;
	*out = b;
	return 0;
}

/* In the thread, from here to the next such line. */

static int
send_whole(struct blob_stream *b, struct err *e)
{
	const struct registry_blob blob = {
	    .digest = b->digest,
	    .size = b->size,
	    .fd = -1,
	    .data = b->out.data,
	};
	enum registry_way way;

	if (registry_push_blob(b->session.registry, &blob, &way, e) < 0)
		return -1;
	b->end = way == REGISTRY_UPLOADED ? LAYER_STREAM_UPLOADED
					  : LAYER_STREAM_THERE;
	return 0;
}

static int
send_last(struct blob_stream *b, struct err *e)
{
	if (registry_stream_put(b->session.registry, &b->upload, b->out.data,
		b->out.len, b->sent, e) < 0 ||
	    registry_stream_end(
		b->session.registry, &b->upload, b->digest, b->size, e) < 0)
		return -1;
	registry_stream_clear(&b->upload);
	b->end = LAYER_STREAM_UPLOADED;
	return 0;
}

static int
follow_once(struct blob_stream *b, enum order order, struct err *e)
{
	if (b->session.registry == NULL &&
	    upload_session_open(b->place, &b->cancel, &b->session, e) < 0)
		return -1;
	switch (order) {
	case NOTHING:
		break;
	case BEGIN:
		return registry_stream_begin(
		    b->session.registry, &b->upload, e);
	case PART:
		return registry_stream_put(b->session.registry, &b->upload,
		    b->out.data, b->out.len, b->sent, e);
	case LAST:
		return send_last(b, e);
	case WHOLE:
		return send_whole(b, e);
	}
	return 0;
}

/* Tokens may end in between. */
static int
follow(struct blob_stream *b, enum order order, struct err *e)
{
	for (int renewals = 0;; renewals++) {
		uint64_t serial;

		if (follow_once(b, order, e) == 0)
			return 0;
		if (!upload_session_ended(e) || renewals == UPLOAD_RENEWALS_MAX)
			return -1;
		serial = b->session.serial;
		upload_session_clear(&b->session);
		if (!upload_session_await(b->place, serial, &b->cancel))
			return -1;
		err_clear(e);
	}
}

static void
give_up(struct blob_stream *b)
{
	if (b->session.registry != NULL && !atomic_load(&b->cancel))
		registry_stream_give_up(b->session.registry, &b->upload);
	registry_stream_clear(&b->upload);
	upload_session_clear(&b->session);
}

static void *
send_thread(void *arg)
{
	struct blob_stream *b = arg;
	struct err e = ERR_INIT;
	enum order order;
	int rc = 0;

	pthread_mutex_lock(&b->lock);
	while (rc == 0) {
		while (b->order == NOTHING && !b->stop)
			pthread_cond_wait(&b->change, &b->lock);
		if ((order = b->order) == NOTHING)
			break;
		pthread_mutex_unlock(&b->lock);
		if ((rc = follow(b, order, &e)) < 0)
			give_up(b);
		pthread_mutex_lock(&b->lock);
		b->sent += b->out.len;
		b->out.len = 0;
		b->order = NOTHING;
		if (rc < 0 && !atomic_load(&b->cancel))
			b->end = b->upload.refused ? LAYER_STREAM_REFUSED
						   : LAYER_STREAM_BROKEN;
		if (rc < 0) {
			b->err = e;
			b->err.kind = ERR_RETRY;
			/* Whatever it was waiting for. */
			if (atomic_load(&b->cancel))
				b->err.sys = ECANCELED;
		}
		pthread_cond_broadcast(&b->change);
	}
	pthread_mutex_unlock(&b->lock);
	give_up(b);
	return NULL;
}

/* The caller's thread again. */

/* Until it has done what it was told; with the lock. */
static int
await(struct blob_stream *b, struct err *e)
{
	while (b->order != NOTHING) {
		struct timespec until = timed_cond_after(STEP_MS);

		atomic_store(b->sending, true);
		pthread_cond_timedwait(&b->change, &b->lock, &until);
		if (atomic_load_explicit(b->cancelled, memory_order_relaxed))
			atomic_store(&b->cancel, true);
	}
	atomic_store(b->sending, false);
	if (b->err.kind == ERR_NONE)
		return 0;
	*e = b->err;
	return -1;
}

static int
start(struct blob_stream *b, struct err *e)
{
	int rc = 0;

	if (!b->started &&
	    (rc = quiet_thread(&b->thread, send_thread, b)) != 0) {
		b->end = LAYER_STREAM_BROKEN;
		return err_set(e, ERR_RETRY, rc, "upload's thread");
	}
	b->started = true;
	return 0;
}

/* wait: for this one, too. */
static int
tell(struct blob_stream *b, enum order order, bool wait, struct err *e)
{
	struct buffer swap;
	int rc;

	if (start(b, e) < 0)
		return -1;
	pthread_mutex_lock(&b->lock);
	if ((rc = await(b, e)) == 0) {
		if (order != BEGIN) {
			swap = b->out;
			b->out = b->in;
			b->in = swap;
		}
		b->order = order;
		pthread_cond_broadcast(&b->change);
		if (wait)
			rc = await(b, e);
	}
	pthread_mutex_unlock(&b->lock);
	return rc;
}

/* The part is full, and there is more. */
static int
hand_on(struct blob_stream *b, struct err *e)
{
	if (b->begun)
		return tell(b, PART, false, e);
	if (tell(b, BEGIN, true, e) < 0)
		return -1;
	b->begun = true;
	if (b->upload.least > b->part)
		b->part = b->upload.least;
	return 0;
}

static int
make_room(struct blob_stream *b, size_t want, struct err *e)
{
	size_t room = b->in.room > ROOM_MIN ? b->in.room : ROOM_MIN;
	uint8_t *more;

	if (want <= b->in.room)
		return 0;
	while (room < want)
		room *= 2;
	if (room > b->part)
		room = b->part;
	if ((more = realloc(b->in.data, room)) == NULL) {
		pthread_mutex_lock(&b->lock);
		b->end = LAYER_STREAM_BROKEN;
		pthread_mutex_unlock(&b->lock);
		return err_set(e, ERR_RETRY, ENOMEM, "upload");
	}
	b->in.data = more;
	b->in.room = room;
	return 0;
}

int
blob_stream_write(
    struct blob_stream *b, const void *data, size_t len, struct err *e)
{
	const uint8_t *at = data;

	while (len > 0) {
		size_t n = b->part - b->in.len;

		if (n == 0) {
			if (hand_on(b, e) < 0)
				return -1;
			continue;
		}
		if (n > len)
			n = len;
		if (make_room(b, b->in.len + n, e) < 0)
			return -1;
		memcpy(b->in.data + b->in.len, at, n);
		b->in.len += n;
		at += n;
		len -= n;
	}
	return 0;
}

int
blob_stream_finish(struct blob_stream *b, const struct digest *digest,
    uint64_t size, struct err *e)
{
	b->digest = digest;
	b->size = size;
	return tell(b, b->begun ? LAST : WHOLE, true, e);
}

enum layer_stream
blob_stream_end(struct blob_stream *b, struct err *why)
{
	enum layer_stream end;

	/* Where the layer's source failed, the thread may be at work still. */
	pthread_mutex_lock(&b->lock);
	if (b->err.kind != ERR_NONE)
		*why = b->err;
	end = b->end;
	pthread_mutex_unlock(&b->lock);
	return end;
}

void
blob_stream_free(struct blob_stream *b)
{
	if (b == NULL)
		return;
	if (b->started) {
		pthread_mutex_lock(&b->lock);
		b->stop = true;
		if (b->order != NOTHING)
			atomic_store(&b->cancel, true);
		pthread_cond_broadcast(&b->change);
		pthread_mutex_unlock(&b->lock);
		pthread_join(b->thread, NULL);
	}
	pthread_cond_destroy(&b->change);
	pthread_mutex_destroy(&b->lock);
	free(b->in.data);
	free(b->out.data);
	free(b);
}

void
blob_stream_freep(struct blob_stream **b)
{
	blob_stream_free(*b);
	*b = NULL;
}
