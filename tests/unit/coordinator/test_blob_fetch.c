/*
 * The fetch, and workers of the test's own on the other end that do what no
 * good one does.
 */
#include "transfer/blob_fetch.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cmocka.h>
#include <zmq.h>

#include "digest.h"
#include "err.h"
#include "link.h"
#include "monotime.h"
#include "own.h"

#define SILENT_MS 150
#define TRIES 2
#define SIZE (40 * DATA_CHUNK + 77)

struct fixture {
	char folder[32], blobs[64], endpoint[64];
	void *ctx;
	struct blob_fetch *fetch;
	struct link *worker;
	uint8_t token[DATA_TOKEN_SIZE];
	uint8_t *bytes; /* of SIZE: the layer */
	struct layer_result result;
};

static int
setup_with(void **state, int silent_ms)
{
	struct fixture *f = calloc(1, sizeof(*f));
	struct blob_fetch_config config;
	struct err e = ERR_INIT;

	strcpy(f->folder, "/tmp/test_fetch.XXXXXX");
	assert_non_null(mkdtemp(f->folder));
	snprintf(f->blobs, sizeof(f->blobs), "%s/blobs", f->folder);
	assert_int_equal(mkdir(f->blobs, 0755), 0);
	snprintf(f->endpoint, sizeof(f->endpoint), "ipc://%s/d", f->folder);
	f->ctx = zmq_ctx_new();
	blob_fetch_defaults(&config);
	config.endpoint = f->endpoint;
	config.pace.silent_ms = silent_ms;
	config.pace.tries = TRIES;
	config.shown_ms = 300;
	if (blob_fetch_new(f->ctx, &config, &f->fetch, &e) < 0 ||
	    blob_fetch_worker(f->fetch, "bad/1", "", f->token, &e) < 0 ||
	    link_connect_data(f->ctx, f->endpoint, NULL, &f->worker, &e) < 0)
		fail_msg("%s", e.text);
	f->bytes = malloc(SIZE);
	for (size_t i = 0; i < SIZE; i++)
		f->bytes[i] = (uint8_t)(i * 31 + i / 251);
	f->result = (struct layer_result){.size = SIZE, .tar_size = SIZE};
	digest_of(f->bytes, SIZE, &f->result.digest);
	f->result.diff_id = f->result.digest;
	*state = f;
	return 0;
}

static int
setup(void **state)
{
	return setup_with(state, SILENT_MS);
}

static int
setup_patient(void **state)
{
	return setup_with(state, 4000);
}

