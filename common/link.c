#include "link.h"

#include <assert.h>
#include <errno.h>
#include <stdbool.h>
#include <string.h>

#include <zmq.h>

#include "curve_key.h"
#include "data_protocol.h"
#include "endpoint.h"
#include "err.h"
#include "own.h"
#include "protocol.h"

#define SCHEME "ipc://"

/*
 * Without it a listener whose ZAP handler is gone lets everybody in.  zmq.h
 * hides it among the drafts; libzmq has it since 4.3.
 */
#ifndef ZMQ_ZAP_ENFORCE_DOMAIN
#define ZMQ_ZAP_ENFORCE_DOMAIN 93
#endif
/* As hidden, and as old. */
#ifndef ZMQ_ZERO_COPY_RECV
#define ZMQ_ZERO_COPY_RECV 10
#endif

struct link {
	void *socket;
	bool router;
	bool data;	/* carries data_protocol.h */
	zmq_msg_t held; /* data: the chunk that was received last */
	int fd;
	char *path; /* of the socket's file, if this end made it */
	char endpoint[ENDPOINT_MAX + 64]; /* listening: where, exactly */
	msgpack_sbuffer out;		  /* what is sent is encoded here */
};

struct option {
	int name, value;
};

enum use { USE_CONTROL, USE_CLIENTS, USE_DATA, USE_OFFERS };

/*
 * No ZMTP heartbeats: with a reader slower than its sender they cut healthy
 * connections and lose what was queued; messages of our own tell who lives.
 */
static const struct option both_ends[] = {
    {ZMQ_LINGER, 0},			 /* the default waits for ever */
    {ZMQ_MAXMSGSIZE, (int)MSG_SIZE_MAX}, /* 64 bits, see set_options */
    {ZMQ_HANDSHAKE_IVL, 5000},		 /* ms */
    {ZMQ_HEARTBEAT_IVL, 0}, {ZMQ_IPV6, 1},
    /* A machine that is gone without a word: found within a minute. */
    {ZMQ_TCP_KEEPALIVE, 1}, {ZMQ_TCP_KEEPALIVE_IDLE, 30}, /* s */
    {ZMQ_TCP_KEEPALIVE_INTVL, 5}, {ZMQ_TCP_KEEPALIVE_CNT, 3},
    {ZMQ_TCP_MAXRT, 30000}, /* ms */
};

/*
 * High-water marks count messages.  A job's parts come to a few thousand at
 * most; what workers send is small and seldom.
 */
static const struct option router_end[] = {
    {ZMQ_ROUTER_MANDATORY, 1}, /* a peer that is gone is an error */
    {ZMQ_SNDHWM, 16384},
    {ZMQ_RCVHWM, 4096},
    {ZMQ_BACKLOG, 4096},
};

static const struct option dealer_end[] = {
    {ZMQ_IMMEDIATE, 1}, /* queue only where there is a connection */
    {ZMQ_SNDHWM, 4096}, {ZMQ_RCVHWM, 16384},
    {ZMQ_CONNECT_TIMEOUT, 5000},   /* ms */
    {ZMQ_RECONNECT_IVL, 200},	   /* ms; libzmq adds jitter */
    {ZMQ_RECONNECT_IVL_MAX, 5000}, /* ms */
};

/*
 * For the data pair, after those above.  What is on its way to the coordinator
 * is what it asked for, DATA_CREDIT_MAX chunks of a worker, and room for those
 * of a pull that it gave up: a queue that fills is a peer's fault, and bounds
 * what that costs.
 */
static const struct option data_ends[] = {
    {ZMQ_MAXMSGSIZE, (int)DATA_MSG_SIZE_MAX},
    {ZMQ_SNDHWM, 2 * DATA_CREDIT_MAX},
    {ZMQ_RCVHWM, 2 * DATA_CREDIT_MAX},
};

/* Who does not read what is said to it costs a server's memory, not all. */
static const struct option clients_end[] = {{ZMQ_SNDHWM, LINK_CLIENTS_QUEUE}};

/* What comes to who offers is small, and who reads slowly costs little. */
static const struct option offers_end[] = {
    {ZMQ_MAXMSGSIZE, 4096},
    {ZMQ_SNDHWM, LINK_OFFERS_QUEUE},
};

#define N_OF(a) (sizeof(a) / sizeof((a)[0]))

/* libzmq has error numbers of its own, with texts of its own. */
static int
link_fault(struct err *e, enum err_kind kind, const char *what)
{
	int sys = errno;

	err_set(e, kind, 0, "%s: %s", what, zmq_strerror(sys));
	e->sys = sys;
	return -1;
}

