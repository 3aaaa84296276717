/* The worker's data thread, and coordinators of the test's own. */
#include "blob_serve.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>
#include <zmq.h>

#include "data_protocol.h"
#include "err.h"
#include "link.h"
#include "monotime.h"
#include "spool.h"

#define HELLO_MS 40
#define N_CHUNKS 50
#define SIZE (N_CHUNKS * DATA_CHUNK + 9)

static const uint8_t token[DATA_TOKEN_SIZE] = {5, 6, 7};
static const struct data_id job = {3, 2};

struct fixture {
	char folder[32], endpoint[64];
	void *ctx;
	struct link *link;
	struct link_peer peer;
	struct spool *spool;
	struct blob_serve *serve;
};

static void
spool_file(struct fixture *f, const struct data_id *id, uint64_t size)
{
	struct err e = ERR_INIT;
	char *path;
	int fd;

	if (spool_take(f->spool, id, SPOOL_TAR, size, &e) < 0)
		fail_msg("%s", e.text);
	path = spool_path(f->spool, id, DATA_TAR);
	fd = open(path, O_WRONLY);
	for (uint64_t i = 0; i < size; i += DATA_CHUNK)
		assert_int_equal(pwrite(fd, &i, 1, (off_t)i), 1);
	assert_int_equal(ftruncate(fd, (off_t)size), 0);
	close(fd);
	free(path);
	spool_settle(f->spool, id);
}

static int
setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));
	struct blob_serve_config config = {
	    .token = token, .hello_ms = HELLO_MS};
	struct err e = ERR_INIT;

	strcpy(f->folder, "/tmp/test_serve.XXXXXX");
	assert_non_null(mkdtemp(f->folder));
	snprintf(f->endpoint, sizeof(f->endpoint), "ipc://%s/d", f->folder);
	config.endpoint = f->endpoint;
	f->ctx = zmq_ctx_new();
	if (link_listen_data(f->ctx, f->endpoint, NULL, &f->link, &e) < 0 ||
	    spool_new(f->folder, 0, &f->spool, &e) < 0 ||
	    blob_serve_new(f->ctx, &config, f->spool, &f->serve, &e) < 0)
		fail_msg("%s", e.text);
	spool_file(f, &job, SIZE);
	*state = f;
	return 0;
}

static int
teardown(void **state)
{
	struct fixture *f = *state;
	struct err e = ERR_INIT;
	char command[64];

	assert_int_equal(blob_serve_check(f->serve, &e), 0);
	assert_true(blob_serve_stop(f->serve, 5000));
	spool_free(f->spool);
	link_close(f->link, 0);
	zmq_ctx_term(f->ctx);
	snprintf(command, sizeof(command), "rm -rf %s", f->folder);
	assert_int_equal(system(command), 0);
	free(f);
	return 0;
}

/* The next message but DATA_HELLO; false: none within ms. */
static bool
get(struct fixture *f, struct data_msg *m, int ms)
{
	struct pollfd p = {link_fd(f->link), POLLIN, 0};
	int64_t until = monotime_ms() + ms;
	struct err e = ERR_INIT;
	int rc;

	for (;;) {
		if ((rc = link_recv_data(f->link, &f->peer, m, &e)) < 0)
			fail_msg("%s", e.text);
		if (rc == 1 && m->type != DATA_MSG_HELLO)
			return true;
		if (rc == 1) {
			assert_memory_equal(
			    m->data_hello.token, token, sizeof(token));
			data_msg_clear(m);
		} else if (monotime_ms() >= until) {
			return false;
		} else {
			poll(&p, 1, 5);
		}
	}
}

static void
wait_hello(struct fixture *f)
{
	struct pollfd p = {link_fd(f->link), POLLIN, 0};
	struct err e = ERR_INIT;
	struct data_msg m;

	while (link_recv_data(f->link, &f->peer, &m, &e) == 0)
		if (poll(&p, 1, 5000) != 1)
			fail_msg("no DATA_HELLO");
	assert_int_equal(m.type, DATA_MSG_HELLO);
	data_msg_clear(&m);
}

