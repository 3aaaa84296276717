/*
 * Inside of blob_offer: its state, and what its two files call of each other.
 * blob_offer.c is what other threads call, blob_offer_thread.c the thread that
 * owns the socket.  For these two alone.
 */
#ifndef BLOB_OFFER_STATE_H
#define BLOB_OFFER_STATE_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "transfer/blob_offer.h"
#include "data_streams.h"
#include "endpoint.h"
#include "err.h"

struct blob_source;
struct link;

/* An event on its way to who takes it. */
struct note {
	struct blob_offer_event event;
	struct note *next;
};

struct offer {
	struct data_id id;
	struct blob_offer_file file[BLOB_OFFER_FILES]; /* paths are its own */
	size_t n_files;
	struct note *end; /* made beforehand, so that it cannot fail */
	bool unreadable;  /* it was said */
	struct offer *next;
};

/* The thread's part of a blob_source. */
struct offer_client {
	struct offer *offers;
	struct data_streams streams;
	bool greet;	  /* its connection is new, and that was not said */
	bool faulty;	  /* not listened to any more */
	int64_t again;	  /* until then its queue is taken to be full */
	int64_t patience; /* ms that this was last time */
};

enum order_kind { ORDER_CLIENT, ORDER_GONE, ORDER_OFFER, ORDER_WITHDRAW };

/* What the thread is to do; what it does not take is freed with it. */
struct order {
	enum order_kind kind;
	struct blob_source *client;
	struct offer *offer;
	uint8_t token[DATA_TOKEN_SIZE];
	struct data_id id;
	struct order *next;
};

struct blob_offer {
	char welcome[ENDPOINT_MAX + 1];
	pthread_t thread;
	bool started;
	int wake_fd, note_fd;

	pthread_mutex_t lock;
	struct order *orders, **orders_end;
	struct note *notes, **notes_end;
	bool stop;

	/* The thread's. */
	struct link *link;
	struct blob_source *clients;
	uint8_t *chunk;	   /* of DATA_CHUNK bytes */
	struct err broken; /* ends every offer, once it is set */
};

void offer_free(struct offer *offer);
void offer_client_free(struct offer_client *client);
void order_free(struct order *order);

/* Gives the note to who takes events. */
void offer_note(struct blob_offer *o, struct note *note);

/* The thread's main function; arg is the blob_offer. */
void *blob_offer_thread(void *arg);

#endif
