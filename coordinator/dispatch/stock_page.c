#include "dispatch/stock_page.h"

#include <search.h>
#include <stdlib.h>
#include <string.h>

static int
compare(const void *a, const void *b)
{
	const struct stock_page *x = a, *y = b;

	if (x->page != y->page)
		return x->page < y->page ? -1 : 1;
	if (x->era != y->era)
		return x->era < y->era ? -1 : 1;
	if (x->n != y->n)
		return x->n < y->n ? -1 : 1;
	return memcmp(x->bits, y->bits, sizeof(x->bits));
}

struct stock_page *
stock_page_take(void **all, const struct stock_page *like)
{
	struct stock_page **at = tfind(like, all, compare), *s;

	if (at != NULL) {
		(*at)->users++;
		return *at;
	}
	if ((s = malloc(sizeof(*s))) == NULL)
		return NULL;
	*s = *like;
	s->users = 1;
	s->mark = 0;
	if (tsearch(s, all, compare) == NULL) {
		free(s);
		return NULL;
	}
	return s;
}

void
stock_page_drop(void **all, struct stock_page **stock)
{
	struct stock_page *s = *stock;

	*stock = NULL;
	if (s == NULL || --s->users > 0)
		return;
	tdelete(s, all, compare);
	free(s);
}

bool
stock_page_lacks(struct stock_page *s, const struct path_need *need, size_t n,
    uint64_t mark, uint64_t *bytes)
{
	if (s->mark != mark) {
		s->mark = mark;
		s->lacks = false;
		s->bytes = 0;
		for (size_t i = 0; i < n; i++) {
			size_t at = need[i].number % PATH_PAGE;

			if (at >= s->n || stock_page_has(s, at))
				continue;
			s->lacks = true;
			if (__builtin_add_overflow(
				s->bytes, need[i].bytes, &s->bytes))
				s->bytes = UINT64_MAX;
		}
	}
	if (__builtin_add_overflow(*bytes, s->bytes, bytes))
		*bytes = UINT64_MAX;
	return s->lacks;
}
