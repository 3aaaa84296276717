/*
 * Inside of a dispatch, for tests of what it asks workers of their stores:
 * workers are listed, but nobody is there, and what is said to them gets lost.
 * Whoever includes this has included cmocka.h.
 */
#ifndef LOCALITY_SCRIPT_H
#define LOCALITY_SCRIPT_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <zmq.h>

#include "dispatch/dispatch.h"
#include "dispatch/dispatch_state.h"
#include "err.h"
#include "link.h"
#include "protocol.h"
#include "schedule/scheduler.h"

static struct err e;
static char locality_folder[64];

static inline void
locality_open(struct dispatch *d)
{
	char endpoint[100];

	err_clear(&e);
	strcpy(locality_folder, "/tmp/test_locality.XXXXXX");
	assert_non_null(mkdtemp(locality_folder));
	snprintf(endpoint, sizeof(endpoint), "ipc://%s/c", locality_folder);
	d->ctx = zmq_ctx_new();
	assert_int_equal(
	    link_listen(d->ctx, endpoint, NULL, &d->remote, &e), 0);
	d->joined = true;
	TAILQ_INIT(&d->pulls);
}

static inline void
locality_close(struct dispatch *d)
{
	dispatch_locality_free(d);
	tasks_clear(d);
	peers_free(d);
	sched_free(d->sched);
	link_close(d->remote, 0);
	zmq_ctx_term(d->ctx);
	rmdir(locality_folder);
}

/* in_turn: jobs come one by one. */
static inline void
locality_schedule(struct dispatch *d, bool in_turn)
{
	const struct sched_config config = {.silent_ms = 1000000,
	    .lease_ms = 1000000,
	    .poison = 3,
	    .in_turn = in_turn};

	assert_int_equal(sched_new(&config, &d->sched, &e), 0);
}

/* A new worker of one slot, which fetches nothing, and is asked. */
static inline struct peer *
locality_join(struct dispatch *d, uint64_t id, size_t room, uint64_t rate)
{
	struct peer new = {.via = d->remote,
	    .link = {.len = 5, .id = {0, (uint8_t)id}},
	    .worker = {id},
	    .name = "w",
	    .slots = 1,
	    .room = room,
	    .rate = rate};
	struct peer *p;

	assert_int_equal(peer_reserve(d, &e), 0);
	memcpy(new.instance, &id, sizeof(id));
	memcpy(new.token, &id, sizeof(id));
	p = peer_add(d, &new);
	assert_int_equal(dispatch_locality_joined(d, p, &e), 0);
	dispatch_locality_ask(d, p);
	return p;
}

/* What is wrong with it, or NULL. */
static inline const char *
locality_says(struct dispatch *d, struct peer *p, const struct msg_have *m)
{
	const char *bad;

	assert_int_equal(dispatch_locality_have(d, p, m, &bad, &e), 0);
	return bad;
}

/* The worker that the next job, which is that one, is sent to. */
static inline uint64_t
locality_next(struct dispatch *d, uint64_t want_job)
{
	struct sched_action a;

	assert_true(sched_next(d->sched, 1, &a));
	assert_int_equal(a.kind, SCHED_SEND);
	assert_int_equal(a.job.v, want_job);
	return a.worker.v;
}

static inline bool
locality_is_quiet(struct dispatch *d)
{
	struct sched_action a;

	return !sched_next(d->sched, 1, &a);
}

#endif
