#include "transfer/blob_offer_state.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "transfer/blob_source.h"
#include "link.h"
#include "monotime.h"
#include "own.h"
#include "wake_fd.h"

/* Messages between two looks at everything else. */
#define BATCH 64
/* Nothing is waited for longer: the clock may be looked at now and then. */
#define WAIT_MAX_MS 60000
/* Where a client's queue is full, it is tried again: soon, then less soon. */
#define AGAIN_MIN_MS 2
#define AGAIN_MAX_MS 256

static struct offer **
find_offer(struct offer_client *c, const struct data_id *id)
{
	struct offer **at = &c->offers;

	while (*at != NULL &&
	    ((*at)->id.job != id->job || (*at)->id.attempt != id->attempt))
		at = &(*at)->next;
	return at;
}

/* Takes the offer at its place out; its event says what came of it. */
static void
end_offer(struct blob_offer *o, struct offer **at, enum blob_offer_what what)
{
	struct offer *offer = *at;
	struct note *note = STEAL(&offer->end);

	*at = offer->next;
	note->event.what = what;
	note->event.err = o->broken;
	offer_note(o, note);
	offer_free(offer);
}

/* What is only to be known; where there is no memory it is not. */
static void
say(struct blob_offer *o, const struct blob_source *s,
    enum blob_offer_what what, const struct data_id *id, const struct err *why)
{
	struct note *note = calloc(1, sizeof(*note));

	if (note == NULL)
		return;
	note->event.what = what;
	memcpy(note->event.token, s->token, sizeof(s->token));
	if (id != NULL)
		note->event.id = *id;
	note->event.err = *why;
	err_ctx(&note->event.err, "client %s", s->name);
	offer_note(o, note);
}

/* Orders. */

static void
client_gone(struct blob_offer *o, struct blob_source *s)
{
	struct blob_source **at = &o->clients;

	while (*at != s)
		at = &(*at)->next;
	*at = s->next;
	while (s->client->offers != NULL)
		end_offer(o, &s->client->offers, BLOB_OFFER_DROPPED);
	offer_client_free(s->client);
	blob_source_free(s);
}

static void
withdraw(struct blob_offer *o, struct offer_client *c, const struct data_id *id)
{
	struct offer **at = find_offer(c, id);

	data_streams_release(&c->streams, id);
	if (*at != NULL)
		end_offer(o, at, BLOB_OFFER_DROPPED);
}

/* Where there is no such client (any more) an offer ends at once. */
static void
take_offer(struct blob_offer *o, struct blob_source *s, struct offer *offer)
{
	struct offer *alone = offer;

	if (s == NULL || o->broken.kind != ERR_NONE) {
		end_offer(o, &alone, BLOB_OFFER_DROPPED);
		return;
	}
	offer->next = s->client->offers;
	s->client->offers = offer;
}

static void
run_order(struct blob_offer *o, struct order *order)
{
	struct blob_source *s = blob_source_by_token(o->clients, order->token);

	switch (order->kind) {
	case ORDER_CLIENT:
		order->client->next = o->clients;
		o->clients = STEAL(&order->client);
		break;
	case ORDER_OFFER:
		take_offer(o, s, STEAL(&order->offer));
		break;
	case ORDER_GONE:
		if (s != NULL)
			client_gone(o, s);
		break;
	case ORDER_WITHDRAW:
		if (s != NULL)
			withdraw(o, s->client, &order->id);
		break;
	}
}

/* False: it is time to end. */
static bool
take_orders(struct blob_offer *o)
{
	struct order *order, *next;
	bool stop;

	pthread_mutex_lock(&o->lock);
	wake_fd_clear(o->wake_fd);
	order = o->orders;
	o->orders = NULL;
	o->orders_end = &o->orders;
	stop = o->stop;
	pthread_mutex_unlock(&o->lock);
	for (; order != NULL; order = next) {
		next = order->next;
		if (!stop)
			run_order(o, order);
		order_free(order);
	}
	return !stop;
}

/* Messages. */

static void
on_hello(struct blob_offer *o, const struct link_peer *peer,
    const struct data_msg_data_hello *m)
{
	struct blob_source *s = blob_source_by_token(o->clients, m->token);

	/* A token alone is not enough where keys say who somebody is. */
	if (s == NULL || s->client->faulty || strcmp(s->key, peer->key) != 0 ||
	    !blob_source_tie(o->clients, s, peer))
		return;
	/* It asks anew, for what it has not got. */
	data_streams_close(&s->client->streams);
	s->client->greet = true;
	s->client->again = 0;
}

