/* The guard and the cursors: every fault there is, and none where none is. */
#include "wire.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "err.h"

#define GUARD(bytes) guard(bytes, sizeof(bytes) - 1)

/* "" if the guard lets it through, else what it says. */
static const char *
guard(const char *data, size_t len)
{
	static char text[ERR_TEXT_MAX];
	struct err e = ERR_INIT;
	/* Exactly as long as the data: a read past it is seen. */
	char *copy = malloc(len > 0 ? len : 1);
	int rc;

	memcpy(copy, data, len);
	rc = wire_guard(copy, len, &e);
	free(copy);
	assert_int_equal(rc, e.kind == ERR_NONE ? 0 : -1);
	assert_true(e.kind == ERR_NONE || e.kind == ERR_PEER);
	snprintf(text, sizeof(text), "%s", e.text);
	return text;
}

static void
test_guard_takes(void **state)
{
	(void)state;
	assert_string_equal(GUARD("\x00"), "");
	assert_string_equal(GUARD("\xc0"), "");
	assert_string_equal(GUARD("\xff"), "");
	assert_string_equal(GUARD("\x90"), "");
	assert_string_equal(GUARD("\xa0"), "");
	assert_string_equal(GUARD("\xa3"
				  "abc"),
	    "");
	assert_string_equal(GUARD("\xd9\x02"
				  "ab"),
	    "");
	assert_string_equal(GUARD("\xda\x00\x01"
				  "a"),
	    "");
	assert_string_equal(GUARD("\xdb\x00\x00\x00\x01"
				  "a"),
	    "");
	assert_string_equal(GUARD("\xc4\x01\x00"), "");
	assert_string_equal(GUARD("\xc5\x00\x01\x00"), "");
	assert_string_equal(GUARD("\xc6\x00\x00\x00\x01\x00"), "");
	assert_string_equal(GUARD("\xdc\x00\x02\xc2\xc3"), "");
	assert_string_equal(GUARD("\xdd\x00\x00\x00\x01\x01"), "");
	assert_string_equal(GUARD("\x98\xcc\x01\xcd\x01\x01\xce\x01\x01\x01\x01"
				  "\xcf\x01\x01\x01\x01\x01\x01\x01\x01"
				  "\xd0\x01\xd1\x01\x01\xd2\x01\x01\x01\x01"
				  "\xd3\x01\x01\x01\x01\x01\x01\x01\x01"),
	    "");
	/* Values at the greatest depth, and an empty array there. */
	assert_string_equal(GUARD("\x91\x91\x92\x90\x01"), "");
}

static void
test_guard_refuses(void **state)
{
	/* Floats, maps, the tag that is never used, extensions. */
	static const uint8_t tags[] = {0xca, 0xcb, 0x80, 0x8f, 0xde, 0xdf, 0xc1,
	    0xc7, 0xc8, 0xc9, 0xd4, 0xd5, 0xd6, 0xd7, 0xd8};
	char data[9] = {0};

	(void)state;
	assert_non_null(strstr(GUARD(""), "ends too early at byte 0"));
	assert_non_null(strstr(GUARD("\x91"), "announces more than it holds"));
	assert_non_null(
	    strstr(GUARD("\x92\x91\x01"), "ends too early at byte 3"));
	assert_non_null(strstr(GUARD("\xdd\xff\xff\xff\xff"), "announces"));
	assert_non_null(strstr(GUARD("\xdd\xff\xff\xff"), "ends too early"));
	assert_non_null(strstr(GUARD("\xdc\x00\x02\x01"), "announces"));
	assert_non_null(strstr(GUARD("\xdb\xff\xff\xff\xff"), "announces"));
	assert_non_null(strstr(GUARD("\xc6\xff\xff\xff\xff"), "announces"));
	assert_non_null(strstr(GUARD("\xa2"
				     "a"),
	    "announces"));
	assert_non_null(strstr(GUARD("\xcf\x00\x00"), "ends too early"));
	assert_non_null(strstr(GUARD("\x01\x02"), "has 1 after its end"));
	assert_non_null(strstr(
	    GUARD("\x91\x91\x91\x91\x01"), "nested too deeply at byte 3"));
	for (size_t i = 0; i < sizeof(tags); i++) {
		data[0] = (char)tags[i];
		assert_non_null(strstr(guard(data, sizeof(data)),
		    "holds a type that no message uses"));
	}
}

/* Every prefix of a good message is refused, and so is one byte more. */
static void
test_guard_truncation(void **state)
{
	static const char good[] = "\x95\x01\xa3xyz\xc4\x02zz\x92\x91\x07\xc0"
				   "\xcf\x01\x02\x03\x04\x05\x06\x07\x08";
	size_t len = sizeof(good) - 1;

	(void)state;
	assert_string_equal(guard(good, len), "");
	for (size_t n = 0; n < len; n++)
		assert_string_not_equal(guard(good, n), "");
	/* The literal's own NUL is one more element. */
	assert_non_null(strstr(guard(good, len + 1), "has 1 after its end"));
}

