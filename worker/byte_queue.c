#include "byte_queue.h"

#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "err.h"
#include "quiet_thread.h"

#define CHUNK ((size_t)256 << 10) /* as much as a tar buffer */
#define CHUNKS 8
/*
 * Waking a thread costs more than to copy a chunk: the consumer is woken for
 * so many, and wakes the producer when so many are free again.
 */
#define BATCH 4

struct byte_queue {
	byte_queue_consume *consume;
	void *arg;
	pthread_t thread;
	bool running; /* the thread is there to be joined */
	uint8_t *chunk[CHUNKS];
	size_t len[CHUNKS];

	/* Under the lock; chunks from next on, n of them, are full. */
	pthread_mutex_t lock;
	pthread_cond_t change;
	size_t next, n;
	bool idle;   /* the thread waits, until it is told not to */
	bool ending; /* nothing more is put */
	bool stop;   /* nothing more is consumed */
	struct err e;
};

/* Chunks until the end, a stop or a failure. */
static void *
run(void *arg)
{
	struct byte_queue *q = arg;

	pthread_mutex_lock(&q->lock);
	for (;;) {
		struct err e = ERR_INIT;
		size_t at;

		if (q->n == 0)
			q->idle = true;
		while (q->idle && !q->ending && !q->stop)
			pthread_cond_wait(&q->change, &q->lock);
		if (q->stop || q->n == 0)
			break;
		at = q->next;
		pthread_mutex_unlock(&q->lock);
		if (q->consume(q->arg, q->chunk[at], q->len[at], &e) < 0) {
			pthread_mutex_lock(&q->lock);
			q->e = e;
			q->stop = true;
			pthread_cond_signal(&q->change);
			break;
		}
		pthread_mutex_lock(&q->lock);
		q->next = (q->next + 1) % CHUNKS;
		q->n--;
		if (q->n == CHUNKS - BATCH)
			pthread_cond_signal(&q->change);
	}
	pthread_mutex_unlock(&q->lock);
	return NULL;
}

int
byte_queue_new(byte_queue_consume *consume, void *arg, struct byte_queue **out,
    struct err *e)
{
	struct byte_queue *q;
	int rc;

	if ((q = calloc(1, sizeof(*q))) == NULL)
		return err_set(e, ERR_RETRY, errno, "queue");
	q->consume = consume;
	q->arg = arg;
	pthread_mutex_init(&q->lock, NULL);
	pthread_cond_init(&q->change, NULL);
	for (size_t i = 0; i < CHUNKS; i++)
		if ((q->chunk[i] = malloc(CHUNK)) == NULL) {
			byte_queue_free(q);
			return err_set(e, ERR_RETRY, ENOMEM, "queue");
		}
	if ((rc = quiet_thread(&q->thread, run, q)) != 0) {
		byte_queue_free(q);
		return err_set(e, ERR_RETRY, rc, "queue's thread");
	}
	q->running = true;
	*out = q;
	return 0;
}

/* Waits for a free chunk; NULL once the consumer has failed. */
static uint8_t *
free_chunk(struct byte_queue *q, size_t *at)
{
	uint8_t *chunk = NULL;

	pthread_mutex_lock(&q->lock);
	while (q->n == CHUNKS && !q->stop)
		pthread_cond_wait(&q->change, &q->lock);
	if (!q->stop) {
		*at = (q->next + q->n) % CHUNKS;
		chunk = q->chunk[*at];
	}
	pthread_mutex_unlock(&q->lock);
	return chunk;
}

int
byte_queue_put(
    struct byte_queue *q, const void *data, size_t len, struct err *e)
{
	const uint8_t *from = data;

	while (len > 0) {
		size_t at, n = len < CHUNK ? len : CHUNK;
		uint8_t *chunk = free_chunk(q, &at);

		if (chunk == NULL) {
			*e = q->e;
			return -1;
		}
		memcpy(chunk, from, n);
		from += n;
		len -= n;
		pthread_mutex_lock(&q->lock);
		q->len[at] = n;
		q->n++;
		if (q->idle && q->n >= BATCH) {
			q->idle = false;
			pthread_cond_signal(&q->change);
		}
		pthread_mutex_unlock(&q->lock);
	}
	return 0;
}

/* The thread ends by itself; afterwards its fields are ours. */
static void
join(struct byte_queue *q)
{
	if (q->running)
		pthread_join(q->thread, NULL);
	q->running = false;
}

int
byte_queue_drain(struct byte_queue *q, struct err *e)
{
	pthread_mutex_lock(&q->lock);
	q->ending = true;
	pthread_cond_signal(&q->change);
	pthread_mutex_unlock(&q->lock);
	join(q);
	if (q->e.kind == ERR_NONE)
		return 0;
	*e = q->e;
	return -1;
}

void
byte_queue_free(struct byte_queue *q)
{
	if (q == NULL)
		return;
	pthread_mutex_lock(&q->lock);
	q->stop = true;
	pthread_cond_signal(&q->change);
	pthread_mutex_unlock(&q->lock);
	join(q);
	for (size_t i = 0; i < CHUNKS; i++)
		free(q->chunk[i]);
	pthread_cond_destroy(&q->change);
	pthread_mutex_destroy(&q->lock);
	free(q);
}