static const struct blob_offer_file *
find_file(const struct offer *offer, enum data_form form)
{
	for (size_t i = 0; offer != NULL && i < offer->n_files; i++)
		if (offer->file[i].form == form)
			return &offer->file[i];
	return NULL;
}

static int
open_file(const struct blob_offer_file *file, int *out, struct err *e)
{
	AUTO(own_closep) int fd = -1;
	struct stat st;

	/* What is no file must not hold the thread up. */
	fd = open(file->path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	if (fd < 0 || fstat(fd, &st) < 0)
		return err_set(e, ERR_RETRY, errno, "%s", file->path);
	if (!S_ISREG(st.st_mode) || (uint64_t)st.st_size != file->size)
		return err_set(e, ERR_RETRY, 0,
		    "%s is not the file of %" PRIu64 " bytes that it was",
		    file->path, file->size);
	*out = fd;
	fd = -1;
	return 0;
}

/* Said to the client, and once to who offered it. */
static void
unreadable(struct blob_offer *o, struct blob_source *s, struct offer *offer,
    const struct err *why)
{
	if (offer == NULL || offer->unreadable)
		return;
	offer->unreadable = true;
	say(o, s, BLOB_OFFER_UNREADABLE, &offer->id, why);
}

static void
on_pull(
    struct blob_offer *o, struct blob_source *s, const struct data_msg_pull *m)
{
	struct data_stream *t = data_streams_pull(&s->client->streams, m);
	struct offer *offer = *find_offer(s->client, &m->id);
	const struct blob_offer_file *file = find_file(offer, m->form);
	struct err why = ERR_INIT;
	int fd = -1;

	if (t == NULL)
		return;
	if (file == NULL) {
		err_set(&why, ERR_RETRY, 0, "its %s is not offered",
		    data_form_name(m->form));
		data_stream_fail(t, &why);
	} else if (open_file(file, &fd, &why) == 0) {
		data_stream_open(t, fd, file->size);
	} else if (why.sys == EMFILE || why.sys == ENFILE) {
		/* Others may hold them for a while: that is not the end. */
		data_stream_forget(t);
	} else {
		unreadable(o, s, offer, &why);
		data_stream_fail(t, &why);
	}
}

/* If the answer is lost the client says it again. */
static void
on_release(struct blob_offer *o, struct blob_source *s,
    const struct data_id *id, enum blob_offer_what what)
{
	struct data_msg m = {.type = DATA_MSG_RELEASED, .released = {*id}};
	struct offer **at = find_offer(s->client, id);
	struct err e = ERR_INIT;

	data_streams_release(&s->client->streams, id);
	if (*at != NULL)
		end_offer(o, at, what);
	link_send_data(o->link, &s->peer, &m, &e);
}

/* It is not listened to any more; its offers wait for who made them. */
static void
on_fault(struct blob_offer *o, struct blob_source *s, const struct err *why)
{
	if (s == NULL)
		return;
	s->connected = false;
	s->client->faulty = true;
	data_streams_close(&s->client->streams);
	say(o, s, BLOB_OFFER_FAULT, NULL, why);
}

/* What comes from none of the clients changes nothing. */
static void
on_message(struct blob_offer *o, const struct link_peer *peer,
    const struct data_msg *m)
{
	struct blob_source *s = blob_source_by_peer(o->clients, peer);
	struct err why = ERR_INIT;

	if (m->type == DATA_MSG_HELLO) {
		on_hello(o, peer, &m->data_hello);
	} else if (s == NULL) {
		return;
	} else if (m->type == DATA_MSG_PULL) {
		on_pull(o, s, &m->pull);
	} else if (m->type == DATA_MSG_COMMITTED) {
		on_release(o, s, &m->committed.id, BLOB_OFFER_COMMITTED);
	} else if (m->type == DATA_MSG_DROP) {
		on_release(o, s, &m->drop.id, BLOB_OFFER_DROPPED);
	} else {
		err_set(&why, ERR_PEER, 0,
		    "it sends %s, which is not a client's to send",
		    data_msg_name(m->type));
		on_fault(o, s, &why);
	}
}

/* 1: there may be more; 0: that was all. */
static int
receive(struct blob_offer *o, struct err *e)
{
	for (int i = 0; i < BATCH; i++) {
		struct err why = ERR_INIT;
		struct link_peer peer;
		struct data_msg m;
		int rc = link_recv_data(o->link, &peer, &m, &why);

		if (rc == 0)
			return 0;
		if (rc < 0 && why.kind != ERR_PEER) {
			*e = why;
			return -1;
		}
		/* What is pulled may have been offered just now. */
		if (!take_orders(o))
			rc = 0;
		else if (rc < 0)
			on_fault(
			    o, blob_source_by_peer(o->clients, &peer), &why);
		else
			on_message(o, &peer, &m);
		data_msg_clear(&m);
		/* It is time to end: not to wait, the wake-up is taken. */
		if (rc == 0)
			return 1;
	}
	return 1;
}

/* Work. */

/* 1: sent; 0: not now, or there is no connection; -1: ERR_FATAL. */
static int
try_send(struct blob_offer *o, struct blob_source *s, const struct data_msg *m,
    int64_t now, struct err *e)
{
	struct offer_client *c = s->client;

	if (link_send_data(o->link, &s->peer, m, e) == 0) {
		c->patience = 0;
		return 1;
	}
	if (e->kind != ERR_PEER)
		return -1;
	if (e->sys == EAGAIN) {
		c->patience = c->patience == 0 ? AGAIN_MIN_MS : 2 * c->patience;
		if (c->patience > AGAIN_MAX_MS)
			c->patience = AGAIN_MAX_MS;
		c->again = now + c->patience;
	} else {
		s->connected = false;
		data_streams_close(&c->streams);
	}
	err_clear(e);
	return 0;
}

/* As try_send, for what is due to the client next. */
static int
serve_one(
    struct blob_offer *o, struct blob_source *s, int64_t now, struct err *e)
{
	struct data_msg m = {.type = DATA_MSG_HELLO};
	struct data_stream *t;
	struct offer *offer;
	bool failed;
	int rc;

	if (s->client->greet) {
		memcpy(m.data_hello.token, s->token, sizeof(s->token));
		if ((rc = try_send(o, s, &m, now, e)) > 0)
			s->client->greet = false;
		return rc;
	}
	if ((t = data_streams_next(&s->client->streams)) == NULL)
		return 0;
	failed = t->failed;
	data_stream_message(t, o->chunk, &m);
	/* It has not, but in this read. */
	if (t->failed && !failed && t->at < t->size) {
		offer = *find_offer(s->client, &t->id);
		unreadable(o, s, offer, &t->why);
	}
	if ((rc = try_send(o, s, &m, now, e)) > 0)
		data_stream_sent(t, &m);
	return rc;
}

static bool
is_due(const struct blob_source *s)
{
	return s->connected &&
	    (s->client->greet || data_streams_due(&s->client->streams));
}

/*
 * A message to each client that one is due to, so that all get on.  True: the
 * next round shall not wait.
 */
static int
serve_round(struct blob_offer *o, struct err *e)
{
	int64_t now = monotime_ms();
	int busy = 0, rc;

	for (struct blob_source *s = o->clients; s != NULL; s = s->next) {
		if (!is_due(s) || now < s->client->again)
			continue;
		if ((rc = serve_one(o, s, now, e)) < 0)
			return -1;
		busy |= rc;
	}
	return busy;
}

static void
wait_for_work(struct blob_offer *o)
{
	struct pollfd fds[] = {
	    {link_fd(o->link), POLLIN, 0}, {o->wake_fd, POLLIN, 0}};
	int64_t now = monotime_ms(), until = now + WAIT_MAX_MS;

	for (const struct blob_source *s = o->clients; s != NULL; s = s->next)
		if (is_due(s) && s->client->again < until)
			until = s->client->again;
	/* A socket that has failed would be readable for ever. */
	if (o->broken.kind != ERR_NONE) {
		fds[0].fd = -1;
		until = now + WAIT_MAX_MS;
	}
	poll(fds, 2, until > now ? (int)(until - now) : 0);
}

static void
break_down(struct blob_offer *o, const struct err *why)
{
	o->broken = *why;
	err_ctx(&o->broken, "clients' data socket");
	for (struct blob_source *s = o->clients; s != NULL; s = s->next) {
		data_streams_close(&s->client->streams);
		while (s->client->offers != NULL)
			end_offer(o, &s->client->offers, BLOB_OFFER_DROPPED);
	}
}

void *
blob_offer_thread(void *arg)
{
	struct blob_offer *o = arg;

	while (take_orders(o)) {
		struct err e = ERR_INIT;
		int busy = 0, came = 0;

		/* To receive comes last before sleeping: see link_recv. */
		if (o->broken.kind == ERR_NONE &&
		    ((busy = serve_round(o, &e)) < 0 ||
			(came = receive(o, &e)) < 0)) {
			break_down(o, &e);
			continue;
		}
		if (busy == 0 && came == 0)
			wait_for_work(o);
	}
	return NULL;
}
