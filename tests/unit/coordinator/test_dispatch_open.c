/*
 * Dispatch for a process that stays up, over TCP on this machine, and a
 * scripted worker in the same thread: jobs come, fail, differ, are cancelled,
 * and what they had is used again.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "dispatch_script.h"
#include "monotime.h"
#include "progress/status.h"

enum { JOBS = 20000, OPEN = 20 };

struct worker {
	struct link *link;
	uint8_t instance[MSG_INSTANCE_SIZE];
	uint8_t diff; /* first byte of the digests that it tells */
	bool fails;
	bool stuck; /* it answers no JOB */
	size_t jobs, cancels;
	struct msg_job last;
};

struct fixture {
	struct dispatch_script s;
	size_t done, failed;
	char why[ERR_TEXT_MAX];
	struct worker w[6];
	size_t n_workers;
	uint64_t speed; /* what new workers say */
};

static int
on_done(void *arg, const struct dispatch_job *job, struct err *err)
{
	struct fixture *f = arg;

	(void)err;
	if (job->made != NULL)
		assert_int_equal(job->made->result.tar_size, 1024);
	f->done++;
	return 0;
}

static int
on_failed(void *arg, const struct dispatch_job *job, const struct err *why,
    struct err *err)
{
	struct fixture *f = arg;

	(void)job;
	(void)err;
	f->failed++;
	snprintf(f->why, sizeof(f->why), "%s", why->text);
	return 0;
}

static void
start(struct fixture *f, unsigned audit)
{
	const struct dispatch_config config = {
	    .audit = audit,
	    .hooks = {.arg = f, .done = on_done, .failed = on_failed},
	};

	script_begin(&f->s, config);
}

static void
add_worker_of(struct fixture *f, const char *host, uint64_t pid)
{
	struct worker *w = &f->w[f->n_workers++];
	struct msg_hello hello = {.host = host,
	    .pid = pid,
	    .slots = 2,
	    .speed = {f->speed, MSG_SPEED_MAX - f->speed}};

	w->instance[0] = (uint8_t)f->n_workers;
	memcpy(hello.instance, w->instance, sizeof(w->instance));
	w->link = script_join(&f->s, hello);
}

static void
add_worker(struct fixture *f)
{
	add_worker_of(f, "scripted", f->n_workers + 1);
}

static void
answer(struct worker *w, const struct msg_job *job)
{
	struct msg m = {.type = MSG_DONE};

	w->jobs++;
	w->last = *job;
	if (w->stuck)
		return;
	if (w->fails) {
		m.type = MSG_FAIL;
		m.fail = (struct msg_fail){.job = job->job,
		    .attempt = job->attempt,
		    .kind = ERR_RETRY,
		    .text = "no"};
	} else {
		m.done =
		    (struct msg_done){.job = job->job, .attempt = job->attempt};
		m.done.result.tar_size = m.done.result.size = 1024;
		m.done.result.diff_id.b[0] = w->diff;
		m.done.result.digest.b[0] = w->diff;
	}
	assert_int_equal(link_send(w->link, NULL, &m, &e), 0);
}

/* One turn of dispatch, and one of each worker. */
static void
turn(struct fixture *f)
{
	static const struct msg beat = {.type = MSG_BEAT};

	assert_int_equal(
	    dispatch_turn(f->s.d, NULL, 0, monotime_ms() + 1, &e), 0);
	for (size_t i = 0; i < f->n_workers; i++) {
		struct worker *w = &f->w[i];
		struct msg m;

		while (link_recv(w->link, NULL, &m, &e) > 0) {
			if (m.type == MSG_JOB)
				answer(w, &m.job);
			w->cancels += m.type == MSG_CANCEL;
			if (m.type == MSG_WHO)
				fail_msg("nobody knows the worker");
			msg_clear(&m);
		}
		assert_int_equal(link_send(w->link, NULL, &beat, &e), 0);
	}
}

static int
setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	script_open(&f->s);
	*state = f;
	return 0;
}

static int
teardown(void **state)
{
	struct fixture *f = *state;

	for (size_t i = 0; i < f->n_workers; i++)
		link_close(f->w[i].link, 0);
	script_close(&f->s);
	free(f);
	return 0;
}

static void
wait_until(struct fixture *f, const size_t *count, size_t n)
{
	int64_t until = monotime_ms() + 60000;

	while (*count < n && monotime_ms() < until)
		turn(f);
	assert_int_equal(*count, n);
}

