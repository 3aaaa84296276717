/*
 * A client and a server of the test's own, which does what servers may do:
 * hands layers over, starts again, loses what it says, postpones, fails,
 * refuses, is silent, leaves.  The client runs in a thread of its own.
 */
#include "client/client.h"
#include "client/client_state.h"

#include <dirent.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>
#include <zmq.h>

#include "transfer/blob_offer.h"
#include "closure/closure.h"
#include "curve_key.h"
#include "digest.h"
#include "dispatch/dispatch.h"
#include "encoder_version.h"
#include "err.h"
#include "dispatch/key_list.h"
#include "link.h"
#include "log.h"
#include "monotime.h"
#include "progress/progress.h"
#include "protocol.h"
#include "dispatch/zap.h"

#define SIZE (3 * DATA_CHUNK + 1024)
#define JOBS_MAX 600
#define WAIT_MS 10000
#define SILENT_MS 600
#define POSTPONE_MS 200

struct fixture {
	char folder[32], endpoint[64], data[64], blobs[64];
	/* With keys: the server's, and the client's, which is listed. */
	struct curve_key key, own;
	struct link_keys server_keys, client_keys;
	struct zap *zap;
	/* The server's. */
	void *ctx;
	struct link *link;
	struct blob_offer *offer;
	uint64_t session;
	struct link_peer peer; /* who said CLIENT last */
	uint8_t token[DATA_TOKEN_SIZE];
	struct layer_result layer[4];
	/* The client's. */
	struct closure closure;
	const char *path[4];
	uint32_t index[4];
	struct layer_spec spec, none;
	struct dispatch_job job[JOBS_MAX];
	struct dispatch_made made[JOBS_MAX];
	size_t n;
	struct progress *progress;
	struct client *client;
	pthread_t thread;
	atomic_bool over;
	int rc;
	struct err err;
	unsigned told; /* by done */
};

static char logged[16384];

static void
on_log(void *arg, enum log_level level, const char *line)
{
	size_t len = strlen(logged);

	(void)level;
	(void)arg;
	snprintf(logged + len, sizeof(logged) - len, "%s\n", line);
}

static unsigned
times_logged(const char *text)
{
	unsigned n = 0;

	for (const char *at = logged; (at = strstr(at, text)) != NULL; at++)
		n++;
	return n;
}

/* Layer i's file, and what is true of it. */
static void
make_layer(struct fixture *f, size_t i)
{
	uint8_t *bytes = malloc(SIZE);
	char path[80];
	int fd;

	snprintf(path, sizeof(path), "%s/layer-%zu", f->folder, i);
	fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	for (size_t k = 0; k < SIZE; k++)
		bytes[k] = (uint8_t)(k * 31 + k / 251 + i);
	assert_int_equal(write(fd, bytes, SIZE), SIZE);
	close(fd);
	f->layer[i] =
	    (struct layer_result){.size = SIZE, .tar_size = SIZE, .entries = 3};
	digest_of(bytes, SIZE, &f->layer[i].digest);
	f->layer[i].diff_id = f->layer[i].digest;
	free(bytes);
}

static void
serve(struct fixture *f, uint64_t session)
{
	const struct link_keys *keys = f->zap != NULL ? &f->server_keys : NULL;
	struct err e = ERR_INIT;

	f->session = session;
	if (link_listen(f->ctx, f->endpoint, keys, &f->link, &e) < 0 ||
	    blob_offer_new(f->ctx, f->data, keys, &f->offer, &e) < 0 ||
	    blob_offer_client(f->offer, "it", f->own.public, f->token, &e) < 0)
		fail_msg("%s", e.text);
}

static void
stop_serving(struct fixture *f)
{
	link_close(f->link, 200);
	f->link = NULL;
	blob_offer_freep(&f->offer);
}

