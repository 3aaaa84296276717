/*
 * Layers on their way from a server's files to clients: blob_offer on one end,
 * on the other blob_fetch, or sockets of the test's own that do what no good
 * client does.
 */
#include "transfer/blob_offer.h"

#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>
#include <zmq.h>

#include "../cut_proxy.h"
#include "transfer/blob_fetch.h"
#include "curve_key.h"
#include "digest.h"
#include "dispatch/key_list.h"
#include "link.h"
#include "monotime.h"
#include "dispatch/zap.h"

#define SIZE (60 * DATA_CHUNK + 77)

struct client {
	char blobs[64];
	uint8_t token[DATA_TOKEN_SIZE];
	struct blob_fetch *fetch;
};

struct fixture {
	char folder[32], endpoint[64], path[64];
	void *ctx;
	struct blob_offer *offer;
	struct client a, b;
	struct layer_result result;
	struct zap *zap;
	struct curve_key server, one, other;
};

static void
make_layer_of(struct fixture *f, size_t size)
{
	uint8_t *bytes = malloc(size);
	int fd = open(f->path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	for (size_t i = 0; i < size; i++)
		bytes[i] = (uint8_t)(i * 31 + i / 251);
	assert_int_equal(write(fd, bytes, size), size);
	close(fd);
	f->result = (struct layer_result){.size = size, .tar_size = size};
	digest_of(bytes, size, &f->result.digest);
	f->result.diff_id = f->result.digest;
	free(bytes);
}

static void
make_layer(struct fixture *f)
{
	make_layer_of(f, SIZE);
}

static void
new_client(struct fixture *f, struct client *c, const char *name)
{
	struct err e = ERR_INIT;

	snprintf(c->blobs, sizeof(c->blobs), "%s/%s", f->folder, name);
	assert_int_equal(mkdir(c->blobs, 0755), 0);
	if (blob_offer_client(f->offer, name,
		f->zap != NULL ? f->one.public : "", c->token, &e) < 0)
		fail_msg("%s", e.text);
}

static int
setup_base(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	strcpy(f->folder, "/tmp/test_offer.XXXXXX");
	assert_non_null(mkdtemp(f->folder));
	snprintf(f->endpoint, sizeof(f->endpoint), "ipc://%s/d", f->folder);
	snprintf(f->path, sizeof(f->path), "%s/layer", f->folder);
	make_layer(f);
	f->ctx = zmq_ctx_new();
	*state = f;
	return 0;
}

static int
setup(void **state)
{
	struct err e = ERR_INIT;
	struct fixture *f;

	setup_base(state);
	f = *state;
	if (blob_offer_new(f->ctx, f->endpoint, NULL, &f->offer, &e) < 0)
		fail_msg("%s", e.text);
	assert_string_equal(blob_offer_welcome(f->offer), f->endpoint);
	new_client(f, &f->a, "a");
	new_client(f, &f->b, "b");
	return 0;
}

/* Two keys may come in; the first one's is what client a has to have. */
static int
setup_keys(void **state)
{
	struct link_keys keys = {.own = NULL};
	struct key_list *list = NULL;
	struct err e = ERR_INIT;
	struct fixture *f;

	setup_base(state);
	f = *state;
	if (curve_key_make(&f->server, &e) < 0 ||
	    curve_key_make(&f->one, &e) < 0 ||
	    curve_key_make(&f->other, &e) < 0 || key_list_new(&list, &e) < 0 ||
	    key_list_add(list, f->one.public, "one", &e) < 0 ||
	    key_list_add(list, f->other.public, "other", &e) < 0 ||
	    zap_start(f->ctx, &list, &f->zap, &e) < 0)
		fail_msg("%s", e.text);
	keys.own = &f->server;
	if (blob_offer_new(f->ctx, "tcp://127.0.0.1:*", &keys, &f->offer, &e) <
	    0)
		fail_msg("%s", e.text);
	assert_memory_equal(blob_offer_welcome(f->offer), "tcp://*:", 8);
	new_client(f, &f->a, "a");
	return 0;
}

static int
teardown(void **state)
{
	struct fixture *f = *state;
	char command[64];

	blob_fetch_free(f->a.fetch);
	blob_fetch_free(f->b.fetch);
	blob_offer_free(f->offer);
	if (f->zap != NULL)
		zap_stop(f->zap);
	zmq_ctx_term(f->ctx);
	snprintf(command, sizeof(command), "rm -rf %s", f->folder);
	assert_int_equal(system(command), 0);
	free(f);
	return 0;
}

static void
connect_at_pace(struct fixture *f, struct client *c, const char *endpoint,
    const struct link_keys *keys, int hello_ms)
{
	const struct blob_fetch_server server = {"here", c->token};
	struct blob_fetch_config config;
	struct err e = ERR_INIT;

	blob_fetch_defaults(&config);
	config.endpoint = endpoint;
	config.keys = keys;
	config.server = &server;
	config.pace.silent_ms = 200;
	config.pace.tries = 10;
	config.hello_ms = hello_ms;
	if (blob_fetch_new(f->ctx, &config, &c->fetch, &e) < 0)
		fail_msg("%s", e.text);
}

static void
connect_at(struct fixture *f, struct client *c, const char *endpoint,
    const struct link_keys *keys)
{
	connect_at_pace(f, c, endpoint, keys, 50);
}

static void
connect_client(
    struct fixture *f, struct client *c, const struct link_keys *keys)
{
	connect_at(f, c, blob_offer_endpoint(f->offer), keys);
}

static void
offer(struct fixture *f, const struct client *c, uint64_t job)
{
	const struct blob_offer_file file = {DATA_TAR, f->path, f->result.size};
	const struct data_id id = {job, 1};
	struct err e = ERR_INIT;

	if (blob_offer_add(f->offer, c->token, &id, &file, 1, &e) < 0)
		fail_msg("%s", e.text);
}

static void
pull(struct fixture *f, const struct client *c, uint64_t job)
{
	struct blob_request q = {.way = BLOB_PULL,
	    .id = {job, 1},
	    .result = f->result,
	    .outputs = {{LAYER_TO_BLOB, c->blobs, 0, 0}},
	    .n_outputs = 1};
	struct err e = ERR_INIT;

	memcpy(q.token, c->token, sizeof(q.token));
	if (blob_fetch_add(c->fetch, &q, &e) < 0)
		fail_msg("%s", e.text);
}

static int
entries(const char *folder)
{
	DIR *dir = opendir(folder);
	int n = 0;

	while (readdir(dir) != NULL)
		n++;
	closedir(dir);
	return n - 2;
}

/* Whether this process has the layer open. */
static bool
is_open(const struct fixture *f)
{
	DIR *dir = opendir("/proc/self/fd");
	bool found = false;
	struct dirent *entry;

	while ((entry = readdir(dir)) != NULL) {
		char to[64];
		ssize_t n =
		    readlinkat(dirfd(dir), entry->d_name, to, sizeof(to) - 1);

		to[n < 0 ? 0 : n] = '\0';
		found |= strcmp(to, f->path) == 0;
	}
	closedir(dir);
	return found;
}

static void
wait_open(const struct fixture *f, bool open)
{
	int64_t until = monotime_ms() + 10000;

	while (is_open(f) != open && monotime_ms() < until)
		poll(NULL, 0, 5);
	assert_int_equal(is_open(f), open);
}

static void
outcome(const struct client *c, enum err_kind kind, const char *text)
{
	struct blob_outcome out = {.way = BLOB_PULL};

	if (!monotime_wait(blob_fetch_fd(c->fetch), 8000) ||
	    !blob_fetch_take(c->fetch, &out))
		fail_msg("no outcome");
	if (out.err.kind != kind || strstr(out.err.text, text) == NULL)
		fail_msg("%d: %s", (int)out.err.kind, out.err.text);
	assert_int_equal(entries(c->blobs), kind == ERR_NONE);
}

static struct blob_offer_event
event(struct fixture *f, const struct client *c, enum blob_offer_what what)
{
	struct blob_offer_event out = {.what = BLOB_OFFER_FAULT};

	if (!monotime_wait(blob_offer_fd(f->offer), 8000) ||
	    !blob_offer_take(f->offer, &out))
		fail_msg("no event");
	if (out.what != what)
		fail_msg("event %d: %s", (int)out.what, out.err.text);
	assert_memory_equal(out.token, c->token, DATA_TOKEN_SIZE);
	return out;
}

static void
test_two_clients(void **state)
{
	struct blob_offer_event out;
	struct fixture *f = *state;

	connect_client(f, &f->a, NULL);
	connect_client(f, &f->b, NULL);
	offer(f, &f->a, 1);
	offer(f, &f->b, 1);
	pull(f, &f->a, 1);
	outcome(&f->a, ERR_NONE, "");
	assert_int_equal(
	    event(f, &f->a, BLOB_OFFER_COMMITTED).err.kind, ERR_NONE);
	pull(f, &f->b, 1);
	outcome(&f->b, ERR_NONE, "");
	out = event(f, &f->b, BLOB_OFFER_COMMITTED);
	assert_true(out.id.job == 1 && out.id.attempt == 1);
	assert_false(blob_offer_take(f->offer, &out));
}

/* As one has come the next one is asked for: no DATA_HELLO wakes anybody. */
static void
test_one_after_another(void **state)
{
	struct fixture *f = *state;
	struct blob_outcome out;
	int64_t until;

	make_layer_of(f, 512);
	connect_at_pace(f, &f->a, blob_offer_endpoint(f->offer), NULL, 600000);
	for (uint64_t job = 1; job <= 200; job++) {
		offer(f, &f->a, job);
		pull(f, &f->a, job);
	}
	until = monotime_ms() + 8000;
	for (int i = 0; i < 200;) {
		if (monotime_ms() >= until)
			fail_msg("%d have come", i);
		monotime_wait(blob_fetch_fd(f->a.fetch), 100);
		while (blob_fetch_take(f->a.fetch, &out)) {
			assert_int_equal(out.err.kind, ERR_NONE);
			i++;
		}
	}
}

/* The client finds it, the server hears that it is not wanted. */
static void
test_damaged(void **state)
{
	struct fixture *f = *state;
	int fd = open(f->path, O_WRONLY | O_CLOEXEC);

	assert_int_equal(pwrite(fd, "wrong", 5, 400000), 5);
	close(fd);
	connect_client(f, &f->a, NULL);
	offer(f, &f->a, 1);
	pull(f, &f->a, 1);
	outcome(&f->a, ERR_PEER, "server here: the tar of ");
	event(f, &f->a, BLOB_OFFER_DROPPED);
	/* Made and asked for again. */
	make_layer(f);
	offer(f, &f->a, 2);
	pull(f, &f->a, 2);
	outcome(&f->a, ERR_NONE, "");
	event(f, &f->a, BLOB_OFFER_COMMITTED);
}

static void
test_unreadable(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(truncate(f->path, SIZE / 2), 0);
	connect_client(f, &f->a, NULL);
	offer(f, &f->a, 1);
	pull(f, &f->a, 1);
	outcome(&f->a, ERR_RETRY, "is not the file of 15728717 bytes");
	event(f, &f->a, BLOB_OFFER_UNREADABLE);
	event(f, &f->a, BLOB_OFFER_DROPPED);
	/* What was never offered. */
	pull(f, &f->a, 9);
	outcome(&f->a, ERR_RETRY, "its tar is not offered");
}

static void
test_wrong_token(void **state)
{
	struct fixture *f = *state;

	offer(f, &f->a, 1);
	f->a.token[3] ^= 1;
	connect_client(f, &f->a, NULL);
	pull(f, &f->a, 1);
	outcome(&f->a, ERR_RETRY, "nothing came");
}

static void
test_keys(void **state)
{
	struct fixture *f = *state;
	struct link_keys keys = {.own = &f->other, .server = f->server.public};

	/* The token with another client's key. */
	offer(f, &f->a, 1);
	connect_client(f, &f->a, &keys);
	pull(f, &f->a, 1);
	outcome(&f->a, ERR_RETRY, "nothing came");
	blob_fetch_free(f->a.fetch);
	keys.own = &f->one;
	connect_client(f, &f->a, &keys);
	pull(f, &f->a, 1);
	outcome(&f->a, ERR_NONE, "");
	event(f, &f->a, BLOB_OFFER_COMMITTED);
}

static void
unix_address(
    const struct fixture *f, const char *name, struct sockaddr_storage *out)
{
	struct sockaddr_un at = {.sun_family = AF_UNIX};

	snprintf(at.sun_path, sizeof(at.sun_path), "%.90s/%s", f->folder, name);
	memcpy(out, &at, sizeof(at));
}

/* Cut in the middle of chunks, again and again: what came stays. */
static void
test_cut(void **state)
{
	struct fixture *f = *state;
	struct cut_proxy p = {.at_len = sizeof(struct sockaddr_un),
	    .to_len = sizeof(struct sockaddr_un),
	    .cut_after = 4000000};
	char endpoint[100];

	unix_address(f, "p", &p.at);
	unix_address(f, "d", &p.to);
	snprintf(endpoint, sizeof(endpoint), "ipc://%.80s/p", f->folder);
	cut_proxy_start(&p);
	connect_at(f, &f->a, endpoint, NULL);
	offer(f, &f->a, 1);
	pull(f, &f->a, 1);
	monotime_wait(blob_fetch_fd(f->a.fetch), 8000);
	cut_proxy_stop(&p);
	outcome(&f->a, ERR_NONE, "");
	/*
	 * Begun anew each time it would never end.  How much of what was on
	 * its way a cut takes with it depends on who is how fast.
	 */
	assert_in_range(atomic_load(&p.cuts), 4, 12);
}

/* Sockets of the test's own. */

static void
put(struct link *l, const struct data_msg *m)
{
	struct err e = ERR_INIT;

	for (int i = 0; link_send_data(l, NULL, m, &e) < 0; i++) {
		if (e.kind != ERR_PEER || i == 5000)
			fail_msg("%s", e.text);
		err_clear(&e);
		usleep(1000);
	}
}

static bool
get(struct link *l, struct data_msg *m, int ms)
{
	int64_t until = monotime_ms() + ms;
	struct err e = ERR_INIT;
	int rc;

	while ((rc = link_recv_data(l, NULL, m, &e)) == 0) {
		int64_t left = until - monotime_ms();

		if (left <= 0)
			return false;
		monotime_wait(link_fd(l), (int)left);
	}
	if (rc < 0)
		fail_msg("%s", e.text);
	return true;
}

static struct link *
raw_client(struct fixture *f, const struct client *c)
{
	struct data_msg m = {.type = DATA_MSG_HELLO};
	struct link *l = NULL;
	struct err e = ERR_INIT;

	if (link_connect_data(
		f->ctx, blob_offer_endpoint(f->offer), NULL, &l, &e) < 0)
		fail_msg("%s", e.text);
	memcpy(m.data_hello.token, c->token, DATA_TOKEN_SIZE);
	put(l, &m);
	if (!get(l, &m, 5000) || m.type != DATA_MSG_HELLO)
		fail_msg("no DATA_HELLO");
	assert_memory_equal(m.data_hello.token, c->token, DATA_TOKEN_SIZE);
	data_msg_clear(&m);
	return l;
}

static void
ask(struct link *l, uint64_t job, uint64_t number, uint64_t first, uint64_t n)
{
	struct data_msg m = {.type = DATA_MSG_PULL,
	    .pull = {{job, 1}, DATA_TAR, number, first * DATA_CHUNK, n}};

	put(l, &m);
}

/* Chunks that come within a moment, and then nothing or a PULL_FAIL. */
static unsigned
chunks(struct link *l, bool *failed)
{
	struct data_msg m;
	unsigned n = 0;

	*failed = false;
	while (get(l, &m, 300)) {
		n += m.type == DATA_MSG_CHUNK;
		*failed |= m.type == DATA_MSG_PULL_FAIL;
		data_msg_clear(&m);
	}
	return n;
}

static void
test_credit(void **state)
{
	struct fixture *f = *state;
	struct link *l = raw_client(f, &f->a);
	struct data_msg m = {.type = DATA_MSG_RELEASED};
	bool failed;

	offer(f, &f->a, 1);
	ask(l, 1, 1, 0, 5);
	assert_int_equal(chunks(l, &failed), 5);
	assert_false(failed);
	/* A hole, and past the end: that pull fails, the next one does not. */
	ask(l, 1, 1, 7, 5);
	assert_int_equal(chunks(l, &failed), 0);
	assert_true(failed);
	ask(l, 1, 2, 59, 4);
	assert_int_equal(chunks(l, &failed), 2);
	assert_true(failed);
	ask(l, 1, 3, 5, 2);
	assert_int_equal(chunks(l, &failed), 2);
	/* What is not a client's to say ends what there is for it. */
	put(l, &m);
	assert_non_null(strstr(event(f, &f->a, BLOB_OFFER_FAULT).err.text,
	    "client a: it sends RELEASED"));
	ask(l, 1, 4, 0, 2);
	assert_int_equal(chunks(l, &failed), 0);
	link_close(l, 0);
	/* Others do not notice. */
	connect_client(f, &f->b, NULL);
	offer(f, &f->b, 1);
	pull(f, &f->b, 1);
	outcome(&f->b, ERR_NONE, "");
	event(f, &f->b, BLOB_OFFER_COMMITTED);
}

/* A new connection under the old token; what was asked for is void. */
static void
test_reset(void **state)
{
	struct fixture *f = *state;
	struct link *l = raw_client(f, &f->a);
	bool failed;

	offer(f, &f->a, 1);
	ask(l, 1, 1, 0, 3);
	assert_int_equal(chunks(l, &failed), 3);
	link_close(l, 0);
	l = raw_client(f, &f->a);
	ask(l, 1, 2, 3, 4);
	assert_int_equal(chunks(l, &failed), 4);
	assert_false(failed);
	link_close(l, 0);
}

/* It asks for much and reads nothing; then it is gone. */
static void
test_slow(void **state)
{
	struct fixture *f = *state;
	struct link *l = raw_client(f, &f->a);
	struct err e = ERR_INIT;
	for (uint64_t job = 1; job <= 8; job++) {
		offer(f, &f->a, job);
		ask(l, job, 1, 0, DATA_WINDOW_MAX);
	}
	wait_open(f, true);
	connect_client(f, &f->b, NULL);
	offer(f, &f->b, 1);
	pull(f, &f->b, 1);
	outcome(&f->b, ERR_NONE, "");
	event(f, &f->b, BLOB_OFFER_COMMITTED);
	link_close(l, 0);
	assert_int_equal(blob_offer_client_gone(f->offer, f->a.token, &e), 0);
	for (int i = 0; i < 8; i++)
		event(f, &f->a, BLOB_OFFER_DROPPED);
	/* Its files are closed, and an offer to it ends at once. */
	wait_open(f, false);
	offer(f, &f->a, 9);
	event(f, &f->a, BLOB_OFFER_DROPPED);
}

static void
test_withdraw(void **state)
{
	const struct data_id id = {1, 1};
	struct err e = ERR_INIT;
	struct fixture *f = *state;

	offer(f, &f->a, 1);
	assert_int_equal(blob_offer_withdraw(f->offer, f->a.token, &id, &e), 0);
	event(f, &f->a, BLOB_OFFER_DROPPED);
	connect_client(f, &f->a, NULL);
	pull(f, &f->a, 1);
	outcome(&f->a, ERR_RETRY, "its tar is not offered");
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(test_two_clients, setup, teardown),
	    cmocka_unit_test_setup_teardown(
		test_one_after_another, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_damaged, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_unreadable, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_wrong_token, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_keys, setup_keys, teardown),
	    cmocka_unit_test_setup_teardown(test_credit, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_cut, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_reset, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_slow, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_withdraw, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
