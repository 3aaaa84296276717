/* Every data message goes through unchanged; every limit holds exactly. */
#include "data_protocol.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "data_endpoint.h"
#include "protocol.h"

/* One of each type, in the order of DATA_MSG_TYPES. */
static const struct data_msg samples[] = {
    {.type = DATA_MSG_HELLO, .data_hello = {{1, [15] = 2}}},
    {.type = DATA_MSG_PULL,
	.pull = {{UINT64_MAX, 2}, DATA_BLOB, 7, 3 * DATA_CHUNK,
	    DATA_WINDOW_MAX}},
    {.type = DATA_MSG_CHUNK,
	.chunk = {{3, 4}, DATA_TAR, 8, DATA_CHUNK, "layer", 5}},
    {.type = DATA_MSG_PULL_FAIL,
	.pull_fail = {{5, 6}, DATA_BLOB, 9, ERR_RETRY, EIO, "read"}},
    {.type = DATA_MSG_COMMITTED, .committed = {{7, 8}}},
    {.type = DATA_MSG_DROP, .drop = {{9, 10}}},
    {.type = DATA_MSG_RELEASED, .released = {{11, 12}}},
};

#define N_SAMPLES (sizeof(samples) / sizeof(samples[0]))
#define SAMPLE(TYPE) samples[TYPE - DATA_MSG_HELLO]

static void
encode(const struct data_msg *m, msgpack_sbuffer *buf)
{
	struct err e = ERR_INIT;

	msgpack_sbuffer_init(buf);
	if (data_msg_encode(m, buf, &e) < 0)
		fail_msg("%s", e.text);
}

/* "" if m is taken, else what is said. */
static const char *
verdict(const struct data_msg *m)
{
	static char text[ERR_TEXT_MAX];
	struct err e = ERR_INIT;
	msgpack_sbuffer buf;
	struct data_msg out;

	encode(m, &buf);
	if (data_msg_decode(buf.data, buf.size, &out, &e) < 0)
		assert_int_equal(e.kind, ERR_PEER);
	assert_true((out.zone != NULL) == (e.kind == ERR_NONE));
	data_msg_clear(&out);
	msgpack_sbuffer_destroy(&buf);
	snprintf(text, sizeof(text), "%s", e.text);
	return text;
}

static void
test_round_trip(void **state)
{
	(void)state;
	assert_int_equal(N_SAMPLES, DATA_MSG_RELEASED - DATA_MSG_HELLO + 1);
	for (size_t i = 0; i < N_SAMPLES; i++) {
		struct err e = ERR_INIT;
		msgpack_sbuffer first, second;
		struct data_msg m;
		struct msg other;

		encode(&samples[i], &first);
		if (data_msg_decode(first.data, first.size, &m, &e) < 0)
			fail_msg("%s", e.text);
		assert_int_equal(m.type, DATA_MSG_HELLO + i);
		encode(&m, &second);
		assert_int_equal(first.size, second.size);
		assert_memory_equal(first.data, second.data, first.size);
		data_msg_clear(&m);
		/* The control socket does not know it. */
		assert_int_equal(
		    msg_decode(first.data, first.size, &other, &e), -1);
		assert_int_equal(e.kind, ERR_PEER);
		assert_non_null(strstr(e.text, "no type of message"));
		msgpack_sbuffer_destroy(&first);
		msgpack_sbuffer_destroy(&second);
	}
}

static void
test_control_is_refused(void **state)
{
	const struct msg bye = {.type = MSG_BYE};
	struct err e = ERR_INIT;
	msgpack_sbuffer buf;
	struct data_msg m;

	(void)state;
	msgpack_sbuffer_init(&buf);
	assert_int_equal(msg_encode(&bye, &buf, &e), 0);
	assert_int_equal(data_msg_decode(buf.data, buf.size, &m, &e), -1);
	assert_int_equal(e.kind, ERR_PEER);
	assert_string_equal(
	    e.text, "data message: field 0 is 12, no type of data message");
	msgpack_sbuffer_destroy(&buf);
}

static void
test_fields(void **state)
{
	struct err e = ERR_INIT;
	msgpack_sbuffer buf;
	struct data_msg m;

	(void)state;
	encode(&SAMPLE(DATA_MSG_PULL), &buf);
	assert_int_equal(data_msg_decode(buf.data, buf.size, &m, &e), 0);
	assert_true(m.pull.id.job == UINT64_MAX && m.pull.id.attempt == 2);
	assert_int_equal(m.pull.form, DATA_BLOB);
	assert_int_equal(m.pull.pull, 7);
	assert_int_equal(m.pull.offset, 3 * DATA_CHUNK);
	assert_int_equal(m.pull.chunks, DATA_WINDOW_MAX);
	data_msg_clear(&m);
	msgpack_sbuffer_destroy(&buf);
	encode(&SAMPLE(DATA_MSG_CHUNK), &buf);
	assert_int_equal(data_msg_decode(buf.data, buf.size, &m, &e), 0);
	assert_int_equal(m.chunk.len, 5);
	assert_memory_equal(m.chunk.bytes, "layer", 5);
	/* Not copied. */
	assert_in_range((uintptr_t)m.chunk.bytes, (uintptr_t)buf.data,
	    (uintptr_t)buf.data + buf.size - 5);
	data_msg_clear(&m);
	msgpack_sbuffer_destroy(&buf);
}