static void
put(struct fixture *f, const struct data_msg *m)
{
	struct err e = ERR_INIT;

	if (link_send_data(f->link, &f->peer, m, &e) < 0)
		fail_msg("%s", e.text);
}

static void
pull(struct fixture *f, uint64_t number, uint64_t first, uint64_t chunks)
{
	struct data_msg m = {.type = DATA_MSG_PULL};

	m.pull = (struct data_msg_pull){
	    job, DATA_TAR, number, first * DATA_CHUNK, chunks};
	put(f, &m);
}

/* Chunks of the pull from first on, then nothing; returns how many. */
static uint64_t
count(struct fixture *f, uint64_t number, uint64_t first)
{
	struct data_msg m;
	uint64_t n = 0;

	for (; get(f, &m, 100); n++) {
		assert_int_equal(m.type, DATA_MSG_CHUNK);
		assert_int_equal(m.chunk.pull, number);
		assert_int_equal(m.chunk.offset, (first + n) * DATA_CHUNK);
		data_msg_clear(&m);
	}
	return n;
}

static void
expect_fail(struct fixture *f, const char *text)
{
	struct data_msg m;

	if (!get(f, &m, 5000))
		fail_msg("no PULL_FAIL");
	assert_int_equal(m.type, DATA_MSG_PULL_FAIL);
	assert_int_equal(m.pull_fail.kind, ERR_RETRY);
	assert_string_equal(m.pull_fail.text, text);
	data_msg_clear(&m);
}

/*
 * A coordinator that does not read: what is on its way is what it asked for,
 * and no more comes however long that is.
 */
static void
test_slow_reader(void **state)
{
	struct fixture *f = *state;
	struct data_msg m;

	wait_hello(f);
	pull(f, 1, 0, DATA_WINDOW_MAX);
	usleep(300000);
	assert_int_equal(count(f, 1, 0), DATA_WINDOW_MAX);
	pull(f, 1, DATA_WINDOW_MAX, 3);
	assert_int_equal(count(f, 1, DATA_WINDOW_MAX), 3);
	/* More than a window at once is refused, not kept. */
	for (uint64_t i = 0; i < 20; i++)
		pull(f, 2, i * DATA_WINDOW_MAX, DATA_WINDOW_MAX);
	for (int n = 0; get(f, &m, 100); n++) {
		assert_in_range(n, 0, 2 * DATA_WINDOW_MAX);
		data_msg_clear(&m);
	}
}

static void
test_last_chunk(void **state)
{
	struct fixture *f = *state;
	struct data_msg m;

	wait_hello(f);
	pull(f, 1, N_CHUNKS - 1, 2);
	assert_true(get(f, &m, 5000));
	assert_int_equal(m.chunk.len, DATA_CHUNK);
	/* The offset is written at the start of each chunk. */
	assert_int_equal(*(const uint8_t *)m.chunk.bytes,
	    (uint8_t)((N_CHUNKS - 1) * DATA_CHUNK));
	data_msg_clear(&m);
	assert_true(get(f, &m, 5000));
	assert_int_equal(m.chunk.len, 9);
	assert_int_equal(m.chunk.offset, N_CHUNKS * DATA_CHUNK);
	data_msg_clear(&m);
	/* Past the end. */
	pull(f, 1, N_CHUNKS + 1, 1);
	expect_fail(f, "the tar has 13107209 bytes, more are asked for");
	pull(f, 2, (UINT64_C(1) << 63) / DATA_CHUNK - 1, 16);
	expect_fail(f, "the tar has 13107209 bytes, more are asked for");
}

