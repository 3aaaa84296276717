#include "image/layer_copy.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <archive.h>

#include "err.h"
#include "own.h"

#define BUFFER ((size_t)1 << 18)

struct layer_copy {
	struct layer_place place;
	int fd;
	uint64_t left;	   /* of the file */
	struct archive *a; /* decodes, or NULL: as it is */
	uint64_t at;
	uint8_t buf[BUFFER];
};

/* A header block's numbers and strings. */
struct ustar {
	char name[100], mode[8], uid[8], gid[8], size[12], mtime[12], sum[8];
	char type;
	char link[100], magic[8], uname[32], gname[32], major[8], minor[8];
	char prefix[155], rest[12];
};
_Static_assert(sizeof(struct ustar) == TAR_BLOCK, "a header is one block");

static const char *const field_names[] = {
    [LAYER_TYPE] = "type",
    [LAYER_SIZE] = "size",
    [LAYER_MODE] = "mode",
    [LAYER_UID] = "uid",
    [LAYER_GID] = "gid",
    [LAYER_MTIME] = "mtime",
    [LAYER_UNAME] = "uname",
    [LAYER_GNAME] = "gname",
    [LAYER_DEVICE] = "device",
};

const char *
layer_field_name(enum layer_field field)
{
	return field_names[field];
}

static int
failed(const struct layer_copy *c, int sys, const char *text, struct err *e)
{
	return err_set(e, ERR_FATAL, sys, "worker %s's copy, %s%s%s",
	    c->place.worker, c->place.path, text[0] != '\0' ? ": " : "", text);
}

/* Bytes of the file, up to BUFFER; 0: no more. */
static ssize_t
fill(struct layer_copy *c)
{
	size_t want = c->left < BUFFER ? (size_t)c->left : BUFFER;
	ssize_t n;

	do {
		n = read(c->fd, c->buf, want);
	} while (n < 0 && errno == EINTR);
	if (n > 0)
		c->left -= (uint64_t)n;
	return n;
}

static la_ssize_t
feed(struct archive *a, void *arg, const void **out)
{
	struct layer_copy *c = arg;
	ssize_t n = fill(c);

	if (n < 0)
		archive_set_error(a, errno, "read");
	*out = c->buf;
	return n;
}

static int
decoder_failed(const struct layer_copy *c, struct err *e)
{
	const char *why = archive_error_string(c->a);

	return failed(c, 0, why != NULL ? why : "it cannot be decoded", e);
}

/* libarchive undoes the compression only: it would hide what headers hold. */
static int
open_decoder(struct layer_copy *c, struct err *e)
{
	struct archive_entry *whole;

	if ((c->a = archive_read_new()) == NULL)
		return failed(c, ENOMEM, "", e);
	if (archive_read_support_filter_gzip(c->a) < ARCHIVE_WARN ||
	    archive_read_support_filter_zstd(c->a) < ARCHIVE_WARN ||
	    archive_read_support_format_raw(c->a) < ARCHIVE_WARN ||
	    archive_read_open(c->a, c, NULL, feed, NULL) != ARCHIVE_OK ||
	    archive_read_next_header(c->a, &whole) != ARCHIVE_OK)
		return decoder_failed(c, e);
	return 0;
}

int
layer_copy_open(
    const struct layer_place *place, struct layer_copy **out, struct err *e)
{
	AUTO(layer_copy_freep) struct layer_copy *c = NULL;

	if ((c = malloc(sizeof(*c))) == NULL)
		return err_set(e, ERR_FATAL, errno, "layer");
	c->place = *place;
	c->left = place->size;
	c->a = NULL;
	c->at = 0;
	c->fd = open(place->path, O_RDONLY | O_CLOEXEC);
	if (c->fd < 0 ||
	    lseek(c->fd, (off_t)place->offset, SEEK_SET) == (off_t)-1)
		return failed(c, errno, "", e);
	if (place->encoded && open_decoder(c, e) < 0)
		return -1;
	*out = STEAL(&c);
	return 0;
}

void
layer_copy_free(struct layer_copy *c)
{
	if (c == NULL)
		return;
	if (c->a != NULL)
		archive_read_free(c->a);
	own_closep(&c->fd);
	free(c);
}

void
layer_copy_freep(struct layer_copy **c)
{
	layer_copy_free(*c);
	*c = NULL;
}

uint64_t
layer_copy_at(const struct layer_copy *c)
{
	return c->at;
}

/* Plain bytes go through the same buffer as encoded ones do. */
static ssize_t
read_plain(struct layer_copy *c, void *out, size_t len)
{
	ssize_t n;

	if (len > c->left)
		len = (size_t)c->left;
	do {
		n = read(c->fd, out, len);
	} while (n < 0 && errno == EINTR);
	if (n > 0)
		c->left -= (uint64_t)n;
	return n;
}

