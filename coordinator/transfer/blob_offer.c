#include "transfer/blob_offer.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "transfer/blob_offer_state.h"
#include "transfer/blob_source.h"
#include "data_endpoint.h"
#include "link.h"
#include "own.h"
#include "quiet_thread.h"
#include "wake_fd.h"

void
offer_free(struct offer *offer)
{
	if (offer == NULL)
		return;
	for (size_t i = 0; i < offer->n_files; i++)
		free((char *)offer->file[i].path);
	free(offer->end);
	free(offer);
}

void
offer_client_free(struct offer_client *client)
{
	if (client == NULL)
		return;
	while (client->offers != NULL) {
		struct offer *offer = client->offers;

		client->offers = offer->next;
		offer_free(offer);
	}
	data_streams_close(&client->streams);
	free(client);
}

static void
client_free(struct blob_source *s)
{
	if (s != NULL)
		offer_client_free(s->client);
	blob_source_free(s);
}

void
order_free(struct order *order)
{
	client_free(order->client);
	offer_free(order->offer);
	free(order);
}

void
offer_note(struct blob_offer *o, struct note *note)
{
	note->next = NULL;
	pthread_mutex_lock(&o->lock);
	*o->notes_end = note;
	o->notes_end = &note->next;
	wake_fd_set(o->note_fd);
	pthread_mutex_unlock(&o->lock);
}

int
blob_offer_new(void *ctx, const char *endpoint, const struct link_keys *keys,
    struct blob_offer **out, struct err *e)
{
	AUTO(blob_offer_freep) struct blob_offer *o = NULL;
	int rc;

	if ((o = calloc(1, sizeof(*o))) == NULL)
		return err_set(e, ERR_FATAL, errno, "clients' data socket");
	o->orders_end = &o->orders;
	o->notes_end = &o->notes;
	pthread_mutex_init(&o->lock, NULL);
	o->wake_fd = wake_fd_new();
	o->note_fd = wake_fd_new();
	o->chunk = malloc(DATA_CHUNK);
	if (o->wake_fd < 0 || o->note_fd < 0 || o->chunk == NULL)
		return err_set(e, ERR_FATAL, errno, "clients' data socket");
	if (link_listen_offers(ctx, endpoint, keys, &o->link, e) < 0)
		return -1;
	data_endpoint_welcome(
	    link_endpoint(o->link), o->welcome, sizeof(o->welcome));
	/* The socket is the thread's from here on, until it is joined. */
	if ((rc = quiet_thread(&o->thread, blob_offer_thread, o)) != 0)
		return err_set(
		    e, ERR_FATAL, rc, "clients' data socket's thread");
	o->started = true;
	*out = STEAL(&o);
	return 0;
}

static void
free_lists(struct blob_offer *o)
{
	while (o->orders != NULL) {
		struct order *order = o->orders;

		o->orders = order->next;
		order_free(order);
	}
	while (o->notes != NULL) {
		struct note *note = o->notes;

		o->notes = note->next;
		free(note);
	}
	while (o->clients != NULL) {
		struct blob_source *s = o->clients;

		o->clients = s->next;
		client_free(s);
	}
}

void
blob_offer_free(struct blob_offer *o)
{
	if (o == NULL)
		return;
	if (o->started) {
		pthread_mutex_lock(&o->lock);
		o->stop = true;
		wake_fd_set(o->wake_fd);
		pthread_mutex_unlock(&o->lock);
		pthread_join(o->thread, NULL);
	}
	link_close(o->link, 0);
	free_lists(o);
	own_closep(&o->wake_fd);
	own_closep(&o->note_fd);
	pthread_mutex_destroy(&o->lock);
	free(o->chunk);
	free(o);
}

void
blob_offer_freep(struct blob_offer **o)
{
	blob_offer_free(*o);
	*o = NULL;
}

const char *
blob_offer_endpoint(const struct blob_offer *o)
{
	return link_endpoint(o->link);
}