static int
set_options(
    struct link *l, const struct option *option, size_t n, struct err *e)
{
	int64_t wide;
	int rc;

	for (size_t i = 0; i < n; i++) {
		wide = option[i].value;
		if (option[i].name == ZMQ_MAXMSGSIZE)
			rc = zmq_setsockopt(
			    l->socket, option[i].name, &wide, sizeof(wide));
		else
			rc = zmq_setsockopt(l->socket, option[i].name,
			    &option[i].value, sizeof(option[i].value));
		if (rc != 0)
			return link_fault(e, ERR_FATAL, "socket option");
	}
	return 0;
}

static int
set_text(struct link *l, int name, const char *value, struct err *e)
{
	if (zmq_setsockopt(l->socket, name, value, strlen(value)) != 0)
		return link_fault(e, ERR_FATAL, "key");
	return 0;
}

static int
set_number(struct link *l, int name, int value, struct err *e)
{
	const struct option option = {name, value};

	return set_options(l, &option, 1, e);
}

static int
set_keys(struct link *l, const struct link_keys *keys, struct err *e)
{
	if (set_text(l, ZMQ_CURVE_PUBLICKEY, keys->own->public, e) < 0 ||
	    set_text(l, ZMQ_CURVE_SECRETKEY, keys->own->secret, e) < 0)
		return -1;
	if (!l->router)
		return set_text(l, ZMQ_CURVE_SERVERKEY, keys->server, e);
	if (set_text(l, ZMQ_ZAP_DOMAIN, LINK_ZAP_DOMAIN, e) < 0 ||
	    set_number(l, ZMQ_ZAP_ENFORCE_DOMAIN, 1, e) < 0)
		return -1;
	return set_number(l, ZMQ_CURVE_SERVER, 1, e);
}

/* Who may speak must be settled: by keys, by file rights, or in words. */
static int
check_safe(const char *endpoint, bool router, const struct link_keys *keys,
    struct err *e)
{
	struct endpoint where;

	if (endpoint_check(endpoint, router, &where, e) < 0)
		return -1;
	if (where.kind == ENDPOINT_IPC || where.loopback || keys->plain ||
	    keys->own != NULL)
		return 0;
	return err_set(e, ERR_USAGE, 0,
	    "'%.120s' can be reached from other machines, and there are no "
	    "keys: quarry keygen makes them",
	    endpoint);
}

void *
link_context(struct err *e)
{
	void *ctx = zmq_ctx_new();

	if (ctx == NULL) {
		err_set(e, ERR_FATAL, errno, "zmq_ctx_new");
		return NULL;
	}
	/*
	 * Else small messages hold on to the buffer that they came in, and each
	 * connection has several; large ones are read into place either way.
	 * Where libzmq does not know it, nothing is lost but memory.
	 */
	zmq_ctx_set(ctx, ZMQ_ZERO_COPY_RECV, 0);
	return ctx;
}

/* Makes the socket and sets its options. */
static int
link_new(void *ctx, const char *endpoint, bool router, enum use use,
    const struct link_keys *given, struct link **out, struct err *e)
{
	static const struct link_keys none = {NULL, NULL, false};
	const struct link_keys *keys = given != NULL ? given : &none;
	AUTO(link_closep) struct link *l = NULL;
	size_t size;

	if (check_safe(endpoint, router, keys, e) < 0)
		return -1;
	if ((l = calloc(1, sizeof(*l))) == NULL)
		return err_set(e, ERR_FATAL, errno, "socket");
	l->router = router;
	l->data = use == USE_DATA || use == USE_OFFERS;
	zmq_msg_init(&l->held);
	msgpack_sbuffer_init(&l->out);
	l->socket = zmq_socket(ctx, router ? ZMQ_ROUTER : ZMQ_DEALER);
	if (l->socket == NULL)
		return link_fault(e, ERR_FATAL, "socket");
	size = sizeof(l->fd);
	if (zmq_getsockopt(l->socket, ZMQ_FD, &l->fd, &size) != 0)
		return link_fault(e, ERR_FATAL, "socket");
	if (set_options(l, both_ends, N_OF(both_ends), e) < 0)
		return -1;
	if (router ? set_options(l, router_end, N_OF(router_end), e) < 0
		   : set_options(l, dealer_end, N_OF(dealer_end), e) < 0)
		return -1;
	if (keys->own != NULL && set_keys(l, keys, e) < 0)
		return -1;
	if (l->data && set_options(l, data_ends, N_OF(data_ends), e) < 0)
		return -1;
	if (use == USE_CLIENTS &&
	    set_options(l, clients_end, N_OF(clients_end), e) < 0)
		return -1;
	if (use == USE_OFFERS &&
	    set_options(l, offers_end, N_OF(offers_end), e) < 0)
		return -1;
	*out = STEAL(&l);
	return 0;
}

