#include "wire.h"

#include <assert.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "err.h"
#include "own.h"

/* What one msgpack header says. */
struct header {
	size_t len;	/* of the header itself */
	uint64_t bytes; /* of payload that follow */
	uint64_t count; /* of elements that follow */
	bool array;
};

/* The big-endian number of n bytes. */
static uint64_t
number(const uint8_t *p, size_t n)
{
	uint64_t v = 0;

	while (n-- > 0)
		v = v << 8 | *p++;
	return v;
}

/* How many bytes hold the length, or the value, that follows the tag. */
static size_t
tag_width(uint8_t tag)
{
	switch (tag) {
	case 0xc4: /* bin */
	case 0xcc: /* uint */
	case 0xd0: /* int */
	case 0xd9: /* str */
		return 1;
	case 0xc5:
	case 0xcd:
	case 0xd1:
	case 0xda:
	case 0xdc: /* array */
		return 2;
	case 0xc6:
	case 0xce:
	case 0xd2:
	case 0xdb:
	case 0xdd:
		return 4;
	case 0xcf:
	case 0xd3:
		return 8;
	default:
		return 0;
	}
}

/* NULL, or what is wrong with the header at p, of which left bytes are there */
static const char *
read_header(const uint8_t *p, size_t left, struct header *h)
{
	uint8_t tag = p[0];
	size_t width = tag_width(tag);
	uint64_t v;

	*h = (struct header){.len = 1 + width};
	if (left < h->len)
		return "ends too early";
	v = number(p + 1, width);
	if (tag <= 0x7f || tag >= 0xe0 || tag == 0xc0 || tag == 0xc2 ||
	    tag == 0xc3)
		return NULL; /* small integers, nil, false, true */
	if (tag >= 0x90 && tag <= 0x9f) {
		h->array = true;
		h->count = tag & 0x0f;
	} else if (tag >= 0xa0 && tag <= 0xbf) {
		h->bytes = tag & 0x1f;
	} else if (width == 0) {
		return "holds a type that no message uses";
	} else if (tag == 0xdc || tag == 0xdd) {
		h->array = true;
		h->count = v;
	} else if (tag <= 0xc6 || tag >= 0xd9) {
		h->bytes = v;
	}
	left -= h->len;
	if (h->bytes > left || h->count > left)
		return "announces more than it holds";
	return NULL;
}

int
wire_guard(const void *data, size_t len, struct err *e)
{
	uint64_t pending[WIRE_DEPTH_MAX]; /* elements to come, by depth */
	const uint8_t *p = data;
	const char *fault;
	struct header h;
	size_t depth = 1, at = 0;

	pending[0] = 1;
	while (depth > 0) {
		if (pending[depth - 1] == 0) {
			depth--;
			continue;
		}
		pending[depth - 1]--;
		if (at == len)
			fault = "ends too early";
		else
			fault = read_header(p + at, len - at, &h);
		if (fault == NULL && h.count > 0 && depth == WIRE_DEPTH_MAX)
			fault = "is nested too deeply";
		if (fault != NULL)
			return err_set(e, ERR_PEER, 0,
			    "message of %zu bytes %s at byte %zu", len, fault,
			    at);
		at += h.len + h.bytes;
		if (h.count > 0)
			pending[depth++] = h.count;
	}
	if (at != len)
		return err_set(e, ERR_PEER, 0,
		    "message of %zu bytes has %zu after its end", len,
		    len - at);
	return 0;
}

/* "3.17.0": the place of the element before in->next, outermost first. */
static int
put_place(const struct wire_in *in, char *out, size_t size)
{
	int n = 0;

	if (in->outer != NULL) {
		n = put_place(in->outer, out, size);
		n += snprintf(out + n, size - (size_t)n, ".");
	}
	/* At most WIRE_DEPTH_MAX numbers of ten digits: they fit. */
	return n +
	    snprintf(out + n, size - (size_t)n, "%" PRIu32,
		in->next > 0 ? in->next - 1 : 0);
}

void
wire_fault(struct wire_in *in, const char *fmt, ...)
{
	char place[16 * WIRE_DEPTH_MAX];
	va_list ap;
	int n;

	if (in->bad)
		return;
	in->bad = true;
	put_place(in, place, sizeof(place));
	n = snprintf(
	    in->fault, sizeof(in->fault), "%s: field %s ", in->message, place);
	if (n < 0 || (size_t)n >= sizeof(in->fault))
		return;
	va_start(ap, fmt);
	vsnprintf(in->fault + n, sizeof(in->fault) - (size_t)n, fmt, ap);
	va_end(ap);
}

void
wire_in_init(struct wire_in *in, const char *message, const msgpack_object *at,
    msgpack_zone *zone)
{
	*in = (struct wire_in){.message = message, .at = at, .zone = zone};
	if (at->type != MSGPACK_OBJECT_ARRAY) {
		in->bad = true;
		snprintf(in->fault, sizeof(in->fault), "%s is not an array",
		    message);
	}
}

