#include "text/python_json.h"

#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "text/python_printable.h"

#define INDENT 4
/* Digits that tell every double from every other. */
#define DOUBLE_DIGITS 17

/*
 * The code point at s, its length in bytes returned.  A byte that begins no
 * valid sequence is a surrogate by itself.
 */
static size_t
decode(const unsigned char *s, size_t len, uint32_t *code)
{
	static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
	size_t n = s[0] < 0x80 ? 1
	    : s[0] < 0xc2      ? 0
	    : s[0] < 0xe0      ? 2
	    : s[0] < 0xf0      ? 3
	    : s[0] < 0xf5      ? 4
			       : 0;
	uint32_t v;

	*code = 0xdc00u + s[0];
	if (n == 1)
		*code = s[0];
	if (n < 2 || n > len)
		return 1;
	v = s[0] & (0x7fu >> n);
	for (size_t i = 1; i < n; i++) {
		if ((s[i] & 0xc0) != 0x80)
			return 1;
		v = v << 6 | (s[i] & 0x3f);
	}
	if (v < least[n] || v > 0x10ffff || (v >= 0xd800 && v <= 0xdfff))
		return 1;
	*code = v;
	return n;
}

static void
put_unit(FILE *f, uint32_t unit)
{
	static const char digits[] = "0123456789abcdef";
	char text[6] = {'\\', 'u', digits[unit >> 12 & 15],
	    digits[unit >> 8 & 15], digits[unit >> 4 & 15], digits[unit & 15]};

	fwrite_unlocked(text, 1, sizeof(text), f);
}

static void
put_json_code(FILE *f, uint32_t code)
{
	static const char named[] = "\"\\\n\r\t\f\b", letters[] = "\"\\nrtfb";
	const char *p =
	    code != 0 && code < 0x80 ? strchr(named, (int)code) : NULL;

	if (p != NULL) {
		putc_unlocked('\\', f);
		putc_unlocked(letters[p - named], f);
	} else if (code >= 0x10000) {
		put_unit(f, 0xd800 + ((code - 0x10000) >> 10));
		put_unit(f, 0xdc00 + ((code - 0x10000) & 0x3ff));
	} else {
		put_unit(f, code);
	}
}

static void
put_json_string(FILE *f, const char *text, size_t len)
{
	const unsigned char *s = (const unsigned char *)text;
	uint32_t code;
	size_t i = 0, run;

	putc_unlocked('"', f);
	while (i < len) {
		for (run = i; run < len && s[run] >= 0x20 && s[run] < 0x7f &&
		     s[run] != '"' && s[run] != '\\';)
			run++;
		fwrite_unlocked(s + i, 1, run - i, f);
		i = run;
		if (i < len) {
			i += decode(s + i, len - i, &code);
			put_json_code(f, code);
		}
	}
	putc_unlocked('"', f);
}

/* Makes digits (d.ddde+xx) the next larger number of as many digits. */
static void
increment(char *digits)
{
	char *end = strchr(digits, 'e'), *p;
	int exponent = atoi(end + 1);

	for (p = end - 1; p >= digits; p--) {
		if (*p == '.')
			continue;
		if (*p != '9') {
			(*p)++;
			return;
		}
		*p = '0';
	}
	digits[0] = '1'; /* 9.99 became 10.0, that is 1.00 */
	sprintf(end, "e%+03d", exponent + 1);
}

/*
 * The fewest digits that read back as v > 0.  Just above a power of two the
 * gap is twice that below, so the nearest number of n digits may be another
 * double's while the next larger one is v's.
 */
static void
shortest(double v, char out[static 40])
{
	for (int n = 0; n < DOUBLE_DIGITS; n++) {
		snprintf(out, 40, "%.*e", n, v);
		if (strtod(out, NULL) == v)
			return;
		increment(out);
		if (strtod(out, NULL) == v)
			return;
	}
}

static void
put_real(FILE *f, double v)
{
	char text[40], digits[40];
	size_t n = 0;
	int exponent;

	if (signbit(v))
		putc_unlocked('-', f);
	if (v == 0) {
		fputs("0.0", f);
		return;
	}
	shortest(fabs(v), text);
	exponent = atoi(strchr(text, 'e') + 1);
	for (const char *p = text; *p != 'e'; p++)
		if (*p != '.')
			digits[n++] = *p;
	digits[n] = '\0';
	if (exponent < -4 || exponent >= 16)
		fprintf(f, "%c%s%se%+03d", digits[0], n > 1 ? "." : "",
		    digits + 1, exponent);
	else if (exponent < 0)
		fprintf(f, "0.%.*s%s", -exponent - 1, "000", digits);
	else if (n <= (size_t)exponent + 1)
		fprintf(f, "%s%.*s.0", digits, exponent + 1 - (int)n,
		    "0000000000000000");
	else
		fprintf(
		    f, "%.*s.%s", exponent + 1, digits, digits + exponent + 1);
}

