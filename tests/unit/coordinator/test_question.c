/* Which words about a question count, and which bits answer it. */
#include "dispatch/question.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "protocol.h"

static void
test_words(void **state)
{
	struct question q = {.number = 0};

	(void)state;
	assert_int_equal(question_word(&q, 0), QUESTION_WRONG);
	assert_int_equal(question_word(&q, 1), QUESTION_WRONG);
	assert_int_equal(question_ask(&q), 1);
	assert_int_equal(question_word(&q, 0), QUESTION_WRONG);
	assert_int_equal(question_word(&q, 1), QUESTION_COUNTS);
	assert_int_equal(question_word(&q, 2), QUESTION_WRONG);
	q.on = false; /* answered: the same again is doubled */
	assert_int_equal(question_word(&q, 1), QUESTION_IGNORED);
	assert_int_equal(question_ask(&q), 2);
	assert_int_equal(question_word(&q, 1), QUESTION_IGNORED);
	assert_int_equal(question_word(&q, 2), QUESTION_COUNTS);
}

static void
test_bits(void **state)
{
	uint8_t bits[] = {0xff, 0x1f};
	const struct msg_have m = {.bits = bits, .n = 2};

	(void)state;
	for (size_t n = 0; n <= 24; n++)
		assert_int_equal(question_fits(&m, n), n >= 13 && n <= 16);
	assert_true(question_fits(&(struct msg_have){.n = 0}, 0));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_words),
	    cmocka_unit_test(test_bits),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
