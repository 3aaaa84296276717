/*
 * Who gets in: over real sockets, listed keys, unlisted ones, wrong server
 * keys, and with a handler that is gone.
 */
#include "dispatch/zap.h"

#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>
#include <zmq.h>

#include "curve_key.h"
#include "err.h"
#include "dispatch/key_list.h"
#include "link.h"
#include "protocol.h"

static struct curve_key server, listed, stranger;

static int
make_keys(void **state)
{
	struct err e = ERR_INIT;

	(void)state;
	return curve_key_make(&server, &e) | curve_key_make(&listed, &e) |
	    curve_key_make(&stranger, &e);
}

struct fixture {
	void *ctx;
	struct zap *zap;
	struct link *router;
};

static struct key_list *
list_of(const char *key)
{
	char name[] = "/tmp/test-zap-XXXXXX";
	int fd = mkstemp(name);
	struct key_list *list = NULL;
	struct err e = ERR_INIT;

	assert_true(fd >= 0);
	if (key != NULL)
		dprintf(fd, "# ours\n%s builder-1\n", key);
	close(fd);
	assert_int_equal(key_list_read(name, &list, &e), 0);
	unlink(name);
	return list;
}

static int
setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));
	struct link_keys keys = {.own = &server};
	struct key_list *list = list_of(listed.public);
	struct err e = ERR_INIT;

	f->ctx = zmq_ctx_new();
	if (zap_start(f->ctx, &list, &f->zap, &e) < 0)
		fail_msg("%s", e.text);
	assert_null(list);
	if (link_listen(f->ctx, "tcp://127.0.0.1:*", &keys, &f->router, &e) < 0)
		fail_msg("%s", e.text);
	*state = f;
	return 0;
}

static int
teardown(void **state)
{
	struct fixture *f = *state;

	link_close(f->router, 0);
	zap_stop(f->zap);
	zmq_ctx_term(f->ctx);
	free(f);
	return 0;
}

/*
 * Whether a message of a worker with these keys arrives, and whose it is.  What
 * is wanted is waited for, what is not wanted for half a second.
 */
static bool
arrives(struct fixture *f, const struct curve_key *own, const char *server_key,
    struct link_peer *peer, bool wanted)
{
	static uint64_t serial; /* what an earlier one sent may still come */
	const struct msg sized = {
	    .type = MSG_SIZED, .sized = {.job = ++serial}};
	struct link_keys keys = {.own = own, .server = server_key};
	struct err e = ERR_INIT;
	struct link *worker;
	bool found = false;
	struct msg m;

	if (link_connect(f->ctx, link_endpoint(f->router), &keys, &worker, &e) <
	    0)
		fail_msg("%s", e.text);
	for (int i = 0; i < (wanted ? 20000 : 500) && !found; i++) {
		/* Refused connections never take a message. */
		if (link_send(worker, NULL, &sized, &e) < 0)
			err_clear(&e);
		usleep(1000);
		while (link_recv(f->router, peer, &m, &e) == 1) {
			found |= m.sized.job == serial;
			msg_clear(&m);
		}
	}
	link_close(worker, 0);
	return found;
}

static void
listed_key(void **state)
{
	struct link_peer peer;
	char name[CURVE_KEY_NAME_MAX + 1];
	struct fixture *f = *state;

	assert_true(arrives(f, &listed, server.public, &peer, true));
	assert_string_equal(peer.key, listed.public);
	assert_true(zap_allows(f->zap, peer.key, name, sizeof(name)));
	assert_string_equal(name, "builder-1");
}

static void
others(void **state)
{
	struct fixture *f = *state;
	struct link_peer peer;

	assert_false(arrives(f, &stranger, server.public, &peer, false));
	/* A worker does not talk to a coordinator that is not the one meant. */
	assert_false(arrives(f, &listed, stranger.public, &peer, false));
}

static void
plain_peer(void **state)
{
	struct fixture *f = *state;
	void *s = zmq_socket(f->ctx, ZMQ_DEALER);
	struct link_peer peer;
	struct err e = ERR_INIT;
	int zero = 0;
	struct msg m;

	zmq_setsockopt(s, ZMQ_LINGER, &zero, sizeof(zero));
	assert_int_equal(zmq_connect(s, link_endpoint(f->router)), 0);
	zmq_send(s, "\x92\x0c\x01", 3, ZMQ_DONTWAIT);
	usleep(300000);
	assert_int_equal(link_recv(f->router, &peer, &m, &e), 0);
	zmq_close(s);
}