static int
setup(void **state)
{
	static const char *const names[] = {
	    "/nix/store/a", "/nix/store/b", "/nix/store/c", "/nix/store/d"};
	struct fixture *f = calloc(1, sizeof(*f));
	struct err e = ERR_INIT;

	strcpy(f->folder, "/tmp/test_client.XXXXXX");
	assert_non_null(mkdtemp(f->folder));
	snprintf(f->endpoint, sizeof(f->endpoint), "ipc://%s/c", f->folder);
	snprintf(f->data, sizeof(f->data), "ipc://%s/d", f->folder);
	snprintf(f->blobs, sizeof(f->blobs), "%s/blobs", f->folder);
	assert_int_equal(mkdir(f->blobs, 0755), 0);
	for (size_t i = 0; i < 4; i++) {
		make_layer(f, i);
		f->path[i] = names[i];
		f->index[i] = (uint32_t)i;
	}
	f->closure = (struct closure){.n = 4, .path = f->path};
	f->spec = (struct layer_spec){.source = LAYER_FROM_STORE,
	    .store_dir = "/nix/store",
	    .store_root = "/somewhere",
	    .uname = "root",
	    .gname = "root",
	    .file = "",
	    .outputs = {{LAYER_TO_BLOB, f->blobs, 0, 0}},
	    .n_outputs = 1};
	f->none = f->spec;
	f->none.n_outputs = 0;
	assert_int_equal(progress_new(PROGRESS_NONE, &f->progress, &e), 0);
	f->ctx = zmq_ctx_new();
	logged[0] = '\0';
	log_start("test", LOG_INFO);
	log_divert(on_log, NULL);
	serve(f, 11);
	*state = f;
	return 0;
}

static int
teardown(void **state)
{
	struct fixture *f = *state;
	char command[64];

	stop_serving(f);
	zap_stop(f->zap);
	zmq_ctx_term(f->ctx);
	progress_free(f->progress);
	log_divert(NULL, NULL);
	snprintf(command, sizeof(command), "rm -rf %s", f->folder);
	assert_int_equal(system(command), 0);
	free(f);
	return 0;
}

/* The client. */

static int
on_done(void *arg, const struct dispatch_job *job, struct err *e)
{
	struct fixture *f = arg;

	(void)job;
	(void)e;
	f->told++;
	return 0;
}

static void *
client_thread(void *arg)
{
	struct fixture *f = arg;

	f->rc = client_run(f->client, f->job, f->n, &f->err);
	client_freep(&f->client);
	atomic_store(&f->over, true);
	return NULL;
}

/* n jobs; with blobs: of layers 0 to n - 1, the second one is the largest. */
static void
start(struct fixture *f, size_t n, bool blobs)
{
	struct client_config config;
	struct err e = ERR_INIT;

	client_defaults(&config);
	config.endpoint = f->endpoint;
	config.keys = f->zap != NULL ? &f->client_keys : NULL;
	config.image = "image:tag";
	config.progress = f->progress;
	config.done = on_done;
	config.arg = f;
	config.pace.silent_ms = SILENT_MS;
	config.pace.hello_ms = 300;
	config.pace.postpone_ms = POSTPONE_MS;
	config.pace.postpone_max_ms = 4 * POSTPONE_MS;
	config.pace.pull_silent_ms = 300;
	f->n = n;
	for (size_t i = 0; i < n; i++)
		f->job[i] =
		    (struct dispatch_job){.spec = blobs ? &f->spec : &f->none,
			.closure = &f->closure,
			.path = &f->index[i % 4],
			.n = 1,
			.weight = i == 1 ? 1000 : 100 - (i < 50 ? i : 50),
			.label = "some layer",
			.made = &f->made[i]};
	if (client_new(&config, &f->client, &e) < 0)
		fail_msg("%s", e.text);
	assert_int_equal(pthread_create(&f->thread, NULL, client_thread, f), 0);
}

