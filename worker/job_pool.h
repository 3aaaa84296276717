/*
 * Threads that run layer_run(), one job each at a time, in the order in which
 * jobs came.  The agent's thread calls; a job is lent to the pool from
 * job_pool_put until job_pool_take, or a job_pool_withdraw that says true,
 * gives it back.
 *
 * Queues under one mutex and an eventfd, not inproc sockets: what is handed
 * over is a pointer to a job that may weigh many megabytes, such a queue is
 * never full, a job that waits can be taken out again, and the eventfd goes
 * into the agent's poll(2) as it is.
 *
 * A job for which there is no memory when its turn comes is not run: it is
 * `postponed` (memory_gate.h).
 */
#ifndef JOB_POOL_H
#define JOB_POOL_H

#include <stdbool.h>
#include <stddef.h>

struct err;
struct job;
struct job_pool;

/* Starts the threads.  Signals that the caller blocks are blocked there. */
int job_pool_new(size_t n_threads, struct job_pool **out, struct err *e);

/* For poll(2): readable means that job_pool_take has something. */
int job_pool_fd(const struct job_pool *pool);

void job_pool_put(struct job_pool *pool, struct job *job);

/* A job that is through (failed ones say so in err), or NULL. */
struct job *job_pool_take(struct job_pool *pool);

/* Takes back a job that no thread has begun; false: too late. */
bool job_pool_withdraw(struct job_pool *pool, struct job *job);

/*
 * Forgets jobs that wait, ends the threads and frees the pool: true.  If a
 * thread is still in a job after timeout_ms: false, and pool and jobs must
 * stay as they are while the process lives.
 */
bool job_pool_stop(struct job_pool *pool, int timeout_ms);

#endif
