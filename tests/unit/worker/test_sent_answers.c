/* What is kept of answers, how long, and in which order it is said again. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "err.h"
#include "protocol.h"
#include "sent_answers.h"

static struct sent_answers *s;

static int
setup(void **state)
{
	struct err e = ERR_INIT;

	(void)state;
	return sent_answers_new(&s, &e);
}

static int
teardown(void **state)
{
	(void)state;
	sent_answers_free(s);
	return 0;
}

/* The text is the caller's, and gone afterwards. */
static void
keep(enum msg_type type, uint64_t job, int64_t until)
{
	const struct msg_attempt id = {job, 2 * job};
	struct msg m = {.type = type};
	char text[20];

	snprintf(text, sizeof(text), "text %u", (unsigned)job);
	if (type == MSG_FAIL)
		m.fail = (struct msg_fail){job, 2 * job, ERR_RETRY, 0, text, 0};
	else if (type == MSG_POSTPONE)
		m.postpone = (struct msg_postpone){job, 2 * job, text, 0};
	else
		m.done = (struct msg_done){.job = job, .attempt = 2 * job};
	sent_answers_keep(s, &id, &m, until);
	memset(text, 'x', sizeof(text));
}

static bool
know(uint64_t job)
{
	const struct msg_attempt id = {job, 2 * job}, other = {job, 77};

	assert_false(sent_answers_know(s, &other));
	return sent_answers_know(s, &id);
}

static void
test_again(void **state)
{
	struct msg_attempt all[3];

	(void)state;
	keep(MSG_DONE, 1, 100);
	keep(MSG_FAIL, 2, 200);
	keep(MSG_POSTPONE, 3, 300);
	assert_null(sent_answers_due(s));
	sent_answers_list(s, all);
	assert_int_equal(all[0].job, 1);
	assert_int_equal(all[2].attempt, 6);
	sent_answers_again(s);
	assert_int_equal(sent_answers_due(s)->type, MSG_DONE);
	assert_int_equal(sent_answers_due(s)->done.attempt, 2);
	/* What is due stays, whatever the time is. */
	sent_answers_expire(s, 1000);
	assert_int_equal(sent_answers_count(s), 3);
	sent_answers_said(s, 2000);
	assert_string_equal(sent_answers_due(s)->fail.text, "text 2");
	sent_answers_said(s, 2000);
	assert_string_equal(sent_answers_due(s)->postpone.text, "text 3");
	sent_answers_said(s, 2000);
	assert_null(sent_answers_due(s));
	sent_answers_expire(s, 1999);
	assert_int_equal(sent_answers_count(s), 3);
	sent_answers_expire(s, 2000);
	assert_int_equal(sent_answers_count(s), 0);
	assert_false(know(1));
}

static void
test_expire(void **state)
{
	(void)state;
	for (uint64_t i = 0; i < 10; i++)
		keep(MSG_DONE, i, (int64_t)(100 * i));
	sent_answers_expire(s, 450);
	assert_int_equal(sent_answers_count(s), 5);
	assert_false(know(4));
	assert_true(know(5));
	sent_answers_again(s);
	sent_answers_forget(s);
	assert_null(sent_answers_due(s));
	keep(MSG_DONE, 5, 1);
	assert_int_equal(sent_answers_count(s), 1);
}

/* No more than so many, the newest; also while the oldest are due. */
static void
test_most(void **state)
{
	(void)state;
	for (uint64_t i = 0; i < SENT_ANSWERS_MAX; i++)
		keep(MSG_DONE, i, 1);
	sent_answers_again(s);
	for (uint64_t i = 0; i < 3; i++)
		keep(MSG_FAIL, SENT_ANSWERS_MAX + i, 1);
	assert_int_equal(sent_answers_count(s), SENT_ANSWERS_MAX);
	assert_int_equal(sent_answers_due(s)->done.job, 3);
	assert_false(know(2));
	for (uint64_t i = 0; i < SENT_ANSWERS_MAX; i++)
		assert_true(know(3 + i));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(test_again, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_expire, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_most, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
