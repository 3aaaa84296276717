/* What the scheduler makes of how fast workers are. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "scheduler_script.h"

static void
measured(struct scheduler *s, uint64_t worker, uint64_t bytes)
{
	sched_measured(s, (struct worker_id){worker}, bytes, 1000);
}

/* Small jobs first, until beats say who is fast: it gets the largest. */
static void
the_largest_waits_for_the_fastest(void **state)
{
	struct scheduler *s = make();

	(void)state;
	add(s, 1000 * MB);
	add(s, 500 * MB);
	for (int i = 0; i < 4; i++)
		add(s, 20 * MB);
	for (uint64_t w = 0; w < 3; w++)
		up(s, 0, w, 1);
	for (uint64_t w = 0; w < 3; w++)
		expect(s, 0, SCHED_SEND, 2 + w, w);
	/* One at a time. */
	expect_nothing(s, 0);
	/* 10 MB/s; nothing large yet: the others may be faster. */
	progress(s, 200, 0, 2, 1, 2 * MB);
	expect(s, 200, SCHED_SEND, 5, 0);
	expect_nothing(s, 200);
	progress(s, 210, 1, 3, 1, 4200000);
	expect_nothing(s, 210);
	/* 80 MB/s.  20 and 10 MB/s are too slow for what is left. */
	progress(s, 220, 2, 4, 1, 17600000);
	expect(s, 220, SCHED_SEND, 0, 2);
	expect_nothing(s, 220);
	done_at(s, 250, 2, 4, 1, SCHED_ACCEPTED);
	/* 13 s, and 6 s for the next one; the others would take 25 s. */
	expect(s, 250, SCHED_SEND, 1, 2);
	/* But what waits at worker 0 is done sooner here. */
	done_at(s, 1000, 1, 3, 1, SCHED_ACCEPTED);
	expect(s, 1000, SCHED_CANCEL, 5, 0);
	expect(s, 1000, SCHED_SEND, 5, 1);
	expect_nothing(s, 1000);
	sched_free(s);
}

/* But not for ever. */
static void
who_says_nothing_is_not_waited_for(void **state)
{
	struct scheduler *s = make();

	(void)state;
	add(s, 1000 * MB);
	for (int i = 0; i < 3; i++)
		add(s, 10 * MB);
	up(s, 0, 0, 1);
	up(s, 0, 1, 1);
	expect(s, 0, SCHED_SEND, 1, 0);
	expect(s, 0, SCHED_SEND, 2, 1);
	progress(s, 200, 0, 1, 1, 2 * MB);
	expect(s, 200, SCHED_SEND, 3, 0);
	done_at(s, 299, 0, 1, 1, SCHED_ACCEPTED);
	expect_nothing(s, 299);
	done_at(s, 400, 0, 3, 1, SCHED_ACCEPTED);
	expect(s, 400, SCHED_SEND, 0, 0);
	sched_free(s);
}

/* All are known: each gets the largest that does not make the run longer. */
static void
none_begins_what_it_cannot_end_in_time(void **state)
{
	struct scheduler *s = make();

	(void)state;
	add(s, 1000 * MB);
	add(s, 300 * MB);
	add(s, 90 * MB);
	up(s, 0, 0, 1);
	up(s, 0, 1, 1);
	measured(s, 0, 10 * MB);
	measured(s, 1, 100 * MB);
	expect(s, 0, SCHED_SEND, 0, 1);
	/* 13 s behind that, 30 s at the other one, though it is idle. */
	expect(s, 0, SCHED_SEND, 1, 1);
	expect(s, 0, SCHED_SEND, 2, 0);
	expect_nothing(s, 0);
	sched_free(s);
}

