/*
 * A worker (the real agent in a child process) that does not share the
 * output's folder, or does: jobs, spool, fetch and probe together, as the
 * coordinator's dispatch uses them.
 */
#include "agent.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>
#include <zmq.h>

#include "transfer/blob_fetch.h"
#include "digest.h"
#include "err.h"
#include "handover.h"
#include "job.h"
#include "link.h"
#include "monotime.h"
#include "probe.h"
#include "protocol.h"
#include "dispatch/shared_probe.h"

#define TAR_SIZE ((size_t)5000000)

struct fixture {
	char folder[32], endpoint[64], data[64], spool[64], own[80];
	char blobs[64], archive[64], input[64];
	pid_t agent;
	void *ctx;
	struct link *link;
	struct link_peer peer;
	struct blob_fetch *fetch;
	uint8_t token[DATA_TOKEN_SIZE];
	struct digest diff_id;
};

static void
run_agent(struct fixture *f, int drain_ms, int go)
{
	struct agent_options o = {.endpoint = f->endpoint,
	    .slots = 2,
	    .gzip = "g",
	    .zstd = "z",
	    .welcome_ms = 60000,
	    .lost_ms = 2000,
	    .spool = f->spool,
	    .stays = drain_ms > 0,
	    .drain_ms = drain_ms};
	struct err e = ERR_INIT;
	char c;
	int rc;

	if (read(go, &c, 1) != 1)
		_exit(9);
	rc = agent_run(&o, &e);
	if (rc < 0)
		fprintf(stderr, "agent: %s\n", e.text);
	free(f);
	exit(rc == 0 ? 0 : 1);
}

static void
make_input(struct fixture *f)
{
	uint8_t *bytes = malloc(TAR_SIZE);
	int fd = open(f->input, O_WRONLY | O_CREAT, 0644);

	for (size_t i = 0; i < TAR_SIZE; i++)
		bytes[i] = (uint8_t)(i * i >> 7);
	digest_of(bytes, TAR_SIZE, &f->diff_id);
	assert_int_equal(write(fd, bytes, TAR_SIZE), TAR_SIZE);
	close(fd);
	free(bytes);
}

static int
setup_with(void **state, int drain_ms)
{
	struct fixture *f = calloc(1, sizeof(*f));
	struct blob_fetch_config config;
	struct err e = ERR_INIT;
	int go[2];

	strcpy(f->folder, "/tmp/test_hand.XXXXXX");
	assert_non_null(mkdtemp(f->folder));
	snprintf(f->endpoint, sizeof(f->endpoint), "ipc://%s/c", f->folder);
	snprintf(f->data, sizeof(f->data), "ipc://%s/d", f->folder);
	snprintf(f->spool, sizeof(f->spool), "%s/spool", f->folder);
	snprintf(
	    f->own, sizeof(f->own), "%s/quarry-worker-%u", f->spool, geteuid());
	snprintf(f->blobs, sizeof(f->blobs), "%s/blobs", f->folder);
	snprintf(f->archive, sizeof(f->archive), "%s/archive", f->folder);
	snprintf(f->input, sizeof(f->input), "%s/layer.tar", f->folder);
	assert_int_equal(mkdir(f->blobs, 0755), 0);
	close(open(f->archive, O_WRONLY | O_CREAT, 0644));
	assert_int_equal(pipe(go), 0);
	/* Before there is a context: it must not be forked. */
	if ((f->agent = fork()) == 0)
		run_agent(f, drain_ms, go[0]);
	make_input(f);
	f->ctx = zmq_ctx_new();
	blob_fetch_defaults(&config);
	config.endpoint = f->data;
	if (link_listen(f->ctx, f->endpoint, NULL, &f->link, &e) < 0 ||
	    blob_fetch_new(f->ctx, &config, &f->fetch, &e) < 0 ||
	    blob_fetch_worker(f->fetch, "here/1", "", f->token, &e) < 0)
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
	return setup_with(state, 0);
}

