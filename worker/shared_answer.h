/*
 * Answers a PROBE: reads the coordinator's file in a folder that may be shared
 * and writes the answer beside it.  In a thread of its own, since a folder
 * whose server is away holds up who looks into it.  The agent's thread calls.
 */
#ifndef SHARED_ANSWER_H
#define SHARED_ANSWER_H

#include <stdbool.h>

struct err;
struct msg;
struct msg_probe;
struct shared_answer;

/* Starts the thread.  m is copied.  ERR_RETRY. */
int shared_answer_new(
    const struct msg_probe *m, struct shared_answer **out, struct err *e);

/* PROBED, whose text is borrowed from a, once the thread is through. */
bool shared_answer_take(struct shared_answer *a, struct msg *out);

/*
 * Waits for the thread and frees a: true.  Still stuck after timeout_ms:
 * false, and a is left to it.
 */
bool shared_answer_stop(struct shared_answer *a, int timeout_ms);

#endif
