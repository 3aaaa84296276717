/*
 * The agent in a child process, its coordinator in the test: the whole
 * conversation of protocol.h, with a layer_run of the test's.
 */
#include "agent.h"

#include <errno.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>
#include <zmq.h>

#include "err.h"
#include "layer_run.h"
#include "link.h"
#include "protocol.h"

#define SLOTS 2
#define BEAT_MS 20
#define HASH "00000000000000000000000000000000"

/* What a job is to do is its uid. */
enum { DRAIN_MS = 800 };
enum {
	RUN_QUICK,
	RUN_TILL_CANCEL,
	RUN_FAIL,
	RUN_SLOW,
	RUN_DEAF,
	/* Where it is streamed: */
	RUN_REFUSED,
	RUN_BROKEN
};

static atomic_bool deaf;

static void
nap(void)
{
	usleep(1000);
}

int
layer_run(const struct layer_job *job, struct layer_progress *progress,
    struct layer_result *out, struct err *e)
{
	atomic_store(&deaf, job->spec.uid == RUN_DEAF);
	while (job->spec.uid == RUN_DEAF)
		nap();
	while (job->spec.uid == RUN_TILL_CANCEL) {
		atomic_fetch_add(&progress->bytes, 512);
		if (atomic_load(&progress->cancel))
			return err_set(e, ERR_RETRY, ECANCELED, "layer");
		nap();
	}
	if (job->spec.uid == RUN_SLOW)
		usleep(200000);
	progress->stream = job->stream == NULL ? LAYER_STREAM_NONE
	    : job->spec.uid == RUN_REFUSED     ? LAYER_STREAM_REFUSED
	    : job->spec.uid == RUN_BROKEN      ? LAYER_STREAM_BROKEN
					       : LAYER_STREAM_UPLOADED;
	if (progress->stream > LAYER_STREAM_UPLOADED)
		return err_set(e, ERR_RETRY, 0, "no parts");
	if (job->spec.uid == RUN_FAIL)
		return err_set(e, ERR_JOB, ENOENT, "%s", job->item[0].path);
	for (size_t i = 0; i < job->n; i++)
		if (job->spec.source == LAYER_FROM_STORE)
			out->bytes_read += strlen(job->item[i].path);
		else
			out->bytes_read += strlen(job->entry[i].name);
	out->entries = job->n;
	out->tar_size = 10240;
	memset(&out->digest, 7, sizeof(out->digest));
	return 0;
}

struct fixture {
	char folder[32], endpoint[64];
	pid_t agent;
	void *ctx;
	struct link *link;
	struct link_peer peer;
};

static int64_t
now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static void
run_agent(const char *endpoint, bool stays, int go)
{
	struct agent_options o = {.endpoint = endpoint,
	    .slots = SLOTS,
	    .gzip = "g 1",
	    .zstd = "z 2",
	    .welcome_ms = 2000,
	    .lost_ms = 1500,
	    .tells_speed = stays,
	    .stays = stays,
	    .drain_ms = stays ? DRAIN_MS : 0};
	struct err e = ERR_INIT;
	char c;
	int rc;

	/* Connected at once: the coordinator is there first. */
	if (read(go, &c, 1) != 1)
		_exit(9);
	rc = agent_run(&o, &e);
	if (rc < 0)
		fprintf(stderr, "agent: %s\n", e.text);
	/* exit looks for leaks; a deaf job's thread leaves some. */
	if (atomic_load(&deaf))
		_exit(rc == 0 ? 0 : 1);
	exit(rc == 0 ? 0 : 1);
}

static int
setup_agent(void **state, bool stays)
{
	struct fixture *f = calloc(1, sizeof(*f));
	struct err e = ERR_INIT;
	int go[2];

	strcpy(f->folder, "/tmp/test_agent.XXXXXX");
	assert_non_null(mkdtemp(f->folder));
	snprintf(f->endpoint, sizeof(f->endpoint), "ipc://%s/s", f->folder);
	assert_int_equal(pipe(go), 0);
	if ((f->agent = fork()) == 0) {
		close(go[1]);
		run_agent(f->endpoint, stays, go[0]);
	}
	f->ctx = zmq_ctx_new();
	if (link_listen(f->ctx, f->endpoint, NULL, &f->link, &e) < 0)
		fail_msg("%s", e.text);
	assert_int_equal(write(go[1], "", 1), 1);
	close(go[0]);
	close(go[1]);
	*state = f;
	return 0;
}