static int
setup_drains(void **state)
{
	return setup_with(state, 20000);
}

static int
teardown(void **state)
{
	struct fixture *f = *state;
	char command[64];

	if (f->agent > 0) {
		kill(f->agent, SIGKILL);
		waitpid(f->agent, NULL, 0);
	}
	blob_fetch_free(f->fetch);
	link_close(f->link, 0);
	zmq_ctx_term(f->ctx);
	snprintf(command, sizeof(command), "rm -rf %s", f->folder);
	assert_int_equal(system(command), 0);
	free(f);
	return 0;
}

static void
put(struct fixture *f, const struct msg *m)
{
	struct err e = ERR_INIT;

	if (link_send(f->link, &f->peer, m, &e) < 0)
		fail_msg("%s", e.text);
}

static struct msg
get(struct fixture *f, enum msg_type want)
{
	struct pollfd p = {link_fd(f->link), POLLIN, 0};
	struct err e = ERR_INIT;
	struct msg m;
	int rc;

	for (;;) {
		while ((rc = link_recv(f->link, &f->peer, &m, &e)) == 0)
			if (poll(&p, 1, 60000) != 1)
				fail_msg("no %s in a minute", msg_name(want));
		if (rc < 0)
			fail_msg("%s", e.text);
		if (m.type == want)
			return m;
		if (m.type == MSG_FAIL)
			fail_msg("FAIL: %s", m.fail.text);
		msg_clear(&m);
	}
}

static void
welcome(struct fixture *f, const char *data)
{
	struct msg m = get(f, MSG_HELLO);

	msg_clear(&m);
	m = (struct msg){.type = MSG_WELCOME,
	    .welcome = {.protocol = PROTOCOL_VERSION,
		.beat_ms = 50,
		.session = 1,
		.data = data}};
	memcpy(m.welcome.token, f->token, sizeof(f->token));
	put(f, &m);
}

/* What dispatch would give a local worker. */
static struct layer_spec
local_spec(struct fixture *f, enum encoding_kind encoding)
{
	return (struct layer_spec){.source = LAYER_FROM_FILE,
	    .store_dir = "/nix/store",
	    .store_root = "",
	    .uname = "root",
	    .gname = "root",
	    .encoding = {encoding, encoding == ENCODING_NONE ? 0 : 3},
	    .file = f->input,
	    .outputs = {{LAYER_TO_BLOB, f->blobs, 0, LAYER_SIZE_UNKNOWN},
		{LAYER_TO_FILE, f->archive, 512, TAR_SIZE}},
	    .n_outputs = 2};
}

static void
put_job(struct fixture *f, uint64_t id, const struct layer_spec *spec)
{
	struct msg m = {.type = MSG_JOB, .job = {id, 1, 0, *spec}};

	put(f, &m);
}

static int
entries(const char *folder)
{
	DIR *dir = opendir(folder);
	int n = 0;

	if (dir == NULL)
		return -1;
	while (readdir(dir) != NULL)
		n++;
	closedir(dir);
	return n - 2;
}

/* In the one session folder that there is: the lock, and layers. */
static int
spooled(struct fixture *f)
{
	DIR *dir = opendir(f->own);
	struct dirent *entry;
	char path[400];
	int n = -1;

	while (dir != NULL && (entry = readdir(dir)) != NULL)
		if (entry->d_name[0] != '.') {
			snprintf(
			    path, sizeof(path), "%s/%s", f->own, entry->d_name);
			n = entries(path) - 1;
		}
	if (dir != NULL)
		closedir(dir);
	return n;
}

static void
wait_spooled(struct fixture *f, int want)
{
	for (int i = 0; spooled(f) != want; i++) {
		if (i == 5000)
			fail_msg("%d in the spool", spooled(f));
		usleep(1000);
	}
}