static void
jobs_for_ever(void **state)
{
	struct fixture *f = *state;
	struct dispatch_job job[OPEN];
	struct job_id id, last = {0};
	size_t added = 0;

	start(f, 0);
	add_worker(f);
	while (f->done < JOBS) {
		while (added < JOBS && added - f->done < OPEN) {
			job[added % OPEN] = new_job();
			assert_int_equal(
			    dispatch_add(f->s.d, &job[added % OPEN], &id, &e),
			    0);
			assert_true(added == 0 || id.v > last.v);
			last = id;
			added++;
		}
		turn(f);
	}
	assert_int_equal(f->failed, 0);
	assert_true(f->s.d->room_tasks <= 64);
	assert_string_equal(dispatch_encoder(f->s.d, ENCODING_ZSTD), "z");
	assert_string_equal(dispatch_encoder(f->s.d, ENCODING_GZIP), "g");
	assert_int_equal(dispatch_room(f->s.d), 3);
}

/* Whoever says that it is fast at what this one has to do. */
static void
the_fastest_is_first(void **state)
{
	struct fixture *f = *state;
	struct dispatch_job job = new_job();
	struct job_id id;

	start(f, 0);
	f->speed = 1000000;
	add_worker(f);
	while (dispatch_room(f->s.d) < 3)
		turn(f);
	f->speed = 3000000;
	add_worker(f);
	while (dispatch_room(f->s.d) < 6)
		turn(f);
	f->speed = 2000000;
	add_worker(f);
	while (dispatch_room(f->s.d) < 9)
		turn(f);
	assert_int_equal(dispatch_add(f->s.d, &job, &id, &e), 0);
	wait_until(f, &f->done, 1);
	assert_int_equal(f->w[1].jobs, 1);
}

/* What fails for good is told of, with its reasons, and ends nothing. */
static void
failure_is_told(void **state)
{
	struct fixture *f = *state;
	struct dispatch_job bad = new_job(), good = new_job();
	struct job_id id;

	start(f, 0);
	add_worker(f);
	f->w[0].fails = true;
	assert_int_equal(dispatch_add(f->s.d, &bad, &id, &e), 0);
	wait_until(f, &f->failed, 1);
	assert_non_null(strstr(f->why, "layer: failed 3 times"));
	assert_non_null(strstr(f->why, "scripted/1: no"));
	f->w[0].fails = false;
	good.made = NULL; /* it is enough that it is done */
	assert_int_equal(dispatch_add(f->s.d, &good, &id, &e), 0);
	wait_until(f, &f->done, 1);
	assert_int_equal(f->failed, 1);
}

/* The audit has the last word: nothing is told as done before. */
static void
audits_come_first(void **state)
{
	struct fixture *f = *state;
	struct dispatch_job same = new_job(), other = new_job();
	struct job_id id;

	start(f, 100);
	add_worker(f);
	add_worker(f);
	while (dispatch_room(f->s.d) < 6)
		turn(f);
	assert_int_equal(dispatch_add(f->s.d, &same, &id, &e), 0);
	wait_until(f, &f->done, 1);
	assert_int_equal(f->w[0].jobs + f->w[1].jobs, 2);
	f->w[1].diff = 7;
	assert_int_equal(dispatch_add(f->s.d, &other, &id, &e), 0);
	wait_until(f, &f->failed, 1);
	assert_non_null(strstr(f->why, "not reproducible"));
	assert_non_null(strstr(f->why, "scripted/1"));
	assert_non_null(strstr(f->why, "scripted/2"));
	assert_int_equal(f->done, 1);
}

static void
cancelled_job_is_nobodys(void **state)
{
	struct fixture *f = *state;
	struct dispatch_job job = new_job(), next = new_job();
	struct msg late = {.type = MSG_DONE};
	struct job_id id;

	start(f, 0);
	add_worker(f);
	f->w[0].stuck = true;
	assert_int_equal(dispatch_add(f->s.d, &job, &id, &e), 0);
	wait_until(f, &f->w[0].jobs, 1);
	late.done.job = f->w[0].last.job;
	late.done.attempt = f->w[0].last.attempt;
	late.done.result.tar_size = late.done.result.size = 1024;
	dispatch_cancel(f->s.d, id);
	memset(&job, 0, sizeof(job));
	wait_until(f, &f->w[0].cancels, 1);
	assert_int_equal(dispatch_bytes(f->s.d, id), 0);
	/* Its slot is another's by now; what comes late is not that one's. */
	assert_int_equal(dispatch_add(f->s.d, &next, &id, &e), 0);
	assert_int_equal(link_send(f->w[0].link, NULL, &late, &e), 0);
	f->w[0].stuck = false;
	wait_until(f, &f->done, 1);
	assert_int_equal(f->w[0].jobs, 2);
	/* Nor is it again. */
	dispatch_cancel(f->s.d, id);
}

