#include "tar_header.h"

#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

/* Field offsets and sizes in a header block. */
enum {
	NAME_AT = 0,
	NAME_SIZE = 100,
	MODE_AT = 100,
	UID_AT = 108,
	GID_AT = 116,
	ID_SIZE = 8,
	SIZE_AT = 124,
	MTIME_AT = 136,
	SIZE_SIZE = 12,
	SUM_AT = 148,
	SUM_SIZE = 8,
	TYPE_AT = 156,
	LINK_AT = 157,
	LINK_SIZE = 100,
	MAGIC_AT = 257,
	UNAME_AT = 265,
	GNAME_AT = 297,
	OWNER_SIZE = 32
};

/* How many digits an octal field of n bytes has: the last byte is NUL. */
#define OCTAL_FITS(value, n) ((value) < (uint64_t)1 << 3 * ((n)-1))

static void
put_octal(uint8_t *field, size_t size, uint64_t value)
{
	field[size - 1] = '\0';
	for (size_t i = size - 1; i-- > 0; value >>= 3)
		field[i] = (uint8_t)('0' + (value & 7));
}

/* GNU's way with what octal digits cannot say: big-endian, two's complement. */
static void
put_base256(uint8_t *field, size_t size, uint64_t value, bool negative)
{
	uint8_t sign = negative ? 0xff : 0;

	for (size_t i = size - 1; i > 0; i--) {
		field[i] = size - i > 8 ? sign : (uint8_t)value;
		value >>= 8;
	}
	field[0] = sign | 0x80;
}

static void
put_sum(uint8_t *block)
{
	unsigned sum = 0;

	memset(block + SUM_AT, ' ', SUM_SIZE);
	for (size_t i = 0; i < TAR_BLOCK; i++)
		sum += block[i];
	put_octal(block + SUM_AT, SUM_SIZE - 1, sum);
}

/* A string, cut to its field; what is left of the block's is zero already. */
static void
put_str(uint8_t *field, size_t size, const char *s, size_t len)
{
	memcpy(field, s, len < size ? len : size);
}

static size_t
pad_block(uint8_t *at, size_t len)
{
	size_t pad = tar_padding(len);

	memset(at + len, 0, pad);
	return len + pad;
}

/*
 * How long the UTF-8 sequence at s is, whose first byte is outside ASCII; 0
 * where it is not valid (RFC 3629: no overlong forms, surrogates, or code
 * points over 10FFFF).  Stops at the NUL that ends s.
 */
static size_t
utf8_len(const uint8_t *s)
{
	uint8_t low = 0x80, high = 0xbf;
	size_t len;

	if (s[0] >= 0xc2 && s[0] <= 0xdf)
		len = 2;
	else if (s[0] >= 0xe0 && s[0] <= 0xef)
		len = 3;
	else if (s[0] >= 0xf0 && s[0] <= 0xf4)
		len = 4;
	else
		return 0;
	if (s[0] == 0xe0)
		low = 0xa0;
	else if (s[0] == 0xed)
		high = 0x9f;
	else if (s[0] == 0xf0)
		low = 0x90;
	else if (s[0] == 0xf4)
		high = 0x8f;
	if (s[1] < low || s[1] > high)
		return 0;
	for (size_t i = 2; i < len; i++)
		if ((s[i] & 0xc0) != 0x80)
			return 0;
	return len;
}

/* One of the four strings of a header that may need a record. */
struct text {
	const char *key, *s;
	size_t len;
	size_t at, size; /* its field */
	bool directory;	 /* is written with a '/' at its end */
	bool ascii, utf8;
};

static void
text_check(struct text *t)
{
	const uint8_t *s = (const uint8_t *)t->s;

	t->ascii = t->utf8 = true;
	for (size_t i = 0, n; s[i] != '\0'; i += n) {
		n = 1;
		if (s[i] < 0x80)
			continue;
		t->ascii = false;
		if ((n = utf8_len(s + i)) == 0) {
			t->utf8 = false;
			return;
		}
	}
}

/* One '?' for each code point, or invalid byte, outside ASCII. */
static void
put_text(uint8_t *block, const struct text *t)
{
	const uint8_t *s = (const uint8_t *)t->s;
	size_t n = 0, step;

	if (t->ascii) {
		put_str(block + t->at, t->size, t->s, t->len);
		n = t->len;
	} else {
		for (size_t i = 0; s[i] != '\0' && n < t->size; i += step) {
			step = s[i] < 0x80 ? 1 : utf8_len(s + i);
			block[t->at + n++] = s[i] < 0x80 ? s[i] : '?';
			if (step == 0)
				step = 1;
		}
	}
	if (t->directory && n < t->size)
		block[t->at + n] = '/';
}