static void
leave(struct fixture *f)
{
	struct msg bye = {.type = MSG_BYE};
	int status;

	put(f, &bye);
	assert_int_equal(waitpid(f->agent, &status, 0), f->agent);
	f->agent = 0;
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
	/* Nothing is left of its spool. */
	assert_int_equal(entries(f->own), 0);
}

static struct blob_request
request(struct fixture *f, const struct msg_done *done,
    const struct layer_spec *spec)
{
	struct blob_request q = {.way = BLOB_PULL,
	    .id = {done->job, done->attempt},
	    .result = done->result,
	    .encoded = spec->encoding.kind != ENCODING_NONE,
	    .n_outputs = spec->n_outputs};

	memcpy(q.token, f->token, sizeof(q.token));
	memcpy(q.outputs, spec->outputs, sizeof(q.outputs));
	return q;
}

static void
fetch(struct fixture *f, const struct blob_request *q, enum err_kind want)
{
	struct pollfd p = {blob_fetch_fd(f->fetch), POLLIN, 0};
	struct blob_outcome out = {.way = BLOB_PULL};
	struct err e = ERR_INIT;

	if (blob_fetch_add(f->fetch, q, &e) < 0)
		fail_msg("%s", e.text);
	if (poll(&p, 1, 60000) != 1 || !blob_fetch_take(f->fetch, &out))
		fail_msg("no outcome");
	if (out.err.kind != want)
		fail_msg("%s", out.err.text);
	assert_true(out.id.job == q->id.job && out.way == q->way);
}

static void
check_outputs(struct fixture *f, const struct layer_result *r)
{
	uint8_t *bytes = malloc(TAR_SIZE);
	char path[200], hex[DIGEST_HEX_LEN + 1];
	struct digest found;
	struct stat st;
	int fd;

	digest_hex(&r->digest, hex);
	snprintf(path, sizeof(path), "%s/%s", f->blobs, hex);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_size, r->size);
	fd = open(f->archive, O_RDONLY);
	assert_int_equal(pread(fd, bytes, TAR_SIZE, 512), TAR_SIZE);
	close(fd);
	digest_of(bytes, TAR_SIZE, &found);
	assert_true(digest_equal(&found, &f->diff_id));
	free(bytes);
}

static void
hand_over(struct fixture *f, uint64_t id, enum encoding_kind encoding)
{
	struct layer_spec local = local_spec(f, encoding), remote;
	struct blob_request q;
	struct msg m;

	blob_request_spool(&local, &remote);
	put_job(f, id, &remote);
	m = get(f, MSG_DONE);
	assert_int_equal(m.done.job, id);
	assert_true(digest_equal(&m.done.result.diff_id, &f->diff_id));
	assert_int_equal(spooled(f), encoding == ENCODING_NONE ? 1 : 2);
	q = request(f, &m.done, &local);
	fetch(f, &q, ERR_NONE);
	check_outputs(f, &m.done.result);
	wait_spooled(f, 0);
	msg_clear(&m);
}

static void
test_hand_over(void **state)
{
	struct fixture *f = *state;

	welcome(f, f->data);
	hand_over(f, 1, ENCODING_NONE);
	hand_over(f, 2, ENCODING_GZIP);
	hand_over(f, 3, ENCODING_ZSTD);
	leave(f);
}

/* Shared folder: the worker writes, the coordinator looks. */
static void
test_check(void **state)
{
	struct fixture *f = *state;
	struct layer_spec spec = local_spec(f, ENCODING_GZIP);
	struct blob_request q;
	struct msg m;
	int fd;

	welcome(f, f->data);
	put_job(f, 1, &spec);
	m = get(f, MSG_DONE);
	q = request(f, &m.done, &spec);
	q.way = BLOB_CHECK;
	fetch(f, &q, ERR_NONE);
	check_outputs(f, &m.done.result);
	fd = open(f->archive, O_WRONLY);
	assert_int_equal(pwrite(fd, "wrong", 5, 4000), 5);
	close(fd);
	fetch(f, &q, ERR_PEER);
	msg_clear(&m);
	leave(f);
}

