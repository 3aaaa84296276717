/*
 * ZeroMQ sockets with every option set in one place, and messages on them.
 * A socket belongs to the thread that made it.  One context a process, and
 * in quarry serve one for clients: each has a list of keys (zap.h).
 */
#ifndef LINK_H
#define LINK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "curve_key.h"

struct data_msg;
struct err;
struct msg;

/* libzmq's ids of ROUTER peers are 5 bytes; room for more. */
#define LINK_PEER_MAX 32

struct link_peer {
	uint8_t id[LINK_PEER_MAX];
	size_t len;
	/* The public key that it has proved to have; "" on a plain socket. */
	char key[CURVE_KEY_LEN + 1];
};

/* How the two ends know each other. */
struct link_keys {
	const struct curve_key *own; /* NULL: no keys, the socket is plain */
	const char
	    *server; /* connecting with keys: the listener's public one */
	/*
	 * Without keys only ipc:// and TCP inside of this machine is taken,
	 * unless plain is asked for: then whoever reaches the port may speak,
	 * and whoever is on the way may read and change what is said.
	 */
	bool plain;
};

/* Where the listener's ZAP handler decides on keys. */
#define LINK_ZAP_DOMAIN "quarry"

struct link;

/* For all below; zmq_ctx_term ends it.  NULL: out of memory, or of files. */
void *link_context(struct err *e);

/*
 * The coordinator's end: a ROUTER bound to endpoint.  An ipc:// path must be in
 * a private folder.  With keys a ZAP handler must be there before: where none
 * answers nobody gets in.  keys may be NULL (none) and is not kept.
 */
int link_listen(void *ctx, const char *endpoint, const struct link_keys *keys,
    struct link **out, struct err *e);

/*
 * The same for clients, who are many, and are sent little at once: of what is
 * sent so many messages are held for a peer at most, and link_send says EAGAIN
 * then.
 */
#define LINK_CLIENTS_QUEUE 2048
int link_listen_clients(void *ctx, const char *endpoint,
    const struct link_keys *keys, struct link **out, struct err *e);

/* A worker's end: a DEALER; connects (and reconnects) in the background. */
int link_connect(void *ctx, const char *endpoint, const struct link_keys *keys,
    struct link **out, struct err *e);

/* Where it listens, with the port that was free; the link's own. */
const char *link_endpoint(const struct link *l);

/*
 * As above, for the second pair of sockets, which carries data_protocol.h.
 * Each has its own pair of calls below; a socket never takes the other's
 * messages.
 */
int link_listen_data(void *ctx, const char *endpoint,
    const struct link_keys *keys, struct link **out, struct err *e);
int link_connect_data(void *ctx, const char *endpoint,
    const struct link_keys *keys, struct link **out, struct err *e);

/*
 * As link_listen_data, for who hands over: of what is sent LINK_OFFERS_QUEUE
 * messages are held for a peer at most, and link_send_data says EAGAIN then.
 */
#define LINK_OFFERS_QUEUE 16
int link_listen_offers(void *ctx, const char *endpoint,
    const struct link_keys *keys, struct link **out, struct err *e);

/*
 * Closes.  linger_ms: how long messages that were sent may still leave (0:
 * dropped at once).  A listening end removes its socket's file.
 */
void link_close(struct link *l, int linger_ms);
void link_closep(struct link **l);

/*
 * For poll(2): readable means link_recv may have a message (edge-triggered:
 * call link_recv until it says 0 before sleeping again).
 */
int link_fd(const struct link *l);

/*
 * Sends without blocking; peer is NULL on a worker's end.  Returns 0; -1 with
 * ERR_PEER where the peer is gone or its queue is full (sys EAGAIN; on a
 * worker's end also: not connected), ERR_FATAL else.
 */
int link_send(struct link *l, const struct link_peer *peer, const struct msg *m,
    struct err *e);

/*
 * Receives without blocking: 1 and *m filled (msg_clear it), 0 for nothing
 * there, -1 with ERR_PEER for a message that is not one of ours (*peer says
 * whose, len 0 if its id is too long; go on), ERR_FATAL else.  peer is NULL on
 * a worker's end.  link_send may swallow the fd's edge: the last call before
 * sleeping must be a link_recv that said 0.
 */
int link_recv(
    struct link *l, struct link_peer *peer, struct msg *m, struct err *e);

/*
 * As link_send and link_recv.  What a received chunk points to is the link's
 * and holds until the next link_recv_data or link_close.
 */
int link_send_data(struct link *l, const struct link_peer *peer,
    const struct data_msg *m, struct err *e);
int link_recv_data(
    struct link *l, struct link_peer *peer, struct data_msg *m, struct err *e);

#endif