/* Waits for its end; the server goes on beating, so that it is not silent. */
static void
end(struct fixture *f, enum err_kind kind, const char *text)
{
	const struct msg beat = {.type = MSG_BEAT};

	for (int i = 0; i < WAIT_MS / 20 && !atomic_load(&f->over); i++) {
		struct err e = ERR_INIT;

		usleep(20000);
		if (f->peer.len > 0 &&
		    link_send(f->link, &f->peer, &beat, &e) < 0)
			err_clear(&e);
	}
	if (!atomic_load(&f->over))
		fail_msg("it does not end:\n%s", logged);
	pthread_join(f->thread, NULL);
	if (f->err.kind != kind || strstr(f->err.text, text) == NULL)
		fail_msg("%d: %s\n%s", (int)f->err.kind, f->err.text, logged);
	assert_int_equal(f->rc, kind == ERR_NONE ? 0 : -1);
}

/* What is in the folder of blobs. */
static void
check_blobs(const struct fixture *f, size_t n)
{
	DIR *dir = opendir(f->blobs);
	size_t entries = 0;

	while (readdir(dir) != NULL)
		entries++;
	closedir(dir);
	assert_int_equal(entries, n + 2);
	for (size_t i = 0; i < n; i++) {
		char hex[DIGEST_HEX_LEN + 1], path[160];
		struct stat st;

		digest_hex(&f->layer[i].digest, hex);
		snprintf(path, sizeof(path), "%s/%s", f->blobs, hex);
		assert_int_equal(stat(path, &st), 0);
		assert_int_equal(st.st_size, SIZE);
	}
}

/* The server. */

static void
say(struct fixture *f, const struct msg *m)
{
	struct err e = ERR_INIT;

	if (link_send(f->link, &f->peer, m, &e) < 0)
		fail_msg("%s", e.text);
}

static bool
receive(struct fixture *f, struct msg *m, struct link_peer *from, int ms)
{
	int64_t until = monotime_ms() + ms;
	struct err e = ERR_INIT;
	int rc;

	while ((rc = link_recv(f->link, from, m, &e)) == 0) {
		int64_t left = until - monotime_ms();

		if (left <= 0)
			return false;
		monotime_wait(link_fd(f->link), (int)left);
	}
	if (rc < 0)
		fail_msg("%s", e.text);
	return true;
}

/* The next message, but for beats of no interest. */
static struct msg
take(struct fixture *f, enum msg_type type)
{
	struct link_peer from;
	struct msg m;

	for (;;) {
		if (!receive(f, &m, &from, WAIT_MS))
			fail_msg("no %s:\n%s", msg_name(type), logged);
		if (m.type != MSG_BEAT || type == MSG_BEAT)
			break;
		msg_clear(&m);
	}
	if (m.type != type)
		fail_msg("%s, not %s", msg_name(m.type), msg_name(type));
	if (type == MSG_CLIENT)
		f->peer = from;
	return m;
}

/* Nothing but beats for so long. */
static void
quiet(struct fixture *f, int ms)
{
	int64_t until = monotime_ms() + ms;
	struct link_peer from;
	struct msg m;

	while (monotime_ms() < until &&
	    receive(f, &m, &from, (int)(until - monotime_ms()))) {
		if (m.type != MSG_BEAT)
			fail_msg("%s", msg_name(m.type));
		msg_clear(&m);
	}
}

static void
welcome(struct fixture *f, uint64_t had)
{
	struct msg m = take(f, MSG_CLIENT), answer = {.type = MSG_WELCOME};

	assert_int_equal(m.client.protocol, PROTOCOL_VERSION);
	assert_string_equal(m.client.image, "image:tag");
	assert_string_equal(m.client.gzip, encoder_version(ENCODING_GZIP));
	assert_string_equal(m.client.zstd, encoder_version(ENCODING_ZSTD));
	assert_int_equal(m.client.session, had);
	msg_clear(&m);
	answer.welcome = (struct msg_welcome){.protocol = PROTOCOL_VERSION,
	    .beat_ms = 50,
	    .session = f->session,
	    .data = f->data,
	    .push_to = ""};
	memcpy(answer.welcome.token, f->token, sizeof(f->token));
	say(f, &answer);
}

