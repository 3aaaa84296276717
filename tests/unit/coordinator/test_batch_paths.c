/* Store paths of all layers of a batch: each once, and told apart by hash. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "batch/batch_paths.h"
#include "closure/closure.h"
#include "err.h"

#define N 5000

static struct digest hash[N];
static uint64_t size[N];
static char text[N][64];
static const char *path[N];

static struct closure
some(size_t first, size_t n)
{
	return (struct closure){.n = n,
	    .path = path + first,
	    .nar_hash = hash + first,
	    .nar_size = size + first};
}

static void
make(void)
{
	for (size_t i = 0; i < N; i++) {
		snprintf(text[i], sizeof(text[i]), "/nix/store/%032zu-x", i);
		path[i] = text[i];
		digest_of(&i, sizeof(i), &hash[i]);
		size[i] = i;
	}
}

static void
each_path_once(void **state)
{
	struct batch_paths *p;
	const struct closure *all;
	struct closure c;
	struct err e = ERR_INIT;
	uint32_t index, again;

	(void)state;
	make();
	assert_int_equal(batch_paths_new("/nix/store", &p, &e), 0);
	all = batch_paths_closure(p);
	c = some(0, N);
	for (size_t round = 0; round < 2; round++)
		for (size_t i = 0; i < N; i++) {
			assert_int_equal(
			    batch_paths_add(p, &c, i, &index, &e), 0);
			assert_int_equal(index, i);
		}
	assert_int_equal(all->n, N);
	/* Copies: the closure that they came from goes. */
	memset(text[7], 0, sizeof(text[7]));
	assert_int_equal(strlen(all->path[7]), 45);
	assert_true(digest_equal(&all->nar_hash[7], &hash[7]));
	assert_int_equal(all->nar_size[7], 7);
	/* Another hash, or size, is another path. */
	c = some(8, 1);
	hash[8].b[0] ^= 1;
	assert_int_equal(batch_paths_add(p, &c, 0, &index, &e), 0);
	assert_int_equal(index, N);
	size[8]++;
	assert_int_equal(batch_paths_add(p, &c, 0, &index, &e), 0);
	assert_int_equal(index, N + 1);
	assert_int_equal(batch_paths_add(p, &c, 0, &again, &e), 0);
	assert_int_equal(again, index);
	assert_string_equal(all->store_dir, "/nix/store");
	batch_paths_free(p);
	batch_paths_free(NULL);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(each_path_once),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
