/*
 * The worker's loop: says HELLO, puts jobs together, hands them to the pool's
 * threads, beats, and sends what came of them.  The loop's thread alone owns
 * the socket and beats by itself, so a layer that takes long does not make
 * the worker look dead.  One call a process; the calling thread must be its
 * only one.
 */
#ifndef AGENT_H
#define AGENT_H

#include <stdbool.h>
#include <stddef.h>

struct err;
struct layer_inputs;
struct link_keys;

/* Jobs that a worker takes, running ones included. */
#define AGENT_JOBS_MAX(slots) ((slots)*4 + 16)

/* How long a coordinator may take to answer HELLO, and to reappear. */
#define AGENT_WELCOME_MS 60000
#define AGENT_LOST_MS 10000

struct agent_options {
	const char *endpoint;	 /* ipc://PATH, tcp://HOST:PORT */
	size_t slots;		 /* 1 to MSG_SLOTS_MAX */
	const char *gzip, *zstd; /* encoder names and versions */
	int welcome_ms, lost_ms;
	struct layer_inputs *inputs; /* of all jobs; NULL: no caches */
	const char *spool; /* folder for layers to hand over, or NULL */
	const struct link_keys *keys; /* or NULL: none */
	bool tells_speed;	      /* it is not one of many that are alike */
	/*
	 * After a build, and when its coordinator is gone, it waits for more.
	 */
	bool stays;
	/* How long jobs may go on after SIGTERM; 0: they are not waited for. */
	int drain_ms;
};

/*
 * Works until the coordinator says BYE (unless it stays), or until SIGTERM or
 * SIGINT and what comes of it: 0.  -1: the coordinator refused this worker,
 * does not answer, or is gone.  Returns within a second of its end even if a
 * job's thread is stuck in a read, and within three where all that looks at a
 * disk is; such threads are left behind, and the caller must then leave by
 * _exit(2).
 */
int agent_run(const struct agent_options *options, struct err *e);

#endif