static void
take_job(struct fixture *f, uint64_t job, uint64_t attempt)
{
	struct msg m = take(f, MSG_JOB);

	if (m.job.job != job || m.job.attempt != attempt)
		fail_msg("job %d attempt %d, not %d %d", (int)m.job.job,
		    (int)m.job.attempt, (int)job, (int)attempt);
	assert_int_equal(m.job.n_items, 1);
	assert_string_equal(m.job.spec.store_root, "");
	assert_string_equal(m.job.spec.store_dir, "/nix/store");
	assert_int_equal(m.job.spec.n_outputs, 0);
	msg_clear(&m);
	m = take(f, MSG_ITEMS);
	assert_true(m.items.job == job && m.items.attempt == attempt);
	assert_int_equal(m.items.n, 1);
	assert_string_equal(m.items.item[0].path, f->path[job % 4]);
	msg_clear(&m);
}

static void
say_done(struct fixture *f, uint64_t job, uint64_t attempt,
    const struct layer_result *r)
{
	struct msg m = {
	    .type = MSG_MADE, .made = {job, attempt, "far-away/77", 1500}};

	say(f, &m);
	m = (struct msg){.type = MSG_DONE, .done = {job, attempt, *r, 0}};
	say(f, &m);
}

/* Layer JOB can be pulled, as it is in its file. */
static void
offer(struct fixture *f, uint64_t job, uint64_t attempt)
{
	const struct data_id id = {job, attempt};
	struct err e = ERR_INIT;
	char path[80];
	struct blob_offer_file file = {DATA_TAR, path, SIZE};

	snprintf(path, sizeof(path), "%s/layer-%d", f->folder, (int)job);
	if (blob_offer_add(f->offer, f->token, &id, &file, 1, &e) < 0)
		fail_msg("%s", e.text);
}

static void
make(struct fixture *f, uint64_t job, uint64_t attempt)
{
	offer(f, job, attempt);
	say_done(f, job, attempt, &f->layer[job]);
}

static void
event(struct fixture *f, uint64_t job, uint64_t attempt,
    enum blob_offer_what what)
{
	struct blob_offer_event out = {.what = BLOB_OFFER_FAULT};

	for (int i = 0; !blob_offer_take(f->offer, &out); i++) {
		const struct msg beat = {.type = MSG_BEAT};

		if (i == WAIT_MS / 50)
			fail_msg("no event:\n%s", logged);
		say(f, &beat);
		monotime_wait(blob_offer_fd(f->offer), 50);
	}
	if (out.what != what)
		fail_msg("event %d: %s", (int)out.what, out.err.text);
	assert_true(out.id.job == job && out.id.attempt == attempt);
}

static void
take_bye(struct fixture *f)
{
	struct msg m = take(f, MSG_BYE);

	assert_int_equal(m.bye.reason, MSG_BYE_LEFT);
	msg_clear(&m);
}

static void
test_all(void **state)
{
	struct fixture *f = *state;
	struct msg_progress at[] = {{0, 1, 10}, {7, 1, 10}, {0, 9, 10}};
	struct msg beat = {.type = MSG_BEAT, .beat = {at, 3}}, m;

	start(f, 3, true);
	welcome(f, 0);
	take_job(f, 1, 1);
	take_job(f, 0, 1);
	take_job(f, 2, 1);
	m = take(f, MSG_BEAT);
	assert_int_equal(m.beat.n, 0);
	msg_clear(&m);
	say(f, &beat);
	make(f, 2, 1);
	event(f, 2, 1, BLOB_OFFER_COMMITTED);
	make(f, 0, 1);
	make(f, 1, 1);
	/* Once more, and what nobody asked for. */
	say_done(f, 2, 1, &f->layer[2]);
	say_done(f, 99, 1, &f->layer[1]);
	end(f, ERR_NONE, "");
	take_bye(f);
	check_blobs(f, 3);
	assert_int_equal(f->told, 3);
	for (size_t i = 0; i < 3; i++) {
		assert_string_equal(f->made[i].worker, "far-away/77");
		assert_true(f->made[i].seconds == 1.5);
		assert_memory_equal(
		    &f->made[i].result, &f->layer[i], sizeof(f->layer[i]));
	}
	assert_int_equal(times_logged("makes 3 layers"), 1);
}