struct unpacked {
	msgpack_zone zone;
	msgpack_object object;
	struct wire_in in;
};

static void
unpack(struct unpacked *u, const char *data, size_t len)
{
	assert_true(msgpack_zone_init(&u->zone, MSGPACK_ZONE_CHUNK_SIZE));
	assert_int_equal(msgpack_unpack(data, len, NULL, &u->zone, &u->object),
	    MSGPACK_UNPACK_SUCCESS);
	wire_in_init(&u->in, "thing", &u->object, &u->zone);
}

#define UNPACK(u, bytes) unpack(u, bytes, sizeof(bytes) - 1)

#define FAULT(bytes, call, text)                                               \
	do {                                                                   \
		struct unpacked u_;                                            \
		struct wire_in *in = &u_.in;                                   \
		UNPACK(&u_, bytes);                                            \
		call;                                                          \
		wire_end(in);                                                  \
		assert_true(in->bad);                                          \
		assert_string_equal(in->fault, text);                          \
		msgpack_zone_destroy(&u_.zone);                                \
	} while (0)

static void
test_faults(void **state)
{
	uint8_t b[2];

	(void)state;
	FAULT("\x01", (void)0, "thing is not an array");
	FAULT("\x90", wire_get_uint(in, 9), "thing: field 0 is missing");
	FAULT("\x91\x01", (void)0, "thing: field 0 is one too many");
	FAULT("\x91\xff", wire_get_uint(in, 9),
	    "thing: field 0 is not an unsigned integer");
	FAULT(
	    "\x91\x0a", wire_get_uint(in, 9), "thing: field 0 is 10, above 9");
	FAULT("\x91\x01", wire_get_range(in, 2, 9),
	    "thing: field 0 is 1, below 2");
	FAULT("\x91\x0a", wire_get_range(in, 2, 9),
	    "thing: field 0 is 10, above 9");
	FAULT("\x91\xcf\x80\0\0\0\0\0\0\0", wire_get_int(in),
	    "thing: field 0 is not a signed integer of 64 bits");
	FAULT("\x91\x01", wire_get_bool(in), "thing: field 0 is not a boolean");
	FAULT("\x91\xa2zz", wire_get_bytes(in, b, 2),
	    "thing: field 0 is not binary");
	FAULT("\x91\xc4\x03zzz", wire_get_bytes(in, b, 2),
	    "thing: field 0 has 3 bytes instead of 2");
	FAULT("\x91\xc4\x01z", wire_get_str(in, 2),
	    "thing: field 0 is not a string");
	FAULT("\x91\xa3xyz", wire_get_str(in, 2),
	    "thing: field 0 has 3 bytes, above 2");
	FAULT("\x91\xa3x\0z", wire_get_str(in, 3),
	    "thing: field 0 has a NUL inside");
}

static void
test_list_faults(void **state)
{
	struct wire_in outer, inner;

	(void)state;
	FAULT("\x91\x01", wire_enter(in, &outer, 9),
	    "thing: field 0 is not a list");
	FAULT("\x91\x92\x01\x01", wire_enter(in, &outer, 1),
	    "thing: field 0 has 2 elements, above 1");
	FAULT("\x92\x07\x91\x01",
	    (wire_get_uint(in, 9), wire_enter(in, &outer, 1),
		wire_leave(in, &outer)),
	    "thing: field 1.0 is one too many");
	FAULT("\x92\x07\x92\x01\x92\x01\xff",
	    (wire_get_uint(in, 9), wire_enter(in, &outer, 2),
		wire_get_uint(in, 9), wire_enter(in, &inner, 2),
		wire_get_uint(in, 9), wire_get_uint(in, 9),
		wire_leave(in, &inner), wire_leave(in, &outer)),
	    "thing: field 1.1.1 is not an unsigned integer");
}

static void
test_after_fault(void **state)
{
	uint8_t b[2] = {1, 1};
	struct wire_in outer;
	struct unpacked u;

	(void)state;
	UNPACK(&u, "\x96\xc3\x07\xa1z\xc4\x02zz\x91\x05\xc3");
	wire_get_uint(&u.in, 9);
	assert_int_equal(wire_get_uint(&u.in, 9), 0);
	assert_string_equal(wire_get_str(&u.in, 9), "");
	wire_get_bytes(&u.in, b, 2);
	assert_int_equal(b[0], 0);
	assert_int_equal(wire_enter(&u.in, &outer, 9), 0);
	assert_null(wire_alloc(&u.in, 1, 1));
	wire_leave(&u.in, &outer);
	assert_false(wire_get_bool(&u.in));
	assert_int_equal(wire_get_int(&u.in), 0);
	wire_fault(&u.in, "is worse");
	/* The first fault is the one that is told. */
	assert_string_equal(
	    u.in.fault, "thing: field 0 is not an unsigned integer");
	assert_false(u.in.nomem);
	msgpack_zone_destroy(&u.zone);
}

