/*
 * Layers on their whole way, from a worker's spool over real sockets into the
 * outputs: blob_serve on one end, blob_fetch on the other, and between them,
 * where that is wanted, a proxy that cuts connections.
 */
#include "transfer/blob_fetch.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>
#include <zmq.h>

#include "../cut_proxy.h"
#include "blob_serve.h"
#include "curve_key.h"
#include "digest.h"
#include "err.h"
#include "dispatch/key_list.h"
#include "link.h"
#include "monotime.h"
#include "own.h"
#include "spool.h"
#include "dispatch/zap.h"

#if defined(__SANITIZE_ADDRESS__)
#define ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define ASAN 1
#endif
#endif

#define MIB ((uint64_t)1 << 20)

struct fixture {
	char folder[32], blobs[64], archive[64], spool_folder[64];
	char endpoint[80];
	void *ctx;
	struct blob_fetch *fetch;
	struct spool *spool;
	struct blob_serve *serve;
	uint8_t token[DATA_TOKEN_SIZE];
	int threads; /* before the first of ours */
	struct zap *zap;
	struct curve_key coordinator, worker, other;
};

static int
threads(void)
{
	DIR *dir = opendir("/proc/self/task");
	int n = 0;

	while (readdir(dir) != NULL)
		n++;
	closedir(dir);
	return n - 2;
}

static void
start(struct fixture *f, const char *endpoint)
{
	const struct link_keys keys = {.own = &f->coordinator};
	struct blob_fetch_config config;
	struct err e = ERR_INIT;

	blob_fetch_defaults(&config);
	config.endpoint = endpoint;
	config.pace.silent_ms = 400;
	config.pace.tries = 20;
	if (f->zap != NULL)
		config.keys = &keys;
	if (blob_fetch_new(f->ctx, &config, &f->fetch, &e) < 0 ||
	    blob_fetch_worker(
		f->fetch, "host/7", f->worker.public, f->token, &e) < 0)
		fail_msg("%s", e.text);
}

static void
serve(struct fixture *f, const char *endpoint)
{
	struct blob_serve_config config = {endpoint, NULL, f->token, 100};
	struct err e = ERR_INIT;

	if (blob_serve_new(f->ctx, &config, f->spool, &f->serve, &e) < 0)
		fail_msg("%s", e.text);
}

static int
setup_base(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));
	struct err e = ERR_INIT;

	f->threads = threads();
	/* A disk, not memory: what is measured is this process's. */
	strcpy(f->folder, "/var/tmp/test_spool.XXXXXX");
	assert_non_null(mkdtemp(f->folder));
	snprintf(f->blobs, sizeof(f->blobs), "%s/blobs", f->folder);
	assert_int_equal(mkdir(f->blobs, 0755), 0);
	snprintf(f->archive, sizeof(f->archive), "%s/archive", f->folder);
	close(open(f->archive, O_WRONLY | O_CREAT, 0644));
	snprintf(f->spool_folder, sizeof(f->spool_folder), "%s/s", f->folder);
	snprintf(f->endpoint, sizeof(f->endpoint), "ipc://%s/d", f->folder);
	if (spool_new(f->spool_folder, 0, &f->spool, &e) < 0)
		fail_msg("%s", e.text);
	f->ctx = zmq_ctx_new();
	*state = f;
	return 0;
}

static int
setup_ipc(void **state)
{
	struct fixture *f;

	setup_base(state);
	f = *state;
	start(f, f->endpoint);
	assert_string_equal(blob_fetch_welcome(f->fetch), f->endpoint);
	serve(f, blob_fetch_endpoint(f->fetch));
	return 0;
}

static int
setup_tcp(void **state)
{
	struct fixture *f;

	setup_base(state);
	f = *state;
	start(f, "tcp://127.0.0.1:*");
	assert_non_null(strstr(blob_fetch_endpoint(f->fetch), "127.0.0.1"));
	assert_memory_equal(blob_fetch_welcome(f->fetch), "tcp://*:", 8);
	assert_string_equal(blob_fetch_welcome(f->fetch) + 8,
	    strrchr(blob_fetch_endpoint(f->fetch), ':') + 1);
	serve(f, blob_fetch_endpoint(f->fetch));
	return 0;
}