static int
setup(void **state)
{
	return setup_agent(state, false);
}

static int
setup_staying(void **state)
{
	return setup_agent(state, true);
}

static int
teardown(void **state)
{
	struct fixture *f = *state;

	if (f->agent > 0) {
		kill(f->agent, SIGKILL);
		waitpid(f->agent, NULL, 0);
	}
	link_close(f->link, 0);
	zmq_ctx_term(f->ctx);
	assert_int_equal(rmdir(f->folder), 0);
	free(f);
	return 0;
}

/* The exit status, or -1 if it takes longer than ms. */
static int
wait_exit(struct fixture *f, int ms)
{
	int64_t until = now_ms() + ms;
	int status;

	while (waitpid(f->agent, &status, WNOHANG) == 0) {
		if (now_ms() > until)
			return -1;
		nap();
	}
	f->agent = 0;
	return WIFEXITED(status) ? WEXITSTATUS(status) : 100;
}

static void
put(struct fixture *f, const struct msg *m)
{
	struct err e = ERR_INIT;

	if (link_send(f->link, &f->peer, m, &e) < 0)
		fail_msg("%s", e.text);
}

/* The next message; beats are skipped unless they are asked for. */
static struct msg
get(struct fixture *f, enum msg_type want)
{
	struct pollfd p = {link_fd(f->link), POLLIN, 0};
	struct err e = ERR_INIT;
	struct msg m;
	int rc;

	for (int64_t until = now_ms() + 10000;;) {
		while ((rc = link_recv(f->link, &f->peer, &m, &e)) == 0)
			if (poll(&p, 1, 5000) != 1 || now_ms() > until)
				fail_msg("no %s in 5 s", msg_name(want));
		if (rc < 0)
			fail_msg("%s", e.text);
		if (m.type == want)
			return m;
		if (m.type != MSG_BEAT || now_ms() > until)
			fail_msg("%s instead of %s", msg_name(m.type),
			    msg_name(want));
		msg_clear(&m);
	}
}

static void
get_clear(struct fixture *f, enum msg_type want)
{
	struct msg m = get(f, want);

	msg_clear(&m);
}

static void
welcome(struct fixture *f)
{
	struct msg m = {.type = MSG_WELCOME,
	    .welcome = {PROTOCOL_VERSION, BEAT_MS, 1, "", {0}, ""}};

	get_clear(f, MSG_HELLO);
	put(f, &m);
}

static void
put_job(struct fixture *f, uint64_t id, unsigned what, uint64_t n_items)
{
	struct msg m = {.type = MSG_JOB,
	    .job = {id, 1, n_items, {.store_dir = "/nix/store", .uid = what}}};

	put(f, &m);
}

static void
put_stream(struct fixture *f, uint64_t id, unsigned what, uint64_t place)
{
	struct msg m = {.type = MSG_JOB,
	    .job = {
		id, 1, 0, {.store_dir = "/nix/store", .uid = what}, place + 1}};

	put(f, &m);
}

static void
expect_stream(struct fixture *f, uint64_t id, enum layer_stream how)
{
	struct msg m = get(f, MSG_DONE);

	assert_true(m.done.job == id);
	assert_int_equal(m.done.stream, how);
	msg_clear(&m);
}

static void
put_item(struct fixture *f, uint64_t id, uint64_t attempt)
{
	struct layer_item item = {"/nix/store/" HASH "-a", false};
	struct msg m = {.type = MSG_ITEMS, .items = {id, attempt, &item, 1}};

	put(f, &m);
}

static void
put_cancel(struct fixture *f, uint64_t id)
{
	struct msg m = {.type = MSG_CANCEL, .cancel = {id, 1}};

	put(f, &m);
}