/* One has come, one was being handed over, one was not made. */
static void
test_restart(void **state)
{
	struct fixture *f = *state;

	start(f, 3, true);
	welcome(f, 0);
	take_job(f, 1, 1);
	take_job(f, 0, 1);
	take_job(f, 2, 1);
	make(f, 2, 1);
	event(f, 2, 1, BLOB_OFFER_COMMITTED);
	blob_offer_freep(&f->offer);
	say_done(f, 1, 1, &f->layer[1]);
	usleep(200000); /* it gets there, and nobody answers pulls */
	stop_serving(f);
	serve(f, 12);
	welcome(f, 11);
	take_job(f, 1, 2);
	take_job(f, 0, 2);
	make(f, 0, 2);
	make(f, 1, 2);
	end(f, ERR_NONE, "");
	check_blobs(f, 3);
	assert_int_equal(f->told, 3);
	assert_int_equal(times_logged("asked again for 2 layers"), 1);
}

/*
 * The connection breaks: what was said last is lost, and CLIENT is asked for.
 */
static void
test_lost_done(void **state)
{
	const struct msg who = {.type = MSG_WHO};
	struct fixture *f = *state;

	start(f, 2, true);
	welcome(f, 0);
	take_job(f, 1, 1);
	take_job(f, 0, 1);
	say(f, &who);
	welcome(f, 11);
	take_job(f, 1, 2);
	take_job(f, 0, 2);
	/* What answers an attempt of before is not taken. */
	say_done(f, 1, 1, &f->layer[3]);
	make(f, 1, 2);
	make(f, 0, 2);
	end(f, ERR_NONE, "");
	take_bye(f);
	check_blobs(f, 2);
	assert_int_equal(f->told, 2);
	assert_int_equal(times_logged("waiting for it"), 0);
}

static void
test_postpone(void **state)
{
	struct fixture *f = *state;
	struct msg m = {.type = MSG_POSTPONE, .postpone = {0, 1, "no room", 0}};
	int64_t since;

	start(f, 2, true);
	welcome(f, 0);
	take_job(f, 1, 1);
	take_job(f, 0, 1);
	since = monotime_ms();
	say(f, &m);
	take_job(f, 0, 2);
	assert_in_range(monotime_ms() - since, POSTPONE_MS - 1, WAIT_MS);
	/* Later each time. */
	m.postpone.attempt = 2;
	since = monotime_ms();
	say(f, &m);
	quiet(f, POSTPONE_MS + POSTPONE_MS / 2);
	take_job(f, 0, 3);
	assert_in_range(monotime_ms() - since, 2 * POSTPONE_MS - 1, WAIT_MS);
	/* But what is done leaves its place. */
	m.postpone.attempt = 3;
	m.postpone.text = "no worker";
	say(f, &m);
	make(f, 1, 1);
	event(f, 1, 1, BLOB_OFFER_COMMITTED);
	take_job(f, 0, 4);
	make(f, 0, 4);
	end(f, ERR_NONE, "");
	check_blobs(f, 2);
	/* Why is said once. */
	assert_int_equal(times_logged("is for later: no room"), 1);
	assert_int_equal(times_logged("is for later: no worker"), 1);
}

static void
damage(const struct fixture *f, size_t i)
{
	char path[80];
	int fd;

	snprintf(path, sizeof(path), "%s/layer-%zu", f->folder, i);
	fd = open(path, O_WRONLY | O_CLOEXEC);
	assert_int_equal(pwrite(fd, "wrong", 5, 400000), 5);
	close(fd);
}