static int
teardown(void **state)
{
	struct fixture *f = *state;
	char command[64];

	link_close(f->worker, 0);
	blob_fetch_free(f->fetch);
	zmq_ctx_term(f->ctx);
	snprintf(command, sizeof(command), "rm -rf %s", f->folder);
	assert_int_equal(system(command), 0);
	free(f->bytes);
	free(f);
	return 0;
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

/* Sends, waiting for the connection if need be. */
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

static void
hello(struct link *l, const uint8_t *token)
{
	struct data_msg m = {.type = DATA_MSG_HELLO};

	memcpy(m.data_hello.token, token, DATA_TOKEN_SIZE);
	put(l, &m);
}

/* The next message within ms; false: none. */
static bool
get(struct link *l, struct data_msg *m, int ms)
{
	struct pollfd p = {link_fd(l), POLLIN, 0};
	int64_t until = monotime_ms() + ms;
	struct err e = ERR_INIT;
	int rc;

	while ((rc = link_recv_data(l, NULL, m, &e)) == 0) {
		int64_t left = until - monotime_ms();

		if (left <= 0)
			return false;
		poll(&p, 1, (int)left);
	}
	if (rc < 0)
		fail_msg("%s", e.text);
	return true;
}

static struct data_msg
expect(struct link *l, enum data_msg_type type)
{
	struct data_msg m;

	if (!get(l, &m, 5000))
		fail_msg("no %s", data_msg_name(type));
	if (m.type != type)
		fail_msg("%s instead of %s", data_msg_name(m.type),
		    data_msg_name(type));
	return m;
}

static struct data_msg_pull
expect_pull(struct link *l)
{
	struct data_msg m = expect(l, DATA_MSG_PULL);
	struct data_msg_pull pull = m.pull;

	data_msg_clear(&m);
	return pull;
}

static void
expect_drop(struct link *l, uint64_t job)
{
	struct data_msg m = expect(l, DATA_MSG_DROP);

	assert_int_equal(m.drop.id.job, job);
	data_msg_clear(&m);
}

/* The chunk at offset, in answer to a pull. */
static struct data_msg
chunk(struct fixture *f, const struct data_msg_pull *pull, uint64_t offset)
{
	struct data_msg m = {.type = DATA_MSG_CHUNK};

	m.chunk.id = pull->id;
	m.chunk.form = pull->form;
	m.chunk.pull = pull->pull;
	m.chunk.offset = offset;
	m.chunk.bytes = f->bytes + offset;
	m.chunk.len = SIZE - offset < DATA_CHUNK ? SIZE - offset : DATA_CHUNK;
	return m;
}

static void
put_chunks(struct fixture *f, const struct data_msg_pull *pull, uint64_t n)
{
	for (uint64_t i = 0; i < n; i++) {
		struct data_msg m =
		    chunk(f, pull, pull->offset + i * DATA_CHUNK);

		put(f->worker, &m);
	}
}

static struct blob_request
request(struct fixture *f, uint64_t job)
{
	struct blob_request q = {.way = BLOB_PULL,
	    .id = {job, 1},
	    .result = f->result,
	    .outputs = {{LAYER_TO_BLOB, f->blobs, 0, 0}},
	    .n_outputs = 1};

	memcpy(q.token, f->token, sizeof(q.token));
	return q;
}

static void
add(struct fixture *f, const struct blob_request *q)
{
	struct err e = ERR_INIT;

	if (blob_fetch_add(f->fetch, q, &e) < 0)
		fail_msg("%s", e.text);
}

static void
add_job(struct fixture *f, uint64_t job)
{
	struct blob_request q = request(f, job);

	add(f, &q);
}

static struct blob_outcome
take(struct fixture *f)
{
	struct pollfd p = {blob_fetch_fd(f->fetch), POLLIN, 0};
	struct blob_outcome out = {.way = BLOB_PULL};

	if (poll(&p, 1, 5000) != 1 || !blob_fetch_take(f->fetch, &out))
		fail_msg("no outcome");
	assert_memory_equal(out.token, f->token, sizeof(f->token));
	return out;
}

static void
take_bad(struct fixture *f, enum err_kind kind, const char *text)
{
	struct blob_outcome out = take(f);

	assert_string_equal(out.err.text, text);
	assert_int_equal(out.err.kind, kind);
	assert_int_equal(entries(f->blobs), 0);
}

static void
take_good(struct fixture *f)
{
	struct blob_outcome out = take(f);

	if (out.err.kind != ERR_NONE)
		fail_msg("%s", out.err.text);
}

/* Answers all pulls from a first one on, until the layer is through. */
static void
serve_all(struct fixture *f, struct data_msg_pull pull)
{
	uint64_t end;

	for (;;) {
		assert_in_range(pull.chunks, 1, DATA_WINDOW_MAX);
		put_chunks(f, &pull, pull.chunks);
		end = pull.offset + pull.chunks * DATA_CHUNK;
		if (end >= SIZE)
			return;
		pull = expect_pull(f->worker);
		assert_int_equal(pull.offset, end);
	}
}

static struct data_msg_pull
start_job(struct fixture *f, uint64_t job)
{
	hello(f->worker, f->token);
	add_job(f, job);
	return expect_pull(f->worker);
}

static void
test_good(void **state)
{
	struct fixture *f = *state;
	struct data_msg_pull pull = start_job(f, 7);
	struct data_msg m;

	assert_true(pull.id.job == 7 && pull.id.attempt == 1);
	assert_int_equal(pull.form, DATA_TAR);
	assert_int_equal(pull.offset, 0);
	assert_int_equal(pull.chunks, DATA_WINDOW_MAX);
	serve_all(f, pull);
	take_good(f);
	assert_int_equal(entries(f->blobs), 1);
	m = expect(f->worker, DATA_MSG_COMMITTED);
	assert_int_equal(m.committed.id.job, 7);
	data_msg_clear(&m);
	/* It is said again with each DATA_HELLO, until RELEASED. */
	hello(f->worker, f->token);
	m = expect(f->worker, DATA_MSG_COMMITTED);
	data_msg_clear(&m);
	m = (struct data_msg){.type = DATA_MSG_RELEASED, .released = {{7, 1}}};
	put(f->worker, &m);
	hello(f->worker, f->token);
	assert_false(get(f->worker, &m, 100));
}

/* While others hold all descriptors a layer waits, and nothing fails. */
static void
test_no_descriptors(void **state)
{
	struct fixture *f = *state;
	struct rlimit old, none;
	struct data_msg_pull pull;
	struct data_msg m;

	hello(f->worker, f->token);
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &old), 0);
	none = (struct rlimit){3, old.rlim_max};
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
	add_job(f, 7);
	assert_false(get(f->worker, &m, 500));
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &old), 0);
	pull = expect_pull(f->worker);
	serve_all(f, pull);
	take_good(f);
}