static void
expect_fail(struct fixture *f, uint64_t id, enum err_kind kind, int sys)
{
	struct msg m = get(f, MSG_FAIL);

	assert_true(m.fail.job == id && m.fail.attempt == 1);
	assert_int_equal(m.fail.kind, kind);
	assert_int_equal(m.fail.sys, sys);
	msg_clear(&m);
}

static void
expect_postpone(struct fixture *f, uint64_t id)
{
	struct msg m = get(f, MSG_POSTPONE);

	assert_true(m.postpone.job == id && m.postpone.attempt == 1);
	msg_clear(&m);
}

static void
expect_bye(struct fixture *f, uint64_t reason)
{
	struct msg m = get(f, MSG_BYE);

	assert_int_equal(m.bye.reason, reason);
	msg_clear(&m);
}

static void
expect_done(struct fixture *f, uint64_t id, uint64_t entries)
{
	struct msg m = get(f, MSG_DONE);

	assert_true(m.done.job == id && m.done.attempt == 1);
	assert_int_equal(m.done.result.entries, entries);
	msg_clear(&m);
}

static void
leave(struct fixture *f)
{
	struct msg bye = {.type = MSG_BYE};

	put(f, &bye);
	assert_int_equal(wait_exit(f, 1000), 0);
}

static void
test_hello(void **state)
{
	struct fixture *f = *state;
	struct msg m = get(f, MSG_HELLO), ready = {.type = MSG_WELCOME};
	char host[MSG_NAME_MAX];
	int64_t start;

	gethostname(host, sizeof(host));
	assert_int_equal(m.hello.protocol, PROTOCOL_VERSION);
	assert_string_equal(m.hello.program, QUARRY_VERSION);
	assert_string_equal(m.hello.host, host);
	assert_int_equal(m.hello.pid, f->agent);
	assert_int_equal(m.hello.slots, SLOTS);
	assert_string_equal(m.hello.gzip, "g 1");
	assert_string_equal(m.hello.zstd, "z 2");
	assert_true(m.hello.session == 0 && m.hello.n_held == 0);
	for (int i = 0; i < ENCODING_KINDS; i++)
		assert_true(m.hello.speed[i] == 0);
	msg_clear(&m);
	ready.welcome =
	    (struct msg_welcome){PROTOCOL_VERSION, BEAT_MS, 1, "", {0}, ""};
	start = now_ms();
	put(f, &ready);
	/* An idle worker beats too, but seldom. */
	for (int i = 0; i < 4; i++) {
		m = get(f, MSG_BEAT);
		assert_int_equal(m.beat.n, 0);
		assert_true(now_ms() - start >= i * MSG_IDLE_BEATS * BEAT_MS);
		msg_clear(&m);
	}
	leave(f);
}

/* Who was idle and has a job does not wait for the beat of one without. */
static void
test_first_beat(void **state)
{
	struct msg ready = {.type = MSG_WELCOME,
	    .welcome = {PROTOCOL_VERSION, 2000, 1, "", {0}}};
	struct fixture *f = *state;
	int64_t start;
	struct msg m;

	get_clear(f, MSG_HELLO);
	put(f, &ready);
	get_clear(f, MSG_BEAT);
	start = now_ms();
	put_job(f, 1, RUN_TILL_CANCEL, 0);
	m = get(f, MSG_BEAT);
	assert_true(now_ms() - start < (MSG_IDLE_BEATS - 1) * 2000);
	assert_int_equal(m.beat.n, 1);
	msg_clear(&m);
	leave(f);
}

static void
test_refuse(void **state)
{
	struct fixture *f = *state;
	struct msg m = {.type = MSG_REFUSE, .refuse = {"another version"}};

	get_clear(f, MSG_HELLO);
	put(f, &m);
	assert_int_equal(wait_exit(f, 1000), 1);
}

static void
test_other_protocol(void **state)
{
	struct fixture *f = *state;
	struct msg m = {.type = MSG_WELCOME,
	    .welcome = {PROTOCOL_VERSION + 1, BEAT_MS, 1, "", {0}, ""}};

	get_clear(f, MSG_HELLO);
	put(f, &m);
	assert_int_equal(wait_exit(f, 1000), 1);
}