static void
test_damaged(void **state)
{
	struct fixture *f = *state;

	start(f, 1, true);
	welcome(f, 0);
	take_job(f, 0, 1);
	damage(f, 0);
	make(f, 0, 1);
	event(f, 0, 1, BLOB_OFFER_DROPPED);
	take_job(f, 0, 2);
	make_layer(f, 0);
	make(f, 0, 2);
	event(f, 0, 2, BLOB_OFFER_COMMITTED);
	end(f, ERR_NONE, "");
	check_blobs(f, 1);
	assert_int_equal(times_logged("it is asked for again"), 1);
}

static void
test_always_damaged(void **state)
{
	struct fixture *f = *state;

	start(f, 1, true);
	welcome(f, 0);
	damage(f, 0);
	for (uint64_t attempt = 1; attempt <= 1 + CLIENT_AGAIN_MAX; attempt++) {
		take_job(f, 0, attempt);
		make(f, 0, attempt);
	}
	end(f, ERR_FATAL, "some layer: it did not come 4 times, at last: ");
	take_bye(f);
	check_blobs(f, 0);
	assert_int_equal(f->told, 0);
}

/* It would not even have to be pulled. */
static void
test_untrue(void **state)
{
	struct fixture *f = *state;
	struct layer_result lie = f->layer[0];

	start(f, 1, true);
	welcome(f, 0);
	take_job(f, 0, 1);
	lie.tar_size++;
	offer(f, 0, 1);
	say_done(f, 0, 1, &lie);
	event(f, 0, 1, BLOB_OFFER_DROPPED);
	take_job(f, 0, 2);
	lie = f->layer[0];
	lie.digest = f->layer[1].digest;
	say_done(f, 0, 2, &lie);
	take_job(f, 0, 3);
	make(f, 0, 3);
	end(f, ERR_NONE, "");
	check_blobs(f, 1);
}

static void
fail_job(struct fixture *f, enum err_kind kind, enum err_kind becomes)
{
	struct msg m = {
	    .type = MSG_FAIL, .fail = {1, 1, kind, 0, "not a store path"}};

	start(f, 2, true);
	welcome(f, 0);
	take_job(f, 1, 1);
	take_job(f, 0, 1);
	m.fail.attempt = 7; /* what is that? */
	say(f, &m);
	m.fail.attempt = 1;
	say(f, &m);
	end(f, becomes, "some layer: not a store path");
	take_bye(f);
}

static void
test_fail(void **state)
{
	fail_job(*state, ERR_JOB, ERR_JOB);
}

static void
test_fail_at_work(void **state)
{
	fail_job(*state, ERR_RETRY, ERR_FATAL);
}

static void
test_refuse(void **state)
{
	const struct msg refuse = {
	    .type = MSG_REFUSE, .refuse = {"zstd 9.9 is not zstd 1.5"}};
	struct fixture *f = *state;
	struct msg m;

	start(f, 1, true);
	m = take(f, MSG_CLIENT);
	msg_clear(&m);
	say(f, &refuse);
	end(f, ERR_FATAL, "refuses this client: zstd 9.9 is not zstd 1.5");
}

static void
test_version(void **state)
{
	struct msg answer = {.type = MSG_WELCOME};
	struct fixture *f = *state;
	struct msg m;

	start(f, 1, true);
	m = take(f, MSG_CLIENT);
	msg_clear(&m);
	answer.welcome = (struct msg_welcome){.protocol = 99,
	    .beat_ms = 50,
	    .session = 11,
	    .data = f->data,
	    .push_to = ""};
	say(f, &answer);
	end(f, ERR_FATAL, "speaks protocol 99");
}