static void
replaced_list(void **state)
{
	struct fixture *f = *state;
	struct key_list *list = list_of(stranger.public);
	struct link_peer peer;

	zap_replace(f->zap, &list);
	assert_null(list);
	assert_false(zap_allows(f->zap, listed.public, NULL, 0));
	assert_false(arrives(f, &listed, server.public, &peer, false));
	assert_true(arrives(f, &stranger, server.public, &peer, true));
	list = list_of(NULL);
	zap_replace(f->zap, &list);
	assert_false(arrives(f, &stranger, server.public, &peer, false));
}

/* libzmq's own default would let everybody in. */
static void
no_handler(void **state)
{
	struct fixture *f = *state;
	struct link_peer peer;

	zap_stop(f->zap);
	f->zap = NULL;
	assert_false(arrives(f, &listed, server.public, &peer, false));
	assert_false(arrives(f, &stranger, server.public, &peer, false));
}

/* Whatever asks is answered, or not, and the handler lives on. */
static void
bad_requests(void **state)
{
	struct fixture *f = *state;
	struct link_peer peer;
	int zero = 0;

	for (int n = 1; n < 12; n++) {
		void *s = zmq_socket(f->ctx, ZMQ_REQ);
		static const char big[10000];

		zmq_setsockopt(s, ZMQ_LINGER, &zero, sizeof(zero));
		assert_int_equal(zmq_connect(s, "inproc://zeromq.zap.01"), 0);
		for (int i = 0; i < n; i++)
			assert_true(zmq_send(s, big, sizeof(big),
					i < n - 1 ? ZMQ_SNDMORE : 0) >= 0);
		zmq_close(s);
	}
	assert_true(arrives(f, &listed, server.public, &peer, true));
}

static void
lists(void **state)
{
	char folder[] = "/tmp/test-keys-XXXXXX", path[64], command[64];
	struct key_list *list = NULL;
	struct err e = ERR_INIT;
	FILE *file;

	(void)state;
	assert_non_null(mkdtemp(folder));
	snprintf(path, sizeof(path), "%s/a.pub", folder);
	file = fopen(path, "w");
	fprintf(file, "%s a\n", listed.public);
	fclose(file);
	assert_int_equal(key_list_read(folder, &list, &e), 0);
	assert_int_equal(key_list_count(list), 1);
	assert_string_equal(key_list_find(list, listed.public), "a");
	assert_null(key_list_find(list, stranger.public));
	assert_int_equal(key_list_add(list, stranger.public, "s", &e), 0);
	assert_string_equal(key_list_find(list, stranger.public), "s");
	assert_string_equal(key_list_find(list, listed.public), "a");
	key_list_free(list);
	snprintf(path, sizeof(path), "%s/b.pub", folder);
	file = fopen(path, "w");
	fprintf(file, "\n%s b\n", listed.public);
	fclose(file);
	assert_int_equal(key_list_read(folder, &list, &e), -1);
	assert_non_null(strstr(e.text, "listed twice"));
	err_clear(&e);
	file = fopen(path, "w");
	fprintf(file, "\nnonsense\n");
	fclose(file);
	assert_int_equal(key_list_read(folder, &list, &e), -1);
	assert_non_null(strstr(e.text, "b.pub:2"));
	err_clear(&e);
	assert_int_equal(key_list_read("/nowhere", &list, &e), -1);
	assert_int_equal(e.kind, ERR_USAGE);
	snprintf(command, sizeof(command), "rm -r %s", folder);
	assert_int_equal(system(command), 0);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(listed_key, setup, teardown),
	    cmocka_unit_test_setup_teardown(others, setup, teardown),
	    cmocka_unit_test_setup_teardown(plain_peer, setup, teardown),
	    cmocka_unit_test_setup_teardown(replaced_list, setup, teardown),
	    cmocka_unit_test_setup_teardown(no_handler, setup, teardown),
	    cmocka_unit_test_setup_teardown(bad_requests, setup, teardown),
	    cmocka_unit_test(lists),
	};

	return cmocka_run_group_tests(tests, make_keys, NULL);
}