/* Two workers may join; the first one's key is what the fetch wants. */
static int
setup_keys(void **state)
{
	struct key_list *list = NULL;
	struct err e = ERR_INIT;
	struct fixture *f;
	FILE *file;

	setup_base(state);
	f = *state;
	if (curve_key_make(&f->coordinator, &e) < 0 ||
	    curve_key_make(&f->worker, &e) < 0 ||
	    curve_key_make(&f->other, &e) < 0)
		fail_msg("%s", e.text);
	file = fopen(f->archive, "w");
	fprintf(file, "%s a\n%s b\n", f->worker.public, f->other.public);
	fclose(file);
	if (key_list_read(f->archive, &list, &e) < 0 ||
	    zap_start(f->ctx, &list, &f->zap, &e) < 0)
		fail_msg("%s", e.text);
	start(f, "tcp://127.0.0.1:*");
	return 0;
}

static void
serve_with(struct fixture *f, const struct curve_key *own)
{
	struct link_keys keys = {.own = own, .server = f->coordinator.public};
	struct blob_serve_config config = {
	    blob_fetch_endpoint(f->fetch), &keys, f->token, 100};
	struct err e = ERR_INIT;

	if (blob_serve_new(f->ctx, &config, f->spool, &f->serve, &e) < 0)
		fail_msg("%s", e.text);
}

static int
teardown(void **state)
{
	struct fixture *f = *state;
	char command[64];

	assert_true(blob_serve_stop(f->serve, 5000));
	blob_fetch_free(f->fetch);
	if (f->zap != NULL)
		zap_stop(f->zap);
	zmq_ctx_term(f->ctx);
	spool_free(f->spool);
	/* Of the spool nothing but its folder is left, and no thread. */
	snprintf(command, sizeof(command), "%s/quarry-worker-%u",
	    f->spool_folder, geteuid());
	if (access(command, F_OK) == 0)
		assert_int_equal(rmdir(command), 0);
	assert_int_equal(threads(), f->threads);
	snprintf(command, sizeof(command), "rm -rf %s", f->folder);
	assert_int_equal(system(command), 0);
	free(f);
	return 0;
}

/* Bytes that are the same for no two chunks. */
static void
fill(uint8_t *buf, size_t len, uint64_t seed)
{
	for (size_t i = 0; i < len; i += 8) {
		uint64_t v;

		seed = seed * 6364136223846793005u + 1442695040888963407u;
		v = seed ^ seed >> 29;
		memcpy(buf + i, &v, len - i < 8 ? len - i : 8);
	}
}

/* A layer in the spool, as a worker's job makes it; its result. */
static struct layer_result
spool_layer(struct fixture *f, uint64_t job, uint64_t size)
{
	const struct data_id id = {job, 1};
	AUTO(sha256_freep) struct sha256 *hash = NULL;
	AUTO(own_freep) uint8_t *buf = malloc(MIB);
	AUTO(own_freep) char *path = NULL;
	AUTO(own_closep) int fd = -1;
	struct layer_result r = {.tar_size = size, .size = size};
	struct err e = ERR_INIT;

	if (spool_take(f->spool, &id, SPOOL_TAR, size, &e) < 0 ||
	    sha256_new(&hash, &e) < 0)
		fail_msg("%s", e.text);
	path = spool_path(f->spool, &id, DATA_TAR);
	fd = open(path, O_WRONLY);
	for (uint64_t at = 0; at < size; at += MIB) {
		size_t len = size - at < MIB ? (size_t)(size - at) : MIB;

		fill(buf, len, job * 1000 + at);
		sha256_update(hash, buf, len);
		assert_int_equal(write(fd, buf, len), len);
	}
	sha256_final(hash, &r.diff_id);
	r.digest = r.diff_id;
	spool_settle(f->spool, &id);
	return r;
}

