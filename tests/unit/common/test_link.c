/* Two ends over ipc in a folder of the test's own, and raw peers that lie. */
#include "link.h"

#include <errno.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>
#include <zmq.h>

#include "err.h"
#include "protocol.h"

struct fixture {
	char folder[32], endpoint[64];
	void *ctx;
	struct link *router;
};

static int
setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));
	struct err e = ERR_INIT;

	strcpy(f->folder, "/tmp/test_link.XXXXXX");
	assert_non_null(mkdtemp(f->folder));
	snprintf(f->endpoint, sizeof(f->endpoint), "ipc://%s/s", f->folder);
	if ((f->ctx = link_context(&e)) == NULL)
		fail_msg("%s", e.text);
	if (link_listen(f->ctx, f->endpoint, NULL, &f->router, &e) < 0)
		fail_msg("%s", e.text);
	*state = f;
	return 0;
}

static int
teardown(void **state)
{
	struct fixture *f = *state;

	link_close(f->router, 0);
	zmq_ctx_term(f->ctx);
	/* The socket's file is gone, so the folder is empty. */
	assert_int_equal(rmdir(f->folder), 0);
	free(f);
	return 0;
}

/* Waits up to 5 s; the fd's edge and link_recv together lose nothing. */
static int
wait_recv(struct link *l, struct link_peer *peer, struct msg *m, struct err *e)
{
	struct pollfd p = {link_fd(l), POLLIN, 0};
	int rc;

	while ((rc = link_recv(l, peer, m, e)) == 0)
		if (poll(&p, 1, 5000) != 1)
			fail_msg("nothing came in 5 s");
	return rc;
}

/* Sends, waiting for the connection if need be. */
static void
wait_send(struct link *l, const struct msg *m)
{
	struct err e = ERR_INIT;

	for (int i = 0; i < 5000; i++) {
		if (link_send(l, NULL, m, &e) == 0)
			return;
		assert_int_equal(e.kind, ERR_PEER);
		assert_int_equal(e.sys, EAGAIN);
		err_clear(&e);
		usleep(1000);
	}
	fail_msg("no connection in 5 s");
}

static void *
raw_peer(struct fixture *f, const char *id)
{
	void *s = zmq_socket(f->ctx, ZMQ_DEALER);
	int linger = 0;

	zmq_setsockopt(s, ZMQ_LINGER, &linger, sizeof(linger));
	if (id != NULL)
		zmq_setsockopt(s, ZMQ_ROUTING_ID, id, strlen(id));
	assert_int_equal(zmq_connect(s, f->endpoint), 0);
	return s;
}

static const struct msg bye = {.type = MSG_BYE, .bye = {1}};
static const struct msg welcome = {
    .type = MSG_WELCOME, .welcome = {1, 100, 0, "", {0}, ""}};

/* What has come does not keep the buffer that it came in. */
static void
test_context(void **state)
{
	const struct fixture *f = *state;

	assert_int_equal(zmq_ctx_get(f->ctx, 10 /* ZMQ_ZERO_COPY_RECV */), 0);
}

static void
test_both_ways(void **state)
{
	struct fixture *f = *state;
	struct err e = ERR_INIT;
	struct link_peer peer;
	struct link *worker;
	struct msg m;

	assert_int_equal(
	    link_connect(f->ctx, f->endpoint, NULL, &worker, &e), 0);
	wait_send(worker, &bye);
	assert_int_equal(wait_recv(f->router, &peer, &m, &e), 1);
	assert_int_equal(m.type, MSG_BYE);
	assert_int_equal(m.bye.reason, 1);
	assert_true(peer.len > 0);
	msg_clear(&m);
	assert_int_equal(link_recv(f->router, &peer, &m, &e), 0);
	assert_int_equal(link_send(f->router, &peer, &welcome, &e), 0);
	assert_int_equal(wait_recv(worker, NULL, &m, &e), 1);
	assert_int_equal(m.type, MSG_WELCOME);
	msg_clear(&m);
	link_close(worker, 0);
}