/* Never more on its way than the window, and more only for what came. */
static void
test_credit(void **state)
{
	struct fixture *f = *state;
	struct data_msg_pull pull = start_job(f, 1), more;
	struct data_msg m;

	assert_false(get(f->worker, &m, SILENT_MS / 3));
	put_chunks(f, &pull, DATA_WINDOW_MAX / 2 - 1);
	assert_false(get(f->worker, &m, SILENT_MS / 3));
	m = chunk(f, &pull, (DATA_WINDOW_MAX / 2 - 1) * DATA_CHUNK);
	put(f->worker, &m);
	more = expect_pull(f->worker);
	assert_int_equal(more.pull, pull.pull);
	assert_int_equal(more.offset, DATA_WINDOW_MAX * DATA_CHUNK);
	assert_int_equal(more.chunks, DATA_WINDOW_MAX / 2);
}

#define UNASKED "worker bad/1: it sends chunks that were not asked for"

static void
test_not_asked_for(void **state)
{
	struct fixture *f = *state;
	struct data_msg_pull pull = start_job(f, 1);
	struct data_msg m;

	/* Past the credit. */
	m = chunk(f, &pull, DATA_WINDOW_MAX * DATA_CHUNK);
	put(f->worker, &m);
	take_bad(f, ERR_PEER, UNASKED);
	expect_drop(f->worker, 1);
	/* For a pull that there was not. */
	add_job(f, 2);
	pull = expect_pull(f->worker);
	pull.pull++;
	put_chunks(f, &pull, 1);
	take_bad(f, ERR_PEER, UNASKED);
	expect_drop(f->worker, 2);
	/* Of the other form. */
	add_job(f, 3);
	pull = expect_pull(f->worker);
	pull.form = DATA_BLOB;
	put_chunks(f, &pull, 1);
	take_bad(f, ERR_PEER, UNASKED);
	expect_drop(f->worker, 3);
	/* For a pull of long ago. */
	add_job(f, 4);
	pull = expect_pull(f->worker);
	pull.pull = 0;
	put_chunks(f, &pull, 1);
	take_bad(f, ERR_PEER, UNASKED);
}

static void
test_order(void **state)
{
	struct fixture *f = *state;
	struct data_msg_pull pull = start_job(f, 1);
	struct data_msg m;

	/* Twice the same. */
	put_chunks(f, &pull, 2);
	m = chunk(f, &pull, DATA_CHUNK);
	put(f->worker, &m);
	take_bad(f, ERR_PEER,
	    "worker bad/1: it sends the chunk at 262144 where that at 524288 "
	    "is the next");
	expect_drop(f->worker, 1);
	/* One left out. */
	add_job(f, 2);
	pull = expect_pull(f->worker);
	m = chunk(f, &pull, DATA_CHUNK);
	put(f->worker, &m);
	take_bad(f, ERR_PEER,
	    "worker bad/1: it sends the chunk at 262144 where that at 0 is "
	    "the next");
}