int
layer_copy_read(
    struct layer_copy *c, void *out, size_t len, size_t *n, struct err *e)
{
	if (len > c->place.most - c->at)
		len = (size_t)(c->place.most - c->at);
	for (*n = 0; *n < len;) {
		uint8_t *to = (uint8_t *)out + *n;
		la_ssize_t got = c->a != NULL
		    ? archive_read_data(c->a, to, len - *n)
		    : read_plain(c, to, len - *n);

		if (got < 0)
			return c->a != NULL ? decoder_failed(c, e)
					    : failed(c, errno, "", e);
		if (got == 0)
			break;
		*n += (size_t)got;
		c->at += (uint64_t)got;
	}
	return 0;
}

/* Octal with blanks around, or GNU's base 256; false: neither. */
static bool
number(const char *p, size_t len, uint64_t *out)
{
	size_t i = 0;

	*out = 0;
	if (((unsigned char)p[0] & 0x80) != 0) {
		/* Of a negative one the low bytes tell it from others. */
		for (i = 1; i < len; i++)
			*out = *out << 8 | (unsigned char)p[i];
		return (unsigned char)p[0] == 0x80 ||
		    (unsigned char)p[0] == 0xff;
	}
	while (i < len && p[i] == ' ')
		i++;
	for (; i < len && p[i] >= '0' && p[i] <= '7'; i++)
		*out = *out << 3 | (uint64_t)(p[i] - '0');
	return i == len || p[i] == ' ' || p[i] == '\0';
}

static bool
sum_holds(const struct ustar *u)
{
	const uint8_t *p = (const uint8_t *)u;
	uint64_t sum = 0, said;

	for (size_t i = 0; i < TAR_BLOCK; i++)
		sum += i >= offsetof(struct ustar, sum) &&
			i < offsetof(struct ustar, sum) + sizeof(u->sum)
		    ? ' '
		    : p[i];
	return number(u->sum, sizeof(u->sum), &said) && said == sum;
}

/* At most room - 1 bytes of p, up to a NUL. */
static void
text(char *out, size_t room, const char *p, size_t len)
{
	size_t n = strnlen(p, len);

	if (n >= room)
		n = room - 1;
	memcpy(out, p, n);
	out[n] = '\0';
}

static bool
put_number(struct layer_head *h, enum layer_field field, const char *format,
    const char *p, size_t len)
{
	uint64_t v;

	if (!number(p, len, &v))
		return false;
	snprintf(h->field[field], LAYER_FIELD_MAX,
	    format[0] == 'o' ? "0%" PRIo64 : "%" PRIu64, v);
	return true;
}

/* What the last block says; extended headers come after, and win. */
static bool
put_ustar(struct layer_head *h, const struct ustar *u)
{
	uint64_t major, minor;
	size_t at = 0;

	/* GNU's magic has a blank, and other things where the prefix is. */
	if (memcmp(u->magic, "ustar", 6) == 0 && u->prefix[0] != '\0') {
		text(h->name, sizeof(h->name), u->prefix, sizeof(u->prefix));
		at = strlen(h->name);
		h->name[at++] = '/';
	}
	text(h->name + at, sizeof(h->name) - at, u->name, sizeof(u->name));
	text(h->link, sizeof(h->link), u->link, sizeof(u->link));
	text(h->field[LAYER_UNAME], LAYER_FIELD_MAX, u->uname, 32);
	text(h->field[LAYER_GNAME], LAYER_FIELD_MAX, u->gname, 32);
	snprintf(h->field[LAYER_TYPE], LAYER_FIELD_MAX, "%c",
	    u->type == '\0' ? '0' : u->type);
	if (!number(u->major, sizeof(u->major), &major) ||
	    !number(u->minor, sizeof(u->minor), &minor))
		return false;
	snprintf(h->field[LAYER_DEVICE], LAYER_FIELD_MAX,
	    "%" PRIu64 ":%" PRIu64, major, minor);
	return put_number(h, LAYER_MODE, "o", u->mode, sizeof(u->mode)) &&
	    put_number(h, LAYER_UID, "u", u->uid, sizeof(u->uid)) &&
	    put_number(h, LAYER_GID, "u", u->gid, sizeof(u->gid)) &&
	    put_number(h, LAYER_MTIME, "u", u->mtime, sizeof(u->mtime)) &&
	    put_number(h, LAYER_SIZE, "u", u->size, sizeof(u->size));
}

static void
put_record(struct layer_head *h, const char *key, size_t key_len,
    const char *value, size_t len)
{
	const struct {
		const char *key;
		char *to;
		size_t room;
	} known[] = {
	    {"path", h->name, sizeof(h->name)},
	    {"linkpath", h->link, sizeof(h->link)},
	    {"size", h->field[LAYER_SIZE], LAYER_FIELD_MAX},
	    {"uid", h->field[LAYER_UID], LAYER_FIELD_MAX},
	    {"gid", h->field[LAYER_GID], LAYER_FIELD_MAX},
	    {"mtime", h->field[LAYER_MTIME], LAYER_FIELD_MAX},
	    {"uname", h->field[LAYER_UNAME], LAYER_FIELD_MAX},
	    {"gname", h->field[LAYER_GNAME], LAYER_FIELD_MAX},
	};

	for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++)
		if (strlen(known[i].key) == key_len &&
		    memcmp(known[i].key, key, key_len) == 0)
			text(known[i].to, known[i].room, value, len);
}