static void
test_no_welcome(void **state)
{
	struct fixture *f = *state;

	get_clear(f, MSG_HELLO);
	assert_int_equal(wait_exit(f, 4000), 1);
}

static void
test_coordinator_gone(void **state)
{
	struct fixture *f = *state;

	welcome(f);
	put_job(f, 1, RUN_TILL_CANCEL, 0);
	get_clear(f, MSG_BEAT);
	link_close(f->link, 0);
	f->link = NULL;
	assert_int_equal(wait_exit(f, 4000), 1);
}

/* Into a registry that is known; what it does not take is made again. */
static void
test_stream(void **state)
{
	struct fixture *f = *state;
	struct msg token = {.type = MSG_TOKEN,
	    .token = {3, 1, "http://h", "a", "", "", false, 0}};

	welcome(f);
	put_stream(f, 1, RUN_QUICK, 3);
	expect_stream(f, 1, LAYER_STREAM_BROKEN);
	put(f, &token);
	put_stream(f, 2, RUN_QUICK, 3);
	expect_stream(f, 2, LAYER_STREAM_UPLOADED);
	put_stream(f, 3, RUN_BROKEN, 3);
	expect_stream(f, 3, LAYER_STREAM_BROKEN);
	put_stream(f, 4, RUN_QUICK, 3);
	expect_stream(f, 4, LAYER_STREAM_UPLOADED);
	put_stream(f, 5, RUN_REFUSED, 3);
	expect_stream(f, 5, LAYER_STREAM_REFUSED);
	/* It is not asked again; another repository is. */
	put_stream(f, 6, RUN_QUICK, 3);
	expect_stream(f, 6, LAYER_STREAM_REFUSED);
	token.token.place = 4;
	token.token.repo = "b";
	put(f, &token);
	put_stream(f, 7, RUN_QUICK, 4);
	expect_stream(f, 7, LAYER_STREAM_UPLOADED);
	put_job(f, 8, RUN_QUICK, 0);
	expect_stream(f, 8, LAYER_STREAM_NONE);
	leave(f);
}

static void
test_items(void **state)
{
	struct fixture *f = *state;
	struct msg m;

	welcome(f);
	put_job(f, 1, RUN_QUICK, 3);
	put_item(f, 1, 1);
	put_item(f, 1, 9); /* of another attempt */
	put_item(f, 5, 1); /* of no job */
	put_item(f, 1, 1);
	put_job(f, 2, RUN_QUICK, 0);
	expect_done(f, 2, 0);
	put_item(f, 1, 1);
	m = get(f, MSG_DONE);
	assert_int_equal(m.done.job, 1);
	assert_int_equal(m.done.result.entries, 3);
	assert_int_equal(
	    m.done.result.bytes_read, 3 * strlen("/nix/store/" HASH "-a"));
	assert_int_equal(m.done.result.digest.b[31], 7);
	msg_clear(&m);
	leave(f);
}

static void
test_entries(void **state)
{
	struct layer_entry entry = {"/bin", TAR_DIRECTORY, 0755, 0, 0, ""};
	struct fixture *f = *state;
	struct msg m = {.type = MSG_JOB,
	    .job = {3, 1, 2,
		{.source = LAYER_FROM_ENTRIES,
		    .store_dir = "/nix/store",
		    .measure = true}}};

	welcome(f);
	put(f, &m);
	m = (struct msg){.type = MSG_ENTRIES, .entries = {3, 1, &entry, 1}};
	put(f, &m);
	put(f, &m);
	m = get(f, MSG_SIZED);
	assert_true(m.sized.job == 3 && m.sized.attempt == 1);
	assert_true(m.sized.tar_size == 10240 && m.sized.entries == 2);
	msg_clear(&m);
	leave(f);
}