#define CHECK(TYPE, change, text)                                              \
	do {                                                                   \
		struct data_msg m = SAMPLE(TYPE);                              \
		change;                                                        \
		assert_string_equal(verdict(&m), text);                        \
	} while (0)

static void
test_limits(void **state)
{
	char *bytes = calloc(1, DATA_CHUNK + 1);

	(void)state;
	CHECK(DATA_MSG_PULL, m.pull.chunks = 0, "pull: field 6 is no credit");
	CHECK(DATA_MSG_PULL, m.pull.chunks = DATA_WINDOW_MAX + 1,
	    "pull: field 6 is 17, above 16");
	CHECK(DATA_MSG_PULL, m.pull.form = 2, "pull: field 3 is 2, above 1");
	CHECK(DATA_MSG_PULL, m.pull.offset = 1,
	    "pull: field 5 is 1, where no chunk starts");
	CHECK(DATA_MSG_PULL, m.pull.offset = (uint64_t)1 << 63,
	    "pull: field 5 is 9223372036854775808, above "
	    "9223372036854775807");
	CHECK(DATA_MSG_CHUNK, m.chunk.len = 0, "chunk: field 6 is empty");
	CHECK(DATA_MSG_CHUNK, (m.chunk.bytes = bytes, m.chunk.len = DATA_CHUNK),
	    "");
	CHECK(DATA_MSG_CHUNK,
	    (m.chunk.bytes = bytes, m.chunk.len = DATA_CHUNK + 1),
	    "chunk: field 6 has 262145 bytes, more than 262144");
	CHECK(DATA_MSG_CHUNK, m.chunk.offset = DATA_CHUNK + 1,
	    "chunk: field 5 is 262145, where no chunk starts");
	CHECK(DATA_MSG_PULL_FAIL, m.pull_fail.kind = ERR_JOB, "");
	CHECK(DATA_MSG_PULL_FAIL, m.pull_fail.kind = ERR_USAGE,
	    "pull_fail: field 5 is 1, below 2");
	CHECK(DATA_MSG_PULL_FAIL, m.pull_fail.kind = ERR_PEER,
	    "pull_fail: field 5 is 4, above 3");
	CHECK(DATA_MSG_PULL_FAIL, m.pull_fail.sys = 4096,
	    "pull_fail: field 6 is 4096, above 4095");
	free(bytes);
}

static void
test_size(void **state)
{
	char *bytes = calloc(1, DATA_MSG_SIZE_MAX + 1);
	struct data_msg m = SAMPLE(DATA_MSG_CHUNK);
	struct err e = ERR_INIT;
	msgpack_sbuffer buf;

	(void)state;
	m.chunk.bytes = bytes;
	m.chunk.len = DATA_MSG_SIZE_MAX;
	msgpack_sbuffer_init(&buf);
	assert_int_equal(data_msg_encode(&m, &buf, &e), -1);
	assert_int_equal(e.kind, ERR_FATAL);
	assert_int_equal(buf.size, 0);
	err_clear(&e);
	assert_int_equal(
	    data_msg_decode(bytes, DATA_MSG_SIZE_MAX + 1, &m, &e), -1);
	assert_int_equal(e.kind, ERR_PEER);
	assert_string_equal(
	    e.text, "data message of 327681 bytes, more than 327680");
	msgpack_sbuffer_destroy(&buf);
	free(bytes);
}

static void
test_names(void **state)
{
	(void)state;
	assert_string_equal(data_msg_name(DATA_MSG_PULL_FAIL), "PULL_FAIL");
	assert_string_equal(data_msg_name((enum data_msg_type)1), "?");
	assert_string_equal(data_form_name(DATA_TAR), "tar");
	assert_string_equal(data_form_name(DATA_BLOB), "blob");
}

static void
check_endpoint(const char *control, const char *data, const char *want)
{
	struct err e = ERR_INIT;
	char *out = NULL;

	if (data_endpoint(control, data, &out, &e) < 0) {
		assert_null(want);
		assert_int_equal(e.kind, ERR_PEER);
		return;
	}
	assert_non_null(want);
	assert_string_equal(out, want);
	free(out);
}

static void
test_endpoint(void **state)
{
	(void)state;
	check_endpoint("ipc:///a", "ipc:///b", "ipc:///b");
	check_endpoint("tcp://h:1", "tcp://k:2", "tcp://k:2");
	check_endpoint("tcp://h:1", "tcp://*:2", "tcp://h:2");
	check_endpoint("tcp://[::1]:1", "tcp://*:2", "tcp://[::1]:2");
	check_endpoint("ipc:///a", "tcp://*:2", NULL);
	check_endpoint("tcp://:1", "tcp://*:2", NULL);
	check_endpoint("tcp://h:1", "inproc://x", NULL);
	check_endpoint("tcp://h:1", "", NULL);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_round_trip),
	    cmocka_unit_test(test_control_is_refused),
	    cmocka_unit_test(test_fields),
	    cmocka_unit_test(test_limits),
	    cmocka_unit_test(test_size),
	    cmocka_unit_test(test_names),
	    cmocka_unit_test(test_endpoint),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