/* The next field; NULL after a fault, or if there is none. */
static const msgpack_object *
next_field(struct wire_in *in)
{
	if (in->bad)
		return NULL;
	in->next++;
	if (in->next > in->at->via.array.size) {
		wire_fault(in, "is missing");
		return NULL;
	}
	return &in->at->via.array.ptr[in->next - 1];
}

uint64_t
wire_get_uint(struct wire_in *in, uint64_t max)
{
	const msgpack_object *o = next_field(in);

	if (o == NULL)
		return 0;
	if (o->type != MSGPACK_OBJECT_POSITIVE_INTEGER) {
		wire_fault(in, "is not an unsigned integer");
		return 0;
	}
	if (o->via.u64 > max) {
		wire_fault(
		    in, "is %" PRIu64 ", above %" PRIu64, o->via.u64, max);
		return 0;
	}
	return o->via.u64;
}

uint64_t
wire_get_range(struct wire_in *in, uint64_t min, uint64_t max)
{
	uint64_t v = wire_get_uint(in, max);

	if (!in->bad && v < min)
		wire_fault(in, "is %" PRIu64 ", below %" PRIu64, v, min);
	return in->bad ? min : v;
}

int64_t
wire_get_int(struct wire_in *in)
{
	const msgpack_object *o = next_field(in);

	if (o == NULL)
		return 0;
	if (o->type == MSGPACK_OBJECT_NEGATIVE_INTEGER)
		return o->via.i64;
	if (o->type == MSGPACK_OBJECT_POSITIVE_INTEGER &&
	    o->via.u64 <= INT64_MAX)
		return (int64_t)o->via.u64;
	wire_fault(in, "is not a signed integer of 64 bits");
	return 0;
}

bool
wire_get_bool(struct wire_in *in)
{
	const msgpack_object *o = next_field(in);

	if (o == NULL)
		return false;
	if (o->type != MSGPACK_OBJECT_BOOLEAN) {
		wire_fault(in, "is not a boolean");
		return false;
	}
	return o->via.boolean;
}

void
wire_get_bytes(struct wire_in *in, void *out, size_t len)
{
	const msgpack_object *o = next_field(in);

	memset(out, 0, len);
	if (o == NULL)
		return;
	if (o->type != MSGPACK_OBJECT_BIN)
		wire_fault(in, "is not binary");
	else if (o->via.bin.size != len)
		wire_fault(in, "has %" PRIu32 " bytes instead of %zu",
		    o->via.bin.size, len);
	else if (len > 0)
		memcpy(out, o->via.bin.ptr, len);
}

const void *
wire_get_bin(struct wire_in *in, size_t max, size_t *len)
{
	const msgpack_object *o = next_field(in);

	*len = 0;
	if (o == NULL)
		return NULL;
	if (o->type != MSGPACK_OBJECT_BIN)
		wire_fault(in, "is not binary");
	else if (o->via.bin.size > max)
		wire_fault(in, "has %" PRIu32 " bytes, more than %zu",
		    o->via.bin.size, max);
	if (in->bad)
		return NULL;
	*len = o->via.bin.size;
	return o->via.bin.ptr;
}

const char *
wire_get_str(struct wire_in *in, size_t max)
{
	const msgpack_object *o = next_field(in);
	uint32_t len;
	char *s;

	if (o == NULL)
		return "";
	if (o->type != MSGPACK_OBJECT_STR) {
		wire_fault(in, "is not a string");
		return "";
	}
	len = o->via.str.size;
	if (len > max) {
		wire_fault(in, "has %" PRIu32 " bytes, above %zu", len, max);
		return "";
	}
	if (len > 0 && memchr(o->via.str.ptr, '\0', len) != NULL) {
		wire_fault(in, "has a NUL inside");
		return "";
	}
	if ((s = wire_alloc(in, len + (size_t)1, 1)) == NULL)
		return "";
	if (len > 0) /* msgpack-c may have no pointer to an empty string */
		memcpy(s, o->via.str.ptr, len);
	return s;
}

size_t
wire_enter(struct wire_in *in, struct wire_in *outer, size_t max)
{
	const msgpack_object *o = next_field(in);
	size_t n;

	if (o != NULL && o->type != MSGPACK_OBJECT_ARRAY)
		wire_fault(in, "is not a list");
	else if (o != NULL && o->via.array.size > max)
		wire_fault(in, "has %" PRIu32 " elements, above %zu",
		    o->via.array.size, max);
	*outer = *in;
	if (in->bad)
		return 0;
	n = o->via.array.size;
	in->at = o;
	in->next = 0;
	in->outer = outer;
	return n;
}

void
wire_leave(struct wire_in *in, const struct wire_in *outer)
{
	wire_end(in);
	in->at = outer->at;
	in->next = outer->next;
	in->outer = outer->outer;
}

void
wire_end(struct wire_in *in)
{
	if (in->bad || in->next == in->at->via.array.size)
		return;
	in->next++;
	wire_fault(in, "is one too many");
}