/* Containers are all called alike, and are their process 1. */
static void
names_are_distinct(void **state)
{
	static const char *const host[] = {"pod", "pod", "pod\n", "pod?",
	    "a-pod-with-a-name-that-is-cut-behind-this-1",
	    "a-pod-with-a-name-that-is-cut-behind-this-2"};
	const size_t n = sizeof(host) / sizeof(host[0]);
	struct fixture *f = *state;
	struct status s;

	start(f, 0);
	for (size_t i = 0; i < n; i++)
		add_worker_of(f, host[i], 1);
	while (dispatch_room(f->s.d) < 3 * n)
		turn(f);
	assert_int_equal(dispatch_status(f->s.d, &s, &e), 0);
	assert_int_equal(s.n_workers, n);
	for (size_t i = 1; i < n; i++)
		assert_true(strcmp(s.worker[i - 1].name, s.worker[i].name) < 0);
	assert_non_null(strstr(s.worker[0].name, "a-pod-"));
	status_clear(&s);
}

/* A worker's beat is of what it has; of others' jobs it says nothing. */
static void
beats_of_others(void **state)
{
	struct fixture *f = *state;
	struct dispatch_job job = new_job();
	struct msg_progress at = {.bytes = 777};
	struct msg beat = {.type = MSG_BEAT, .beat = {&at, 1}};
	struct job_id id;
	size_t who;

	start(f, 0);
	add_worker(f);
	add_worker(f);
	f->w[0].stuck = f->w[1].stuck = true;
	while (dispatch_room(f->s.d) < 6)
		turn(f);
	assert_int_equal(dispatch_add(f->s.d, &job, &id, &e), 0);
	while (f->w[0].jobs + f->w[1].jobs == 0)
		turn(f);
	who = f->w[1].jobs > 0;
	at.job = f->w[who].last.job;
	at.attempt = f->w[who].last.attempt;
	/* The one lies first, so that all of it was heard in the end. */
	assert_int_equal(link_send(f->w[1 - who].link, NULL, &beat, &e), 0);
	for (int i = 0; i < 20; i++)
		turn(f);
	assert_int_equal(dispatch_bytes(f->s.d, id), 0);
	at.bytes = INT64_MAX;
	assert_int_equal(link_send(f->w[who].link, NULL, &beat, &e), 0);
	while (dispatch_bytes(f->s.d, id) == 0)
		turn(f);
	assert_true(dispatch_bytes(f->s.d, id) == (uint64_t)1 << 50);
}

/* Who has many that wait leaves as much for each other one. */
static void
share_of_what_is_left(void **state)
{
	struct fixture *f = *state;
	struct dispatch_job *job = calloc(DISPATCH_WAITING_MAX, sizeof(*job));
	struct job_id id, first = {0};

	assert_non_null(job);
	start(f, 0);
	assert_int_equal(dispatch_share(f->s.d), 64);
	for (size_t i = 0; i < DISPATCH_WAITING_MAX; i++) {
		size_t left = DISPATCH_WAITING_MAX - i;

		assert_int_equal(dispatch_share(f->s.d), left < 64 ? left : 64);
		job[i] = new_job();
		assert_int_equal(dispatch_add(f->s.d, &job[i], &id, &e), 0);
		if (i == 0)
			first = id;
	}
	assert_int_equal(dispatch_share(f->s.d), 1);
	dispatch_cancel(f->s.d, first);
	dispatch_cancel(f->s.d, id);
	assert_int_equal(dispatch_share(f->s.d), 2);
	free(job);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(jobs_for_ever, setup, teardown),
	    cmocka_unit_test_setup_teardown(
		the_fastest_is_first, setup, teardown),
	    cmocka_unit_test_setup_teardown(failure_is_told, setup, teardown),
	    cmocka_unit_test_setup_teardown(audits_come_first, setup, teardown),
	    cmocka_unit_test_setup_teardown(
		cancelled_job_is_nobodys, setup, teardown),
	    cmocka_unit_test_setup_teardown(
		names_are_distinct, setup, teardown),
	    cmocka_unit_test_setup_teardown(beats_of_others, setup, teardown),
	    cmocka_unit_test_setup_teardown(
		share_of_what_is_left, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