/* "[::ffff:127.0.0.1]", as an IPv6 socket calls it, is 127.0.0.1. */
static void
plain_address(char *endpoint)
{
	static const char mapped[] = "[::ffff:";
	char *at = strstr(endpoint, mapped), *end;

	if (at == NULL || (end = strchr(at, ']')) == NULL)
		return;
	memmove(end, end + 1, strlen(end + 1) + 1);
	memmove(at, at + strlen(mapped), strlen(at + strlen(mapped)) + 1);
}

static int
listen_on(void *ctx, const char *endpoint, const struct link_keys *keys,
    enum use use, struct link **out, struct err *e)
{
	AUTO(link_closep) struct link *l = NULL;
	size_t size;

	if (link_new(ctx, endpoint, true, use, keys, &l, e) < 0)
		return err_ctx(e, "listen on %s", endpoint);
	if (zmq_bind(l->socket, endpoint) != 0) {
		link_fault(e, ERR_FATAL, endpoint);
		return err_ctx(e, "listen on");
	}
	if (strncmp(endpoint, SCHEME, strlen(SCHEME)) == 0 &&
	    (l->path = strdup(endpoint + strlen(SCHEME))) == NULL)
		return err_set(e, ERR_FATAL, errno, "listen on %s", endpoint);
	size = sizeof(l->endpoint);
	if (zmq_getsockopt(l->socket, ZMQ_LAST_ENDPOINT, l->endpoint, &size) !=
	    0)
		return link_fault(e, ERR_FATAL, "endpoint");
	plain_address(l->endpoint);
	*out = STEAL(&l);
	return 0;
}

int
link_listen(void *ctx, const char *endpoint, const struct link_keys *keys,
    struct link **out, struct err *e)
{
	return listen_on(ctx, endpoint, keys, USE_CONTROL, out, e);
}

int
link_listen_clients(void *ctx, const char *endpoint,
    const struct link_keys *keys, struct link **out, struct err *e)
{
	return listen_on(ctx, endpoint, keys, USE_CLIENTS, out, e);
}

int
link_listen_data(void *ctx, const char *endpoint, const struct link_keys *keys,
    struct link **out, struct err *e)
{
	return listen_on(ctx, endpoint, keys, USE_DATA, out, e);
}

int
link_listen_offers(void *ctx, const char *endpoint,
    const struct link_keys *keys, struct link **out, struct err *e)
{
	return listen_on(ctx, endpoint, keys, USE_OFFERS, out, e);
}

static int
connect_to(void *ctx, const char *endpoint, const struct link_keys *keys,
    enum use use, struct link **out, struct err *e)
{
	AUTO(link_closep) struct link *l = NULL;

	if (link_new(ctx, endpoint, false, use, keys, &l, e) < 0)
		return err_ctx(e, "connect to %s", endpoint);
	if (zmq_connect(l->socket, endpoint) != 0) {
		link_fault(e, ERR_USAGE, endpoint);
		return err_ctx(e, "connect to");
	}
	*out = STEAL(&l);
	return 0;
}

int
link_connect(void *ctx, const char *endpoint, const struct link_keys *keys,
    struct link **out, struct err *e)
{
	return connect_to(ctx, endpoint, keys, USE_CONTROL, out, e);
}

int
link_connect_data(void *ctx, const char *endpoint, const struct link_keys *keys,
    struct link **out, struct err *e)
{
	return connect_to(ctx, endpoint, keys, USE_DATA, out, e);
}

void
link_close(struct link *l, int linger_ms)
{
	if (l == NULL)
		return;
	if (l->socket != NULL) {
		zmq_setsockopt(
		    l->socket, ZMQ_LINGER, &linger_ms, sizeof(linger_ms));
		zmq_close(l->socket);
	}
	if (l->path != NULL)
		unlink(l->path); /* libzmq leaves it */
	free(l->path);
	msgpack_sbuffer_destroy(&l->out);
	zmq_msg_close(&l->held);
	free(l);
}

void
link_closep(struct link **l)
{
	link_close(*l, 0);
	*l = NULL;
}

const char *
link_endpoint(const struct link *l)
{
	return l->endpoint;
}

int
link_fd(const struct link *l)
{
	return l->fd;
}

static int
send_part(struct link *l, const void *data, size_t len, int flags)
{
	int rc;

	do
		rc = zmq_send(l->socket, data, len, flags | ZMQ_DONTWAIT);
	while (rc < 0 && errno == EINTR);
	return rc < 0 ? -1 : 0;
}