/* More parts of a job than any default would let queue, and none is lost. */
static void
test_many(void **state)
{
	struct fixture *f = *state;
	struct err e = ERR_INIT;
	struct link_peer peer;
	struct link *worker;
	struct msg m, beat = {.type = MSG_CANCEL};

	assert_int_equal(
	    link_connect(f->ctx, f->endpoint, NULL, &worker, &e), 0);
	wait_send(worker, &bye);
	assert_int_equal(wait_recv(f->router, &peer, &m, &e), 1);
	msg_clear(&m);
	for (uint64_t i = 0; i < 10000; i++) {
		beat.cancel.job = i;
		if (link_send(f->router, &peer, &beat, &e) < 0)
			fail_msg("%s", e.text);
	}
	for (uint64_t i = 0; i < 10000; i++) {
		assert_int_equal(wait_recv(worker, NULL, &m, &e), 1);
		assert_int_equal(m.cancel.job, i);
		msg_clear(&m);
	}
	link_close(worker, 0);
}

static void
test_peer_gone(void **state)
{
	struct fixture *f = *state;
	struct link_peer peer = {"nobody", 6};
	struct err e = ERR_INIT;
	struct link *worker;
	struct msg m;

	assert_int_equal(link_send(f->router, &peer, &welcome, &e), -1);
	assert_int_equal(e.kind, ERR_PEER);
	assert_int_equal(e.sys, EHOSTUNREACH);
	assert_string_equal(e.text, "WELCOME: Host unreachable");
	err_clear(&e);
	assert_int_equal(
	    link_connect(f->ctx, f->endpoint, NULL, &worker, &e), 0);
	wait_send(worker, &bye);
	assert_int_equal(wait_recv(f->router, &peer, &m, &e), 1);
	msg_clear(&m);
	link_close(worker, 0);
	for (int i = 0; link_send(f->router, &peer, &welcome, &e) == 0; i++) {
		if (i == 5000)
			fail_msg("a peer that left is still sent to");
		usleep(1000);
	}
	assert_int_equal(e.kind, ERR_PEER);
}

static void
test_malformed(void **state)
{
	struct fixture *f = *state;
	void *liar = raw_peer(f, "liar");
	struct err e = ERR_INIT;
	struct link_peer peer;
	struct msg m;

	zmq_send(liar, "\xdd\xff\xff\xff\xff", 5, 0);
	assert_int_equal(wait_recv(f->router, &peer, &m, &e), -1);
	assert_int_equal(e.kind, ERR_PEER);
	assert_int_equal(peer.len, 4);
	assert_memory_equal(peer.id, "liar", 4);
	err_clear(&e);
	/* A good message in front does not save one of several parts. */
	for (int i = 0; i < 4; i++)
		zmq_send(liar, "\x92\x0c\x00", 3, ZMQ_SNDMORE);
	zmq_send(liar, "\x92\x0c\x00", 3, 0);
	assert_int_equal(wait_recv(f->router, &peer, &m, &e), -1);
	assert_string_equal(e.text, "message of too many parts");
	assert_int_equal(e.kind, ERR_PEER);
	assert_memory_equal(peer.id, "liar", 4);
	err_clear(&e);
	zmq_send(liar, "", 0, 0);
	assert_int_equal(wait_recv(f->router, &peer, &m, &e), -1);
	assert_int_equal(e.kind, ERR_PEER);
	err_clear(&e);
	zmq_send(liar, "\x92\x0c\x00", 3, 0);
	assert_int_equal(wait_recv(f->router, &peer, &m, &e), 1);
	assert_int_equal(m.type, MSG_BYE);
	msg_clear(&m);
	zmq_close(liar);
}

static void
test_long_id(void **state)
{
	struct fixture *f = *state;
	void *liar =
	    raw_peer(f, "an id that is a good deal longer than any of libzmq");
	struct err e = ERR_INIT;
	struct link_peer peer;
	struct msg m;

	zmq_send(liar, "\x92\x0c\x00", 3, 0);
	assert_int_equal(wait_recv(f->router, &peer, &m, &e), -1);
	assert_int_equal(e.kind, ERR_PEER);
	assert_int_equal(peer.len, 0);
	err_clear(&e);
	assert_int_equal(link_recv(f->router, &peer, &m, &e), 0);
	zmq_close(liar);
}

