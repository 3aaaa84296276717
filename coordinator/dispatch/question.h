/*
 * A question to a worker, which of some store paths it has (ASK): which of its
 * words about that count.  Messages may be doubled, and come after the next
 * question; what is said of one that was never asked, or says more than it may,
 * is against the protocol.  The same for the list of a run's closure, and for
 * pages of paths that come for ever.  Pure.
 */
#ifndef QUESTION_H
#define QUESTION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct msg_have;

struct question {
	uint64_t number; /* of the last one; 0: none yet */
	bool on;	 /* it is not answered */
};

/* A new one; its number. */
uint64_t question_ask(struct question *q);

/* What is said of that number: it counts, is ignored, or is no good. */
enum question_word { QUESTION_COUNTS, QUESTION_IGNORED, QUESTION_WRONG };

enum question_word question_word(const struct question *q, uint64_t number);

/* What a worker did that says something of a question that is none. */
#define QUESTION_NOT_OFFERED "wants a list of store paths that nobody offered"
#define QUESTION_NOT_ITS_TURN                                                  \
	"wants a part of a list that is not its turn, or of none"
#define QUESTION_NOT_ASKED "tells of store paths that nobody asked for"
#define QUESTION_OTHER_LENGTH                                                  \
	"tells of more or fewer store paths than were asked for"

/* Whether it has a bit for each of n paths, and none beyond. */
bool question_fits(const struct msg_have *m, size_t n);

#endif