static void
put_line(FILE *f, size_t depth)
{
	putc_unlocked('\n', f);
	for (size_t i = 0; i < depth * INDENT; i++)
		putc_unlocked(' ', f);
}

static void put_value(FILE *f, const json_t *value, size_t depth);

static void
put_array(FILE *f, const json_t *value, size_t depth)
{
	size_t n = json_array_size(value);

	putc_unlocked('[', f);
	for (size_t i = 0; i < n; i++) {
		if (i > 0)
			putc_unlocked(',', f);
		put_line(f, depth + 1);
		put_value(f, json_array_get(value, i), depth + 1);
	}
	if (n > 0)
		put_line(f, depth);
	putc_unlocked(']', f);
}

static void
put_object(FILE *f, const json_t *value, size_t depth)
{
	const char *key;
	json_t *member;
	size_t i = 0;

	putc_unlocked('{', f);
	json_object_foreach((json_t *)(uintptr_t)value, key, member)
	{
		if (i++ > 0)
			putc_unlocked(',', f);
		put_line(f, depth + 1);
		put_json_string(f, key, strlen(key));
		fputs(": ", f);
		put_value(f, member, depth + 1);
	}
	if (i > 0)
		put_line(f, depth);
	putc_unlocked('}', f);
}

static void
put_value(FILE *f, const json_t *value, size_t depth)
{
	switch (json_typeof(value)) {
	case JSON_OBJECT:
		put_object(f, value, depth);
		break;
	case JSON_ARRAY:
		put_array(f, value, depth);
		break;
	case JSON_STRING:
		put_json_string(
		    f, json_string_value(value), json_string_length(value));
		break;
	case JSON_INTEGER:
		fprintf(f, "%lld", (long long)json_integer_value(value));
		break;
	case JSON_REAL:
		put_real(f, json_real_value(value));
		break;
	case JSON_TRUE:
		fputs("true", f);
		break;
	case JSON_FALSE:
		fputs("false", f);
		break;
	case JSON_NULL:
		fputs("null", f);
		break;
	}
}

void
python_json_put(FILE *f, const json_t *value)
{
	put_value(f, value, 0);
}

static void
put_repr_code(
    FILE *f, uint32_t code, const unsigned char *s, size_t len, char quote)
{
	if (code == '\\' || code == (uint32_t)quote)
		fprintf(f, "\\%c", (int)code);
	else if (code == '\t' || code == '\n' || code == '\r')
		fprintf(f, "\\%c",
		    code == '\t'       ? 't'
			: code == '\n' ? 'n'
				       : 'r');
	else if (python_printable(code))
		fwrite_unlocked(s, 1, len, f);
	else if (code < 0x100)
		fprintf(f, "\\x%02x", code);
	else if (code < 0x10000)
		fprintf(f, "\\u%04x", code);
	else
		fprintf(f, "\\U%08x", code);
}

static void
put_repr(FILE *f, const char *text)
{
	const unsigned char *s = (const unsigned char *)text;
	size_t len = strlen(text), i = 0, run, n;
	char quote = '\'';
	uint32_t code;

	if (strchr(text, '\'') != NULL && strchr(text, '"') == NULL)
		quote = '"';
	putc_unlocked(quote, f);
	while (i < len) {
		for (run = i; run < len && s[run] >= 0x20 && s[run] < 0x7f &&
		     s[run] != (unsigned char)quote && s[run] != '\\';)
			run++;
		fwrite_unlocked(s + i, 1, run - i, f);
		i = run;
		if (i < len) {
			n = decode(s + i, len - i, &code);
			put_repr_code(f, code, s + i, n, quote);
			i += n;
		}
	}
	putc_unlocked(quote, f);
}

void
python_json_put_repr(FILE *f, const char *const *texts, size_t n)
{
	putc_unlocked('[', f);
	for (size_t i = 0; i < n; i++) {
		if (i > 0)
			fputs(", ", f);
		put_repr(f, texts[i]);
	}
	putc_unlocked(']', f);
}
