/*
 * The worker processes that quarry itself starts on this machine: started,
 * watched, replaced, ended.  They run the same program and speak the same
 * protocol as any other worker.  Owned and used by one thread, the main one
 * (a worker dies with the thread that started it).
 */
#ifndef LOCAL_WORKERS_H
#define LOCAL_WORKERS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct cache_list;
struct err;
struct local_workers;

/*
 * program: the worker's path, or NULL: beside this program, then PATH.
 * endpoint: what workers connect to; caches: the ones that they may ask; both
 * borrowed.
 */
int local_workers_new(const char *program, const char *endpoint,
    const struct cache_list *caches, struct local_workers **out, struct err *e);

/* Starts one process with so many slots. */
int local_workers_start(struct local_workers *w, size_t slots, struct err *e);

struct local_exit {
	pid_t pid;
	size_t slots;
	bool at_start; /* it never said HELLO */
	char why[64];  /* "killed by signal 9", "exit status 1" */
};

/* The next process that ended, if any. */
bool local_workers_ended(struct local_workers *w, struct local_exit *out);

/* The process has said HELLO; false if it is none of ours. */
bool local_workers_ready(struct local_workers *w, pid_t pid);

/*
 * Kills those that have said no HELLO for ms since they were started.  While
 * others still come up the machine is busy, and none is late.
 */
void local_workers_kill_mute(struct local_workers *w, int64_t now, int64_t ms);

void local_workers_kill(struct local_workers *w, pid_t pid);

/*
 * Waits so long for all to end by themselves, then kills the rest; kills those
 * that have not said HELLO at once, since nobody could tell them to end.
 */
void local_workers_end(struct local_workers *w, int grace_ms);
void local_workers_free(struct local_workers *w);

#endif
