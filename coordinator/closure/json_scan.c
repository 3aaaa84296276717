#include "closure/json_scan.h"

#include <endian.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "closure/closure.h"
#include "closure/closure_input.h"
#include "err.h"

int
json_fail(struct err *e, uint64_t at, const char *fmt, ...)
{
	char why[ERR_TEXT_MAX - 64];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(why, sizeof(why), fmt, ap);
	va_end(ap);
	return err_set(
	    e, ERR_USAGE, 0, "byte %llu: %s", (unsigned long long)at, why);
}

int
json_fail_here(const struct closure_input *in, struct err *e, const char *why)
{
	return json_fail(e, closure_input_at(in), "%s", why);
}

int
json_fail_end(const struct closure_input *in, struct err *e)
{
	return json_fail_here(
	    in, e, "the file ends within a value: truncated?");
}

/* n bytes or an error. */
static int
need(struct closure_input *in, size_t n, struct err *e)
{
	int rc;

	if (in->len - in->pos >= n)
		return 0;
	if ((rc = closure_input_need(in, n, e)) < 0)
		return -1;
	return rc == 0 ? json_fail_end(in, e) : 0;
}

/* How many bytes at s are plain: no quote, backslash, control, not ASCII. */
static size_t
plain_run(const char *s, size_t len)
{
	const uint64_t ones = 0x0101010101010101U, high = ones * 0x80;
	size_t i = 0;

	for (; i + 8 <= len; i += 8) {
		uint64_t w, quote, slash;

		memcpy(&w, s + i, sizeof(w));
		w = le64toh(w);
		quote = w ^ ones * '"';
		slash = w ^ ones * '\\';
		/* The lowest bit that is set is that of the first such byte. */
		w |= (w - ones * 0x20) | (quote - ones) | (slash - ones);
		if ((w & high) != 0)
			return i + (size_t)__builtin_ctzll(w & high) / 8;
	}
	for (; i < len; i++) {
		unsigned char c = (unsigned char)s[i];

		if (c < 0x20 || c == '"' || c == '\\' || c >= 0x80)
			break;
	}
	return i;
}

/* Length of the UTF-8 sequence that begins with c, or 0. */
static size_t
utf8_len(unsigned char c)
{
	if (c >= 0xc2 && c <= 0xdf)
		return 2;
	if (c >= 0xe0 && c <= 0xef)
		return 3;
	return c >= 0xf0 && c <= 0xf4 ? 4 : 0;
}

static bool
utf8_valid(const unsigned char *s, size_t n)
{
	for (size_t i = 1; i < n; i++)
		if ((s[i] & 0xc0) != 0x80)
			return false;
	/* Overlong forms, surrogates, beyond U+10FFFF. */
	return !((s[0] == 0xe0 && s[1] < 0xa0) ||
	    (s[0] == 0xed && s[1] > 0x9f) || (s[0] == 0xf0 && s[1] < 0x90) ||
	    (s[0] == 0xf4 && s[1] > 0x8f));
}

static size_t
utf8_put(char *out, uint32_t c)
{
	if (c < 0x80) {
		out[0] = (char)c;
		return 1;
	}
	if (c < 0x800) {
		out[0] = (char)(0xc0 | c >> 6);
		out[1] = (char)(0x80 | (c & 0x3f));
		return 2;
	}
	if (c < 0x10000) {
		out[0] = (char)(0xe0 | c >> 12);
		out[1] = (char)(0x80 | (c >> 6 & 0x3f));
		out[2] = (char)(0x80 | (c & 0x3f));
		return 3;
	}
	out[0] = (char)(0xf0 | c >> 18);
	out[1] = (char)(0x80 | (c >> 12 & 0x3f));
	out[2] = (char)(0x80 | (c >> 6 & 0x3f));
	out[3] = (char)(0x80 | (c & 0x3f));
	return 4;
}

/* \uXXXX at pos; takes it. */
static int
get_u16(struct closure_input *in, uint32_t *out, struct err *e)
{
	uint32_t v = 0;

	if (need(in, 6, e) < 0)
		return -1;
	for (size_t i = 2; i < 6; i++) {
		char c = in->buf[in->pos + i];

		if (c >= '0' && c <= '9')
			v = v << 4 | (uint32_t)(c - '0');
		else if ((c | 0x20) >= 'a' && (c | 0x20) <= 'f')
			v = v << 4 | (uint32_t)((c | 0x20) - 'a' + 10);
		else
			return json_fail_here(
			    in, e, "\\u needs four hexadecimal digits");
	}
	in->pos += 6;
	*out = v;
	return 0;
}

/* The escape at pos; puts at most 4 bytes, fewer than it takes. */
static int
get_escape(
    struct closure_input *in, char out[static 4], size_t *n, struct err *e)
{
	static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
	uint32_t c, low;
	const char *at;
	char key;

