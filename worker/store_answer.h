/*
 * Answers ASK: which of a list of store paths are in this worker's store.  The
 * agent's thread calls; the store is looked at in a thread of its own, since
 * that may take long, or for ever where a network's store is away.
 *
 * Lists are kept by their digest, as long as they are no more than
 * STORE_ANSWER_LISTS and all together have no more than STORE_ANSWER_KEPT
 * paths: the next build may ask for the same one.
 */
#ifndef STORE_ANSWER_H
#define STORE_ANSWER_H

#include <stdbool.h>

struct err;
struct msg;
struct msg_ask;
struct msg_paths;
struct store_answer;

#define STORE_ANSWER_KEPT ((size_t)4 << 20)
#define STORE_ANSWER_LISTS ((size_t)1024)

/* ERR_FATAL. */
int store_answer_new(struct store_answer **out, struct err *e);

/* Takes the place of what was asked before. */
void store_answer_ask(struct store_answer *a, const struct msg_ask *m);
/* What does not belong to the question, or is out of turn, is ignored. */
void store_answer_paths(struct store_answer *a, const struct msg_paths *m);
/* Nobody waits for an answer any more. */
void store_answer_forget(struct store_answer *a);

/*
 * WANT or HAVE, if there is something to say; what it points to is borrowed.
 * store_answer_said: it was sent.
 */
bool store_answer_next(struct store_answer *a, struct msg *out);
void store_answer_said(struct store_answer *a);

/* Readable when the store was looked at: then there may be something to say. */
int store_answer_fd(const struct store_answer *a);

/*
 * Waits for the thread and frees a: true.  Still stuck after timeout_ms:
 * false, and a is left to it.
 */
bool store_answer_stop(struct store_answer *a, int timeout_ms);

#endif
