/* Numbers of store paths: against what a job needs, page by page. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "dispatch/path_table.h"
#include "dispatch/stock_page.h"
#include "err.h"
#include "layer_spec.h"
#include "store_path.h"

#define DIR "/nix/store/"

static struct err e;

struct paths {
	struct layer_item *item;
	char (*text)[64];
	size_t n;
};

/* So many from that number on: each has that many bytes. */
static struct paths
paths(size_t first, size_t n)
{
	struct paths p = {calloc(n, sizeof(*p.item)), calloc(n, 64), n};

	for (size_t i = 0; i < n; i++) {
		snprintf(p.text[i], 64, DIR "%032zu-p", first + i);
		p.item[i] = (struct layer_item){
		    .path = p.text[i], .has_hash = true, .nar_size = first + i};
	}
	return p;
}

static void
paths_free(struct paths *p)
{
	free(p->item);
	free(p->text);
}

static struct path_needs *
take(struct path_table *t, size_t first, size_t n)
{
	struct paths p = paths(first, n);
	struct path_needs *needs;

	assert_int_equal(path_table_take(t, p.item, p.n, &needs, &e), 0);
	paths_free(&p);
	return needs;
}

static struct path_table *
table(size_t pages)
{
	struct path_table *t;

	assert_int_equal(path_table_new(pages, &t, &e), 0);
	return t;
}

static uint64_t
key_of(const struct path_table *t, uint32_t number)
{
	return path_table_page(t, number / PATH_PAGE)->key[number % PATH_PAGE];
}

static void
test_numbers(void **state)
{
	struct path_table *t = table(2);
	struct path_needs *a = take(t, 0, 3), *b = take(t, 1, 4);
	struct layer_item twice[3];
	struct paths p = paths(2, 2);
	struct path_needs *c;
	uint64_t changes;

	(void)state;
	assert_int_equal(a->n, 3);
	assert_int_equal(a->n_runs, 1);
	assert_int_equal(a->run[0].n, 3);
	assert_int_equal(path_table_page(t, 0)->users, 2);
	assert_int_equal(path_table_page(t, 0)->n, 5);
	for (size_t i = 0; i < 4; i++) {
		assert_int_equal(b->at[i].number, 1 + i);
		assert_int_equal(b->at[i].bytes, 1 + i);
	}
	/* In any order, doubled, one of unknown size: nothing is new. */
	changes = path_table_changes(t);
	twice[0] = p.item[1];
	twice[1] = p.item[0];
	twice[1].has_hash = false;
	twice[2] = p.item[1];
	assert_int_equal(path_table_take(t, twice, 3, &c, &e), 0);
	assert_int_equal(c->n, 2);
	assert_int_equal(c->at[0].number, 2);
	assert_int_equal(c->at[0].bytes, 0);
	assert_int_equal(c->at[1].bytes, 3);
	assert_int_equal(path_table_changes(t), changes);
	assert_int_equal(
	    key_of(t, 2), store_path_key(p.item[0].path + strlen(DIR)));
	paths_free(&p);
	path_table_drop(t, &a);
	path_table_drop(t, &b);
	path_table_drop(t, &c);
	assert_null(c);
	path_table_drop(t, &c);
	assert_int_equal(path_table_page(t, 0)->users, 0);
	/* It is needed again: that is news, though no path is. */
	a = take(t, 0, 1);
	assert_int_equal(path_table_changes(t), changes + 1);
	path_table_drop(t, &a);
	a = take(t, 0, 0);
	assert_int_equal(a->n + a->n_runs, 0);
	path_table_drop(t, &a);
	path_table_free(t);
}

