/*
 * Bytes in, compressed chunks out, in their order: each chunk is made by the
 * calling thread, or by one of the worker's crew that has nothing to do.  One
 * thread each.
 */
#ifndef ENCODE_QUEUE_H
#define ENCODE_QUEUE_H

#include <stddef.h>

struct encode_crew;
struct encode_queue;
struct encoding;
struct err;

typedef int encode_take(void *arg, const void *data, size_t len, struct err *e);

/*
 * crew is borrowed, or NULL.  take gets what was made, in the calling thread of
 * the functions below; its failures are theirs.  ERR_RETRY.
 */
int encode_queue_new(const struct encoding *encoding, struct encode_crew *crew,
    encode_take *take, void *arg, struct encode_queue **out, struct err *e);
/* Waits for chunks that others are making. */
void encode_queue_free(struct encode_queue *q);

int encode_queue_put(
    struct encode_queue *q, const void *data, size_t len, struct err *e);
/* No more bytes come: all that was put has been taken then. */
int encode_queue_end(struct encode_queue *q, struct err *e);

#endif