static void
test_bad_parts(void **state)
{
	struct layer_item item = {"/nix/store/x", false};
	struct fixture *f = *state;
	struct layer_item two[2] = {
	    {"/nix/store/" HASH "-a", false}, {"/nix/store/" HASH "-b", false}};
	struct msg m = {.type = MSG_ITEMS, .items = {1, 1, &item, 1}};
	struct msg many = {.type = MSG_ITEMS, .items = {2, 1, two, 2}};

	welcome(f);
	/* More than announced, in one part. */
	put_job(f, 2, RUN_QUICK, 1);
	put(f, &many);
	expect_fail(f, 2, ERR_RETRY, 0);
	put_job(f, 1, RUN_QUICK, 2);
	put(f, &m);
	expect_fail(f, 1, ERR_JOB, 0);
	/* The job is forgotten: what comes late is ignored. */
	put_item(f, 1, 1);
	put_job(f, 1, RUN_QUICK, 0);
	expect_done(f, 1, 0);
	leave(f);
}

static void
test_fail(void **state)
{
	struct fixture *f = *state;
	struct msg m;

	welcome(f);
	put_job(f, 4, RUN_FAIL, 1);
	put_item(f, 4, 1);
	m = get(f, MSG_FAIL);
	assert_int_equal(m.fail.kind, ERR_JOB);
	assert_int_equal(m.fail.sys, ENOENT);
	assert_string_equal(
	    m.fail.text, "/nix/store/" HASH "-a: No such file or directory");
	msg_clear(&m);
	leave(f);
}

/* Beats go on while all slots are busy, with what each job has done. */
static void
test_beats(void **state)
{
	struct fixture *f = *state;
	uint64_t bytes = 0;
	int64_t start;
	int n = 0;
	struct msg m;

	welcome(f);
	for (uint64_t id = 1; id <= SLOTS + 1; id++)
		put_job(f, id, RUN_TILL_CANCEL, 0);
	start = now_ms();
	while (now_ms() - start < 400) {
		m = get(f, MSG_BEAT);
		n++;
		for (size_t i = 0; i < m.beat.n; i++) {
			assert_in_range(m.beat.progress[i].job, 1, SLOTS);
			if (m.beat.progress[i].job != 1)
				continue;
			assert_true(m.beat.progress[i].bytes >= bytes);
			bytes = m.beat.progress[i].bytes;
		}
		if (now_ms() - start > 200)
			assert_int_equal(m.beat.n, SLOTS);
		msg_clear(&m);
	}
	assert_true(bytes > 0);
	assert_in_range(n, 2, 40);
	leave(f);
}

static void
test_cancel(void **state)
{
	struct fixture *f = *state;

	welcome(f);
	put_job(f, 1, RUN_TILL_CANCEL, 0);
	put_job(f, 2, RUN_TILL_CANCEL, 0);
	put_job(f, 3, RUN_QUICK, 0); /* waits for a slot */
	put_job(f, 4, RUN_QUICK, 5); /* waits for its parts */
	put_cancel(f, 3);
	expect_fail(f, 3, ERR_RETRY, ECANCELED);
	put_cancel(f, 4);
	expect_fail(f, 4, ERR_RETRY, ECANCELED);
	put_cancel(f, 77);
	put_cancel(f, 1);
	expect_fail(f, 1, ERR_RETRY, ECANCELED);
	put_cancel(f, 1);
	put_cancel(f, 2);
	expect_fail(f, 2, ERR_RETRY, ECANCELED);
	put_job(f, 5, RUN_QUICK, 0);
	expect_done(f, 5, 0);
	leave(f);
}

static void
test_new_attempt(void **state)
{
	struct fixture *f = *state;
	struct msg m = {
	    .type = MSG_JOB, .job = {1, 2, 1, {.store_dir = "/nix/store"}}};

	welcome(f);
	put_job(f, 1, RUN_QUICK, 2);
	put_item(f, 1, 1);
	put(f, &m);
	put_item(f, 1, 1);
	put_item(f, 1, 2);
	m = get(f, MSG_DONE);
	assert_int_equal(m.done.attempt, 2);
	assert_int_equal(m.done.result.entries, 1);
	msg_clear(&m);
	leave(f);
}