	if (need(in, 2, e) < 0)
		return -1;
	key = in->buf[in->pos + 1];
	if (key != 'u') {
		if (key == '\0' || (at = strchr(from, key)) == NULL)
			return json_fail_here(in, e, "not an escape of JSON");
		out[0] = to[at - from];
		*n = 1;
		in->pos += 2;
		return 0;
	}
	if (get_u16(in, &c, e) < 0)
		return -1;
	if (c >= 0xd800 && c <= 0xdfff) {
		if (c >= 0xdc00)
			return json_fail_here(
			    in, e, "half of a surrogate pair");
		if (need(in, 2, e) < 0)
			return -1;
		if (memcmp(in->buf + in->pos, "\\u", 2) != 0)
			return json_fail_here(
			    in, e, "half of a surrogate pair");
		if (get_u16(in, &low, e) < 0)
			return -1;
		if (low < 0xdc00 || low > 0xdfff)
			return json_fail_here(
			    in, e, "half of a surrogate pair");
		c = 0x10000 + ((c - 0xd800) << 10) + (low - 0xdc00);
	}
	*n = utf8_put(out, c);
	return 0;
}

/* What is next in a string and not plain; n is 0 at its closing quote. */
static int
get_special(
    struct closure_input *in, char out[static 4], size_t *n, struct err *e)
{
	const char *s = in->buf + in->pos;
	unsigned char c = (unsigned char)*s;

	if (c == '"') {
		*n = 0;
		return 0;
	}
	if (c == '\\')
		return get_escape(in, out, n, e);
	if (c < 0x20)
		return json_fail_here(in, e, "a control character in a string");
	if ((*n = utf8_len(c)) == 0)
		return json_fail_here(in, e, "invalid UTF-8");
	if (need(in, *n, e) < 0)
		return -1;
	s = in->buf + in->pos;
	if (!utf8_valid((const unsigned char *)s, *n))
		return json_fail_here(in, e, "invalid UTF-8");
	memcpy(out, s, *n);
	in->pos += *n;
	return 0;
}

/* Bytes are moved together in the window as escapes make them fewer. */
int
json_scan_string(
    struct closure_input *in, struct closure_text *out, struct err *e)
{
	uint64_t at = closure_input_at(in);
	size_t run, n = 0, len = 0;
	char bytes[4];

	in->pos++;
	if (out != NULL)
		in->mark = in->pos;
	for (;;) {
		if (need(in, 1, e) < 0)
			return -1;
		run = plain_run(in->buf + in->pos, in->len - in->pos);
		if (out != NULL && in->mark + len != in->pos)
			memmove(
			    in->buf + in->mark + len, in->buf + in->pos, run);
		in->pos += run;
		len += run;
		if (out != NULL && in->pos - in->mark > CLOSURE_INPUT_TOKEN_MAX)
			return json_fail(e, at,
			    "a string of more than %zu bytes",
			    CLOSURE_INPUT_TOKEN_MAX);
		if (in->pos == in->len)
			continue;
		if (get_special(in, bytes, &n, e) < 0)
			return -1;
		if (n == 0)
			break;
		if (out != NULL)
			memcpy(in->buf + in->mark + len, bytes, n);
		len += n;
	}
	in->pos++;
	if (out != NULL)
		*out = (struct closure_text){in->buf + in->mark, len};
	in->mark = CLOSURE_INPUT_NO_MARK;
	return 0;
}

/* The byte at pos, 0 at the end (which no number holds), -1 for an error. */
static int
number_byte(struct closure_input *in, struct err *e)
{
	int rc;

	if (in->pos == in->len && (rc = closure_input_need(in, 1, e)) <= 0)
		return rc;
	return (unsigned char)in->buf[in->pos];
}

static int
get_digits(struct closure_input *in, struct err *e)
{
	int c;

	for (size_t n = 0;; n++) {
		if ((c = number_byte(in, e)) < 0)
			return -1;
		if (c < '0' || c > '9')
			return n > 0 ? 0
				     : json_fail_here(in, e,
					   "not JSON: a digit is wanted");
		in->pos++;
		if (in->pos - in->mark > CLOSURE_INPUT_TOKEN_MAX)
			return json_fail_here(in, e, "a number without end");
	}
}

int
json_scan_number(
    struct closure_input *in, struct closure_text *out, struct err *e)
{
	int c;

	in->mark = in->pos;
	if (in->buf[in->pos] == '-')
		in->pos++;
	if ((c = number_byte(in, e)) < 0)
		return -1;
	if (c == '0')
		in->pos++;
	else if (get_digits(in, e) < 0)
		return -1;
	if ((c = number_byte(in, e)) < 0)
		return -1;
	if (c == '.') {
		in->pos++;
		if (get_digits(in, e) < 0 || (c = number_byte(in, e)) < 0)
			return -1;
	}
	if (c == 'e' || c == 'E') {
		in->pos++;
		if ((c = number_byte(in, e)) < 0)
			return -1;
		if (c == '+' || c == '-')
			in->pos++;
		if (get_digits(in, e) < 0)
			return -1;
	}
	*out = (struct closure_text){in->buf + in->mark, in->pos - in->mark};
	in->mark = CLOSURE_INPUT_NO_MARK;
	return 0;
}

int
json_scan_word(struct closure_input *in, const char *word, struct err *e)
{
	size_t n = strlen(word);

	if (need(in, n, e) < 0)
		return -1;
	if (memcmp(in->buf + in->pos, word, n) != 0)
		return json_fail_here(
		    in, e, "not JSON: a value is wanted here");
	in->pos += n;
	return 0;
}