static void
test_offsets(void **state)
{
	struct fixture *f = *state;
	struct data_msg_pull pull = start_job(f, 1);
	struct data_msg m = chunk(f, &pull, 0);

	m.chunk.offset = INT64_MAX - INT64_MAX % DATA_CHUNK;
	put(f->worker, &m);
	take_bad(f, ERR_PEER, UNASKED);
	expect_drop(f->worker, 1);
	/* What the decoder refuses ends what its sender does for us. */
	add_job(f, 2);
	pull = expect_pull(f->worker);
	m = chunk(f, &pull, 0);
	m.chunk.offset = (uint64_t)1 << 63;
	put(f->worker, &m);
	take_bad(f, ERR_PEER,
	    "worker bad/1: chunk: field 5 is 9223372036854775808, above "
	    "9223372036854775807");
}

static void
test_length(void **state)
{
	struct fixture *f = *state;
	struct data_msg_pull pull = start_job(f, 1);
	struct data_msg m = chunk(f, &pull, 0);
	char text[200];

	m.chunk.len--;
	put(f->worker, &m);
	snprintf(text, sizeof(text),
	    "worker bad/1: its chunk at 0 has 262143 bytes, not 262144: the "
	    "tar is not the %zu bytes that were said",
	    (size_t)SIZE);
	take_bad(f, ERR_PEER, text);
}

static void
test_wrong_digest(void **state)
{
	char found[DIGEST_HEX_LEN + 1], said[DIGEST_HEX_LEN + 1], text[400];
	struct fixture *f = *state;
	struct data_msg_pull pull = start_job(f, 1);
	struct digest digest;

	f->bytes[SIZE - 1] ^= 1;
	digest_of(f->bytes, SIZE, &digest);
	digest_hex(&digest, found);
	digest_hex(&f->result.digest, said);
	serve_all(f, pull);
	snprintf(text, sizeof(text),
	    "worker bad/1: the tar of %zu bytes has SHA-256 %s, %s was said",
	    (size_t)SIZE, found, said);
	take_bad(f, ERR_PEER, text);
	expect_drop(f->worker, 1);
}

static void
test_pull_fail(void **state)
{
	struct fixture *f = *state;
	struct data_msg_pull pull = start_job(f, 1);
	struct data_msg m = {.type = DATA_MSG_PULL_FAIL};
	struct blob_outcome out;

	m.pull_fail = (struct data_msg_pull_fail){
	    pull.id, pull.form, pull.pull - 1, ERR_RETRY, EIO, "before"};
	put(f->worker, &m);
	m.pull_fail.pull = pull.pull;
	m.pull_fail.text = "read the tar: Input/output error";
	put(f->worker, &m);
	out = take(f);
	assert_int_equal(out.err.sys, EIO);
	assert_int_equal(out.err.kind, ERR_RETRY);
	assert_string_equal(
	    out.err.text, "worker bad/1: read the tar: Input/output error");
}

/* It is asked again from where it is, and given up after some times. */
static void
test_silence(void **state)
{
	struct fixture *f = *state;
	struct data_msg_pull pull = start_job(f, 1), again;
	struct data_msg m;
	int n = 0;

	put_chunks(f, &pull, 3);
	while (get(f->worker, &m, 5000)) {
		if (m.type != DATA_MSG_PULL)
			break;
		again = m.pull;
		assert_int_equal(again.offset, 3 * DATA_CHUNK);
		assert_int_equal(again.pull, pull.pull + (uint64_t)++n);
		data_msg_clear(&m);
	}
	assert_int_equal(n, TRIES);
	assert_int_equal(m.type, DATA_MSG_DROP);
	data_msg_clear(&m);
	take_bad(f, ERR_RETRY,
	    "worker bad/1: the tar is stuck at byte 786432 of 10485837: asked "
	    "3 times, nothing came in 0 s");
}

