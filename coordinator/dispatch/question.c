#include "dispatch/question.h"

#include "protocol.h"

uint64_t
question_ask(struct question *q)
{
	q->on = true;
	return ++q->number;
}

enum question_word
question_word(const struct question *q, uint64_t number)
{
	if (number == 0 || number > q->number)
		return QUESTION_WRONG;
	return number < q->number || !q->on ? QUESTION_IGNORED
					    : QUESTION_COUNTS;
}

bool
question_fits(const struct msg_have *m, size_t n)
{
	return m->n == (n + 7) / 8 &&
	    (n % 8 == 0 || m->bits[m->n - 1] >> (n % 8) == 0);
}