/* "LENGTH KEY=VALUE\n", one after the other. */
static bool
put_pax(struct layer_head *h, const char *p, size_t len)
{
	while (len > 0) {
		size_t n = 0, digits = 0;
		const char *key, *equals;

		while (digits < len && digits < 6 && p[digits] >= '0' &&
		    p[digits] <= '9')
			n = 10 * n + (size_t)(p[digits++] - '0');
		if (digits == 0 || n > len || n < digits + 3 ||
		    p[digits] != ' ' || p[n - 1] != '\n')
			return false;
		key = p + digits + 1;
		equals = memchr(key, '=', n - digits - 2);
		if (equals == NULL)
			return false;
		put_record(h, key, (size_t)(equals - key), equals + 1,
		    (size_t)(p + n - 1 - (equals + 1)));
		p += n;
		len -= n;
	}
	return true;
}

/* One more block of the head; *u is it. */
static int
next_block(
    struct layer_copy *c, struct layer_head *h, struct ustar *u, struct err *e)
{
	size_t n;

	if (layer_copy_read(c, u, TAR_BLOCK, &n, e) < 0)
		return -1;
	if (n < TAR_BLOCK)
		h->broken = "it ends";
	else if (h->n + TAR_BLOCK > sizeof(h->raw))
		h->broken = "a header is larger than any";
	else
		memcpy(h->raw + h->n, u, TAR_BLOCK);
	h->n += h->broken == NULL ? TAR_BLOCK : 0;
	return 0;
}

static bool
is_extension(const struct ustar *u)
{
	return u->type == 'x' || u->type == 'g' || u->type == 'L' ||
	    u->type == 'K';
}

/* The content of an extended header goes into raw, too. */
static int
read_extension(
    struct layer_copy *c, struct layer_head *h, uint64_t size, struct err *e)
{
	struct ustar block;

	if (size > sizeof(h->raw))
		h->broken = "a header is larger than any";
	for (uint64_t at = 0; at < size && h->broken == NULL; at += TAR_BLOCK)
		if (next_block(c, h, &block, e) < 0)
			return -1;
	return 0;
}

static bool
put_extension(
    struct layer_head *h, const struct ustar *u, const char *data, size_t size)
{
	if (u->type == 'x')
		return put_pax(h, data, size);
	if (u->type == 'L')
		text(h->name, sizeof(h->name), data, size);
	if (u->type == 'K')
		text(h->link, sizeof(h->link), data, size);
	return true;
}

/* Headers are whole in raw: what do they say? */
static void
parse(struct layer_head *h)
{
	size_t last = h->n - TAR_BLOCK;
	const struct ustar *u = (const struct ustar *)(h->raw + last);
	bool sound = put_ustar(h, u);
	char *end;
	uint64_t size;

	for (size_t at = 0; at < last && sound;) {
		const struct ustar *x = (const struct ustar *)(h->raw + at);

		number(x->size, sizeof(x->size), &size);
		at += TAR_BLOCK;
		sound = put_extension(
		    h, x, (const char *)h->raw + at, (size_t)size);
		at += (size_t)(size + TAR_BLOCK - 1) / TAR_BLOCK * TAR_BLOCK;
	}
	errno = 0;
	h->content = strtoull(h->field[LAYER_SIZE], &end, 10);
	if (!sound || errno != 0 || *end != '\0' || h->content > INT64_MAX)
		h->broken = "a header is none";
	/* Links, devices and directories have none, whatever they say. */
	if (u->type >= '1' && u->type <= '6')
		h->content = 0;
}

static bool
all_zero(const struct ustar *u)
{
	const char *p = (const char *)u;

	return p[0] == 0 && memcmp(p, p + 1, TAR_BLOCK - 1) == 0;
}

int
layer_copy_head(struct layer_copy *c, struct layer_head *out, struct err *e)
{
	struct ustar u;
	uint64_t size;

	out->end = false;
	out->broken = NULL;
	out->n = 0;
	out->content = 0;
	out->at = c->at;
	for (;;) {
		if (next_block(c, out, &u, e) < 0)
			return -1;
		if (out->broken != NULL)
			return 0;
		if (out->n == TAR_BLOCK && all_zero(&u)) {
			out->end = true;
			return 0;
		}
		if (!sum_holds(&u) || !number(u.size, sizeof(u.size), &size)) {
			out->broken = "a header is none";
			return 0;
		}
		if (!is_extension(&u))
			break;
		if (read_extension(c, out, size, e) < 0)
			return -1;
		if (out->broken != NULL)
			return 0;
	}
	parse(out);
	return 0;
}

int
layer_copy_skip(struct layer_copy *c, const struct layer_head *h, struct err *e)
{
	uint64_t left = h->content + tar_padding(h->content);
	uint8_t bin[1 << 14];
	size_t n;

	while (left > 0) {
		size_t want = left < sizeof(bin) ? (size_t)left : sizeof(bin);

		if (layer_copy_read(c, bin, want, &n, e) < 0)
			return -1;
		if (n < want)
			return 0; /* the next head says that it ends */
		left -= n;
	}
	return 0;
}
