/*
 * Bytes from one thread to another: put copies them into a short ring, a
 * thread of the queue's own hands them on, in order.  So the thread that
 * reads and hashes a large layer need not wait for the one that encodes and
 * writes it.  put, drain and free belong to one thread; consume runs in the
 * queue's, never after drain or free have returned.
 */
#ifndef BYTE_QUEUE_H
#define BYTE_QUEUE_H

#include <stddef.h>

struct byte_queue;
struct err;

typedef int byte_queue_consume(
    void *arg, const void *data, size_t len, struct err *e);

/* ERR_RETRY where no thread or memory is to be had. */
int byte_queue_new(byte_queue_consume *consume, void *arg,
    struct byte_queue **out, struct err *e);

/* Fails with what consume failed with, once it has. */
int byte_queue_put(
    struct byte_queue *q, const void *data, size_t len, struct err *e);

/* Waits until all is consumed; nothing can be put afterwards. */
int byte_queue_drain(struct byte_queue *q, struct err *e);

/* What was not consumed yet never is. */
void byte_queue_free(struct byte_queue *q);

#endif