/* Late chunks of a pull that was given up are no fault, up to its credit. */
static void
test_late(void **state)
{
	struct fixture *f = *state;
	struct data_msg_pull pull = start_job(f, 1), again;
	struct data_msg m;

	put_chunks(f, &pull, 1);
	again = expect_pull(f->worker);
	assert_int_equal(again.offset, DATA_CHUNK);
	for (uint64_t i = 1; i < DATA_WINDOW_MAX; i++) {
		m = chunk(f, &pull, i * DATA_CHUNK);
		put(f->worker, &m);
	}
	serve_all(f, again);
	take_good(f);
	m = expect(f->worker, DATA_MSG_COMMITTED);
	data_msg_clear(&m);
	/* And one more than that is one. */
	add_job(f, 2);
	pull = expect_pull(f->worker);
	again = expect_pull(f->worker);
	for (uint64_t i = 0; i <= DATA_WINDOW_MAX; i++) {
		m = chunk(f, &pull, i * DATA_CHUNK);
		put(f->worker, &m);
	}
	assert_string_equal(take(f).err.text, UNASKED);
}

/* A new connection of the same worker: the rest comes over that. */
static void
test_resume(void **state)
{
	struct fixture *f = *state;
	struct data_msg_pull pull = start_job(f, 1);
	struct err e = ERR_INIT;
	int64_t start;

	put_chunks(f, &pull, 5);
	while (blob_fetch_bytes(f->fetch, &pull.id) < 5 * DATA_CHUNK)
		usleep(1000);
	link_closep(&f->worker);
	assert_int_equal(
	    link_connect_data(f->ctx, f->endpoint, NULL, &f->worker, &e), 0);
	start = monotime_ms();
	hello(f->worker, f->token);
	pull = expect_pull(f->worker);
	/* At once, and not when nothing has come for long. */
	assert_in_range(monotime_ms() - start, 0, 2000);
	assert_int_equal(pull.offset, 5 * DATA_CHUNK);
	serve_all(f, pull);
	take_good(f);
}

/* Who does not know the token, or another's, changes nothing. */
static void
test_strangers(void **state)
{
	struct fixture *f = *state;
	uint8_t wrong[DATA_TOKEN_SIZE] = {1}, other[DATA_TOKEN_SIZE];
	struct data_msg_pull pull = start_job(f, 1);
	struct link *stranger;
	struct err e = ERR_INIT;
	struct data_msg m;

	assert_int_equal(blob_fetch_worker(f->fetch, "b", "", other, &e), 0);
	assert_memory_not_equal(other, f->token, sizeof(other));
	assert_int_equal(
	    link_connect_data(f->ctx, f->endpoint, NULL, &stranger, &e), 0);
	for (int i = 0; i < 3; i++) {
		m = chunk(f, &pull, DATA_CHUNK);
		put(stranger, &m);
		m = (struct data_msg){.type = DATA_MSG_PULL_FAIL,
		    .pull_fail = {
			pull.id, pull.form, pull.pull, ERR_JOB, 0, "no"}};
		put(stranger, &m);
		hello(stranger, i == 0 ? wrong : other);
	}
	serve_all(f, pull);
	take_good(f);
	assert_false(get(stranger, &m, 50));
	link_close(stranger, 0);
}

/* A worker that has a key is taken over no connection without it. */
static void
test_key(void **state)
{
	struct fixture *f = *state;
	uint8_t keyed[DATA_TOKEN_SIZE];
	struct err e = ERR_INIT;
	struct blob_request q;
	struct data_msg m;

	assert_int_equal(blob_fetch_worker(f->fetch, "k", "key", keyed, &e), 0);
	q = request(f, 1);
	memcpy(q.token, keyed, sizeof(keyed));
	hello(f->worker, keyed);
	add(f, &q);
	assert_false(get(f->worker, &m, SILENT_MS));
}

/* As many as it likes, for nothing: neither memory nor others suffer. */
static void
test_flood(void **state)
{
	struct fixture *f = *state;
	uint8_t other[DATA_TOKEN_SIZE];
	struct data_msg_pull pull = {.id = {99, 1}};
	struct data_msg m = chunk(f, &pull, 0);
	struct link *flood;
	struct err e = ERR_INIT;

	assert_int_equal(blob_fetch_worker(f->fetch, "b", "", other, &e), 0);
	assert_int_equal(
	    link_connect_data(f->ctx, f->endpoint, NULL, &flood, &e), 0);
	hello(flood, other);
	for (int i = 0; i < 4000; i++) {
		if (link_send_data(flood, NULL, &m, &e) < 0) {
			assert_int_equal(e.kind, ERR_PEER);
			err_clear(&e);
		}
	}
	pull = start_job(f, 1);
	serve_all(f, pull);
	take_good(f);
	link_close(flood, 0);
}

