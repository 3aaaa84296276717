#include "job_pool.h"

#include <errno.h>
#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "encode_crew.h"
#include "err.h"
#include "job.h"
#include "look_ahead.h"
#include "memory_gate.h"
#include "monotime.h"
#include "own.h"
#include "timed_cond.h"
#include "wake_fd.h"
#include "write_behind.h"

/* Idle threads end at once. */
#define STOP_MS 10000
/* Of a thread's part of what may be open: all but files that wait. */
#define FILES_OTHER 40

struct job_queue {
	struct job *head, **tail;
};

struct job_pool {
	pthread_mutex_t lock;
	pthread_cond_t work;  /* something waits, or stop */
	pthread_cond_t ended; /* one thread less */
	struct job_queue waiting, finished;
	struct memory_gate *gate;
	bool stop;
	size_t alive;
	int fd;
	struct encode_crew *crew; /* works while threads are idle */
	size_t files_ahead;	  /* each thread's part */
	size_t n_threads;
	pthread_t thread[];
};

static void
queue_init(struct job_queue *q)
{
	q->head = NULL;
	q->tail = &q->head;
}

static void
queue_push(struct job_queue *q, struct job *job)
{
	job->queue_next = NULL;
	*q->tail = job;
	q->tail = &job->queue_next;
}

static struct job *
queue_pop(struct job_queue *q)
{
	struct job *job = q->head;

	if (job != NULL && (q->head = job->queue_next) == NULL)
		q->tail = &q->head;
	return job;
}

static bool
queue_remove(struct job_queue *q, const struct job *job)
{
	struct job **at = &q->head;

	while (*at != NULL && *at != job)
		at = &(*at)->queue_next;
	if (*at == NULL)
		return false;
	if ((*at = job->queue_next) == NULL)
		q->tail = at;
	return true;
}

static uint64_t
thread_cpu_us(void)
{
	struct timespec t;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
	return (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000;
}

static void
run_job(struct job *job, struct job_pool *pool, struct write_behind *behind)
{
	uint64_t start = thread_cpu_us(), need = memory_gate_need(&job->layer);
	int64_t begun;

	if (memory_gate_enter(pool->gate, need, &job->err) < 0) {
		job->postponed = true;
		return;
	}
	job->layer.behind = behind;
	job->layer.crew = pool->crew;
	job->layer.files_ahead = pool->files_ahead;
	encode_crew_join(pool->crew);
	begun = monotime_us();
	layer_run(&job->layer, &job->progress, &job->result, &job->err);
	job->us = monotime_us() - begun - (int64_t)job->result.fetch_us;
	encode_crew_leave(pool->crew);
	job->layer.behind = NULL;
	job->layer.crew = NULL;
	memory_gate_leave(pool->gate, need);
	job->cpu_us = thread_cpu_us() - start;
}

static void *
job_thread(void *arg)
{
	struct job_pool *pool = arg;
	AUTO(write_behind_freep) struct write_behind *behind = NULL;
	struct err none = ERR_INIT;
	struct job *job;

	/* Without it, files are left to the kernel. */
	if (write_behind_new(&behind, &none) < 0)
		behind = NULL;

	pthread_mutex_lock(&pool->lock);
	for (;;) {
		while (!pool->stop && pool->waiting.head == NULL)
			pthread_cond_wait(&pool->work, &pool->lock);
		if (pool->stop)
			break;
		job = queue_pop(&pool->waiting);
		atomic_store(&job->running, true);
		pthread_mutex_unlock(&pool->lock);
		run_job(job, pool, behind);
		pthread_mutex_lock(&pool->lock);
		atomic_store(&job->running, false);
		queue_push(&pool->finished, job);
		wake_fd_set(pool->fd);
	}
	pool->alive--;
	pthread_cond_signal(&pool->ended);
	pthread_mutex_unlock(&pool->lock);
	return NULL;
}

static void
pool_free(struct job_pool *pool)
{
	for (size_t i = 0; i < pool->n_threads; i++)
		pthread_join(pool->thread[i], NULL);
	encode_crew_free(pool->crew);
	pthread_cond_destroy(&pool->ended);
	pthread_cond_destroy(&pool->work);
	pthread_mutex_destroy(&pool->lock);
	close(pool->fd);
	memory_gate_free(pool->gate);
	free(pool);
}

/* What may be open in all is shared: none takes what another one needs. */
static size_t
files_ahead(size_t n_threads)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
		return 1;
	limit.rlim_cur /= n_threads;
	return limit.rlim_cur > FILES_OTHER ? limit.rlim_cur - FILES_OTHER : 1;
}

