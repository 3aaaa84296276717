/* Layers that many images want: each once, and who waits for them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "batch/batch_layers.h"
#include "err.h"

static struct err e;

static uint32_t
want(struct batch_layers *t, uint32_t image, int key, bool fresh)
{
	struct digest d;
	bool is_fresh;
	uint32_t i;

	digest_of(&key, sizeof(key), &d);
	assert_int_equal(
	    batch_layers_want(t, image, key < 0 ? NULL : &d, &i, &is_fresh, &e),
	    0);
	assert_int_equal(is_fresh, fresh);
	return i;
}

static uint64_t
waiters(const struct batch_layers *t, uint32_t layer)
{
	uint64_t at = 0, set = 0;
	uint32_t image;

	while ((image = batch_layers_next(t, layer, &at)) != BATCH_NONE)
		set |= UINT64_C(1) << image;
	return set;
}

static void
each_layer_once(void **state)
{
	struct batch_layers t = {0};
	struct batch_counts c;
	uint32_t a, b;

	(void)state;
	a = want(&t, 0, 1, true);
	b = want(&t, 0, 2, true);
	assert_int_equal(want(&t, 1, 1, false), a);
	assert_int_equal(want(&t, 2, 2, false), b);
	assert_int_equal(want(&t, 2, 1, false), a);
	/* Without a key each is another one. */
	assert_int_not_equal(want(&t, 0, -1, true), want(&t, 1, -1, true));
	assert_int_equal(waiters(&t, a), 7);
	assert_int_equal(waiters(&t, b), 5);
	assert_int_equal(t.layer[a].image, 0);
	t.layer[a].state = BATCH_KNOWN;
	t.layer[b].state = BATCH_MADE;
	t.layer[b].made.result.tar_size = 1024;
	batch_layers_count(&t, &c);
	assert_int_equal(c.wanted, 7);
	assert_int_equal(c.distinct, 4);
	assert_int_equal(c.known, 1);
	assert_int_equal(c.made, 1);
	assert_int_equal(c.failed, 0);
	assert_int_equal(c.made_bytes, 1024);
	batch_layers_clear(&t);
}

static void
left_when_nobody_waits(void **state)
{
	struct batch_layers t = {0};
	uint32_t a, b;

	(void)state;
	a = want(&t, 0, 1, true);
	want(&t, 1, 1, false);
	b = want(&t, 1, 2, true);
	t.layer[b].state = BATCH_KNOWN;
	assert_false(batch_layers_leave(&t, a));
	assert_int_equal(t.layer[a].state, BATCH_WANTED);
	assert_true(batch_layers_leave(&t, a));
	assert_int_equal(t.layer[a].state, BATCH_LEFT);
	/* There is nothing to stop. */
	assert_false(batch_layers_leave(&t, b));
	assert_int_equal(t.layer[b].state, BATCH_KNOWN);
	batch_layers_clear(&t);
}

static void
many(void **state)
{
	struct batch_layers t = {0};
	struct batch_counts c;

	(void)state;
	for (uint32_t image = 0; image < 50; image++)
		for (int key = 0; key < 1000; key++)
			want(&t, image, key, image == 0);
	batch_layers_count(&t, &c);
	assert_int_equal(c.wanted, 50000);
	assert_int_equal(c.distinct, 1000);
	assert_int_equal(waiters(&t, 999), (UINT64_C(1) << 50) - 1);
	batch_layers_clear(&t);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(each_layer_once),
	    cmocka_unit_test(left_when_nobody_waits),
	    cmocka_unit_test(many),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
