/*
 * Somebody sends without end, or there is much to send: dispatch does so much
 * of it a turn, and all else has its turn, too.  Messages are made where
 * dispatch receives them, so that there is always one more, however fast it is.
 */
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "dispatch_script.h"
#include "monotime.h"

/* As in dispatch_messages.c; and so many that a test without bound ends. */
enum { MESSAGES_MAX = 64, FLOOD = 10000 };
/* As in dispatch.c, of a turn; a worker that takes more. */
enum { ACTIONS_MAX = 256, SLOTS = 1000 };

struct fixture {
	struct dispatch_script s;
	struct link *worker;
	int pipe[2];
};

/* Beats of one that is known, or not, at this link. */
static const struct link *flooded;
static struct link_peer from;
static size_t flood, taken;
static int waits; /* ms: what poll was told last */

int __real_poll(struct pollfd *fds, nfds_t n, int ms);
int __wrap_poll(struct pollfd *fds, nfds_t n, int ms);

int __real_link_recv(
    struct link *l, struct link_peer *peer, struct msg *m, struct err *err);
int __wrap_link_recv(
    struct link *l, struct link_peer *peer, struct msg *m, struct err *err);

int
__wrap_link_recv(
    struct link *l, struct link_peer *peer, struct msg *m, struct err *err)
{
	if (l != flooded || flood == 0)
		return __real_link_recv(l, peer, m, err);
	flood--;
	taken++;
	*m = (struct msg){.type = MSG_BEAT};
	*peer = from;
	return 1;
}

int
__wrap_poll(struct pollfd *fds, nfds_t n, int ms)
{
	waits = ms;
	return __real_poll(fds, n, ms);
}

static int
setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	taken = 0;
	assert_int_equal(pipe(f->pipe), 0);
	script_open(&f->s);
	script_begin(&f->s, (struct dispatch_config){.slots = 0});
	*state = f;
	return 0;
}

static int
teardown(void **state)
{
	struct fixture *f = *state;

	flood = 0;
	link_close(f->worker, 0);
	script_close(&f->s);
	close(f->pipe[0]);
	close(f->pipe[1]);
	free(f);
	return 0;
}

static void
turn(struct fixture *f)
{
	assert_int_equal(
	    dispatch_turn(f->s.d, NULL, 0, monotime_ms() + 1, &e), 0);
}

/* A real one. */
static void
add_worker(struct fixture *f, uint64_t slots)
{
	f->worker = script_join(&f->s,
	    (struct msg_hello){.host = "scripted", .pid = 1, .slots = slots});
	while (dispatch_room(f->s.d) == 0)
		turn(f);
	from = f->s.d->peer[0].link;
}

static bool
has_job(struct fixture *f)
{
	bool job = false;
	struct msg m;

	while (__real_link_recv(f->worker, NULL, &m, &e) > 0) {
		job |= m.type == MSG_JOB;
		msg_clear(&m);
	}
	return job;
}

/* In the turn that takes so much: a job is sent, others are waited for. */
static void
flooded_turn(struct fixture *f)
{
	struct pollfd extra = {.fd = f->pipe[0], .events = POLLIN};
	struct dispatch_job job = new_job();
	struct job_id id;

	assert_int_equal(dispatch_add(f->s.d, &job, &id, &e), 0);
	assert_int_equal(write(f->pipe[1], "", 1), 1);
	flood = FLOOD;
	assert_int_equal(
	    dispatch_turn(f->s.d, &extra, 1, monotime_ms() + 60000, &e), 0);
	assert_int_equal(taken, MESSAGES_MAX);
	assert_int_equal(extra.revents, POLLIN);
	/* The rest, without anything that wakes it. */
	for (size_t n = 2; flood > 0; n++) {
		assert_int_equal(waits, 0);
		turn(f);
		assert_true(taken <= n * MESSAGES_MAX);
	}
	assert_int_equal(taken, FLOOD);
	while (!has_job(f))
		usleep(1000);
	dispatch_cancel(f->s.d, id);
}

static void
worker_without_end(void **state)
{
	struct fixture *f = *state;

	add_worker(f, 2);
	flooded = f->s.d->remote;
	flooded_turn(f);
	assert_int_equal(f->s.d->n_peers, 1);
}

static void
stranger_without_end(void **state)
{
	struct fixture *f = *state;

	add_worker(f, 2);
	from = (struct link_peer){.len = 5, .id = "\0five"};
	flooded = f->s.d->remote;
	flooded_turn(f);
}

/* This machine's own socket is looked at first. */
static void
neighbour_without_end(void **state)
{
	struct fixture *f = *state;

	add_worker(f, 2);
	from = (struct link_peer){.len = 5, .id = "\0five"};
	flooded = f->s.d->link;
	flooded_turn(f);
}

/* Nor is all sent in one turn that there is to send. */
static void
jobs_in_slices(void **state)
{
	struct fixture *f = *state;
	struct dispatch_job *job = calloc(SLOTS, sizeof(*job));
	struct sched_counts jobs, measures;
	struct job_id id[SLOTS];

	add_worker(f, SLOTS);
	for (size_t i = 0; i < SLOTS; i++) {
		job[i] = new_job();
		assert_int_equal(dispatch_add(f->s.d, &job[i], &id[i], &e), 0);
	}
	for (size_t n = ACTIONS_MAX; n < SLOTS; n += ACTIONS_MAX) {
		turn(f);
		sched_count(f->s.d->sched, &jobs, &measures);
		assert_int_equal(jobs.running, n);
		assert_int_equal(waits, 0);
	}
	turn(f);
	sched_count(f->s.d->sched, &jobs, &measures);
	assert_int_equal(jobs.running, SLOTS);
	for (size_t i = 0; i < SLOTS; i++)
		dispatch_cancel(f->s.d, id[i]);
	free(job);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(
		worker_without_end, setup, teardown),
	    cmocka_unit_test_setup_teardown(
		stranger_without_end, setup, teardown),
	    cmocka_unit_test_setup_teardown(
		neighbour_without_end, setup, teardown),
	    cmocka_unit_test_setup_teardown(jobs_in_slices, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
