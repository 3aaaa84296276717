/*
 * Hands finished layers to clients: a thread of its own with one data socket
 * for all of them, to which they connect, and which answers their PULLs from
 * files that stay as they are while they are offered.  The other end is a
 * blob_fetch with a server.  Any number of clients may be offered one file.
 *
 * Each offer ends once, and with an event (blob_offer_take): the client has
 * the layer or does not want it, it is withdrawn, its client is gone.  Until
 * then its files must not change.  Whether a file is sound is for the client
 * to find out, who hashes what comes; one that it finds damaged it drops.
 *
 * Memory: one chunk, and LINK_OFFERS_QUEUE of them for a client that reads
 * slowly, whatever it asks for.  It is tried again now and then; others do not
 * wait for it.  What a client must not do ends in a failure of its own pulls.
 *
 * One thread calls (dispatch's); no call blocks, but blob_offer_free.
 */
#ifndef BLOB_OFFER_H
#define BLOB_OFFER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "data_protocol.h"
#include "err.h"

struct blob_offer;
struct link_keys;

#define BLOB_OFFER_FILES 2 /* of an offer: one a form at most */

/* A form of the layer, and where it is. */
struct blob_offer_file {
	enum data_form form;
	const char *path;
	uint64_t size;
};

enum blob_offer_what {
	BLOB_OFFER_COMMITTED, /* ends it: the client has all that it wants */
	/*
	 * Ends it: not wanted, damaged, withdrawn, its client gone; with
	 * ERR_FATAL in err: the thread itself has failed, and so will all
	 * other offers.
	 */
	BLOB_OFFER_DROPPED,
	/* A file cannot be read (err); its client was told.  Once an offer. */
	BLOB_OFFER_UNREADABLE,
	/* The client broke the protocol (err; id is not set). */
	BLOB_OFFER_FAULT
};

struct blob_offer_event {
	enum blob_offer_what what;
	uint8_t token[DATA_TOKEN_SIZE]; /* of the client */
	struct data_id id;
	struct err err;
};

/*
 * Binds the socket (endpoint.h), starts the thread.  With keys a ZAP handler
 * must be there before.  keys may be NULL and is not kept.
 */
int blob_offer_new(void *ctx, const char *endpoint,
    const struct link_keys *keys, struct blob_offer **out, struct err *e);
/* Ends the thread, after the read that it is in. */
void blob_offer_free(struct blob_offer *o);
void blob_offer_freep(struct blob_offer **o);

/* As it is bound, ports filled in; and the same for WELCOME, without a host. */
const char *blob_offer_endpoint(const struct blob_offer *o);
const char *blob_offer_welcome(const struct blob_offer *o);

/* For poll(2): readable means that blob_offer_take has something. */
int blob_offer_fd(const struct blob_offer *o);

/*
 * A client that may come to the data socket: makes its token (DATA_TOKEN_SIZE
 * bytes), which is for its WELCOME.  name is for errors, key is what it has
 * proved to have on the control socket (link_peer's; "" without keys) and has
 * to prove here; both are copied.  ERR_FATAL.
 */
int blob_offer_client(struct blob_offer *o, const char *name, const char *key,
    uint8_t *token, struct err *e);
/* It is gone: its offers end, its connection counts no more.  ERR_FATAL. */
int blob_offer_client_gone(
    struct blob_offer *o, const uint8_t *token, struct err *e);

/*
 * Offers a layer to a client; files (1 to BLOB_OFFER_FILES of different forms)
 * is copied.  id is one that the client has not been offered yet; it is what
 * the client is told by other means, and pulls.  ERR_FATAL.
 */
int blob_offer_add(struct blob_offer *o, const uint8_t *token,
    const struct data_id *id, const struct blob_offer_file *files, size_t n,
    struct err *e);

/* Ends an offer, unless it has ended.  ERR_FATAL. */
int blob_offer_withdraw(struct blob_offer *o, const uint8_t *token,
    const struct data_id *id, struct err *e);

/* What came of an offer; false: nothing yet. */
bool blob_offer_take(struct blob_offer *o, struct blob_offer_event *out);

#endif
