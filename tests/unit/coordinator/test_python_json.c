#include "python.h"

#include <math.h>

#include "err.h"
#include "text/python_json.h"
#include "text/python_printable.h"

#define N 4000

/* Reads back what json wrote and writes it again. */
static const char again[] =
    "import sys, json\n"
    "for line in sys.stdin.buffer.read().split(b'\\0')[:-1]:\n"
    "    text = json.dumps(json.loads(line), indent=4)\n"
    "    sys.stdout.buffer.write(text.encode() + b'\\0')\n";

static uint32_t
random_code(uint64_t *seed)
{
	uint64_t r = python_random(seed);
	uint32_t code;

	switch (r % 8) {
	case 0:
		return 1 + (uint32_t)(r >> 8) % 0x1f;
	case 1:
		return 0x7f + (uint32_t)(r >> 8) % 0x200;
	case 2:
		code = 0x800 + (uint32_t)(r >> 8) % 0xf800;
		return code >= 0xd800 && code <= 0xdfff ? 0x2028 : code;
	case 3:
		return 0x10000 + (uint32_t)(r >> 8) % 0x100000;
	default:
		return 0x20 + (uint32_t)(r >> 8) % 0x5f;
	}
}

static size_t
encode(uint32_t code, char *out)
{
	if (code < 0x80) {
		out[0] = (char)code;
		return 1;
	}
	if (code < 0x800) {
		out[0] = (char)(0xc0 | code >> 6);
		out[1] = (char)(0x80 | (code & 0x3f));
		return 2;
	}
	if (code < 0x10000) {
		out[0] = (char)(0xe0 | code >> 12);
		out[1] = (char)(0x80 | (code >> 6 & 0x3f));
		out[2] = (char)(0x80 | (code & 0x3f));
		return 3;
	}
	out[0] = (char)(0xf0 | code >> 18);
	out[1] = (char)(0x80 | (code >> 12 & 0x3f));
	out[2] = (char)(0x80 | (code >> 6 & 0x3f));
	out[3] = (char)(0x80 | (code & 0x3f));
	return 4;
}

static void
random_text(uint64_t *seed, char out[static 64])
{
	size_t n = python_random(seed) % 12, len = 0;

	for (size_t i = 0; i < n; i++)
		len += encode(random_code(seed), out + len);
	out[len] = '\0';
}

static double
power_of_ten(int n)
{
	double v = 1;

	for (; n > 0; n--)
		v *= 10;
	for (; n < 0; n++)
		v /= 10;
	return v;
}

static double
random_real(uint64_t *seed)
{
	uint64_t bits = python_random(seed);
	double v;

	switch (bits % 5) {
	case 0: /* powers of two and the doubles below them */
		bits = (1 + (bits >> 8) % 2046) << 52;
		bits -= python_random(seed) & 1;
		memcpy(&v, &bits, sizeof(v));
		return v;
	case 1: /* few digits */
		return (double)(bits >> 40) * power_of_ten(-(int)(bits % 97));
	case 2: /* where the notation changes */
		return power_of_ten((int)(bits >> 8 & 31) - 8) *
		    (double)(1 + (bits >> 20) % 30);
	default:
		memcpy(&v, &bits, sizeof(v));
		return isfinite(v) ? v : -0.0;
	}
}

static json_t *
random_value(uint64_t *seed, int depth)
{
	char text[64];
	size_t n = python_random(seed) % 4;
	json_t *v;

	switch (python_random(seed) % (depth > 0 ? 10 : 7)) {
	case 0:
		return json_null();
	case 1:
		return json_boolean(n & 1);
	case 2:
		return json_integer((json_int_t)(python_random(seed) >>
					(python_random(seed) % 64)) *
		    (n & 1 ? 1 : -1));
	case 3:
	case 4:
		return json_real(random_real(seed));
	case 5:
	case 6:
		random_text(seed, text);
		return json_string(text);
	case 7:
		v = json_array();
		for (size_t i = 0; i < n; i++)
			json_array_append_new(v, random_value(seed, depth - 1));
		return v;
	default:
		v = json_object();
		for (size_t i = 0; i < n; i++) {
			random_text(seed, text);
			json_object_set_new(
			    v, text, random_value(seed, depth - 1));
		}
		return v;
	}
}

/* Texts that end in NUL, one after the other: the first that differ. */
static void
assert_same(const char *mine, const char *theirs, size_t len, size_t their_len)
{
	size_t at = 0;

	while (at < len && at < their_len) {
		if (strcmp(mine + at, theirs + at) != 0)
			fail_msg("%s\nPython: %s", mine + at, theirs + at);
		at += strlen(mine + at) + 1;
	}
	assert_int_equal(len, their_len);
}

/*
 * Python reads our output, so a value that we spoil would go unseen: it reads
 * jansson's own text of the value instead, with reals in 17 digits.
 */
static void
dumps_as_python(void **state)
{
	char *in = NULL, *mine = NULL, *theirs;
	size_t in_len, mine_len, their_len;
	FILE *in_f = open_memstream(&in, &in_len);
	FILE *mine_f = open_memstream(&mine, &mine_len);
	uint64_t seed = 7;

	(void)state;
	for (size_t i = 0; i < N; i++) {
		json_t *v = random_value(&seed, 4);

		assert_non_null(v);
		json_dumpf(v, in_f, JSON_ENCODE_ANY | JSON_REAL_PRECISION(17));
		fputc('\0', in_f);
		python_json_put(mine_f, v);
		fputc('\0', mine_f);
		json_decref(v);
	}
	fclose(in_f);
	fclose(mine_f);
	theirs = python_run(again, in, in_len, &their_len);
	assert_same(mine, theirs, mine_len, their_len);
	free(in);
	free(mine);
	free(theirs);
}

