/*
 * One layer on its way from a worker's spool into the outputs: a state machine
 * that knows files but neither sockets nor a clock.  What was pulled stays
 * over a lost connection; the transfer asks on from there under a new pull
 * number.  One thread.
 */
#ifndef BLOB_TRANSFER_H
#define BLOB_TRANSFER_H

#include <stdbool.h>
#include <stdint.h>

#include "data_protocol.h"

struct blob_request;
struct blob_transfer;
struct err;
struct write_behind;

struct blob_pace {
	uint64_t window;   /* chunks on their way, 2 to DATA_WINDOW_MAX */
	int64_t silent_ms; /* without a chunk: ask again */
	unsigned tries;	   /* so often without any chunk, then it failed */
};

/*
 * r and behind (or NULL) are borrowed.  Opens its first outputs.  ERR_FATAL.
 */
int blob_transfer_new(const struct blob_request *r,
    const struct blob_pace *pace, struct write_behind *behind, int64_t now,
    struct blob_transfer **out, struct err *e);
/* What was not committed is gone. */
void blob_transfer_free(struct blob_transfer *t);

/* The connection is a new one: all that was asked for may be lost. */
void blob_transfer_restart(struct blob_transfer *t);

/* The next PULL to send, if any: call until it says false. */
bool blob_transfer_ask(struct blob_transfer *t, struct data_msg_pull *out);

/* All forms have come and are where they belong. */
bool blob_transfer_done(const struct blob_transfer *t);

/*
 * A message for this transfer's id.  ERR_PEER: it was not asked for, or the
 * bytes are wrong; ERR_FATAL: an output; of PULL_FAIL, what the worker says.
 */
int blob_transfer_chunk(struct blob_transfer *t, int64_t now,
    const struct data_msg_chunk *m, struct err *e);
int blob_transfer_failed(
    struct blob_transfer *t, const struct data_msg_pull_fail *m, struct err *e);

/* Asks again where nothing came for long; ERR_RETRY: too often. */
int blob_transfer_tick(struct blob_transfer *t, int64_t now, struct err *e);
/* When to call tick. */
int64_t blob_transfer_deadline(const struct blob_transfer *t);

/* Bytes that have come, of all forms. */
uint64_t blob_transfer_bytes(const struct blob_transfer *t);

#endif