/* "LEN key=value\n" where LEN counts itself.  Returns LEN. */
static size_t
put_record(
    uint8_t *at, const char *key, const char *s, size_t len, bool directory)
{
	size_t rest = strlen(key) + len + (directory ? 1 : 0) + 3;
	size_t total = rest, was;
	char digits[24];
	int n;

	do {
		was = total;
		n = snprintf(digits, sizeof(digits), "%zu", total);
		total = rest + (size_t)n;
	} while (total != was);
	at += sprintf((char *)at, "%s %s=", digits, key);
	memcpy(at, s, len);
	if (directory)
		at[len++] = '/';
	at[len] = '\n';
	return total;
}

static size_t
put_number_record(uint8_t *at, const char *key, uint64_t value, bool negative)
{
	char s[24];
	int n;

	if (negative)
		n = snprintf(s, sizeof(s), "%" PRId64, (int64_t)value);
	else
		n = snprintf(s, sizeof(s), "%" PRIu64, value);
	return put_record(at, key, s, (size_t)n, false);
}

/* The records that entry needs, from at on.  Returns their bytes. */
static size_t
put_records(uint8_t *at, const struct tar_entry *entry, const struct text *text,
    size_t n_text)
{
	bool binary = false, needed[4];
	size_t len = 0;

	for (size_t i = 0; i < n_text; i++) {
		needed[i] = !text[i].ascii ||
		    text[i].len + (text[i].directory ? 1 : 0) > text[i].size;
		binary = binary || !text[i].utf8;
	}
	if (binary)
		len += put_record(at, "hdrcharset", "BINARY", 6, false);
	for (size_t i = 0; i < n_text; i++)
		if (needed[i])
			len += put_record(at + len, text[i].key, text[i].s,
			    text[i].len, text[i].directory);
	if (!OCTAL_FITS(entry->uid, ID_SIZE))
		len += put_number_record(at + len, "uid", entry->uid, false);
	if (!OCTAL_FITS(entry->gid, ID_SIZE))
		len += put_number_record(at + len, "gid", entry->gid, false);
	if (!OCTAL_FITS(entry->size, SIZE_SIZE))
		len += put_number_record(at + len, "size", entry->size, false);
	if (!OCTAL_FITS((uint64_t)entry->mtime, SIZE_SIZE))
		len += put_number_record(at + len, "mtime",
		    (uint64_t)entry->mtime, entry->mtime < 0);
	return len;
}

/* What both dialects and all kinds of block share; the sum is not yet in. */
static void
put_block(uint8_t *block, char type, uint32_t mode, uint64_t size)
{
	memset(block, 0, TAR_BLOCK);
	put_octal(block + MODE_AT, ID_SIZE, mode & 07777);
	put_octal(block + UID_AT, ID_SIZE, 0);
	put_octal(block + GID_AT, ID_SIZE, 0);
	put_octal(block + SIZE_AT, SIZE_SIZE, size);
	put_octal(block + MTIME_AT, SIZE_SIZE, 0);
	block[TYPE_AT] = (uint8_t)type;
}

static uint64_t
zero_unless_octal(uint64_t value, size_t size)
{
	return OCTAL_FITS(value, size) ? value : 0;
}