/* More jobs than any coordinator of ours sends are turned away one by one. */
static void
test_too_many(void **state)
{
	struct fixture *f = *state;
	uint64_t id;

	welcome(f);
	for (id = 1; id <= AGENT_JOBS_MAX(SLOTS); id++)
		put_job(f, id, RUN_QUICK, 1);
	put_job(f, id, RUN_QUICK, 1);
	expect_postpone(f, id);
	put_item(f, 1, 1);
	expect_done(f, 1, 1);
	put_job(f, id, RUN_QUICK, 1);
	put_item(f, id, 1);
	expect_done(f, id, 1);
	leave(f);
}

static void
test_nonsense(void **state)
{
	struct fixture *f = *state;
	struct msg odd = {.type = MSG_DONE};
	struct msg ready = {.type = MSG_WELCOME,
	    .welcome = {PROTOCOL_VERSION, BEAT_MS, 1, "", {0}, ""}};
	/* A level that no encoder knows does not pass the decoder. */
	struct msg bad = {.type = MSG_JOB,
	    .job = {2, 1, 0,
		{.store_dir = "/nix/store", .encoding = {ENCODING_ZSTD, 99}}}};

	/* Before WELCOME nothing but WELCOME or REFUSE counts. */
	get_clear(f, MSG_HELLO);
	put_job(f, 1, RUN_QUICK, 0);
	put(f, &odd);
	put(f, &ready);
	put(f, &ready);
	put(f, &odd);
	put(f, &bad);
	put_job(f, 3, RUN_QUICK, 0);
	expect_done(f, 3, 0);
	leave(f);
}

static void
test_sigterm(void **state)
{
	struct fixture *f = *state;
	int64_t start;
	struct msg m;

	welcome(f);
	put_job(f, 1, RUN_TILL_CANCEL, 0);
	get_clear(f, MSG_BEAT);
	start = now_ms();
	kill(f->agent, SIGTERM);
	m = get(f, MSG_BYE);
	assert_int_equal(m.bye.reason, MSG_BYE_LEFT);
	msg_clear(&m);
	assert_int_equal(wait_exit(f, 1000), 0);
	assert_true(now_ms() - start < 1000);
}

/* Even if a job does not listen. */
static void
test_sigint_deaf(void **state)
{
	struct fixture *f = *state;
	int64_t start;

	welcome(f);
	put_job(f, 1, RUN_DEAF, 0);
	get_clear(f, MSG_BEAT);
	start = now_ms();
	kill(f->agent, SIGINT);
	get_clear(f, MSG_BYE);
	assert_int_equal(wait_exit(f, 1000), 0);
	assert_true(now_ms() - start < 1000);
}

/* A result that finds no connection is sent once there is one again. */
static void
test_result_waits(void **state)
{
	struct fixture *f = *state;
	struct err e = ERR_INIT;

	welcome(f);
	put_job(f, 1, RUN_SLOW, 0);
	get_clear(f, MSG_BEAT);
	link_close(f->link, 0);
	f->link = NULL;
	usleep(300000);
	assert_int_equal(
	    link_listen(f->ctx, f->endpoint, NULL, &f->link, &e), 0);
	expect_done(f, 1, 0);
	leave(f);
}

/* SIGTERM to a worker of its own: what runs ends, what waits goes back. */
static void
test_drain(void **state)
{
	struct fixture *f = *state;
	uint64_t id;

	welcome(f);
	for (id = 1; id <= SLOTS; id++)
		put_job(f, id, RUN_SLOW, 0);
	get_clear(f, MSG_BEAT);
	put_job(f, id, RUN_QUICK, 0);
	put_job(f, id + 1, RUN_QUICK, 1); /* its item does not come */
	get_clear(f, MSG_BEAT);
	kill(f->agent, SIGTERM);
	expect_bye(f, MSG_BYE_DRAINING);
	expect_postpone(f, id + 1);
	expect_postpone(f, id);
	put_job(f, id + 2, RUN_QUICK, 0);
	expect_postpone(f, id + 2);
	for (id = 1; id <= SLOTS; id++)
		get_clear(f, MSG_DONE);
	expect_bye(f, MSG_BYE_LEFT);
	assert_int_equal(wait_exit(f, 1000), 0);
}