static void
test_postpone(void **state)
{
	struct fixture *f = *state;
	struct layer_spec local = local_spec(f, ENCODING_NONE), remote;
	struct msg m;

	welcome(f, f->data);
	local.outputs[1].size = INT64_MAX;
	blob_request_spool(&local, &remote);
	put_job(f, 1, &remote);
	m = get(f, MSG_POSTPONE);
	assert_true(m.postpone.job == 1 && m.postpone.attempt == 1);
	assert_non_null(strstr(m.postpone.text, " MiB free, "));
	msg_clear(&m);
	assert_int_equal(spooled(f), 0);
	/* It is given another one, and that is done. */
	hand_over(f, 2, ENCODING_NONE);
	leave(f);
}

static struct msg
get_fail(struct fixture *f)
{
	struct pollfd p = {link_fd(f->link), POLLIN, 0};
	struct err e = ERR_INIT;
	struct msg m;

	for (;;) {
		while (link_recv(f->link, &f->peer, &m, &e) == 0)
			if (poll(&p, 1, 60000) != 1)
				fail_msg("no FAIL in a minute");
		if (m.type == MSG_FAIL)
			return m;
		assert_int_equal(m.type, MSG_BEAT);
		msg_clear(&m);
	}
}

/* A job that fails leaves nothing in the spool. */
static void
test_failed_job(void **state)
{
	struct fixture *f = *state;
	struct layer_spec local = local_spec(f, ENCODING_GZIP), remote;
	struct msg m;

	welcome(f, f->data);
	local.file = "/nowhere/layer.tar";
	blob_request_spool(&local, &remote);
	put_job(f, 1, &remote);
	m = get_fail(f);
	assert_int_equal(m.fail.kind, ERR_JOB);
	msg_clear(&m);
	assert_int_equal(spooled(f), 0);
	/* Of another size than was measured. */
	local = local_spec(f, ENCODING_NONE);
	local.outputs[1].size = TAR_SIZE - 1;
	blob_request_spool(&local, &remote);
	put_job(f, 2, &remote);
	m = get_fail(f);
	assert_int_equal(m.fail.kind, ERR_JOB);
	msg_clear(&m);
	assert_int_equal(spooled(f), 0);
	leave(f);
}

static void
test_no_data_socket(void **state)
{
	struct fixture *f = *state;
	struct layer_spec local = local_spec(f, ENCODING_NONE), remote;
	struct msg m;

	welcome(f, "");
	blob_request_spool(&local, &remote);
	put_job(f, 1, &remote);
	m = get_fail(f);
	assert_int_equal(m.fail.kind, ERR_RETRY);
	assert_string_equal(
	    m.fail.text, "there is no data socket to hand the layer over");
	msg_clear(&m);
	/* And no spool was made. */
	assert_int_equal(entries(f->own), -1);
	m = (struct msg){.type = MSG_BYE};
	put(f, &m);
	waitpid(f->agent, NULL, 0);
	f->agent = 0;
}

/* Lets the worker answer; whether the probe finds that it shares folder. */
static enum shared_probe_state
probe(struct fixture *f, const char *folder, const char *asked)
{
	struct shared_probe *p;
	struct err e = ERR_INIT;
	enum shared_probe_state state;
	struct msg m, answer;

	if (shared_probe_new(folder, 5, monotime_ms() + 300, &p, &e) < 0)
		fail_msg("%s", e.text);
	assert_int_equal(
	    shared_probe_look(p, monotime_ms()), SHARED_PROBE_WAITING);
	shared_probe_message(p, &m);
	if (asked != NULL)
		m.probe.folder = asked;
	put(f, &m);
	answer = get(f, MSG_PROBED);
	shared_probe_answered(p, &answer.probed);
	msg_clear(&answer);
	while ((state = shared_probe_look(p, monotime_ms())) ==
	    SHARED_PROBE_WAITING)
		usleep(1000);
	shared_probe_free(p);
	return state;
}

