#include "sent_answers.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "err.h"
#include "protocol.h"

#define BUCKETS 4096

struct answer {
	struct msg_attempt id;
	int64_t until; /* ms */
	struct answer *newer;
	struct answer *chain; /* the next one of its bucket */
	struct msg m;
	char text[]; /* m's */
};

struct sent_answers {
	struct answer *oldest, **end;
	struct answer *due; /* this one and the newer ones; or NULL */
	size_t n;
	struct answer *bucket[BUCKETS];
};

int
sent_answers_new(struct sent_answers **out, struct err *e)
{
	struct sent_answers *s = calloc(1, sizeof(*s));

	if (s == NULL)
		return err_set(e, ERR_FATAL, errno, "answers");
	s->end = &s->oldest;
	*out = s;
	return 0;
}

void
sent_answers_free(struct sent_answers *s)
{
	if (s == NULL)
		return;
	sent_answers_forget(s);
	free(s);
}

/* Ids are counted: neighbours are spread, attempts lie beside each other. */
static size_t
bucket_of(const struct msg_attempt *id)
{
	return (size_t)((id->job + id->attempt) % BUCKETS);
}

static bool
is(const struct answer *a, const struct msg_attempt *id)
{
	return a->id.job == id->job && a->id.attempt == id->attempt;
}

static void
remove_oldest(struct sent_answers *s)
{
	struct answer *a = s->oldest, **at = &s->bucket[bucket_of(&a->id)];

	while (*at != a)
		at = &(*at)->chain;
	*at = a->chain;
	if (s->due == a)
		s->due = a->newer;
	if ((s->oldest = a->newer) == NULL)
		s->end = &s->oldest;
	s->n--;
	free(a);
}

/* Where the message has its text; NULL: it has none. */
static const char **
text_of(struct msg *m)
{
	if (m->type == MSG_FAIL)
		return &m->fail.text;
	return m->type == MSG_POSTPONE ? &m->postpone.text : NULL;
}

void
sent_answers_keep(struct sent_answers *s, const struct msg_attempt *id,
    const struct msg *m, int64_t until)
{
	struct msg copy = *m;
	const char **text = text_of(&copy);
	size_t size = text != NULL ? strlen(*text) + 1 : 0;
	struct answer **bucket = &s->bucket[bucket_of(id)], *a;

	if (s->n == SENT_ANSWERS_MAX)
		remove_oldest(s);
	if ((a = malloc(sizeof(*a) + size)) == NULL)
		return;
	*a = (struct answer){
	    .id = *id, .until = until, .chain = *bucket, .m = copy};
	if (size > 0) {
		memcpy(a->text, *text, size);
		*text_of(&a->m) = a->text;
	}
	*bucket = a;
	*s->end = a;
	s->end = &a->newer;
	s->n++;
}

bool
sent_answers_know(const struct sent_answers *s, const struct msg_attempt *id)
{
	const struct answer *a = s->bucket[bucket_of(id)];

	while (a != NULL && !is(a, id))
		a = a->chain;
	return a != NULL;
}

size_t
sent_answers_count(const struct sent_answers *s)
{
	return s->n;
}

void
sent_answers_list(const struct sent_answers *s, struct msg_attempt *out)
{
	for (const struct answer *a = s->oldest; a != NULL; a = a->newer)
		*out++ = a->id;
}

/* Those that are due are kept until they were said. */
void
sent_answers_expire(struct sent_answers *s, int64_t now)
{
	while (
	    s->oldest != NULL && s->oldest != s->due && now >= s->oldest->until)
		remove_oldest(s);
}

void
sent_answers_forget(struct sent_answers *s)
{
	while (s->oldest != NULL)
		remove_oldest(s);
}

void
sent_answers_again(struct sent_answers *s)
{
	s->due = s->oldest;
}

const struct msg *
sent_answers_due(const struct sent_answers *s)
{
	return s->due != NULL ? &s->due->m : NULL;
}

void
sent_answers_said(struct sent_answers *s, int64_t until)
{
	s->due->until = until;
	s->due = s->due->newer;
}