int
job_pool_new(size_t n_threads, struct job_pool **out, struct err *e)
{
	struct job_pool *pool;
	int rc = 0;

	pool = calloc(1, sizeof(*pool) + n_threads * sizeof(pool->thread[0]));
	if (pool == NULL)
		return err_set(e, ERR_FATAL, errno, "%zu threads", n_threads);
	pool->fd = wake_fd_new();
	if (pool->fd < 0) {
		free(pool);
		return err_set(e, ERR_FATAL, errno, "eventfd");
	}
	if (memory_gate_new("", &pool->gate, e) < 0 ||
	    encode_crew_new(n_threads, pool->gate, &pool->crew, e) < 0) {
		memory_gate_free(pool->gate);
		close(pool->fd);
		free(pool);
		return -1;
	}
	pool->files_ahead = files_ahead(n_threads);
	pthread_mutex_init(&pool->lock, NULL);
	pthread_cond_init(&pool->work, NULL);
	timed_cond_init(&pool->ended);
	queue_init(&pool->waiting);
	queue_init(&pool->finished);
	for (size_t i = 0; i < n_threads && rc == 0; i++) {
		pthread_mutex_lock(&pool->lock);
		rc = pthread_create(&pool->thread[i], NULL, job_thread, pool);
		if (rc == 0)
			pool->alive = ++pool->n_threads;
		pthread_mutex_unlock(&pool->lock);
	}
	if (rc != 0) {
		job_pool_stop(pool, STOP_MS);
		return err_set(e, ERR_FATAL, rc, "%zu threads", n_threads);
	}
	*out = pool;
	return 0;
}

int
job_pool_fd(const struct job_pool *pool)
{
	return pool->fd;
}

void
job_pool_put(struct job_pool *pool, struct job *job)
{
	pthread_mutex_lock(&pool->lock);
	queue_push(&pool->waiting, job);
	pthread_cond_signal(&pool->work);
	pthread_mutex_unlock(&pool->lock);
}

struct job *
job_pool_take(struct job_pool *pool)
{
	struct job *job;

	pthread_mutex_lock(&pool->lock);
	job = queue_pop(&pool->finished);
	/* Quiet again once all are taken. */
	if (pool->finished.head == NULL)
		wake_fd_clear(pool->fd);
	pthread_mutex_unlock(&pool->lock);
	return job;
}

bool
job_pool_withdraw(struct job_pool *pool, struct job *job)
{
	bool found;

	pthread_mutex_lock(&pool->lock);
	found = queue_remove(&pool->waiting, job);
	pthread_mutex_unlock(&pool->lock);
	return found;
}

bool
job_pool_stop(struct job_pool *pool, int timeout_ms)
{
	struct timespec until;
	bool ended;
	int rc = 0;

	if (pool == NULL)
		return true;
	until = timed_cond_after(timeout_ms);
	pthread_mutex_lock(&pool->lock);
	pool->stop = true;
	queue_init(&pool->waiting);
	pthread_cond_broadcast(&pool->work);
	while (pool->alive > 0 && rc == 0)
		rc = pthread_cond_timedwait(&pool->ended, &pool->lock, &until);
	ended = pool->alive == 0;
	pthread_mutex_unlock(&pool->lock);
	if (ended)
		pool_free(pool);
	return ended;
}