static void
test_probe(void **state)
{
	struct fixture *f = *state;
	char other[64];

	snprintf(other, sizeof(other), "%s/other", f->folder);
	assert_int_equal(mkdir(other, 0755), 0);
	welcome(f, "");
	assert_int_equal(probe(f, f->blobs, NULL), SHARED_PROBE_YES);
	/* The worker sees another folder at that place, or none. */
	assert_int_equal(probe(f, f->blobs, other), SHARED_PROBE_NO);
	assert_int_equal(probe(f, f->blobs, "/nowhere"), SHARED_PROBE_NO);
	assert_int_equal(probe(f, f->blobs, NULL), SHARED_PROBE_YES);
	assert_int_equal(entries(f->blobs), 0);
	assert_int_equal(entries(other), 0);
}

/* What the worker says counts for nothing: only what is in the folder. */
static void
test_probe_lies(void **state)
{
	struct fixture *f = *state;
	struct msg_probed said = {.probe = 9, .text = ""};
	struct shared_probe *p;
	struct err e = ERR_INIT;
	char path[200];
	struct msg m;
	int fd;

	assert_int_equal(shared_probe_new(f->blobs, 9, 1000, &p, &e), 0);
	shared_probe_answered(p, &said);
	assert_int_equal(shared_probe_look(p, 0), SHARED_PROBE_WAITING);
	assert_int_equal(shared_probe_next(p), 50);
	assert_int_equal(shared_probe_look(p, 1000), SHARED_PROBE_NO);
	assert_string_equal(
	    shared_probe_why(p), "no answer of it is seen there");
	shared_probe_free(p);
	/* A wrong answer; a short one may still grow. */
	assert_int_equal(shared_probe_new(f->blobs, 9, 1000, &p, &e), 0);
	shared_probe_message(p, &m);
	snprintf(
	    path, sizeof(path), "%s/%s" PROBE_SUFFIX, f->blobs, m.probe.name);
	fd = open(path, O_WRONLY | O_CREAT, 0600);
	assert_int_equal(write(fd, path, 31), 31);
	assert_int_equal(shared_probe_look(p, 0), SHARED_PROBE_WAITING);
	assert_int_equal(write(fd, path, 1), 1);
	close(fd);
	assert_int_equal(shared_probe_look(p, 60), SHARED_PROBE_NO);
	shared_probe_free(p);
	assert_int_equal(entries(f->blobs), 0);
	assert_int_equal(shared_probe_new("/nowhere", 9, 1000, &p, &e), -1);
	assert_int_equal(e.kind, ERR_FATAL);
}

/* A worker that is told to end while its layer waits: its spool goes, too. */
static void
test_sigterm(void **state)
{
	struct fixture *f = *state;
	struct layer_spec local = local_spec(f, ENCODING_NONE), remote;
	struct msg m;
	int status;

	welcome(f, f->data);
	blob_request_spool(&local, &remote);
	put_job(f, 1, &remote);
	m = get(f, MSG_DONE);
	msg_clear(&m);
	assert_int_equal(spooled(f), 1);
	kill(f->agent, SIGTERM);
	assert_int_equal(waitpid(f->agent, &status, 0), f->agent);
	f->agent = 0;
	assert_int_equal(WEXITSTATUS(status), 0);
	assert_int_equal(entries(f->own), 0);
}

