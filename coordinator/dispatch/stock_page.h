/*
 * What workers have of a page of store paths (path_table.h): kept once for all
 * of which the same is true.  The loop's thread.
 */
#ifndef STOCK_PAGE_H
#define STOCK_PAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "dispatch/path_table.h"

struct stock_page {
	size_t page;
	uint64_t era;
	size_t n; /* of so many it is known */
	uint8_t bits[PATH_PAGE / 8];
	/* stock_page.c's. */
	size_t users;
	uint64_t mark, bytes;
	bool lacks;
};

/* The one that is like it (used once more), or NULL: no memory. */
struct stock_page *stock_page_take(void **all, const struct stock_page *like);
/* *s may be NULL, and is then. */
void stock_page_drop(void **all, struct stock_page **s);

/*
 * Whether any of a job's n paths in that page is lacking, and their bytes,
 * which are added to *bytes: at most UINT64_MAX.  mark: not 0, the job's own,
 * for which it is found out once.
 */
bool stock_page_lacks(struct stock_page *s, const struct path_need *need,
    size_t n, uint64_t mark, uint64_t *bytes);

static inline bool
stock_page_has(const struct stock_page *s, size_t at)
{
	return (s->bits[at / 8] >> (at % 8) & 1) != 0;
}

static inline void
stock_page_set(struct stock_page *s, size_t at)
{
	s->bits[at / 8] |= (uint8_t)(1u << (at % 8));
}

#endif