/* It hangs, and is said to be away once; then it answers a new connection. */
static void
test_silent(void **state)
{
	struct fixture *f = *state;
	struct link_peer before;
	struct msg m;

	start(f, 1, true);
	welcome(f, 0);
	take_job(f, 0, 1);
	before = f->peer;
	do {
		m = take(f, MSG_CLIENT);
		msg_clear(&m);
	} while (f->peer.len == before.len &&
	    memcmp(f->peer.id, before.id, before.len) == 0);
	welcome(f, 11);
	take_job(f, 0, 2);
	make(f, 0, 2);
	end(f, ERR_NONE, "");
	check_blobs(f, 1);
	assert_int_equal(times_logged("says nothing any more; waiting"), 1);
	assert_int_equal(times_logged("it is back"), 1);
}

/* It ends, and another one starts after a while; SIGINT would end that. */
static void
test_bye(void **state)
{
	const struct msg bye = {.type = MSG_BYE};
	struct fixture *f = *state;

	start(f, 1, true);
	welcome(f, 0);
	take_job(f, 0, 1);
	say(f, &bye);
	take_bye(f);
	stop_serving(f);
	usleep(1500000);
	serve(f, 12);
	welcome(f, 11);
	take_job(f, 0, 2);
	make(f, 0, 2);
	end(f, ERR_NONE, "");
	check_blobs(f, 1);
	assert_int_equal(times_logged("it ends; waiting for it"), 1);
	assert_int_equal(times_logged("was started again"), 1);
}

/* Nobody is there at first. */
static void
test_late(void **state)
{
	struct fixture *f = *state;

	stop_serving(f);
	start(f, 1, true);
	usleep(2500000);
	assert_int_equal(
	    times_logged("does not answer yet; waiting for it"), 1);
	serve(f, 11);
	welcome(f, 0);
	take_job(f, 0, 1);
	make(f, 0, 1);
	end(f, ERR_NONE, "");
	assert_int_equal(times_logged("does not answer yet"), 1);
	assert_int_equal(times_logged("makes 1 layers"), 1);
}

/* More than may be asked for; nothing is pulled. */
static void
test_many(void **state)
{
	struct fixture *f = *state;

	start(f, JOBS_MAX, false);
	welcome(f, 0);
	take_job(f, 1, 1);
	take_job(f, 0, 1);
	for (size_t i = 2; i < CLIENT_ASKED_MAX; i++)
		take_job(f, i, 1);
	quiet(f, 100);
	for (size_t i = 0; i < JOBS_MAX; i++) {
		say_done(f, i, 1, &f->layer[0]);
		if (i + CLIENT_ASKED_MAX < JOBS_MAX)
			take_job(f, i + CLIENT_ASKED_MAX, 1);
	}
	end(f, ERR_NONE, "");
	assert_int_equal(f->told, JOBS_MAX);
	check_blobs(f, 0);
}

/* Over TCP: the port is free by then, and where data is has no host. */
static void
with_keys(struct fixture *f)
{
	struct key_list *list = NULL;
	struct err e = ERR_INIT;

	stop_serving(f);
	if (curve_key_make(&f->key, &e) < 0 ||
	    curve_key_make(&f->own, &e) < 0 || key_list_new(&list, &e) < 0 ||
	    key_list_add(list, f->own.public, "own", &e) < 0 ||
	    zap_start(f->ctx, &list, &f->zap, &e) < 0)
		fail_msg("%s", e.text);
	f->server_keys.own = &f->key;
	f->client_keys.own = &f->own;
	f->client_keys.server = f->key.public;
	strcpy(f->endpoint, "tcp://127.0.0.1:*");
	strcpy(f->data, "tcp://127.0.0.1:*");
	serve(f, 11);
	snprintf(
	    f->endpoint, sizeof(f->endpoint), "%s", link_endpoint(f->link));
	snprintf(f->data, sizeof(f->data), "%s", blob_offer_welcome(f->offer));
	assert_memory_equal(f->data, "tcp://*:", 8);
}

static void
test_keys(void **state)
{
	struct fixture *f = *state;

	with_keys(f);
	start(f, 1, true);
	welcome(f, 0);
	assert_string_equal(f->peer.key, f->own.public);
	take_job(f, 0, 1);
	make(f, 0, 1);
	end(f, ERR_NONE, "");
	take_bye(f);
	check_blobs(f, 1);
}

