/*
 * Answers to jobs that were sent, kept for a while: a connection that breaks
 * takes along what it had not carried yet, and then they are said again.  What
 * costs time is the same for few and for many.  One thread.
 */
#ifndef SENT_ANSWERS_H
#define SENT_ANSWERS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct err;
struct msg;
struct msg_attempt;
struct sent_answers;

/* Of more the oldest are forgotten: they have arrived, or are done again. */
#define SENT_ANSWERS_MAX ((size_t)16384)

/* ERR_FATAL. */
int sent_answers_new(struct sent_answers **out, struct err *e);
void sent_answers_free(struct sent_answers *s);

/*
 * Keeps a copy of m (DONE, SIZED, FAIL or POSTPONE), the answer to that job and
 * attempt, until then, in ms.  One for which there is no memory is not kept.
 */
void sent_answers_keep(struct sent_answers *s, const struct msg_attempt *id,
    const struct msg *m, int64_t until);

bool sent_answers_know(
    const struct sent_answers *s, const struct msg_attempt *id);
size_t sent_answers_count(const struct sent_answers *s);
/* All, into room for as many. */
void sent_answers_list(const struct sent_answers *s, struct msg_attempt *out);

/* Forgets those whose time is over, or all. */
void sent_answers_expire(struct sent_answers *s, int64_t now);
void sent_answers_forget(struct sent_answers *s);

/* All of them are due from now on. */
void sent_answers_again(struct sent_answers *s);
/* The oldest one that is due, or NULL; borrowed. */
const struct msg *sent_answers_due(const struct sent_answers *s);
/* It was sent, and is kept until then. */
void sent_answers_said(struct sent_answers *s, int64_t until);

#endif