static size_t
put_pax(const struct tar_entry *entry, uint8_t *out)
{
	static const char special[] = "././@PaxHeader";
	struct text text[] = {
	    {"path", entry->name, strlen(entry->name), NAME_AT, NAME_SIZE,
		false, true, true},
	    {"linkpath", entry->link, strlen(entry->link), LINK_AT, LINK_SIZE,
		false, true, true},
	    {"uname", entry->uname, strlen(entry->uname), UNAME_AT, OWNER_SIZE,
		false, true, true},
	    {"gname", entry->gname, strlen(entry->gname), GNAME_AT, OWNER_SIZE,
		false, true, true},
	};
	size_t n_text = sizeof(text) / sizeof(text[0]), len;
	uint8_t *block = out;

	text[0].directory = entry->type == TAR_DIRECTORY &&
	    (text[0].len == 0 || entry->name[text[0].len - 1] != '/');
	for (size_t i = 0; i < n_text; i++)
		text_check(&text[i]);
	len = put_records(out + TAR_BLOCK, entry, text, n_text);
	if (len > 0) {
		put_block(out, 'x', 0, len);
		put_str(out, NAME_SIZE, special, sizeof(special) - 1);
		memcpy(out + MAGIC_AT, "ustar\00000", 8);
		put_sum(out);
		block = out + TAR_BLOCK + pad_block(out + TAR_BLOCK, len);
	}
	put_block(block, (char)entry->type, entry->mode,
	    zero_unless_octal(entry->size, SIZE_SIZE));
	for (size_t i = 0; i < n_text; i++)
		put_text(block, &text[i]);
	put_octal(
	    block + UID_AT, ID_SIZE, zero_unless_octal(entry->uid, ID_SIZE));
	put_octal(
	    block + GID_AT, ID_SIZE, zero_unless_octal(entry->gid, ID_SIZE));
	put_octal(block + MTIME_AT, SIZE_SIZE,
	    zero_unless_octal((uint64_t)entry->mtime, SIZE_SIZE));
	memcpy(block + MAGIC_AT, "ustar\00000", 8);
	put_sum(block);
	return (size_t)(block - out) + TAR_BLOCK;
}

/* A block that announces a long name or link, and the name with its NUL. */
static size_t
put_gnu_long(uint8_t *out, char type, const char *s, size_t len, bool directory)
{
	static const char special[] = "././@LongLink";
	uint8_t *at = out + TAR_BLOCK;

	put_block(out, type, 0644, len + (directory ? 1 : 0) + 1);
	put_str(out, NAME_SIZE, special, sizeof(special) - 1);
	memcpy(out + MAGIC_AT, "ustar  ", 8);
	put_sum(out);
	memcpy(at, s, len);
	if (directory)
		at[len++] = '/';
	at[len++] = '\0';
	return TAR_BLOCK + pad_block(at, len);
}

static void
put_gnu_number(uint8_t *field, size_t size, uint64_t value, bool negative)
{
	if (!negative && OCTAL_FITS(value, size))
		put_octal(field, size, value);
	else
		put_base256(field, size, value, negative);
}

static size_t
put_gnu(const struct tar_entry *entry, uint8_t *out)
{
	size_t name_len = strlen(entry->name), link_len = strlen(entry->link);
	bool directory = entry->type == TAR_DIRECTORY &&
	    (name_len == 0 || entry->name[name_len - 1] != '/');
	uint8_t *block = out;

	if (link_len > LINK_SIZE)
		block += put_gnu_long(block, 'K', entry->link, link_len, false);
	if (name_len + (directory ? 1 : 0) > NAME_SIZE)
		block +=
		    put_gnu_long(block, 'L', entry->name, name_len, directory);
	put_block(block, (char)entry->type, entry->mode, 0);
	put_str(block + NAME_AT, NAME_SIZE, entry->name, name_len);
	if (directory && name_len < NAME_SIZE)
		block[NAME_AT + name_len] = '/';
	put_str(block + LINK_AT, LINK_SIZE, entry->link, link_len);
	put_gnu_number(block + UID_AT, ID_SIZE, entry->uid, false);
	put_gnu_number(block + GID_AT, ID_SIZE, entry->gid, false);
	put_gnu_number(block + SIZE_AT, SIZE_SIZE, entry->size, false);
	put_gnu_number(block + MTIME_AT, SIZE_SIZE, (uint64_t)entry->mtime,
	    entry->mtime < 0);
	memcpy(block + MAGIC_AT, "ustar  ", 8);
	put_sum(block);
	return (size_t)(block - out) + TAR_BLOCK;
}

size_t
tar_header_put(
    enum tar_dialect dialect, const struct tar_entry *entry, uint8_t *out)
{
	return dialect == TAR_GNU ? put_gnu(entry, out) : put_pax(entry, out);
}

size_t
tar_padding(uint64_t size)
{
	return (size_t)(-size % TAR_BLOCK);
}

size_t
tar_end(uint64_t size)
{
	uint64_t end = size + (uint64_t)2 * TAR_BLOCK;

	return (size_t)(2 * TAR_BLOCK +
	    (TAR_RECORD - end % TAR_RECORD) % TAR_RECORD);
}