static struct blob_request
request(struct fixture *f, uint64_t job, const struct layer_result *r)
{
	struct blob_request q = {.way = BLOB_PULL,
	    .id = {job, 1},
	    .result = *r,
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

static struct blob_outcome
take(struct fixture *f, int ms)
{
	struct pollfd p = {blob_fetch_fd(f->fetch), POLLIN, 0};
	struct blob_outcome out = {.way = BLOB_PULL};

	if (poll(&p, 1, ms) != 1 || !blob_fetch_take(f->fetch, &out))
		fail_msg("no outcome in %d ms", ms);
	return out;
}

static void
take_good(struct fixture *f)
{
	struct blob_outcome out = take(f, 60000);

	if (out.err.kind != ERR_NONE)
		fail_msg("%s", out.err.text);
}

static void
digest_file(
    const char *path, uint64_t offset, uint64_t size, struct digest *out)
{
	AUTO(sha256_freep) struct sha256 *hash = NULL;
	AUTO(own_freep) uint8_t *buf = malloc(MIB);
	AUTO(own_closep) int fd = open(path, O_RDONLY);
	struct err e = ERR_INIT;

	assert_true(fd >= 0);
	assert_int_equal(sha256_new(&hash, &e), 0);
	for (uint64_t at = 0; at < size;) {
		size_t len = size - at < MIB ? (size_t)(size - at) : MIB;
		ssize_t n = pread(fd, buf, len, (off_t)(offset + at));

		assert_true(n > 0);
		sha256_update(hash, buf, (size_t)n);
		at += (uint64_t)n;
	}
	sha256_final(hash, out);
}

static void
check_blob(struct fixture *f, const struct layer_result *r)
{
	char path[160], hex[DIGEST_HEX_LEN + 1];
	struct digest found;
	struct stat st;

	digest_hex(&r->digest, hex);
	snprintf(path, sizeof(path), "%s/%s", f->blobs, hex);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_size, r->size);
	digest_file(path, 0, r->size, &found);
	assert_true(digest_equal(&found, &r->digest));
	/* The umask's mode, not that of the spool. */
	assert_int_equal(st.st_mode & 0777, 0644 & ~022);
}

/* COMMITTED has come: the spool has nothing more of the job. */
static void
wait_released(struct fixture *f, uint64_t job)
{
	const struct data_id id = {job, 1};
	char *path = spool_path(f->spool, &id, DATA_TAR);

	for (int i = 0; access(path, F_OK) == 0; i++) {
		if (i == 60000)
			fail_msg("%s is still there", path);
		usleep(1000);
	}
	free(path);
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

static void
test_sizes(void **state)
{
	static const uint64_t sizes[] = {0, 1, DATA_CHUNK - 1, DATA_CHUNK,
	    DATA_CHUNK + 1, DATA_WINDOW_MAX * DATA_CHUNK,
	    DATA_WINDOW_MAX * DATA_CHUNK + 1, 3 * DATA_WINDOW_MAX * DATA_CHUNK};
	struct fixture *f = *state;

	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		struct layer_result r = spool_layer(f, i, sizes[i]);
		struct blob_request q = request(f, i, &r);

		add(f, &q);
		take_good(f);
		check_blob(f, &r);
		wait_released(f, i);
	}
}

static uint64_t
peak_kib(void)
{
	char line[128];
	unsigned long kib = 0;
	FILE *file = fopen("/proc/self/status", "r");

	while (fgets(line, sizeof(line), file) != NULL)
		if (sscanf(line, "VmHWM: %lu", &kib) == 1)
			break;
	fclose(file);
	return kib;
}

/* 200 MB to two places of one transfer, in the memory of a few windows. */
static void
test_large(void **state)
{
	struct fixture *f = *state;
	uint64_t size = 200 * MIB + 12345, offset = 10240, before;
	struct layer_result r = spool_layer(f, 1, size);
	struct blob_request q = request(f, 1, &r);
	struct digest found;
	int64_t start_ms;

	q.outputs[1] =
	    (struct layer_output){LAYER_TO_FILE, f->archive, offset, size};
	q.n_outputs = 2;
	before = peak_kib();
	start_ms = monotime_ms();
	add(f, &q);
	take_good(f);
	print_message("200 MB in %d ms, peak grew by %d KiB\n",
	    (int)(monotime_ms() - start_ms), (int)(peak_kib() - before));
#ifndef ASAN
	/* Both ends are in this process: two windows, and some frames. */
	assert_true(peak_kib() < before + 24 * 1024);
#endif
	check_blob(f, &r);
	digest_file(f->archive, offset, size, &found);
	assert_true(digest_equal(&found, &r.diff_id));
}

/* More than are pulled at a time, of different sizes: all arrive. */
static void
test_many(void **state)
{
	enum { N = 40 };
	struct layer_result r[N];
	struct fixture *f = *state;

	for (uint64_t i = 0; i < N; i++) {
		struct blob_request q;

		r[i] = spool_layer(f, i, (i * 977 % 40) * 50000 + i);
		q = request(f, i, &r[i]);
		add(f, &q);
	}
	for (int i = 0; i < N; i++)
		take_good(f);
	for (uint64_t i = 0; i < N; i++) {
		check_blob(f, &r[i]);
		wait_released(f, i);
	}
}

/* Two forms of one layer, and both appear in their places. */
static void
test_both_forms(void **state)
{
	struct fixture *f = *state;
	const struct data_id id = {1, 1};
	uint8_t tar[3000], blob[700];
	struct layer_result r = {.tar_size = sizeof(tar), .size = sizeof(blob)};
	struct blob_request q;
	struct err e = ERR_INIT;
	struct digest found;

	fill(tar, sizeof(tar), 1);
	fill(blob, sizeof(blob), 2);
	digest_of(tar, sizeof(tar), &r.diff_id);
	digest_of(blob, sizeof(blob), &r.digest);
	assert_int_equal(
	    spool_take(f->spool, &id, SPOOL_TAR | SPOOL_BLOB, 0, &e), 0);
	for (unsigned form = DATA_TAR; form <= DATA_BLOB; form++) {
		char *path = spool_path(f->spool, &id, (enum data_form)form);
		int fd = open(path, O_WRONLY);

		if (form == DATA_TAR)
			assert_int_equal(write(fd, tar, sizeof(tar)), 3000);
		else
			assert_int_equal(write(fd, blob, sizeof(blob)), 700);
		close(fd);
		free(path);
	}
	spool_settle(f->spool, &id);
	q = request(f, 1, &r);
	q.encoded = true;
	q.outputs[1] =
	    (struct layer_output){LAYER_TO_FILE, f->archive, 512, 3000};
	q.n_outputs = 2;
	add(f, &q);
	take_good(f);
	check_blob(f, &r);
	digest_file(f->archive, 512, 3000, &found);
	assert_true(digest_equal(&found, &r.diff_id));
	wait_released(f, 1);
}

static void
check_fails(struct fixture *f, enum err_kind kind, const char *text)
{
	struct blob_outcome out = take(f, 20000);

	if (out.err.kind != kind || strstr(out.err.text, text) == NULL)
		fail_msg("%d: %s", (int)out.err.kind, out.err.text);
	/* Nothing appeared, and nothing is half written. */
	assert_int_equal(entries(f->blobs), 0);
}

static void
test_wrong(void **state)
{
	struct fixture *f = *state;
	struct layer_result r = spool_layer(f, 1, 3 * DATA_CHUNK);
	struct blob_request q = request(f, 1, &r);
	char *path;

	/* Another digest than what is there. */
	q.result.digest.b[0] ^= 1;
	q.result.diff_id.b[0] ^= 1;
	add(f, &q);
	check_fails(f, ERR_PEER,
	    "worker host/7: the tar of 786432 bytes has "
	    "SHA-256 ");
	wait_released(f, 1);
	/* Less, and more, than what is there. */
	r = spool_layer(f, 2, 3 * DATA_CHUNK);
	q = request(f, 2, &r);
	q.result.size = q.result.tar_size = 3 * DATA_CHUNK - 1;
	add(f, &q);
	check_fails(f, ERR_PEER,
	    "worker host/7: its chunk at 524288 has "
	    "262144 bytes, not 262143");
	r = spool_layer(f, 3, 3 * DATA_CHUNK);
	q = request(f, 3, &r);
	q.result.size = q.result.tar_size = 3 * DATA_CHUNK + 1;
	add(f, &q);
	check_fails(f, ERR_RETRY,
	    "worker host/7: the tar has 786432 bytes, "
	    "more are asked for");
	/* A file that shrinks after it was made. */
	r = spool_layer(f, 4, 3 * DATA_CHUNK);
	path = spool_path(f->spool, &(struct data_id){4, 1}, DATA_TAR);
	assert_int_equal(truncate(path, 2 * DATA_CHUNK + 5), 0);
	free(path);
	q = request(f, 4, &r);
	add(f, &q);
	check_fails(f, ERR_PEER, "its chunk at 524288 has 5 bytes");
	/* What the worker never had. */
	q = request(f, 5, &r);
	add(f, &q);
	check_fails(f, ERR_RETRY,
	    "worker host/7: the tar of job 5 attempt 1 in the spool: No such");
}

/* A job that is at work yet is not served. */
static void
test_not_whole(void **state)
{
	const struct data_id id = {1, 1};
	struct layer_result r = {.size = 5, .tar_size = 5};
	struct fixture *f = *state;
	struct blob_request q = request(f, 1, &r);
	struct err e = ERR_INIT;

	assert_int_equal(spool_take(f->spool, &id, SPOOL_TAR, 5, &e), 0);
	add(f, &q);
	check_fails(f, ERR_RETRY, "in the spool: No such");
}

static void
test_full(void **state)
{
	struct fixture *f = *state;
	struct layer_result r = spool_layer(f, 1, 4 * MIB);
	struct blob_request q = request(f, 1, &r);
	struct blob_outcome out;

	/* An archive on a full disk. */
	q.outputs[0] =
	    (struct layer_output){LAYER_TO_FILE, "/dev/full", 0, 4 * MIB};
	add(f, &q);
	out = take(f, 60000);
	assert_int_equal(out.err.kind, ERR_FATAL);
	assert_int_equal(out.err.sys, ENOSPC);
	assert_string_equal(
	    out.err.text, "write /dev/full: No space left on device");
	if (mount("none", f->blobs, "tmpfs", 0, "size=1m") < 0) {
		print_message("no right to mount a tmpfs: half tested\n");
		return;
	}
	r = spool_layer(f, 2, 4 * MIB);
	q = request(f, 2, &r);
	add(f, &q);
	out = take(f, 60000);
	assert_int_equal(out.err.kind, ERR_FATAL);
	assert_int_equal(out.err.sys, ENOSPC);
	assert_int_equal(entries(f->blobs), 0);
	assert_int_equal(umount(f->blobs), 0);
}

/* The worker's bytes come by way of the proxy. */
static void
start_behind(struct fixture *f, struct cut_proxy *proxy)
{
	struct sockaddr_in at = {
	    .sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
	char endpoint[64];

	start(f, "tcp://127.0.0.1:*");
	proxy->at_len = proxy->to_len = sizeof(at);
	memcpy(&proxy->at, &at, sizeof(at));
	at.sin_port = htons(
	    (uint16_t)atoi(strrchr(blob_fetch_endpoint(f->fetch), ':') + 1));
	memcpy(&proxy->to, &at, sizeof(at));
	proxy->up = true;
	cut_proxy_start(proxy);
	memcpy(&at, &proxy->at, sizeof(at));
	snprintf(endpoint, sizeof(endpoint), "tcp://127.0.0.1:%d",
	    ntohs(at.sin_port));
	serve(f, endpoint);
}

/* So many of its bytes are there; the rest waits. */
static void
wait_bytes(struct fixture *f, const struct data_id *id, uint64_t n)
{
	while (blob_fetch_bytes(f->fetch, id) < n)
		usleep(200);
}

static void
test_drop(void **state)
{
	struct fixture *f = *state;
	struct layer_result r;
	struct blob_request q;
	const struct data_id id = {1, 1};
	struct cut_proxy proxy = {.cut_after = 5 * MIB, .hold = true};
	struct blob_outcome out;
	struct err e = ERR_INIT;

	start_behind(f, &proxy);
	r = spool_layer(f, 1, 15 * MIB);
	q = request(f, 1, &r);
	add(f, &q);
	wait_bytes(f, &id, MIB);
	assert_int_equal(blob_fetch_drop(f->fetch, f->token, &id, &e), 0);
	wait_released(f, 1);
	assert_int_equal(blob_fetch_bytes(f->fetch, &id), 0);
	assert_false(blob_fetch_take(f->fetch, &out));
	assert_int_equal(entries(f->blobs), 0);
	/* What comes after goes well. */
	atomic_store(&proxy.hold, false);
	r = spool_layer(f, 2, MIB);
	q = request(f, 2, &r);
	add(f, &q);
	take_good(f);
	check_blob(f, &r);
	wait_released(f, 2);
	cut_proxy_stop(&proxy);
}

/*
 * A connection that breaks every 5 MiB, in the middle of a chunk: what came
 * stays, so it ends although no connection lives for all of it.
 */
static void
test_cut(void **state)
{
	struct fixture *f = *state;
	struct layer_result r;
	struct blob_request q;
	struct cut_proxy proxy = {.cut_after = 5 * MIB + 12345};

	start_behind(f, &proxy);
	r = spool_layer(f, 1, 21 * MIB + 99);
	q = request(f, 1, &r);
	add(f, &q);
	take_good(f);
	check_blob(f, &r);
	/* Where this process stood still chunks are sent again. */
	assert_true(atomic_load(&proxy.cuts) >= 4);
	wait_released(f, 1);
	cut_proxy_stop(&proxy);
}

/* The worker ends in the middle: it is asked some times, then given up. */
static void
test_worker_ends(void **state)
{
	struct fixture *f = *state;
	struct layer_result r;
	struct blob_request q;
	const struct data_id id = {1, 1};
	struct cut_proxy proxy = {.cut_after = 5 * MIB, .hold = true};
	struct err e = ERR_INIT;
	struct blob_outcome out;

	start_behind(f, &proxy);
	r = spool_layer(f, 1, 15 * MIB);
	q = request(f, 1, &r);
	add(f, &q);
	wait_bytes(f, &id, MIB);
	assert_true(blob_serve_stop(f->serve, 5000));
	f->serve = NULL;
	assert_int_equal(blob_fetch_worker_gone(f->fetch, f->token, &e), 0);
	out = take(f, 60000);
	assert_int_equal(out.err.kind, ERR_RETRY);
	assert_string_equal(out.err.text, "worker host/7: it is gone");
	assert_int_equal(entries(f->blobs), 0);
	/* Its later requests end at once. */
	q.id.job = 2;
	add(f, &q);
	out = take(f, 60000);
	assert_int_equal(out.err.kind, ERR_RETRY);
	cut_proxy_stop(&proxy);
}

/* The right token on a connection with another's key is not enough. */
static void
test_keys(void **state)
{
	struct fixture *f = *state;
	struct layer_result r = spool_layer(f, 1, 5 * MIB);
	struct blob_request q = request(f, 1, &r);
	const struct data_id id = {1, 1};

	serve_with(f, &f->other);
	add(f, &q);
	usleep(700000);
	assert_int_equal(blob_fetch_bytes(f->fetch, &id), 0);
	assert_true(blob_serve_stop(f->serve, 5000));
	serve_with(f, &f->worker);
	take_good(f);
	check_blob(f, &r);
	wait_released(f, 1);
}

int
main(void)
{
#define TEST(name, setup) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
	    TEST(test_sizes, setup_ipc),
	    TEST(test_sizes, setup_tcp),
	    TEST(test_large, setup_ipc),
	    TEST(test_large, setup_tcp),
	    TEST(test_many, setup_tcp),
	    TEST(test_both_forms, setup_ipc),
	    TEST(test_wrong, setup_ipc),
	    TEST(test_not_whole, setup_ipc),
	    TEST(test_full, setup_ipc),
	    TEST(test_drop, setup_base),
	    TEST(test_cut, setup_base),
	    TEST(test_worker_ends, setup_base),
	    TEST(test_keys, setup_keys),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