/* What waits at the fast worker makes room for what all will wait for. */
static void
a_copy_goes_before_what_waits(void **state)
{
	struct scheduler *s = make();

	(void)state;
	up(s, 0, 0, 1);
	add(s, 1000 * MB);
	expect(s, 0, SCHED_SEND, 0, 0);
	for (int i = 0; i < 60; i++)
		add(s, 10 * MB);
	up(s, 0, 1, 1);
	measured(s, 1, 100 * MB);
	expect(s, 0, SCHED_SEND, 1, 1);
	expect(s, 0, SCHED_SEND, 2, 1);
	expect_nothing(s, 0);
	/* 1 MB/s: another 1,000 s. */
	progress(s, 60, 0, 0, 1, 60000);
	progress(s, 60, 1, 1, 1, 6 * MB);
	expect(s, 60, SCHED_CANCEL, 2, 1);
	expect(s, 60, SCHED_SEND, 0, 1);
	expect_nothing(s, 60);
	sched_free(s);
}

/* A lie about bytes makes nobody faster than a machine can be. */
static void
lies_are_bounded(void **state)
{
	struct scheduler *s = make();

	(void)state;
	for (int i = 0; i < 8; i++)
		add(s, 100 * MB);
	up(s, 0, 0, 1);
	up(s, 0, 1, 1);
	expect(s, 0, SCHED_SEND, 0, 0);
	expect(s, 0, SCHED_SEND, 1, 1);
	/* 12.5 GB/s: 7 of these take 56 ms, and the other one 1.8 s. */
	progress(s, 200, 0, 0, 1, UINT64_MAX);
	progress(s, 200, 1, 1, 1, 10 * MB);
	expect(s, 200, SCHED_SEND, 1, 0);
	sched_free(s);
}

/* What it does counts, not what was said of it. */
static void
a_word_lasts_until_work_is_seen(void **state)
{
	struct scheduler *s = make();

	(void)state;
	for (int i = 0; i < 4; i++)
		add(s, (uint64_t)(1000 - 10 * i) * MB);
	up(s, 0, 0, 1);
	up(s, 0, 1, 1);
	/* 12.5 GB/s at most. */
	measured(s, 0, UINT64_MAX);
	measured(s, 1, 100 * MB);
	expect(s, 0, SCHED_SEND, 0, 0);
	expect(s, 0, SCHED_SEND, 1, 0);
	expect(s, 0, SCHED_SEND, 3, 1);
	expect_nothing(s, 0);
	progress(s, 100, 1, 3, 1, 10 * MB);
	expect_nothing(s, 100);
	/* 10 MB/s it is: 100 s, where all could be done in 36. */
	progress(s, 200, 0, 0, 1, 2 * MB);
	expect(s, 200, SCHED_SEND, 0, 1);
	expect_nothing(s, 200);
	sched_free(s);
}

/* All are slower than was said: so is who has not worked yet. */
static void
what_was_said_is_scaled(void **state)
{
	struct scheduler *s = make();

	(void)state;
	add(s, 20 * MB);
	up(s, 0, 0, 1);
	measured(s, 0, 400 * MB);
	expect(s, 0, SCHED_SEND, 0, 0);
	add(s, 30 * MB);
	up(s, 0, 1, 1);
	expect(s, 0, SCHED_SEND, 1, 1);
	done_at(s, 200, 0, 0, 1, SCHED_ACCEPTED);
	done_at(s, 200, 1, 1, 1, SCHED_ACCEPTED);
	/* 100 and 150 MB/s; a quarter of 500. */
	up(s, 200, 2, 1);
	measured(s, 2, 500 * MB);
	add(s, 500 * MB);
	add(s, 400 * MB);
	add(s, 300 * MB);
	expect(s, 200, SCHED_SEND, 2, 1);
	expect(s, 200, SCHED_SEND, 3, 2);
	expect(s, 200, SCHED_SEND, 4, 0);
	sched_free(s);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(the_largest_waits_for_the_fastest),
	    cmocka_unit_test(who_says_nothing_is_not_waited_for),
	    cmocka_unit_test(none_begins_what_it_cannot_end_in_time),
	    cmocka_unit_test(a_copy_goes_before_what_waits),
	    cmocka_unit_test(lies_are_bounded),
	    cmocka_unit_test(a_word_lasts_until_work_is_seen),
	    cmocka_unit_test(what_was_said_is_scaled),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