/* What is needed stays; what is not goes, the oldest first. */
static void
test_pages_are_used_again(void **state)
{
	struct path_table *t = table(3);
	struct path_needs *a = take(t, 0, PATH_PAGE - 1);
	struct path_needs *b = take(t, PATH_PAGE - 1, PATH_PAGE + 1);
	struct path_needs *c = take(t, 2 * PATH_PAGE, PATH_PAGE);
	struct path_needs *d;
	uint64_t era = path_table_page(t, 1)->era;

	(void)state;
	assert_int_equal(path_table_pages(t), 3);
	assert_int_equal(b->n_runs, 2);
	assert_int_equal(b->run[0].n, 1);
	assert_int_equal(b->run[1].n, PATH_PAGE);
	/* All is in use: what is known has its number, what is new has none. */
	d = take(t, 3 * PATH_PAGE - 1, 2);
	assert_int_equal(d->n, 1);
	path_table_drop(t, &d);
	/* The second and the third are free, in this order; not the first. */
	path_table_drop(t, &b);
	path_table_drop(t, &c);
	d = take(t, 10 * PATH_PAGE, PATH_PAGE + 1);
	assert_int_equal(path_table_page(t, 0)->era, era);
	assert_int_equal(path_table_page(t, 1)->era, era + 1);
	assert_int_equal(path_table_page(t, 2)->era, era + 1);
	assert_int_equal(path_table_page(t, 2)->n, 1);
	assert_int_equal(d->n_runs, 2);
	/* What was there is forgotten, the page's other paths are not. */
	b = take(t, PATH_PAGE - 1, 2);
	assert_int_equal(b->at[0].number, PATH_PAGE - 1);
	assert_int_equal(b->at[1].number, 2 * PATH_PAGE + 1);
	assert_int_equal(b->n_runs, 2);
	path_table_drop(t, &a);
	path_table_drop(t, &b);
	path_table_drop(t, &d);
	path_table_free(t);
}

/* A job for which there are too few numbers, though nobody else has any. */
static void
test_larger_than_all(void **state)
{
	struct path_table *t = table(1);
	struct path_needs *a = take(t, 0, PATH_PAGE + 5);

	(void)state;
	assert_int_equal(a->n, PATH_PAGE);
	path_table_drop(t, &a);
	a = take(t, PATH_PAGE, 5);
	assert_int_equal(a->n, 5);
	assert_int_equal(path_table_page(t, 0)->n, 5);
	path_table_drop(t, &a);
	path_table_free(t);
}

static void
test_stock(void **state)
{
	struct stock_page like = {.page = 1, .era = 2, .n = 10};
	const struct path_need need[] = {{PATH_PAGE + 3, 5}, {PATH_PAGE + 4, 7},
	    {PATH_PAGE + 9, 0}, {PATH_PAGE + 10, 11}};
	struct stock_page *a, *b, *c;
	uint64_t bytes = 1;
	void *all = NULL;

	(void)state;
	stock_page_set(&like, 3);
	a = stock_page_take(&all, &like);
	b = stock_page_take(&all, &like);
	assert_ptr_equal(a, b);
	stock_page_set(&like, 9);
	c = stock_page_take(&all, &like);
	assert_ptr_not_equal(a, c);
	/* 4 and 9 are lacking; of 10 nothing is known. */
	assert_true(stock_page_lacks(a, need, 4, 1, &bytes));
	assert_int_equal(bytes, 8);
	assert_true(stock_page_lacks(a, NULL, 4, 1, &bytes));
	assert_int_equal(bytes, 15);
	assert_true(stock_page_lacks(a, need + 2, 1, 2, &bytes));
	assert_int_equal(bytes, 15);
	assert_false(stock_page_lacks(c, need + 2, 1, 2, &bytes));
	bytes = UINT64_MAX - 1;
	assert_true(stock_page_lacks(c, need, 4, 3, &bytes));
	assert_int_equal(bytes, UINT64_MAX);
	stock_page_drop(&all, &a);
	assert_null(a);
	stock_page_drop(&all, &b);
	stock_page_drop(&all, &c);
	stock_page_drop(&all, &c);
	assert_null(all);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_numbers),
	    cmocka_unit_test(test_pages_are_used_again),
	    cmocka_unit_test(test_larger_than_all),
	    cmocka_unit_test(test_stock),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
