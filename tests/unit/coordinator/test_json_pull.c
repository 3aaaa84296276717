#include "closure/json_pull.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include "closure/closure.h"
#include "closure/closure_input.h"
#include "err.h"

/* All of a document, skipped; whole, and then byte by byte. */
static int
skip_all(const char *s, size_t len, bool by_byte, struct err *e)
{
	char *copy = malloc(len + 1);
	struct closure_input in;
	struct json_pull p;
	enum json_kind kind;
	int rc, fd = -1;

	assert_non_null(copy);
	memcpy(copy, s, len);
	if (by_byte) {
		assert_true((fd = memfd_create("json", MFD_CLOEXEC)) >= 0);
		assert_int_equal(pwrite(fd, s, len, 0), len);
		assert_int_equal(closure_input_open(&in, fd, e), 0);
		in.chunk = 1;
	} else
		closure_input_memory(&in, copy, len);
	json_pull_init(&p, &in);
	rc = json_pull_peek(&p, &kind, e) < 0 || json_pull_skip(&p, e) < 0 ||
		json_pull_finish(&p, e) < 0
	    ? -1
	    : 0;
	json_pull_free(&p);
	closure_input_close(&in);
	if (fd >= 0)
		close(fd);
	free(copy);
	return rc;
}

static void
check(const char *s, size_t len, const char *want)
{
	for (int by_byte = 0; by_byte < 2; by_byte++) {
		struct err e = ERR_INIT;
		int rc = skip_all(s, len, by_byte, &e);

		if (want == NULL) {
			if (rc < 0)
				fail_msg("%s: %s", s, e.text);
			continue;
		}
		if (rc == 0)
			fail_msg("taken: %s", s);
		assert_int_equal(e.kind, ERR_USAGE);
		if (strncmp(e.text, want, strlen(want)) != 0)
			fail_msg("%s: '%s', not '%s'", s, e.text, want);
	}
}

#define GOOD(s) check(s, sizeof(s) - 1, NULL)
#define BAD(s, want) check(s, sizeof(s) - 1, want)

static void
takes_the_grammar(void **state)
{
	(void)state;
	GOOD("0");
	GOOD("-0");
	GOOD("-0.0e-0");
	GOOD("12.50E+09");
	GOOD("1234567890123456789012345678901234567890");
	GOOD("true");
	GOOD(" false ");
	GOOD("\t\r\n null\n");
	GOOD("\"\"");
	GOOD("[]");
	GOOD("{}");
	GOOD("[ [ ] , { } , [ 1 , -2 ] ]");
	GOOD("{\"a\":1,\"b\":{\"a\":[{\"a\":{}}]},\"\":\"\"}");
	GOOD("\"\\\"\\\\\\/\\b\\f\\n\\r\\t\\u0000\\uFFff\"");
	GOOD("\"\x7f\xc2\x80\xdf\xbf\xe0\xa0\x80\xed\x9f\xbf\xee\x80\x80\"");
	GOOD("\"\xf0\x90\x80\x80\xf4\x8f\xbf\xbf\\ud83d\\ude00\"");
}

static void
refuses_structure(void **state)
{
	(void)state;
	BAD("", "byte 0: the file ends");
	BAD(" ", "byte 1: the file ends");
	BAD("[", "byte 1: the file ends");
	BAD("[1", "byte 2: the file ends");
	BAD("{\"a\":1", "byte 6: the file ends");
	BAD("[1,]", "byte 3: not JSON: a value");
	BAD("[,1]", "byte 1: not JSON: a value");
	BAD("[1 2]", "byte 3: not JSON: ',' or ']'");
	BAD("[1}", "byte 2: not JSON: ',' or ']'");
	BAD("{]", "byte 1: not JSON: a key");
	BAD("{\"a\"]", "byte 4: not JSON: ':'");
	BAD("{\"a\" 1}", "byte 5: not JSON: ':'");
	BAD("{\"a\":}", "byte 5: not JSON: a value");
	BAD("{\"a\":1,}", "byte 7: not JSON: a key");
	BAD("{\"a\":1 \"b\":2}", "byte 7: not JSON: ',' or '}'");
	BAD("{a:1}", "byte 1: not JSON: a key");
	BAD("{1:1}", "byte 1: not JSON: a key");
	BAD("[] []", "byte 3: something follows");
	BAD("1 1", "byte 2: something follows");
	BAD("]", "byte 0: not JSON: a value");
	BAD("// x\n1", "byte 0: not JSON: a value");
	BAD("\v1", "byte 0: not JSON: a value");
	BAD("\xc2\xa0"
	    "1",
	    "byte 0: not JSON: a value");
	BAD("[1]\0", "byte 3: something follows");
	BAD("NaN", "byte 0: not JSON: a value");
	BAD("nulL", "byte 0: not JSON: a value");
	BAD("truex", "byte 4: something follows");
	BAD("tru", "byte 0: the file ends");
}

static void
refuses_numbers(void **state)
{
	(void)state;
	BAD("01", "byte 1: something follows");
	BAD("-", "byte 1: not JSON: a digit");
	BAD("-01", "byte 2: something follows");
	BAD("+1", "byte 0: not JSON: a value");
	BAD(".5", "byte 0: not JSON: a value");
	BAD("1.", "byte 2: not JSON: a digit");
	BAD("1.e5", "byte 2: not JSON: a digit");
	BAD("1e", "byte 2: not JSON: a digit");
	BAD("1e+", "byte 3: not JSON: a digit");
	BAD("0x10", "byte 1: something follows");
	BAD("-Infinity", "byte 1: not JSON: a digit");
}

