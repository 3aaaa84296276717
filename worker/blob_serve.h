/*
 * Hands spooled layers to the coordinator: a thread of its own with the data
 * socket, which answers PULLs from files that spool_settle said are whole, and
 * removes them when the coordinator says so.  A thread of its own, so that a
 * slow disk does not delay the agent's beats.  Memory: one chunk, and in
 * libzmq's queue what the coordinator asked for.
 *
 * The agent's thread calls.
 */
#ifndef BLOB_SERVE_H
#define BLOB_SERVE_H

#include <stdbool.h>
#include <stdint.h>

struct blob_serve;
struct err;
struct link_keys;
struct spool;

struct blob_serve_config {
	const char *endpoint;	      /* of the data socket */
	const struct link_keys *keys; /* or NULL; borrowed */
	const uint8_t *token;	      /* DATA_TOKEN_SIZE bytes, of WELCOME */
	int hello_ms;		      /* DATA_HELLO_MS */
};

/* Starts the thread.  ctx and spool must outlive it.  ERR_FATAL. */
int blob_serve_new(void *ctx, const struct blob_serve_config *config,
    struct spool *spool, struct blob_serve **out, struct err *e);

/* For poll(2): readable when the thread has ended by itself. */
int blob_serve_fd(const struct blob_serve *s);
/* Why that was; 0 while it is at work. */
int blob_serve_check(struct blob_serve *s, struct err *e);

/*
 * Ends the thread and frees s: true.  If it is still stuck in a read after
 * timeout_ms: false, and s, its context and its spool must stay as they are.
 */
bool blob_serve_stop(struct blob_serve *s, int timeout_ms);

#endif