/* What l->out holds; name is the message's. */
static int
send_out(struct link *l, const struct link_peer *peer, const char *name,
    struct err *e)
{
	if ((l->router && send_part(l, peer->id, peer->len, ZMQ_SNDMORE) < 0) ||
	    send_part(l, l->out.data, l->out.size, 0) < 0)
		return link_fault(e,
		    errno == EAGAIN || errno == EHOSTUNREACH ? ERR_PEER
							     : ERR_FATAL,
		    name);
	return 0;
}

int
link_send(struct link *l, const struct link_peer *peer, const struct msg *m,
    struct err *e)
{
	assert(!l->data);
	msgpack_sbuffer_clear(&l->out);
	if (msg_encode(m, &l->out, e) < 0)
		return -1;
	return send_out(l, peer, msg_name(m->type), e);
}

int
link_send_data(struct link *l, const struct link_peer *peer,
    const struct data_msg *m, struct err *e)
{
	assert(l->data);
	msgpack_sbuffer_clear(&l->out);
	if (data_msg_encode(m, &l->out, e) < 0)
		return -1;
	return send_out(l, peer, data_msg_name(m->type), e);
}

static int
receive_part(struct link *l, zmq_msg_t *part)
{
	int rc;

	do
		rc = zmq_msg_recv(part, l->socket, ZMQ_DONTWAIT);
	while (rc < 0 && errno == EINTR);
	return rc < 0 ? -1 : 0;
}

/* Takes the rest of a message that has too many parts. */
static void
drain(struct link *l, zmq_msg_t *part)
{
	while (zmq_msg_more(part))
		if (receive_part(l, part) < 0)
			return;
}

/* The part has to be the last one. */
static int
check_last(struct link *l, zmq_msg_t *frame, struct err *e)
{
	if (!zmq_msg_more(frame))
		return 0;
	drain(l, frame);
	return err_set(e, ERR_PEER, 0, "message of too many parts");
}

/* The ROUTER's first part: who sent the message. */
static int
take_peer(
    struct link *l, zmq_msg_t *part, struct link_peer *peer, struct err *e)
{
	size_t len = zmq_msg_size(part);
	const char *user;

	peer->len = 0;
	if (len > sizeof(peer->id)) {
		drain(l, part);
		return err_set(
		    e, ERR_PEER, 0, "peer with an id of %zu bytes", len);
	}
	*peer = (struct link_peer){.len = len};
	memcpy(peer->id, zmq_msg_data(part), len);
	if (!zmq_msg_more(part))
		return err_set(e, ERR_PEER, 0, "message without a part");
	/* The rest came with the first part, or nothing had come. */
	if (receive_part(l, part) < 0)
		return link_fault(e, ERR_FATAL, "receive");
	/* The first part may be without it (libzmq 4.3.4 after a poll). */
	user = zmq_msg_gets(part, "User-Id");
	if (user != NULL && strlen(user) == CURVE_KEY_LEN)
		memcpy(peer->key, user, CURVE_KEY_LEN + 1);
	return 0;
}

/* 1 and the message's one part in *part, 0 or -1. */
static int
receive_frame(
    struct link *l, struct link_peer *peer, zmq_msg_t *part, struct err *e)
{
	if (receive_part(l, part) < 0)
		return errno == EAGAIN ? 0
				       : link_fault(e, ERR_FATAL, "receive");
	if ((l->router && take_peer(l, part, peer, e) < 0) ||
	    check_last(l, part, e) < 0)
		return -1;
	return 1;
}

int
link_recv(struct link *l, struct link_peer *peer, struct msg *m, struct err *e)
{
	zmq_msg_t part;
	int rc;

	assert(!l->data);
	memset(m, 0, sizeof(*m));
	zmq_msg_init(&part);
	rc = receive_frame(l, peer, &part, e);
	if (rc > 0 &&
	    msg_decode(zmq_msg_data(&part), zmq_msg_size(&part), m, e) < 0)
		rc = -1;
	zmq_msg_close(&part);
	return rc;
}

int
link_recv_data(
    struct link *l, struct link_peer *peer, struct data_msg *m, struct err *e)
{
	int rc;

	assert(l->data);
	memset(m, 0, sizeof(*m));
	/* Receiving frees what the part held before. */
	rc = receive_frame(l, peer, &l->held, e);
	if (rc > 0 &&
	    data_msg_decode(
		zmq_msg_data(&l->held), zmq_msg_size(&l->held), m, e) < 0)
		rc = -1;
	return rc;
}