/* What takes too long is stopped and handed back, not failed. */
static void
test_drain_too_long(void **state)
{
	struct fixture *f = *state;
	int64_t start;

	welcome(f);
	put_job(f, 1, RUN_TILL_CANCEL, 0);
	get_clear(f, MSG_BEAT);
	start = now_ms();
	kill(f->agent, SIGTERM);
	expect_bye(f, MSG_BYE_DRAINING);
	expect_postpone(f, 1);
	assert_true(now_ms() - start >= DRAIN_MS);
	expect_bye(f, MSG_BYE_LEFT);
	assert_int_equal(wait_exit(f, 1000), 0);
}

static void
test_second_signal(void **state)
{
	struct fixture *f = *state;

	welcome(f);
	put_job(f, 1, RUN_TILL_CANCEL, 0);
	get_clear(f, MSG_BEAT);
	kill(f->agent, SIGTERM);
	expect_bye(f, MSG_BYE_DRAINING);
	kill(f->agent, SIGTERM);
	expect_bye(f, MSG_BYE_LEFT);
	assert_int_equal(wait_exit(f, 1000), 0);
}

static void
say_welcome(struct fixture *f, uint64_t session)
{
	struct msg m = {.type = MSG_WELCOME,
	    .welcome = {PROTOCOL_VERSION, BEAT_MS, session, "", {0}, ""}};

	put(f, &m);
}

/* After a build, and after its coordinator's death, it joins the next one. */
static void
test_next_build(void **state)
{
	const struct msg bye = {.type = MSG_BYE};
	uint8_t instance[MSG_INSTANCE_SIZE];
	struct fixture *f = *state;
	struct err e = ERR_INIT;
	struct msg m;

	m = get(f, MSG_HELLO);
	memcpy(instance, m.hello.instance, sizeof(instance));
	msg_clear(&m);
	say_welcome(f, 1);
	put_job(f, 1, RUN_TILL_CANCEL, 0);
	get_clear(f, MSG_BEAT);
	put(f, &bye);
	expect_bye(f, MSG_BYE_LEFT);
	m = get(f, MSG_HELLO);
	assert_memory_equal(instance, m.hello.instance, sizeof(instance));
	msg_clear(&m);
	say_welcome(f, 2);
	put_job(f, 1, RUN_QUICK, 0);
	expect_done(f, 1, 0);
	link_close(f->link, 0);
	usleep(2500000); /* longer than lost_ms */
	assert_int_equal(
	    link_listen(f->ctx, f->endpoint, NULL, &f->link, &e), 0);
	get_clear(f, MSG_HELLO);
	say_welcome(f, 3);
	get_clear(f, MSG_BEAT);
	kill(f->agent, SIGTERM);
	expect_bye(f, MSG_BYE_DRAINING);
	expect_bye(f, MSG_BYE_LEFT);
	assert_int_equal(wait_exit(f, 1000), 0);
}

/* The last answers are told again to a coordinator that asks who this is. */
static void
test_who(void **state)
{
	const struct msg who = {.type = MSG_WHO};
	struct fixture *f = *state;

	welcome(f);
	put_job(f, 1, RUN_QUICK, 0);
	expect_done(f, 1, 0);
	put_job(f, 2, RUN_TILL_CANCEL, 0);
	get_clear(f, MSG_BEAT);
	put(f, &who);
	get_clear(f, MSG_HELLO);
	say_welcome(f, 1);
	expect_done(f, 1, 0);
	/* Another session: its jobs are not this one's. */
	put(f, &who);
	get_clear(f, MSG_HELLO);
	say_welcome(f, 2);
	put_job(f, 3, RUN_QUICK, 0);
	expect_done(f, 3, 0);
	kill(f->agent, SIGTERM);
	expect_bye(f, MSG_BYE_DRAINING);
	expect_bye(f, MSG_BYE_LEFT);
	assert_int_equal(wait_exit(f, 1000), 0);
}

