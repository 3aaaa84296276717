/*
 * Inside of dispatch_paths.c, which asks workers for store paths, and of
 * dispatch_needs.c, which says what jobs lack where.  For these two alone.
 */
#ifndef DISPATCH_PATHS_H
#define DISPATCH_PATHS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "digest.h"
#include "dispatch/path_table.h"
#include "dispatch/question.h"
#include "dispatch/stock_page.h"

struct dispatch;
struct err;
struct peer;

/* Lists of a page whose digests are kept: all of it, and what is new. */
#define PATH_LISTS 2

/* Paths of a page, as workers are asked for them. */
struct path_list {
	size_t page;
	uint64_t era;
	size_t from, to;
};

struct paths {
	struct path_table *table;
	char *store_dir, *store_root; /* of all jobs; NULL: none came yet */
	void *stocks;
	uint64_t mark; /* of the last job that was looked at */
	uint64_t seen; /* changes of the table after which all were asked */
	int64_t look_at;
	uint64_t version; /* of what is known */
	int64_t version_at;
	struct page_state {
		/* Of so many all know whether they have them. */
		uint64_t era, version;
		size_t known;
		/* Jobs that run, or could, need none beyond. */
		uint64_t sent_era;
		size_t sent;
		struct kept {
			struct path_list list; /* to 0: none */
			struct digest digest;
		} kept[PATH_LISTS];
	} page[PATH_PAGES];
};

struct peer_paths {
	struct question q;
	bool told; /* the list itself was sent */
	struct path_list list;
	int64_t since;	   /* it was asked */
	int64_t silent_to; /* it is not asked earlier */
	struct {
		int64_t at; /* when it was said */
		struct stock_page *stock;
	} page[PATH_PAGES];
};

/* Not of a page as it was before. */
static inline struct stock_page *
peer_stock_of(
    const struct peer_paths *k, size_t page, const struct path_page *at)
{
	struct stock_page *s = k->page[page].stock;

	return s != NULL && s->era == at->era ? s : NULL;
}

static inline size_t
peer_known_to(
    const struct peer_paths *k, size_t page, const struct path_page *at)
{
	const struct stock_page *s = peer_stock_of(k, page, at);

	return s == NULL ? 0 : s->n;
}

/*
 * p is the scheduler's: what jobs that need that page (PATH_PAGES: any) lack
 * there.
 */
int dispatch_needs_tell(
    struct dispatch *d, const struct peer *p, size_t page, struct err *e);

#endif
