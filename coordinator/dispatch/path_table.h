/*
 * Numbers for the store paths that jobs of a server need.  They come for ever,
 * and so not all can be kept: PATH_PAGE of them make a page, in the order in
 * which they came, and a page that no job needs any more is used again for
 * others, the one that was needed longest ago first.  Until then a path that
 * comes again has its number, and what was said of that holds.
 *
 * Memory: 8 bytes a path and at most 32 to find it, so 40 MiB at most with
 * PATH_PAGES pages; 16 bytes more for each path of each job.  Pure, one thread.
 */
#ifndef PATH_TABLE_H
#define PATH_TABLE_H

#include <stddef.h>
#include <stdint.h>

struct err;
struct layer_item;
struct path_table;

#define PATH_PAGE 8192 /* a PATHS message has as many */
#define PATH_PAGES 128 /* a million paths */

/* A number is a page's, times PATH_PAGE, and the place in it. */
struct path_need {
	uint32_t number;
	uint64_t bytes; /* of its NAR; 0: nobody knows */
};

/* What a job needs, in the order of numbers: n paths, of so many pages. */
struct path_needs {
	size_t n, n_runs;
	struct path_run {
		uint32_t page, n;
	} * run;
	struct path_need at[];
};

struct path_page {
	uint64_t era;	     /* grows when it is used for other paths */
	size_t n;	     /* paths, at most PATH_PAGE */
	size_t users;	     /* jobs that need some of them */
	const uint64_t *key; /* store_path_key of each */
};

/* pages: at most PATH_PAGES. */
int path_table_new(size_t pages, struct path_table **out, struct err *e);
void path_table_free(struct path_table *t);

/*
 * What a job of these n store paths needs: the table's, until it is dropped.
 * Paths for which there is no number left, as all pages are needed, are not in
 * it.
 */
int path_table_take(struct path_table *t, const struct layer_item *item,
    size_t n, struct path_needs **out, struct err *e);
/* *needs may be NULL, and is then. */
void path_table_drop(struct path_table *t, struct path_needs **needs);

/* Or PATH_NONE: it has none. */
#define PATH_NONE UINT32_MAX
uint32_t path_table_find(struct path_table *t, const char *path);

size_t path_table_pages(const struct path_table *t);
/* i < path_table_pages. */
const struct path_page *path_table_page(const struct path_table *t, size_t i);
/* How often pages have grown, or were needed again. */
uint64_t path_table_changes(const struct path_table *t);

#endif