static void
refuses_strings(void **state)
{
	(void)state;
	BAD("\"", "byte 1: the file ends");
	BAD("\"abcdefghijk", "byte 12: the file ends");
	BAD("\"\n\"", "byte 1: a control character");
	BAD("\"abcdefg\0hi\"", "byte 8: a control character");
	BAD("\"\x1f\"", "byte 1: a control character");
	BAD("\"\\a\"", "byte 1: not an escape");
	BAD("\"\\\0\"", "byte 1: not an escape");
	BAD("\"\\u12g4\"", "byte 1: \\u needs four");
	BAD("\"\\u123\"", "byte 1: \\u needs four");
	BAD("\"\\u12", "byte 1: the file ends");
	BAD("\"\\udc00\"", "byte 7: half of a surrogate pair");
	BAD("\"\\ud800\"    ", "byte 7: half of a surrogate pair");
	BAD("\"\\ud800\\n      \"", "byte 7: half of a surrogate pair");
	BAD("\"\\ud800\\u0041\"", "byte 13: half of a surrogate pair");
	BAD("\"\x80\"", "byte 1: invalid UTF-8");
	BAD("\"\xc0\x80\"", "byte 1: invalid UTF-8");
	BAD("\"\xc1\xbf\"", "byte 1: invalid UTF-8");
	BAD("\"\xc2\"", "byte 1: invalid UTF-8");
	BAD("\"\xe0\x9f\xbf\"", "byte 1: invalid UTF-8");
	BAD("\"\xed\xa0\x80\"", "byte 1: invalid UTF-8");
	BAD("\"\xf0\x8f\xbf\xbf\"", "byte 1: invalid UTF-8");
	BAD("\"\xf4\x90\x80\x80\"", "byte 1: invalid UTF-8");
	BAD("\"\xf5\x80\x80\x80\"", "byte 1: invalid UTF-8");
	BAD("\"\xe2\x82\"  ", "byte 1: invalid UTF-8");
	BAD("\"\xff\"", "byte 1: invalid UTF-8");
}

static void
refuses_doubles(void **state)
{
	char s[4096];
	size_t n = 0;

	(void)state;
	BAD("{\"a\":1,\"a\":2}", "byte 7: the key \"a\" for the second");
	BAD("[{\"x\":{\"a\":1,\"b\":2,\"\\u0061\":3}}]",
	    "byte 19: the key \"a\" for the second");
	GOOD("[{\"a\":{\"a\":1},\"b\":{\"a\":1}},{\"a\":1}]");
	s[n++] = '{';
	for (int i = 0; i < 100; i++)
		n +=
		    (size_t)snprintf(s + n, sizeof(s) - n, "\"k%d\":%d,", i, i);
	memcpy(s + n, "\"k\":0}", 7);
	check(s, n + 6, NULL);
	memcpy(s + n, "\"k50\":0}", 9);
	check(s, n + 8, "byte ");
}

static void
refuses_depth(void **state)
{
	char s[200];

	(void)state;
	memset(s, '[', 64);
	memset(s + 64, ']', 64);
	check(s, 128, NULL);
	memset(s, '[', 65);
	memset(s + 65, ']', 65);
	check(s, 130, "byte 64: nested deeper than 64");
}

/* The string that the document is, by way of a window that moves. */
static void
decodes(void **state)
{
	static const char doc[] =
	    "  \"abcdefghij\\u00e9\\u20AC\\ud83d\\uDE00\\/\\\\\\\"x\xc3\xa9y"
	    "klmnopqrstuvw\\n\"  ";
	static const char want[] = "abcdefghij\xc3\xa9\xe2\x82\xac"
				   "\xf0\x9f\x98\x80/\\\"x\xc3\xa9yklmnopqrst"
				   "uvw\n";

	(void)state;
	for (size_t chunk = 1; chunk < 60; chunk++) {
		struct err e = ERR_INIT;
		struct closure_input in;
		struct closure_text t;
		struct json_pull p;
		enum json_kind kind;
		int fd = memfd_create("json", MFD_CLOEXEC);

		assert_true(fd >= 0);
		assert_int_equal(
		    pwrite(fd, doc, sizeof(doc) - 1, 0), sizeof(doc) - 1);
		assert_int_equal(closure_input_open(&in, fd, &e), 0);
		in.chunk = chunk;
		json_pull_init(&p, &in);
		assert_int_equal(json_pull_peek(&p, &kind, &e), 0);
		assert_int_equal(kind, JSON_STRING);
		assert_int_equal(json_pull_string(&p, &t, &e), 0);
		assert_int_equal(t.len, sizeof(want) - 1);
		assert_memory_equal(t.s, want, t.len);
		assert_int_equal(json_pull_finish(&p, &e), 0);
		json_pull_free(&p);
		closure_input_close(&in);
		close(fd);
	}
}

/* Values that are skipped may be longer than the window. */
static void
skips_long_strings(void **state)
{
	size_t n = CLOSURE_INPUT_WINDOW * 3;
	char *s = malloc(n);
	struct err e = ERR_INIT;

	(void)state;
	assert_non_null(s);
	memset(s, 'x', n);
	memcpy(s, "[\"", 2);
	memcpy(s + n - 2, "\"]", 2);
	assert_int_equal(skip_all(s, n, false, &e), 0);
	assert_int_equal(skip_all(s, n, true, &e), 0);
	free(s);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(takes_the_grammar),
	    cmocka_unit_test(refuses_structure),
	    cmocka_unit_test(refuses_numbers),
	    cmocka_unit_test(refuses_strings),
	    cmocka_unit_test(refuses_doubles),
	    cmocka_unit_test(refuses_depth),
	    cmocka_unit_test(decodes),
	    cmocka_unit_test(skips_long_strings),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
