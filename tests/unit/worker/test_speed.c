/* How fast a worker says it is. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "protocol.h"
#include "speed.h"

static void
nothing_is_known(void **state)
{
	const struct speed s = {0};

	(void)state;
	for (int i = 0; i < ENCODING_KINDS; i++)
		assert_true(speed_of(&s, (enum encoding_kind)i) == 0);
}

/* Who compresses does all the others do, and more. */
static void
a_trial_finds_each(void **state)
{
	struct speed s = {0};
	uint64_t plain;

	(void)state;
	speed_try(&s);
	plain = speed_of(&s, ENCODING_NONE);
	assert_true(plain > 0 && plain <= MSG_SPEED_MAX);
	for (int i = ENCODING_NONE + 1; i < ENCODING_KINDS; i++) {
		uint64_t speed = speed_of(&s, (enum encoding_kind)i);

		assert_true(speed > 0 && speed < plain);
	}
}

static void
layers_count_for_more(void **state)
{
	struct speed s = {.tried = {1000, 2000, 3000}};

	(void)state;
	/* Too little to say anything. */
	speed_add(&s, ENCODING_GZIP, 5000000, 99000);
	assert_true(speed_of(&s, ENCODING_GZIP) == 2000);
	speed_add(&s, ENCODING_GZIP, 5000000, 101000);
	assert_in_range(speed_of(&s, ENCODING_GZIP), 49800000, 50000000);
	/* One encoding says nothing about the others. */
	assert_true(speed_of(&s, ENCODING_NONE) == 1000);
	assert_true(speed_of(&s, ENCODING_ZSTD) == 3000);
	/* What was long ago is forgotten. */
	for (int i = 0; i < 20; i++)
		speed_add(&s, ENCODING_GZIP, 600000000, 60000000);
	assert_in_range(speed_of(&s, ENCODING_GZIP), 10000000, 10000100);
}

/* Whatever clocks do, it is what HELLO can hold. */
static void
it_is_bounded(void **state)
{
	struct speed s = {0};

	(void)state;
	speed_add(&s, ENCODING_NONE, 1, 200000);
	speed_add(&s, ENCODING_NONE, INT64_MAX, -5);
	assert_true(speed_of(&s, ENCODING_NONE) == MSG_SPEED_MAX);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(nothing_is_known),
	    cmocka_unit_test(a_trial_finds_each),
	    cmocka_unit_test(layers_count_for_more),
	    cmocka_unit_test(it_is_bounded),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