static void
test_pull_numbers(void **state)
{
	struct fixture *f = *state;

	wait_hello(f);
	pull(f, 5, 2, 2);
	assert_int_equal(count(f, 5, 2), 2);
	/* An older one came too late. */
	pull(f, 4, 0, 2);
	assert_int_equal(count(f, 4, 0), 0);
	/* A newer one starts where it says. */
	pull(f, 9, 1, 1);
	assert_int_equal(count(f, 9, 1), 1);
	/* The same goes on where it ends, and nowhere else. */
	pull(f, 9, 7, 1);
	expect_fail(f,
	    "pull of 1 chunks at 1835008 does not follow on the "
	    "one before");
	pull(f, 10, 7, 1);
	assert_int_equal(count(f, 10, 7), 1);
}

static void
test_unknown(void **state)
{
	struct data_msg m = {
	    .type = DATA_MSG_PULL, .pull = {{3, 1}, DATA_TAR, 1, 0, 1}};
	struct fixture *f = *state;

	wait_hello(f);
	put(f, &m);
	expect_fail(f,
	    "the tar of job 3 attempt 1 in the spool: No such file "
	    "or directory");
	m.pull.id = job;
	m.pull.form = DATA_BLOB;
	put(f, &m);
	expect_fail(f,
	    "the blob of job 3 attempt 2 in the spool: No such "
	    "file or directory");
}

static void
test_release(void **state)
{
	struct data_msg m = {.type = DATA_MSG_COMMITTED, .committed = {job}};
	char *path = NULL;
	struct fixture *f = *state;

	path = spool_path(f->spool, &job, DATA_TAR);
	wait_hello(f);
	assert_int_equal(access(path, F_OK), 0);
	/* Twice, since the first answer may be lost. */
	for (int i = 0; i < 2; i++) {
		struct data_msg answer;

		put(f, &m);
		assert_true(get(f, &answer, 5000));
		assert_int_equal(answer.type, DATA_MSG_RELEASED);
		assert_int_equal(answer.released.id.job, job.job);
		data_msg_clear(&answer);
		assert_int_equal(access(path, F_OK), -1);
		m.type = DATA_MSG_DROP;
		m.drop.id = job;
	}
	free(path);
}

/* More files than places for them, one after another: all are served. */
static void
test_many_streams(void **state)
{
	struct fixture *f = *state;
	struct data_msg m = {.type = DATA_MSG_PULL}, answer;

	wait_hello(f);
	for (uint64_t i = 10; i < 40; i++) {
		const struct data_id id = {i, 1};

		spool_file(f, &id, 100);
		m.pull = (struct data_msg_pull){id, DATA_TAR, 1, 0, 1};
		put(f, &m);
		assert_true(get(f, &answer, 5000));
		assert_int_equal(answer.type, DATA_MSG_CHUNK);
		assert_int_equal(answer.chunk.id.job, i);
		assert_int_equal(answer.chunk.len, 100);
		data_msg_clear(&answer);
	}
}

/* A coordinator that comes back: files are kept, and it is greeted again. */
static void
test_coordinator_returns(void **state)
{
	struct fixture *f = *state;
	struct err e = ERR_INIT;

	wait_hello(f);
	pull(f, 1, 0, 1);
	assert_int_equal(count(f, 1, 0), 1);
	link_closep(&f->link);
	usleep(3 * HELLO_MS * 1000);
	if (link_listen_data(f->ctx, f->endpoint, NULL, &f->link, &e) < 0)
		fail_msg("%s", e.text);
	wait_hello(f);
	pull(f, 2, 1, 4);
	assert_int_equal(count(f, 2, 1), 4);
}

/* Messages that are none of ours change nothing. */
static void
test_garbage(void **state)
{
	struct fixture *f = *state;
	struct data_msg m = {.type = DATA_MSG_RELEASED, .released = {job}};

	wait_hello(f);
	put(f, &m);
	m = (struct data_msg){.type = DATA_MSG_HELLO};
	put(f, &m);
	pull(f, 1, 0, 1);
	assert_int_equal(count(f, 1, 0), 1);
}

int
main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
	    TEST(test_slow_reader),
	    TEST(test_last_chunk),
	    TEST(test_pull_numbers),
	    TEST(test_unknown),
	    TEST(test_release),
	    TEST(test_many_streams),
	    TEST(test_coordinator_returns),
	    TEST(test_garbage),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