/* A frame above the limit cuts its sender off; others do not notice. */
static void
test_oversized(void **state)
{
	struct fixture *f = *state;
	void *liar = raw_peer(f, NULL);
	char *data = calloc(1, MSG_SIZE_MAX + 1);
	struct err e = ERR_INIT;
	struct link_peer peer;
	struct link *worker;
	struct msg m;

	zmq_send(liar, data, MSG_SIZE_MAX, 0);
	assert_int_equal(wait_recv(f->router, &peer, &m, &e), -1);
	assert_int_equal(e.kind, ERR_PEER);
	err_clear(&e);
	zmq_send(liar, data, MSG_SIZE_MAX + 1, 0);
	for (int i = 0; link_send(f->router, &peer, &welcome, &e) == 0; i++) {
		if (i == 5000)
			fail_msg("the sender is still connected");
		usleep(1000);
	}
	err_clear(&e);
	assert_int_equal(
	    link_connect(f->ctx, f->endpoint, NULL, &worker, &e), 0);
	wait_send(worker, &bye);
	assert_int_equal(wait_recv(f->router, &peer, &m, &e), 1);
	assert_int_equal(m.type, MSG_BYE);
	msg_clear(&m);
	link_close(worker, 0);
	zmq_close(liar);
	free(data);
}

/* A client that reads nothing: what is sent to it is held up to a bound. */
static void
test_client_reads_nothing(void **state)
{
	struct fixture *f = *state;
	/* What libzmq and the kernel take besides: far from another bound. */
	const size_t most = LINK_CLIENTS_QUEUE + 4096;
	char endpoint[80], text[8001];
	struct msg m = {.type = MSG_STATE, .state = {.text = text}};
	struct err e = ERR_INIT;
	void *client = zmq_socket(f->ctx, ZMQ_DEALER);
	const int none = 0, one = 1;
	struct link_peer peer;
	struct link *server;
	struct msg got;
	size_t n = 0;

	memset(text, 'x', sizeof(text) - 1);
	text[sizeof(text) - 1] = '\0';
	snprintf(endpoint, sizeof(endpoint), "%s3", f->endpoint);
	assert_int_equal(
	    link_listen_clients(f->ctx, endpoint, NULL, &server, &e), 0);
	zmq_setsockopt(client, ZMQ_LINGER, &none, sizeof(none));
	zmq_setsockopt(client, ZMQ_RCVHWM, &one, sizeof(one));
	assert_int_equal(zmq_connect(client, endpoint), 0);
	zmq_send(client, "\x92\x0c\x00", 3, 0);
	assert_int_equal(wait_recv(server, &peer, &got, &e), 1);
	msg_clear(&got);
	while (n <= most && link_send(server, &peer, &m, &e) == 0)
		n++;
	assert_in_range(n, LINK_CLIENTS_QUEUE, most);
	assert_int_equal(e.kind, ERR_PEER);
	assert_int_equal(e.sys, EAGAIN);
	zmq_close(client);
	link_close(server, 0);
}

