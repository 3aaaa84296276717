#include "dispatch/path_table.h"

#include <assert.h>
#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/queue.h>
#include <unistd.h>

#include "closure/hash_index.h"
#include "err.h"
#include "layer_spec.h"
#include "own.h"
#include "store_path.h"

_Static_assert(PATH_NONE == HASH_INDEX_NONE, "no number");

struct page {
	struct path_page seen;
	uint64_t *key;
	TAILQ_ENTRY(page) entry; /* while nobody needs it */
};

struct path_table {
	struct page page[PATH_PAGES];
	size_t n_pages, most;
	struct page *open;	   /* has room, or NULL */
	TAILQ_HEAD(, page) unused; /* needed longest ago first */
	struct hash_index by_key;
	uint64_t seed; /* secret: clients choose names */
	uint64_t changes;
};

int
path_table_new(size_t pages, struct path_table **out, struct err *e)
{
	struct path_table *t = calloc(1, sizeof(*t));

	assert(pages <= PATH_PAGES);
	if (t == NULL || getentropy(&t->seed, sizeof(t->seed)) < 0) {
		free(t);
		return err_set(e, ERR_FATAL, errno, "store paths");
	}
	t->most = pages;
	TAILQ_INIT(&t->unused);
	*out = t;
	return 0;
}

void
path_table_free(struct path_table *t)
{
	if (t == NULL)
		return;
	for (size_t i = 0; i < t->n_pages; i++)
		free(t->page[i].key);
	hash_index_free(&t->by_key);
	free(t);
}

static uint32_t
number_of(const struct path_table *t, const struct page *page, size_t at)
{
	return (uint32_t)((size_t)(page - t->page) * PATH_PAGE + at);
}

static uint64_t
key_at(const struct path_table *t, uint32_t number)
{
	return t->page[number / PATH_PAGE].key[number % PATH_PAGE];
}

static uint32_t
find(struct path_table *t, uint64_t key)
{
	uint64_t hash = hash_number(t->seed, key);
	uint32_t number;
	size_t at;

	number = hash_index_first(&t->by_key, hash, &at);
	while (number != HASH_INDEX_NONE && key_at(t, number) != key)
		number = hash_index_next(&t->by_key, hash, &at);
	return number;
}

uint32_t
path_table_find(struct path_table *t, const char *path)
{
	return find(t, store_path_key(store_path_base(path)));
}

static void
empty(struct path_table *t, struct page *page)
{
	for (size_t i = 0; i < page->seen.n; i++)
		hash_index_remove(&t->by_key,
		    hash_number(t->seed, page->key[i]), number_of(t, page, i));
	page->seen.n = 0;
	page->seen.era++;
}

/* In t->open, unless all are needed. */
static int
find_room(struct path_table *t, struct err *e)
{
	struct page *page = NULL;

	if (t->open != NULL && t->open->seen.n < PATH_PAGE)
		return 0;
	t->open = NULL;
	if (t->n_pages < t->most) {
		page = &t->page[t->n_pages];
		page->key = calloc(PATH_PAGE, sizeof(*page->key));
		if (page->key == NULL ||
		    hash_index_reserve(
			&t->by_key, (t->n_pages + 1) * PATH_PAGE) < 0) {
			own_freep(&page->key);
			return err_set(e, ERR_FATAL, errno, "store paths");
		}
		page->seen.key = page->key;
		TAILQ_INSERT_TAIL(&t->unused, page, entry);
		t->n_pages++;
	} else if ((page = TAILQ_FIRST(&t->unused)) != NULL) {
		empty(t, page);
	}
	t->open = page;
	return 0;
}

static void
use(struct path_table *t, struct page *page)
{
	if (page->seen.users++ > 0)
		return;
	TAILQ_REMOVE(&t->unused, page, entry);
	t->changes++;
}

static void
leave(struct path_table *t, struct page *page)
{
	if (--page->seen.users == 0)
		TAILQ_INSERT_TAIL(&t->unused, page, entry);
}

/* PATH_NONE: there is no room for it. */
static int
take_one(
    struct path_table *t, const char *path, uint32_t *number, struct err *e)
{
	uint64_t key = store_path_key(store_path_base(path));
	struct page *page;

	if ((*number = find(t, key)) != PATH_NONE)
		return 0;
	if (find_room(t, e) < 0)
		return -1;
	if ((page = t->open) == NULL)
		return 0;
	*number = number_of(t, page, page->seen.n);
	page->key[page->seen.n++] = key;
	hash_index_put(&t->by_key, hash_number(t->seed, key), *number);
	t->changes++;
	return 0;
}

static int
compare(const void *a, const void *b)
{
	const struct path_need *x = a, *y = b;

	return x->number < y->number ? -1 : x->number > y->number;
}

/* In their order, each once. */
static void
sort(struct path_needs *needs)
{
	size_t n = 0;

	qsort(needs->at, needs->n, sizeof(needs->at[0]), compare);
	for (size_t i = 0; i < needs->n; i++)
		if (n == 0 || needs->at[n - 1].number != needs->at[i].number)
			needs->at[n++] = needs->at[i];
	needs->n = n;
}

/* Of sorted ones, where pages begin. */
static int
find_runs(struct path_needs *needs, size_t n_pages, struct err *e)
{
	struct path_run *run = calloc(n_pages + 1, sizeof(*run));
	size_t n = 0;

	if (run == NULL)
		return err_set(e, ERR_FATAL, errno, "store paths");
	for (size_t i = 0; i < needs->n; i++) {
		uint32_t page = needs->at[i].number / PATH_PAGE;

		if (n == 0 || run[n - 1].page != page)
			run[n++].page = page;
		run[n - 1].n++;
	}
	needs->run = run;
	needs->n_runs = n;
	return 0;
}

int
path_table_take(struct path_table *t, const struct layer_item *item, size_t n,
    struct path_needs **out, struct err *e)
{
	bool used[PATH_PAGES] = {false};
	struct path_needs *needs =
	    calloc(1, sizeof(*needs) + n * sizeof(needs->at[0]));
	size_t n_used = 0;
	uint32_t number;

	if (needs == NULL)
		return err_set(e, ERR_FATAL, errno, "store paths");
	for (size_t i = 0; i < n; i++) {
		if (take_one(t, item[i].path, &number, e) < 0)
			goto fail;
		if (number == PATH_NONE)
			continue;
		/* At once: the next path may need a page. */
		if (!used[number / PATH_PAGE]) {
			use(t, &t->page[number / PATH_PAGE]);
			n_used++;
		}
		used[number / PATH_PAGE] = true;
		needs->at[needs->n++] = (struct path_need){
		    number, item[i].has_hash ? item[i].nar_size : 0};
	}
	sort(needs);
	if (find_runs(needs, n_used, e) < 0)
		goto fail;
	*out = needs;
	return 0;
fail:
	for (size_t i = 0; i < PATH_PAGES; i++)
		if (used[i])
			leave(t, &t->page[i]);
	free(needs);
	return -1;
}

void
path_table_drop(struct path_table *t, struct path_needs **needs)
{
	if (*needs == NULL)
		return;
	for (size_t i = 0; i < (*needs)->n_runs; i++)
		leave(t, &t->page[(*needs)->run[i].page]);
	free((*needs)->run);
	own_freep(needs);
}

size_t
path_table_pages(const struct path_table *t)
{
	return t->n_pages;
}

const struct path_page *
path_table_page(const struct path_table *t, size_t i)
{
	return &t->page[i].seen;
}

uint64_t
path_table_changes(const struct path_table *t)
{
	return t->changes;
}