/* How fast it is: by a trial, and by what it made once it has. */
static void
test_speed(void **state)
{
	const struct msg bye = {.type = MSG_BYE};
	uint64_t tried[ENCODING_KINDS];
	struct fixture *f = *state;
	struct msg m;

	m = get(f, MSG_HELLO);
	memcpy(tried, m.hello.speed, sizeof(tried));
	msg_clear(&m);
	for (int i = 0; i < ENCODING_KINDS; i++)
		assert_true(tried[i] > 0);
	say_welcome(f, 1);
	put_job(f, 1, RUN_SLOW, 0);
	expect_done(f, 1, 0);
	/* No layer was made: that says nothing. */
	put_job(f, 2, RUN_FAIL, 1);
	put_item(f, 2, 1);
	get_clear(f, MSG_FAIL);
	put(f, &bye);
	expect_bye(f, MSG_BYE_LEFT);
	m = get(f, MSG_HELLO);
	/* 10 KiB in 200 ms and more. */
	assert_in_range(m.hello.speed[ENCODING_NONE], 1, 51200);
	assert_true(m.hello.speed[ENCODING_GZIP] == tried[ENCODING_GZIP]);
	assert_true(m.hello.speed[ENCODING_ZSTD] == tried[ENCODING_ZSTD]);
	msg_clear(&m);
	kill(f->agent, SIGTERM);
	assert_int_equal(wait_exit(f, 3000), 0);
}

/* HELLO tells what it will answer; half a job is none. */
static void
test_held(void **state)
{
	const struct msg who = {.type = MSG_WHO};
	struct fixture *f = *state;
	struct msg m;

	welcome(f);
	put_job(f, 1, RUN_QUICK, 0);
	expect_done(f, 1, 0);
	put_job(f, 2, RUN_TILL_CANCEL, 0);
	put_job(f, 3, RUN_QUICK, 2);
	put_item(f, 3, 1);
	get_clear(f, MSG_BEAT);
	put(f, &who);
	m = get(f, MSG_HELLO);
	assert_int_equal(m.hello.session, 1);
	assert_int_equal(m.hello.n_held, 2);
	assert_int_equal(m.hello.held[0].job + m.hello.held[1].job, 3);
	assert_int_equal(m.hello.held[0].attempt, 1);
	assert_int_equal(m.hello.held[1].attempt, 1);
	msg_clear(&m);
	say_welcome(f, 1);
	expect_done(f, 1, 0);
	put_item(f, 3, 1);
	put_cancel(f, 2);
	expect_fail(f, 2, ERR_RETRY, ECANCELED);
	/* Of another build nothing is held. */
	put(f, &who);
	get_clear(f, MSG_HELLO);
	say_welcome(f, 2);
	put(f, &who);
	m = get(f, MSG_HELLO);
	assert_int_equal(m.hello.session, 2);
	assert_int_equal(m.hello.n_held, 0);
	msg_clear(&m);
	say_welcome(f, 2);
	get_clear(f, MSG_BEAT);
	kill(f->agent, SIGTERM);
	expect_bye(f, MSG_BYE_DRAINING);
	expect_bye(f, MSG_BYE_LEFT);
	assert_int_equal(wait_exit(f, 1000), 0);
}

int
main(void)
{
#define STAYING(name)                                                          \
	cmocka_unit_test_setup_teardown(name, setup_staying, teardown)
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
	    TEST(test_hello),
	    TEST(test_first_beat),
	    TEST(test_refuse),
	    TEST(test_other_protocol),
	    TEST(test_no_welcome),
	    TEST(test_coordinator_gone),
	    TEST(test_stream),
	    TEST(test_items),
	    TEST(test_entries),
	    TEST(test_bad_parts),
	    TEST(test_fail),
	    TEST(test_beats),
	    TEST(test_cancel),
	    TEST(test_new_attempt),
	    TEST(test_too_many),
	    TEST(test_nonsense),
	    TEST(test_sigterm),
	    TEST(test_sigint_deaf),
	    TEST(test_result_waits),
	    STAYING(test_drain),
	    STAYING(test_drain_too_long),
	    STAYING(test_second_signal),
	    STAYING(test_next_build),
	    STAYING(test_who),
	    STAYING(test_held),
	    STAYING(test_speed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
