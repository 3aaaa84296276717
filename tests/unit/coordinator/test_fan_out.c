#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "err.h"
#include "process/fan_out.h"

#define THINGS 1000

struct work {
	atomic_uint done[THINGS];
	atomic_uint busy[FAN_OUT_MAX]; /* things that a thread has */
	atomic_uint most, now;
	size_t bad; /* the thing that fails */
	unsigned threads;
};

static int
one(void *arg, unsigned thread, size_t i, struct err *e)
{
	struct work *w = arg;
	unsigned now = atomic_fetch_add(&w->now, 1) + 1;
	unsigned most = atomic_load(&w->most);
	bool clash =
	    thread >= w->threads || atomic_fetch_add(&w->busy[thread], 1) != 0;

	while (
	    now > most && !atomic_compare_exchange_weak(&w->most, &most, now))
		;
	if (i % 50 == 0)
		usleep(1000);
	atomic_fetch_add(&w->done[i], 1);
	atomic_fetch_sub(&w->now, 1);
	if (clash)
		return err_set(e, ERR_FATAL, 0, "thread %u has two", thread);
	atomic_fetch_sub(&w->busy[thread], 1);
	return i == w->bad ? err_set(e, ERR_RETRY, 0, "thing %zu", i) : 0;
}

static int
run(struct work *w, size_t n, unsigned threads, size_t bad, bool *stopped,
    struct err *e)
{
	atomic_bool stop = false;
	const struct fan_out f = {
	    .n = n, .threads = threads, .one = one, .arg = w, .stop = &stop};
	int rc;

	memset(w, 0, sizeof(*w));
	w->bad = bad;
	w->threads = threads;
	rc = fan_out(&f, e);
	*stopped = atomic_load(&stop);
	return rc;
}

static void
each_once(void **state)
{
	static struct work w;
	struct err e = ERR_INIT;
	bool stopped;

	(void)state;
	for (unsigned threads = 1; threads <= FAN_OUT_MAX; threads += 5) {
		if (run(&w, THINGS, threads, SIZE_MAX, &stopped, &e) < 0)
			fail_msg("%s", e.text);
		assert_false(stopped);
		for (size_t i = 0; i < THINGS; i++)
			assert_int_equal(w.done[i], 1);
		assert_true(w.most <= threads);
	}
}

static void
none_and_few(void **state)
{
	static struct work w;
	struct err e = ERR_INIT;
	bool stopped;

	(void)state;
	assert_int_equal(run(&w, 0, 4, SIZE_MAX, &stopped, &e), 0);
	assert_int_equal(run(&w, 2, 4, SIZE_MAX, &stopped, &e), 0);
	assert_int_equal(w.done[0] + w.done[1], 2);
	assert_int_equal(w.done[2], 0);
}

/* The rest is not begun, and what runs has ended. */
static void
first_error(void **state)
{
	static struct work w;
	struct err e = ERR_INIT;
	size_t done = 0;
	bool stopped;

	(void)state;
	assert_int_equal(run(&w, THINGS, 4, 3, &stopped, &e), -1);
	assert_int_equal(e.kind, ERR_RETRY);
	assert_string_equal(e.text, "thing 3");
	assert_true(stopped);
	for (size_t i = 0; i < THINGS; i++)
		done += w.done[i];
	assert_true(done < THINGS);
	assert_int_equal(w.now, 0);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(each_once),
	    cmocka_unit_test(none_and_few),
	    cmocka_unit_test(first_error),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
