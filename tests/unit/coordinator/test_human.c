#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "text/human.h"

static void
bytes(void **state)
{
	static const struct {
		uint64_t v;
		const char *text;
	} cases[] = {
	    {0, "0 B"},
	    {999, "999 B"},
	    {1000, "0.98 KiB"},
	    {1024, "1.00 KiB"},
	    {10240, "10.0 KiB"},
	    {102400, "100 KiB"},
	    {1023 * 1024, "1.00 MiB"},
	    {(uint64_t)2270 << 20, "2.22 GiB"},
	    {UINT64_MAX, "16.0 EiB"},
	};
	char out[HUMAN_MAX];

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		human_bytes(cases[i].v, out);
		assert_string_equal(out, cases[i].text);
	}
}

static void
seconds(void **state)
{
	static const struct {
		double v;
		const char *text;
	} cases[] = {
	    {-1, "0.00 s"},
	    {0.123, "0.12 s"},
	    {0.999, "1.0 s"},
	    {4.56, "4.6 s"},
	    {9.96, "9 s"},
	    {59.9, "59 s"},
	    {123, "2:03"},
	    {3723, "1:02:03"},
	};
	char out[HUMAN_MAX];

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		human_seconds(cases[i].v, out);
		assert_string_equal(out, cases[i].text);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(bytes),
	    cmocka_unit_test(seconds),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