/* A client that is not listed waits, and is told what it may be. */
static void
test_unlisted(void **state)
{
	struct fixture *f = *state;
	struct key_list *list = NULL;
	struct err e = ERR_INIT;

	with_keys(f);
	if (curve_key_make(&f->own, &e) < 0)
		fail_msg("%s", e.text);
	start(f, 1, true);
	quiet(f, 2500);
	assert_int_equal(times_logged("or does not list this client's"), 1);
	/* Now it is. */
	if (key_list_new(&list, &e) < 0 ||
	    key_list_add(list, f->own.public, "own", &e) < 0)
		fail_msg("%s", e.text);
	zap_replace(f->zap, &list);
	blob_offer_client(f->offer, "now", f->own.public, f->token, &e);
	welcome(f, 0);
	take_job(f, 0, 1);
	make(f, 0, 1);
	end(f, ERR_NONE, "");
}

/* What is said without sense. */
static void
test_nonsense(void **state)
{
	struct msg m = {.type = MSG_HELLO};
	struct fixture *f = *state;

	start(f, 1, true);
	welcome(f, 0);
	take_job(f, 0, 1);
	m.hello = (struct msg_hello){
	    .program = "", .host = "", .gzip = "", .zstd = ""};
	say(f, &m);
	m = (struct msg){.type = MSG_SIZED, .sized = {0, 1, 512, 1}};
	say(f, &m);
	make(f, 0, 1);
	end(f, ERR_NONE, "");
	check_blobs(f, 1);
}

/* More store paths than go through: that is said, and not tried for ever. */
static void
too_many_paths(void **state)
{
	enum { PATHS = 16 << 20 };
	struct fixture *f = *state;
	uint32_t *index = calloc(PATHS, sizeof(*index));
	struct client_config config;
	struct err e = ERR_INIT;

	assert_non_null(index);
	client_defaults(&config);
	config.endpoint = f->endpoint;
	config.image = "image:tag";
	config.progress = f->progress;
	assert_int_equal(client_new(&config, &f->client, &e), 0);
	f->job[0] = (struct dispatch_job){.spec = &f->none,
	    .closure = &f->closure,
	    .path = index,
	    .n = PATHS,
	    .label = "layer 3 (many)"};
	assert_int_equal(client_run(f->client, f->job, 1, &e), -1);
	assert_int_equal(e.kind, ERR_USAGE);
	assert_non_null(
	    strstr(e.text, "layer 3 (many): its list of 16777216 store paths"));
	client_freep(&f->client);
	free(index);
}

/* What was done before it had anything to ask for is not held against it. */
static void
patience_begins_with_the_run(void **state)
{
	struct fixture *f = *state;
	struct client_config config;
	struct err e = ERR_INIT;
	int64_t before;

	client_defaults(&config);
	config.endpoint = f->endpoint;
	config.image = "image:tag";
	config.progress = f->progress;
	assert_int_equal(client_new(&config, &f->client, &e), 0);
	usleep(20000);
	before = monotime_ms();
	assert_int_equal(client_run(f->client, f->job, 0, &e), 0);
	assert_true(f->client->lost >= before);
	assert_true(f->client->heard >= before);
	assert_true(f->client->connect_at >= before + config.pace.silent_ms);
	client_freep(&f->client);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    TEST(test_all),
	    TEST(test_restart),
	    TEST(test_lost_done),
	    TEST(test_postpone),
	    TEST(test_damaged),
	    TEST(test_always_damaged),
	    TEST(test_untrue),
	    TEST(test_fail),
	    TEST(test_fail_at_work),
	    TEST(test_refuse),
	    TEST(test_version),
	    TEST(test_silent),
	    TEST(test_bye),
	    TEST(test_late),
	    TEST(test_many),
	    TEST(test_keys),
	    TEST(test_unlisted),
	    TEST(test_nonsense),
	    TEST(too_many_paths),
	    TEST(patience_begins_with_the_run),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