/* So many at a time of one worker; others are not kept waiting by it. */
static void
test_share(void **state)
{
	struct fixture *f = *state;
	uint8_t other[DATA_TOKEN_SIZE];
	struct link *second;
	struct blob_request q;
	struct err e = ERR_INIT;
	struct data_msg m;
	int n = 0;

	assert_int_equal(blob_fetch_worker(f->fetch, "b", "", other, &e), 0);
	assert_int_equal(
	    link_connect_data(f->ctx, f->endpoint, NULL, &second, &e), 0);
	hello(f->worker, f->token);
	hello(second, other);
	for (uint64_t i = 0; i < 3 * BLOB_FETCH_TRANSFERS; i++)
		add_job(f, i);
	q = request(f, 100);
	memcpy(q.token, other, sizeof(other));
	add(f, &q);
	assert_int_equal(expect_pull(second).id.job, 100);
	while (get(f->worker, &m, SILENT_MS / 3)) {
		assert_int_equal(m.type, DATA_MSG_PULL);
		assert_in_range(m.pull.id.job, 0, DATA_TRANSFERS_MAX - 1);
		data_msg_clear(&m);
		n++;
	}
	assert_int_equal(n, DATA_TRANSFERS_MAX);
	link_close(second, 0);
}

static void
test_drop(void **state)
{
	struct fixture *f = *state;
	struct data_msg_pull pull = start_job(f, 1);
	struct blob_outcome out;
	struct err e = ERR_INIT;
	struct data_msg m;

	put_chunks(f, &pull, 4);
	assert_int_equal(blob_fetch_drop(f->fetch, f->token, &pull.id, &e), 0);
	expect_drop(f->worker, 1);
	put_chunks(f, &pull, 4); /* on their way: no fault */
	assert_false(get(f->worker, &m, 50));
	assert_false(blob_fetch_take(f->fetch, &out));
	assert_int_equal(entries(f->blobs), 0);
}

static void
test_contradiction(void **state)
{
	struct fixture *f = *state;
	struct blob_request q = request(f, 1);
	struct err e = ERR_INIT;

	q.result.size--;
	assert_int_equal(blob_fetch_add(f->fetch, &q, &e), -1);
	assert_int_equal(e.kind, ERR_PEER);
	err_clear(&e);
	q = request(f, 1);
	q.outputs[0] = (struct layer_output){
	    LAYER_TO_FILE, "/dev/null", 0, q.result.size + 1};
	assert_int_equal(blob_fetch_add(f->fetch, &q, &e), -1);
	assert_int_equal(e.kind, ERR_PEER);
	assert_string_equal(
	    e.text, "its tar has 10485837 bytes, 10485838 were measured");
	err_clear(&e);
	q = request(f, 1);
	q.result.size = q.result.tar_size = UINT64_MAX;
	assert_int_equal(blob_fetch_add(f->fetch, &q, &e), -1);
	assert_int_equal(e.kind, ERR_PEER);
	err_clear(&e);
	/* Past the end of any file: found before anything is asked. */
	q = request(f, 1);
	q.outputs[0] = (struct layer_output){
	    LAYER_TO_FILE, "/dev/null", INT64_MAX, LAYER_SIZE_UNKNOWN};
	add(f, &q);
	assert_int_equal(take(f).err.kind, ERR_FATAL);
}

static void
write_file(const char *folder, const char *name, const void *data, size_t len)
{
	char path[256];
	int fd;

	snprintf(path, sizeof(path), "%s/%s", folder, name);
	fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0644);
	assert_int_equal(write(fd, data, len), len);
	close(fd);
}

