/*
 * Inside of dispatch: its state, and what its two files call of each other.
 * dispatch.c starts, loops and ends; dispatch_messages.c takes what workers
 * say.  For these two alone.
 */
#ifndef DISPATCH_STATE_H
#define DISPATCH_STATE_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "link.h"
#include "scheduler.h"

struct dispatch_job;
struct err;

/* A worker that said HELLO and was welcomed. */
struct peer {
	struct link_peer link;
	struct worker_id worker; /* also its index in the progress display */
	char name[64];
	size_t slots;
	pid_t local; /* its process if it is a local one, else 0 */
};

struct dispatch {
	struct progress *progress;
	struct scratch *scratch;
	char *folder;	/* of the socket */
	char *endpoint; /* "ipc://FOLDER/c" */
	void *ctx;
	struct link *link;
	int child_fd; /* signalfd for SIGCHLD */
	struct local_workers *local;
	unsigned start_failures;
	struct peer *peer;
	size_t n_peers, room_peers;
	uint64_t next_worker;

	/* Of the run that is on. */
	struct scheduler *sched;
	struct dispatch_job *job;
	int64_t *started; /* of each job's newest attempt, ms */
	size_t n_jobs;
	uint64_t base; /* job ids on the wire count on from run to run */
};

struct peer *peer_by_worker(struct dispatch *d, struct worker_id worker);

/* Forgets the peer; a local process is killed, and so replaced. */
void peer_gone(struct dispatch *d, struct peer *p, const char *why);

/* All messages that are there. */
int dispatch_receive(struct dispatch *d, struct err *e);

#endif