/* One that drains lets the coordinator have what it finished. */
static void
test_drain(void **state)
{
	struct fixture *f = *state;
	struct layer_spec local = local_spec(f, ENCODING_NONE), remote;
	struct blob_request q;
	struct msg m, bye;
	int status;

	welcome(f, f->data);
	blob_request_spool(&local, &remote);
	put_job(f, 1, &remote);
	m = get(f, MSG_DONE);
	kill(f->agent, SIGTERM);
	bye = get(f, MSG_BYE);
	assert_int_equal(bye.bye.reason, MSG_BYE_DRAINING);
	msg_clear(&bye);
	usleep(200000);
	assert_int_equal(waitpid(f->agent, &status, WNOHANG), 0);
	assert_int_equal(spooled(f), 1);
	q = request(f, &m.done, &local);
	fetch(f, &q, ERR_NONE);
	check_outputs(f, &m.done.result);
	msg_clear(&m);
	assert_int_equal(waitpid(f->agent, &status, 0), f->agent);
	f->agent = 0;
	assert_int_equal(WEXITSTATUS(status), 0);
	assert_int_equal(entries(f->own), 0);
}

/* A layer of five bytes, as the agent lets one be made. */
static struct blob_request
five_bytes(struct fixture *f, struct handover *h, uint64_t id)
{
	struct msg m = {.type = MSG_JOB,
	    .job = {id, 1, 0,
		{.store_dir = "/nix/store",
		    .outputs = {{LAYER_TO_SPOOL_TAR, "", 7, 5}},
		    .n_outputs = 1}},
	    .zone = msgpack_zone_new(64)};
	struct blob_request q = {.way = BLOB_PULL,
	    .id = {id, 1},
	    .result = {.size = 5, .tar_size = 5},
	    .outputs = {{LAYER_TO_BLOB, f->blobs, 0, 0}},
	    .n_outputs = 1};
	struct err e = ERR_INIT;
	struct job *job;
	int fd;

	if (job_new(&m, &job, &e) < 0 || handover_begin(h, job, &e) < 0)
		fail_msg("%s", e.text);
	assert_int_equal(job->layer.spec.outputs[0].offset, 0);
	fd = open(job->layer.spec.outputs[0].path, O_WRONLY);
	assert_int_equal(write(fd, "layer", 5), 5);
	close(fd);
	handover_end(h, job);
	job_free(job);
	digest_of("layer", 5, &q.result.digest);
	q.result.diff_id = q.result.digest;
	memcpy(q.token, f->token, sizeof(q.token));
	return q;
}

/* A coordinator that was lost has a new token: what was made is kept for it. */
static void
test_rejoin(void **state)
{
	struct fixture *f = *state;
	struct handover_config config = {.folder = f->folder,
	    .control = f->endpoint,
	    .data = f->data,
	    .token = f->token};
	struct handover *h = NULL;
	struct err e = ERR_INIT;
	struct blob_request q;

	assert_int_equal(handover_fd(NULL), -1);
	assert_int_equal(handover_check(NULL, &e), 0);
	assert_int_equal(handover_join(f->ctx, &config, &h, &e), 0);
	q = five_bytes(f, h, 1);
	assert_int_equal(
	    blob_fetch_worker(f->fetch, "here/1", "", f->token, &e), 0);
	assert_int_equal(handover_join(f->ctx, &config, &h, &e), 0);
	memcpy(q.token, f->token, sizeof(q.token));
	fetch(f, &q, ERR_NONE);
	/* What nobody wants any more is gone. */
	q = five_bytes(f, h, 2);
	handover_forget(h);
	fetch(f, &q, ERR_RETRY);
	assert_int_equal(handover_check(h, &e), 0);
	assert_true(handover_stop(h, 5000));
	assert_true(handover_stop(NULL, 0));
}

int
main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
	    TEST(test_hand_over),
	    TEST(test_check),
	    TEST(test_postpone),
	    TEST(test_failed_job),
	    TEST(test_no_data_socket),
	    TEST(test_probe),
	    TEST(test_probe_lies),
	    TEST(test_sigterm),
	    TEST(test_rejoin),
	    cmocka_unit_test_setup_teardown(test_drain, setup_drains, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