void *
wire_alloc(struct wire_in *in, size_t count, size_t size)
{
	size_t total;
	void *p;

	if (in->bad)
		return NULL;
	if (__builtin_mul_overflow(count, size, &total) ||
	    (p = msgpack_zone_malloc(in->zone, total)) == NULL) {
		wire_fault(in, "does not fit: out of memory");
		in->nomem = true;
		return NULL;
	}
	return memset(p, 0, total);
}

void
wire_out_init(struct wire_out *out, msgpack_sbuffer *buf)
{
	out->buf = buf;
	out->failed = false;
	msgpack_packer_init(&out->pk, buf, msgpack_sbuffer_write);
}

void
wire_put_array(struct wire_out *out, size_t n)
{
	if (msgpack_pack_array(&out->pk, n) != 0)
		out->failed = true;
}

void
wire_put_head(struct wire_out *out, uint64_t type, size_t n_fields)
{
	wire_put_array(out, 1 + n_fields);
	wire_put_uint(out, type);
}

void
wire_put_uint(struct wire_out *out, uint64_t v)
{
	if (msgpack_pack_uint64(&out->pk, v) != 0)
		out->failed = true;
}

void
wire_put_int(struct wire_out *out, int64_t v)
{
	if (msgpack_pack_int64(&out->pk, v) != 0)
		out->failed = true;
}

void
wire_put_bool(struct wire_out *out, bool v)
{
	if ((v ? msgpack_pack_true : msgpack_pack_false)(&out->pk) != 0)
		out->failed = true;
}

void
wire_put_bytes(struct wire_out *out, const void *data, size_t len)
{
	if (msgpack_pack_bin_with_body(&out->pk, data, len) != 0)
		out->failed = true;
}

void
wire_put_str(struct wire_out *out, const char *s)
{
	size_t len = s != NULL ? strlen(s) : 0;

	if (msgpack_pack_str(&out->pk, len) != 0 ||
	    (len > 0 && msgpack_pack_str_body(&out->pk, s, len) != 0))
		out->failed = true;
}

int
wire_out_end(const struct wire_out *out, size_t start, size_t max,
    const char *message, struct err *e)
{
	size_t len = out->buf->size - start;

	assert(out->failed || len > 0);
	if (!out->failed && len <= max)
		return 0;
	out->buf->size = start;
	if (out->failed)
		return err_set(e, ERR_FATAL, 0, "%s: out of memory", message);
	return err_set(e, ERR_FATAL, 0, "%s of %zu bytes, more than %zu",
	    message, len, max);
}

void
wire_zone_freep(msgpack_zone **zone)
{
	if (*zone != NULL)
		msgpack_zone_free(*zone);
	*zone = NULL;
}

/* The object is held by *objects. */
static int
unpack(const void *data, size_t len, size_t max, const char *what,
    msgpack_zone **objects, msgpack_object *out, struct err *e)
{
	if (len > max)
		return err_set(e, ERR_PEER, 0, "%s of %zu bytes, more than %zu",
		    what, len, max);
	if (wire_guard(data, len, e) < 0)
		return -1;
	/* What the guard lets through fails for want of memory only. */
	if ((*objects = msgpack_zone_new(MSGPACK_ZONE_CHUNK_SIZE)) != NULL &&
	    msgpack_unpack(data, len, NULL, *objects, out) ==
		MSGPACK_UNPACK_SUCCESS)
		return 0;
	wire_zone_freep(objects);
	return err_set(
	    e, ERR_FATAL, 0, "%s of %zu bytes: out of memory", what, len);
}

static int
get_message(const struct wire_form *form, const msgpack_object *object, void *m,
    msgpack_zone *zone, struct err *e)
{
	struct wire_in in;
	uint64_t type;

	wire_in_init(&in, form->what, object, zone);
	type = wire_get_uint(&in, UINT64_MAX);
	form->get(&in, type, m);
	wire_end(&in);
	if (!in.bad)
		return 0;
	return err_set(e, in.nomem ? ERR_FATAL : ERR_PEER, 0, "%s", in.fault);
}

int
wire_decode(const struct wire_form *form, const void *data, size_t len, void *m,
    msgpack_zone **zone, struct err *e)
{
	/* The unpacked objects are not kept: they outweigh the message. */
	AUTO(wire_zone_freep) msgpack_zone *objects = NULL;
	AUTO(wire_zone_freep) msgpack_zone *mine = NULL;
	msgpack_object object;

	*zone = NULL;
	if (unpack(data, len, form->max, form->what, &objects, &object, e) < 0)
		return -1;
	if ((mine = msgpack_zone_new(MSGPACK_ZONE_CHUNK_SIZE)) == NULL)
		return err_set(e, ERR_FATAL, 0,
		    "%s of %zu bytes: out of memory", form->what, len);
	if (get_message(form, &object, m, mine, e) < 0)
		return -1;
	*zone = STEAL(&mine);
	return 0;
}