static void
test_long_fault(void **state)
{
	char text[400];
	struct unpacked u;

	(void)state;
	memset(text, 'x', sizeof(text) - 1);
	text[sizeof(text) - 1] = '\0';
	UNPACK(&u, "\x91\x01");
	wire_fault(&u.in, "%s", text);
	assert_int_equal(strlen(u.in.fault), sizeof(u.in.fault) - 1);
	msgpack_zone_destroy(&u.zone);
}

static void
test_values(void **state)
{
	struct wire_in outer;
	msgpack_sbuffer buf;
	struct wire_out out;
	struct unpacked u;
	uint8_t b[3];
	uint64_t *v;

	(void)state;
	msgpack_sbuffer_init(&buf);
	wire_out_init(&out, &buf);
	wire_put_array(&out, 9);
	wire_put_uint(&out, UINT64_MAX);
	wire_put_int(&out, INT64_MIN);
	wire_put_int(&out, INT64_MAX);
	wire_put_bool(&out, true);
	wire_put_bytes(&out, "\0\1\2", 3);
	wire_put_str(&out, "\xff\n");
	wire_put_str(&out, NULL);
	wire_put_array(&out, 1);
	wire_put_uint(&out, 7);
	wire_put_bool(&out, false);
	assert_false(out.failed);
	unpack(&u, buf.data, buf.size);
	assert_true(wire_get_uint(&u.in, UINT64_MAX) == UINT64_MAX);
	assert_true(wire_get_int(&u.in) == INT64_MIN);
	assert_true(wire_get_int(&u.in) == INT64_MAX);
	assert_true(wire_get_bool(&u.in));
	wire_get_bytes(&u.in, b, 3);
	assert_memory_equal(b, "\0\1\2", 3);
	assert_string_equal(wire_get_str(&u.in, 2), "\xff\n");
	assert_string_equal(wire_get_str(&u.in, 0), "");
	assert_int_equal(wire_enter(&u.in, &outer, 1), 1);
	assert_int_equal(wire_get_uint(&u.in, 7), 7);
	wire_leave(&u.in, &outer);
	assert_false(wire_get_bool(&u.in));
	wire_end(&u.in);
	assert_false(u.in.bad);
	v = wire_alloc(&u.in, 1000, sizeof(*v));
	for (size_t i = 0; i < 1000; i++)
		assert_int_equal(v[i], 0);
	assert_null(wire_alloc(&u.in, SIZE_MAX / 2, 4));
	assert_true(u.in.nomem);
	msgpack_zone_destroy(&u.zone);
	msgpack_sbuffer_destroy(&buf);
	/* Empty ones with a long header, to which msgpack-c has no pointer. */
	UNPACK(&u, "\x92\xdb\0\0\0\0\xc6\0\0\0\0");
	assert_string_equal(wire_get_str(&u.in, 9), "");
	wire_get_bytes(&u.in, b, 0);
	wire_end(&u.in);
	assert_false(u.in.bad);
	msgpack_zone_destroy(&u.zone);
}

static int
full(void *data, const char *bytes, size_t len)
{
	(void)bytes;
	(void)len;
	return (*(int *)data)-- > 0 ? 0 : -1;
}

/* Whichever write fails, the writer remembers it. */
static void
test_put_fails(void **state)
{
	msgpack_sbuffer buf;
	struct wire_out out;

	(void)state;
	msgpack_sbuffer_init(&buf);
	for (int n = 0, room = 0; n < 8; room = ++n) {
		wire_out_init(&out, &buf);
		msgpack_packer_init(&out.pk, &room, full);
		wire_put_array(&out, 5);
		wire_put_uint(&out, 1);
		wire_put_int(&out, -1);
		wire_put_bool(&out, true);
		wire_put_bytes(&out, "z", 1);
		wire_put_str(&out, "z");
		assert_true(out.failed);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_guard_takes),
	    cmocka_unit_test(test_guard_refuses),
	    cmocka_unit_test(test_guard_truncation),
	    cmocka_unit_test(test_faults),
	    cmocka_unit_test(test_list_faults),
	    cmocka_unit_test(test_after_fault),
	    cmocka_unit_test(test_long_fault),
	    cmocka_unit_test(test_values),
	    cmocka_unit_test(test_put_fails),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