static void
test_worker_malformed(void **state)
{
	struct fixture *f = *state;
	void *router = zmq_socket(f->ctx, ZMQ_ROUTER);
	struct err e = ERR_INIT;
	struct link *worker;
	char endpoint[80], id[16];
	int linger = 0, len;
	struct msg m;

	zmq_setsockopt(router, ZMQ_LINGER, &linger, sizeof(linger));
	snprintf(endpoint, sizeof(endpoint), "%s2", f->endpoint);
	assert_int_equal(zmq_bind(router, endpoint), 0);
	assert_int_equal(link_connect(f->ctx, endpoint, NULL, &worker, &e), 0);
	wait_send(worker, &bye);
	len = zmq_recv(router, id, sizeof(id), 0);
	zmq_send(router, id, (size_t)len, ZMQ_SNDMORE);
	zmq_send(router, "\x92\x0c\x00", 3, ZMQ_SNDMORE);
	zmq_send(router, "\x92\x0c\x00", 3, 0);
	zmq_send(router, id, (size_t)len, ZMQ_SNDMORE);
	zmq_send(router, "\x92\x0c\x07", 3, 0);
	zmq_send(router, id, (size_t)len, ZMQ_SNDMORE);
	zmq_send(router, "\x92\x0c\x00", 3, 0);
	assert_int_equal(wait_recv(worker, NULL, &m, &e), -1);
	assert_string_equal(e.text, "message of too many parts");
	err_clear(&e);
	assert_int_equal(wait_recv(worker, NULL, &m, &e), -1);
	assert_string_equal(e.text, "bye: field 1 is 7, above 1");
	err_clear(&e);
	assert_int_equal(wait_recv(worker, NULL, &m, &e), 1);
	msg_clear(&m);
	link_close(worker, 0);
	zmq_close(router);
	unlink(endpoint + strlen("ipc://"));
}

static void
test_endpoints(void **state)
{
	struct fixture *f = *state;
	struct link *l = NULL;
	struct err e = ERR_INIT;
	char text[400];

	/* Beyond this machine only with keys, or when asked for in words. */
	assert_int_equal(
	    link_connect(f->ctx, "tcp://10.0.0.1:1", NULL, &l, &e), -1);
	assert_int_equal(e.kind, ERR_USAGE);
	assert_non_null(strstr(e.text, "there are no keys"));
	err_clear(&e);
	assert_int_equal(link_listen(f->ctx, "tcp://*:*", NULL, &l, &e), -1);
	assert_int_equal(e.kind, ERR_USAGE);
	err_clear(&e);
	assert_int_equal(link_listen(f->ctx, "tcp://*:*",
			     &(struct link_keys){.plain = true}, &l, &e),
	    0);
	assert_memory_equal(link_endpoint(l), "tcp://", 6);
	link_closep(&l);
	assert_int_equal(link_listen(f->ctx, "tcp://[::1]:*", NULL, &l, &e), 0);
	link_closep(&l);
	assert_int_equal(link_listen(f->ctx, "ipc://", NULL, &l, &e), -1);
	assert_int_equal(e.kind, ERR_USAGE);
	err_clear(&e);
	assert_int_equal(
	    link_listen(f->ctx, "ipc:///nowhere/s", NULL, &l, &e), -1);
	assert_int_equal(e.kind, ERR_FATAL);
	assert_int_equal(e.sys, ENOENT);
	err_clear(&e);
	snprintf(text, sizeof(text), "ipc:///%0300d", 1);
	assert_int_equal(link_connect(f->ctx, text, NULL, &l, &e), -1);
	assert_non_null(strstr(e.text, "too long"));
	assert_null(l);
	link_close(NULL, 0);
}

/* A worker may be there first. */
static void
test_late_listener(void **state)
{
	struct fixture *f = *state;
	struct link *worker, *router;
	struct err e = ERR_INIT;
	struct link_peer peer;
	char endpoint[80];
	struct msg m;

	snprintf(endpoint, sizeof(endpoint), "%s2", f->endpoint);
	assert_int_equal(link_connect(f->ctx, endpoint, NULL, &worker, &e), 0);
	assert_int_equal(link_send(worker, NULL, &bye, &e), -1);
	assert_int_equal(e.kind, ERR_PEER);
	err_clear(&e);
	usleep(50000);
	assert_int_equal(link_listen(f->ctx, endpoint, NULL, &router, &e), 0);
	wait_send(worker, &bye);
	assert_int_equal(wait_recv(router, &peer, &m, &e), 1);
	msg_clear(&m);
	link_close(worker, 0);
	link_close(router, 0);
}

int
main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
	    TEST(test_context),
	    TEST(test_both_ways),
	    TEST(test_many),
	    TEST(test_peer_gone),
	    TEST(test_malformed),
	    TEST(test_long_id),
	    TEST(test_oversized),
	    TEST(test_client_reads_nothing),
	    TEST(test_worker_malformed),
	    TEST(test_endpoints),
	    TEST(test_late_listener),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