static void
reals_as_python(void **state)
{
	static const char program[] =
	    "import sys\n"
	    "for line in sys.stdin.read().split():\n"
	    "    sys.stdout.write(repr(float.fromhex(line)) + '\\0')\n";
	static const double fixed[] = {0.0, -0.0, 0.1, 1.5, 1e16, 1e15, 1e-5,
	    1e-4, 123456789012345680.0, 5e-324, 2.2250738585072014e-308,
	    1.7976931348623157e308, 5.684341886080802e-14, 9007199254740993.0,
	    9999999999999998.0, 1e22, 1e23, 100.0, -2.5, 0.3, 1e100};
	char *in = NULL, *mine = NULL, *theirs;
	size_t in_len, mine_len, their_len;
	FILE *in_f = open_memstream(&in, &in_len);
	FILE *mine_f = open_memstream(&mine, &mine_len);
	uint64_t seed = 99;
	size_t n = sizeof(fixed) / sizeof(fixed[0]);

	(void)state;
	for (size_t i = 0; i < n + 30000; i++) {
		double d = i < n ? fixed[i] : random_real(&seed);
		json_t *v = json_real(d);

		fprintf(in_f, "%a\n", d);
		python_json_put(mine_f, v);
		fputc('\0', mine_f);
		json_decref(v);
	}
	/* All powers of two. */
	for (int i = -1074; i < 1024; i++) {
		json_t *v = json_real(ldexp(1.0, i));

		fprintf(in_f, "%a\n", ldexp(1.0, i));
		python_json_put(mine_f, v);
		fputc('\0', mine_f);
		json_decref(v);
	}
	fclose(in_f);
	fclose(mine_f);
	theirs = python_run(program, in, in_len, &their_len);
	assert_same(mine, theirs, mine_len, their_len);
	free(in);
	free(mine);
	free(theirs);
}

/* Lists of file names of any bytes, decoded as Python decodes file names. */
static void
repr_as_python(void **state)
{
	static const char program[] =
	    "import sys\n"
	    "for line in sys.stdin.buffer.read().split(b'\\0\\0')[:-1]:\n"
	    "    items = [] if line == b'' else line.split(b'\\0')\n"
	    "    text = repr([i.decode('utf-8', 'surrogateescape')\n"
	    "                 for i in items])\n"
	    "    sys.stdout.buffer.write(text.encode() + b'\\0')\n";
	static const char *const bytes[] = {"\xff", "\xc3(", "\xe2\x82",
	    "\xed\xa0\x80", "\xf4\x90\x80\x80", "\xc0\x80", "\xf0\x9f\x98\x80",
	    "it's", "\"q\"", "it's \"q\"", "back\\slash", "\x7f\x80\x01"};
	char *in = NULL, *mine = NULL, *theirs, text[4][64];
	size_t in_len, mine_len, their_len, n;
	FILE *in_f = open_memstream(&in, &in_len);
	FILE *mine_f = open_memstream(&mine, &mine_len);
	uint64_t seed = 5;
	const char *list[4];

	(void)state;
	for (size_t i = 0; i < N; i++) {
		n = 1 + python_random(&seed) % 4;
		for (size_t j = 0; j < n; j++) {
			random_text(&seed, text[j]);
			list[j] = python_random(&seed) % 4 == 0
			    ? bytes[python_random(&seed) % 12]
			    : text[j];
			if (*list[j] == '\0')
				list[j] = "x";
			fprintf(in_f, "%s%c", list[j], '\0');
		}
		fputc('\0', in_f);
		python_json_put_repr(mine_f, list, n);
		fputc('\0', mine_f);
	}
	fclose(in_f);
	fclose(mine_f);
	theirs = python_run(program, in, in_len, &their_len);
	assert_same(mine, theirs, mine_len, their_len);
	free(in);
	free(mine);
	free(theirs);
}

static void
printable_as_python(void **state)
{
	static const char program[] =
	    "import sys, unicodedata\n"
	    "if unicodedata.unidata_version == '14.0.0':\n"
	    "    sys.stdout.write(''.join('01'[chr(c).isprintable()]\n"
	    "        for c in range(0x110000)))\n";
	size_t len;
	char *theirs = python_run(program, "", 0, &len);

	(void)state;
	if (len == 0) { /* another Unicode */
		free(theirs);
		skip();
	}
	assert_int_equal(len, 0x110000);
	for (uint32_t c = 0; c < 0x110000; c++)
		if (python_printable(c) != (theirs[c] == '1'))
			fail_msg("U+%04x", c);
	free(theirs);
}

static void
layout(void **state)
{
	json_t *v = json_pack("{s[]s{}s[i,{s:n}]}", "a", "b", "c", 1, "d");
	char *out = NULL;
	const char *none[1] = {NULL};
	size_t len;
	FILE *f = open_memstream(&out, &len);

	(void)state;
	python_json_put(f, v);
	python_json_put_repr(f, none, 0);
	fclose(f);
	assert_string_equal(out,
	    "{\n    \"a\": [],\n    \"b\": {},\n    "
	    "\"c\": [\n        1,\n        {\n            "
	    "\"d\": null\n        }\n    ]\n}[]");
	json_decref(v);
	free(out);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(dumps_as_python),
	    cmocka_unit_test(reals_as_python),
	    cmocka_unit_test(repr_as_python),
	    cmocka_unit_test(printable_as_python),
	    cmocka_unit_test(layout),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