const char *
blob_offer_welcome(const struct blob_offer *o)
{
	return o->welcome;
}

int
blob_offer_fd(const struct blob_offer *o)
{
	return o->note_fd;
}

static int
put(struct blob_offer *o, const struct order *order, struct err *e)
{
	struct order *copy;

	if ((copy = malloc(sizeof(*copy))) == NULL)
		return err_set(e, ERR_FATAL, errno, "clients' data socket");
	*copy = *order;
	pthread_mutex_lock(&o->lock);
	*o->orders_end = copy;
	o->orders_end = &copy->next;
	wake_fd_set(o->wake_fd);
	pthread_mutex_unlock(&o->lock);
	return 0;
}

int
blob_offer_client(struct blob_offer *o, const char *name, const char *key,
    uint8_t *token, struct err *e)
{
	struct order order = {.kind = ORDER_CLIENT};
	struct blob_source *s;

	if (blob_source_new("client", name, key, &s, e) < 0)
		return -1;
	if ((s->client = calloc(1, sizeof(*s->client))) == NULL) {
		blob_source_free(s);
		return err_set(e, ERR_FATAL, errno, "client %s", name);
	}
	data_streams_init(&s->client->streams);
	/* Once it is put it is the thread's. */
	memcpy(token, s->token, DATA_TOKEN_SIZE);
	order.client = s;
	if (put(o, &order, e) < 0) {
		client_free(s);
		return -1;
	}
	return 0;
}

int
blob_offer_client_gone(
    struct blob_offer *o, const uint8_t *token, struct err *e)
{
	struct order order = {.kind = ORDER_GONE};

	memcpy(order.token, token, sizeof(order.token));
	return put(o, &order, e);
}

int
blob_offer_withdraw(struct blob_offer *o, const uint8_t *token,
    const struct data_id *id, struct err *e)
{
	struct order order = {.kind = ORDER_WITHDRAW, .id = *id};

	memcpy(order.token, token, sizeof(order.token));
	return put(o, &order, e);
}

static struct offer *
copy_offer(const uint8_t *token, const struct data_id *id,
    const struct blob_offer_file *files, size_t n)
{
	struct offer *offer = calloc(1, sizeof(*offer));

	if (offer == NULL ||
	    (offer->end = calloc(1, sizeof(*offer->end))) == NULL) {
		free(offer);
		return NULL;
	}
	offer->id = *id;
	offer->end->event.id = *id;
	memcpy(offer->end->event.token, token, DATA_TOKEN_SIZE);
	for (; offer->n_files < n; offer->n_files++) {
		struct blob_offer_file *f = &offer->file[offer->n_files];

		*f = files[offer->n_files];
		if ((f->path = strdup(f->path)) == NULL) {
			offer_free(offer);
			return NULL;
		}
	}
	return offer;
}

int
blob_offer_add(struct blob_offer *o, const uint8_t *token,
    const struct data_id *id, const struct blob_offer_file *files, size_t n,
    struct err *e)
{
	struct order order = {.kind = ORDER_OFFER};

	assert(n >= 1 && n <= BLOB_OFFER_FILES);
	memcpy(order.token, token, sizeof(order.token));
	if ((order.offer = copy_offer(token, id, files, n)) == NULL)
		return err_set(e, ERR_FATAL, errno, "offer");
	if (put(o, &order, e) < 0) {
		offer_free(order.offer);
		return -1;
	}
	return 0;
}

bool
blob_offer_take(struct blob_offer *o, struct blob_offer_event *out)
{
	struct note *note;

	pthread_mutex_lock(&o->lock);
	if ((note = o->notes) != NULL && (o->notes = note->next) == NULL)
		o->notes_end = &o->notes;
	if (o->notes == NULL)
		wake_fd_clear(o->note_fd);
	pthread_mutex_unlock(&o->lock);
	if (note == NULL)
		return false;
	*out = note->event;
	free(note);
	return true;
}
