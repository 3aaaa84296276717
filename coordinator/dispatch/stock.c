#include "dispatch/stock.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "closure/closure.h"
#include "dispatch/dispatch.h"
#include "dispatch/dispatch_state.h"
#include "err.h"
#include "own.h"

static bool
has(const uint8_t *bits, size_t i)
{
	return (bits[i / 8] >> (i % 8) & 1) != 0;
}

static bool
has_all(const uint8_t *bits, size_t n)
{
	for (size_t i = 0; i < n / 8; i++)
		if (bits[i] != UINT8_MAX)
			return false;
	for (size_t i = n - n % 8; i < n; i++)
		if (!has(bits, i))
			return false;
	return true;
}

struct stock *
stock_take(struct stock **list, const uint8_t *bits, size_t n)
{
	const size_t n_bytes = (n + 7) / 8;
	struct stock *s = *list;

	while (s != NULL && memcmp(s->bits, bits, n_bytes) != 0)
		s = s->next;
	if (s == NULL) {
		if ((s = malloc(sizeof(*s) + n_bytes)) == NULL)
			return NULL;
		*s = (struct stock){.next = *list, .whole = has_all(bits, n)};
		memcpy(s->bits, bits, n_bytes);
		*list = s;
	}
	s->refs++;
	return s;
}

void
stock_drop(struct stock **list, struct stock **stock)
{
	struct stock **at = list, *s = *stock;

	*stock = NULL;
	if (s == NULL || --s->refs > 0)
		return;
	while (*at != s)
		at = &(*at)->next;
	*at = s->next;
	free(s->miss);
	free(s);
}

/* What a job of that closure lacks; 0: nothing. */
static uint64_t
missing_bytes(const struct dispatch_job *job, const uint8_t *bits)
{
	const struct closure *c = job->closure;
	uint64_t bytes = 0;
	bool some = false;

	for (size_t i = 0; i < job->n; i++) {
		uint32_t at = job->path[i];

		if (has(bits, at))
			continue;
		some = true;
		if (c->nar_size != NULL &&
		    __builtin_add_overflow(bytes, c->nar_size[at], &bytes))
			return SCHED_UNABLE;
	}
	return some && bytes == 0 ? 1 : bytes;
}

bool
stock_next_miss(const struct stock *s, const struct dispatch *d,
    const struct closure *closure, size_t *i, struct miss *out)
{
	if (s->whole)
		return false;
	if (s->found) {
		if (*i == s->n_misses)
			return false;
		*out = s->miss[(*i)++];
		return true;
	}
	while (*i < d->n_tasks) {
		const struct task *t = &d->task[(*i)++];

		if (t->job->closure != closure ||
		    t->job->spec->source != LAYER_FROM_STORE)
			continue;
		*out = (struct miss){t->id, missing_bytes(t->job, s->bits)};
		if (out->bytes > 0)
			return true;
	}
	return false;
}

int
stock_find(struct stock *s, const struct dispatch *d,
    const struct closure *closure, struct err *e)
{
	struct miss m, *miss = NULL;
	size_t n = 0;

	for (size_t i = 0; stock_next_miss(s, d, closure, &i, &m); n++) {
		/* Doubles at powers of two. */
		if ((n & (n - 1)) == 0) {
			struct miss *more = reallocarray(
			    miss, n == 0 ? 1 : 2 * n, sizeof(*miss));

			if (more == NULL) {
				free(miss);
				return err_set(e, ERR_FATAL, errno, "locality");
			}
			miss = more;
		}
		miss[n] = m;
	}
	s->found = true;
	s->miss = miss;
	s->n_misses = n;
	return 0;
}

void
stock_forget(struct stock *s)
{
	own_freep(&s->miss);
	s->n_misses = 0;
	s->found = false;
}