/* What a worker wrote into a shared folder is read again. */
static void
test_check(void **state)
{
	struct fixture *f = *state;
	struct blob_request q = request(f, 1);
	char hex[DIGEST_HEX_LEN + 1], text[400];
	char archive[80];

	q.way = BLOB_CHECK;
	digest_hex(&q.result.digest, hex);
	snprintf(archive, sizeof(archive), "%s/archive", f->folder);
	/* Not there at all. */
	add(f, &q);
	snprintf(text, sizeof(text),
	    "worker bad/1: the tar that it says it wrote into %s: No such "
	    "file or directory",
	    f->blobs);
	take_bad(f, ERR_PEER, text);
	/* It shows late. */
	add(f, &q);
	usleep(120000);
	write_file(f->blobs, hex, f->bytes, SIZE);
	take_good(f);
	/* Longer than it should be. */
	write_file(f->blobs, hex, f->bytes, SIZE);
	{
		char path[200];

		snprintf(path, sizeof(path), "%s/%s", f->blobs, hex);
		assert_int_equal(truncate(path, SIZE + 1), 0);
	}
	add(f, &q);
	assert_int_equal(take(f).err.kind, ERR_PEER);
	/* A range of an archive, among other bytes. */
	write_file(f->folder, "archive", f->bytes, SIZE);
	q.outputs[0] =
	    (struct layer_output){LAYER_TO_FILE, archive, 512, SIZE - 1024};
	q.result.size = q.result.tar_size = SIZE - 1024;
	digest_of(f->bytes + 512, SIZE - 1024, &q.result.digest);
	q.result.diff_id = q.result.digest;
	add(f, &q);
	take_good(f);
	/* One byte of it is another. */
	f->bytes[SIZE - 600] ^= 1;
	write_file(f->folder, "archive", f->bytes, SIZE);
	add(f, &q);
	{
		struct blob_outcome out = take(f);

		assert_int_equal(out.err.kind, ERR_PEER);
		snprintf(text, sizeof(text),
		    "worker bad/1: %s: the tar of %zu bytes has SHA-256 ",
		    archive, (size_t)SIZE - 1024);
		assert_memory_equal(out.err.text, text, strlen(text));
	}
	/* The archive ends before the layer does. */
	assert_int_equal(truncate(archive, SIZE - 513), 0);
	add(f, &q);
	assert_int_equal(take(f).err.kind, ERR_PEER);
}

static void
test_spool_spec(void **state)
{
	struct layer_spec spec = {.encoding = {ENCODING_NONE, 0},
	    .outputs = {{LAYER_TO_BLOB, "/a", 0, 0},
		{LAYER_TO_FILE, "/b", 512, 10240}},
	    .n_outputs = 2};
	struct layer_spec out;

	(void)state;
	blob_request_spool(&spec, &out);
	assert_int_equal(out.n_outputs, 1);
	assert_int_equal(out.outputs[0].kind, LAYER_TO_SPOOL_TAR);
	assert_string_equal(out.outputs[0].path, "");
	assert_int_equal(out.outputs[0].size, 10240);
	spec.encoding = (struct encoding){ENCODING_GZIP, 6};
	blob_request_spool(&spec, &out);
	assert_int_equal(out.n_outputs, 2);
	assert_int_equal(out.outputs[1].kind, LAYER_TO_SPOOL_BLOB);
	spec.n_outputs = 1;
	blob_request_spool(&spec, &out);
	assert_int_equal(out.n_outputs, 1);
	assert_int_equal(out.outputs[0].kind, LAYER_TO_SPOOL_BLOB);
	assert_true(out.outputs[0].size == LAYER_SIZE_UNKNOWN);
}

int
main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
	    TEST(test_good),
	    TEST(test_no_descriptors),
	    TEST(test_credit),
	    TEST(test_not_asked_for),
	    TEST(test_order),
	    TEST(test_offsets),
	    TEST(test_length),
	    TEST(test_wrong_digest),
	    TEST(test_pull_fail),
	    TEST(test_silence),
	    TEST(test_late),
	    cmocka_unit_test_setup_teardown(
		test_resume, setup_patient, teardown),
	    TEST(test_strangers),
	    TEST(test_key),
	    TEST(test_flood),
	    TEST(test_share),
	    TEST(test_drop),
	    TEST(test_contradiction),
	    TEST(test_check),
	    cmocka_unit_test(test_spool_spec),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
