/*
 * Every message goes through encode and decode unchanged; every limit holds
 * exactly; no failing allocation is overlooked.
 */
#include "protocol.h"

#include <dlfcn.h>
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "wire.h"

/* Zones get their memory here: the fail_at-th request is refused. */
static int fail_at = -1;

void *
msgpack_zone_malloc_expand(msgpack_zone *zone, size_t size)
{
	void *(*real)(msgpack_zone *, size_t);

	if (fail_at >= 0 && fail_at-- == 0)
		return NULL;
	*(void **)&real = dlsym(RTLD_NEXT, "msgpack_zone_malloc_expand");
	return real(zone, size);
}

msgpack_zone *
msgpack_zone_new(size_t size)
{
	msgpack_zone *(*real)(size_t);

	if (fail_at >= 0 && fail_at-- == 0)
		return NULL;
	*(void **)&real = dlsym(RTLD_NEXT, "msgpack_zone_new");
	return real(size);
}

static struct layer_item items[] = {
    {"/nix/store/a", true, {{1, 2, 3, [31] = 9}}, 123456789},
    {"/nix/store/b\xff\n", false, {{0}}, 0},
};

static struct layer_entry entries[] = {
    {"/bin", TAR_DIRECTORY, 01777, 0, UINT64_MAX, ""},
    {"/bin/sh", TAR_SYMLINK, 0777, 1, 2, "/nix/store/a/bin/sh"},
    {"/etc/passwd", TAR_REGULAR, 0444, 0, 0, "/nix/store/b/passwd"},
};

static struct msg_attempt held[] = {{1, 2}, {UINT64_MAX, UINT64_MAX}};

static uint64_t keys[] = {UINT64_C(0x0102030405060708), UINT64_MAX};

static uint8_t bits[] = {1, 128, 255};

static struct msg_progress progress[] = {{1, 2, 3}, {4, 5, INT64_MAX}};

/* One of each type, in the order of MSG_TYPES. */
static const struct msg samples[] = {
    {.type = MSG_HELLO,
	.hello = {PROTOCOL_VERSION, "0.1.0", "host", INT32_MAX, MSG_SLOTS_MAX,
	    "libdeflate 1.14", "zstd 1.5.4", {3, [15] = 4}, 9, held, 2, true,
	    {0, 1, MSG_SPEED_MAX}}},
    {.type = MSG_WELCOME,
	.welcome = {UINT64_MAX, 1000, UINT64_MAX, "tcp://*:7", {1, [15] = 255},
	    "registry.example.org,b:5000"}},
    {.type = MSG_REFUSE, .refuse = {"too old"}},
    {.type = MSG_JOB,
	.job = {UINT64_MAX, 3, MSG_ITEMS_MAX,
	    {.source = LAYER_FROM_STORE,
		.dialect = TAR_GNU,
		.measure = true,
		.verify = true,
		.store_dir = "/nix/store",
		.store_root = "/mnt",
		.mtime = -5,
		.uid = UINT64_MAX,
		.gid = 1000,
		.uname = "root",
		.gname = "wheel",
		.encoding = {ENCODING_ZSTD, 19},
		.file = "",
		.outputs = {{LAYER_TO_FILE, "/tmp/a", INT64_MAX,
				LAYER_SIZE_UNKNOWN},
		    {LAYER_TO_BLOB, "/tmp/blobs", 0, INT64_MAX},
		    {LAYER_TO_SPOOL_TAR, "", 0, 10240},
		    {LAYER_TO_SPOOL_BLOB, "", 0, LAYER_SIZE_UNKNOWN}},
		.n_outputs = 4},
	    MSG_PUSH_PLACES}},
    {.type = MSG_ITEMS, .items = {7, 8, items, 2}},
    {.type = MSG_ENTRIES, .entries = {7, 8, entries, 3}},
    {.type = MSG_CANCEL, .cancel = {9, 1}},
    {.type = MSG_BEAT, .beat = {progress, 2}},
    {.type = MSG_SIZED, .sized = {1, 2, 10240, 4}},
    {.type = MSG_DONE,
	.done = {1, 2, {{{1}}, 10240, {{2}}, INT64_MAX, 5, 6, 7, 8}, 77,
	    LAYER_STREAM_BROKEN}},
    {.type = MSG_FAIL, .fail = {1, 2, ERR_RETRY, ENOSPC, "full", 9}},
    {.type = MSG_BYE, .bye = {1}},
    {.type = MSG_POSTPONE, .postpone = {1, 2, "no room", INT64_MAX}},
    {.type = MSG_PROBE, .probe = {5, "/srv/out", ".probe-1", {9, [31] = 8}}},
    {.type = MSG_PROBED, .probed = {5, EACCES, "open .probe-1"}},
    {.type = MSG_WHO},
    {.type = MSG_ASK,
	.ask = {6, {{7, [31] = 1}}, MSG_LIST_MAX, "/nix/store", "/mnt"}},
    {.type = MSG_WANT, .want = {6, 8192}},
    {.type = MSG_PATHS, .paths = {6, MSG_LIST_MAX - 1, keys, 2}},
    {.type = MSG_HAVE, .have = {6, 0, 16, bits, 3}},
    {.type = MSG_CLIENT,
	.client = {PROTOCOL_VERSION, "0.1.0", "host", 7, "app:1", "gz 1",
	    "zstd 2", {5, [15] = 6}, 11}},
    {.type = MSG_MADE, .made = {1, 2, "host/7", 1500}},
    {.type = MSG_STATUS, .status = {UINT64_MAX}},
    {.type = MSG_STATE, .state = {4, "{\n\"clients\": []\n}"}},
    {.type = MSG_PUSH,
	.push = {UINT64_MAX, 2, "/blobs/a", 3, 4, {{5, [31] = 6}}, INT64_MAX}},
    {.type = MSG_PUSHED, .pushed = {7, true, 8, "registry: 403"}},
    {.type = MSG_TOKEN,
	.token = {1, 2, "https://registry:5000", "team/app", "ey.J~", "--\n",
	    true, 60}},
    {.type = MSG_EXPIRED, .expired = {1, UINT64_MAX}},
};

#define N_SAMPLES (sizeof(samples) / sizeof(samples[0]))

static void
encode(const struct msg *m, msgpack_sbuffer *buf)
{
	struct err e = ERR_INIT;

	msgpack_sbuffer_init(buf);
	if (msg_encode(m, buf, &e) < 0)
		fail_msg("%s", e.text);
}

/* "" if m is taken, else what is said; m is encoded as it is. */
static const char *
verdict(const struct msg *m)
{
	static char text[ERR_TEXT_MAX];
	struct err e = ERR_INIT;
	msgpack_sbuffer buf;
	struct msg out;

	encode(m, &buf);
	if (msg_decode(buf.data, buf.size, &out, &e) < 0)
		assert_int_equal(e.kind, ERR_PEER);
	else
		assert_int_equal(e.kind, ERR_NONE);
	assert_int_equal(out.type, e.kind == ERR_NONE ? m->type : 0);
	assert_true((out.zone != NULL) == (e.kind == ERR_NONE));
	msg_clear(&out);
	msgpack_sbuffer_destroy(&buf);
	snprintf(text, sizeof(text), "%s", e.text);
	return text;
}

static void
test_round_trip(void **state)
{
	(void)state;
	assert_int_equal(N_SAMPLES, MSG_EXPIRED);
	for (size_t i = 0; i < N_SAMPLES; i++) {
		struct err e = ERR_INIT;
		msgpack_sbuffer first, second;
		struct msg m;

		assert_int_equal(samples[i].type, i + 1);
		encode(&samples[i], &first);
		if (msg_decode(first.data, first.size, &m, &e) < 0)
			fail_msg("%s", e.text);
		encode(&m, &second);
		assert_int_equal(first.size, second.size);
		assert_memory_equal(first.data, second.data, first.size);
		msg_clear(&m);
		assert_null(m.zone);
		msgpack_sbuffer_destroy(&first);
		msgpack_sbuffer_destroy(&second);
	}
}

/* The fields themselves, so that two wrongs do not make a right. */
static void
test_fields(void **state)
{
	struct err e = ERR_INIT;
	msgpack_sbuffer buf;
	struct msg m;

	(void)state;
	encode(&samples[MSG_JOB - 1], &buf);
	assert_int_equal(msg_decode(buf.data, buf.size, &m, &e), 0);
	/* Nothing points into the frame. */
	memset(buf.data, 0, buf.size);
	msgpack_sbuffer_destroy(&buf);
	assert_true(m.job.job == UINT64_MAX && m.job.attempt == 3);
	assert_true(m.job.n_items == MSG_ITEMS_MAX);
	assert_int_equal(m.job.spec.source, LAYER_FROM_STORE);
	assert_int_equal(m.job.spec.dialect, TAR_GNU);
	assert_true(m.job.spec.measure && m.job.spec.verify);
	assert_string_equal(m.job.spec.store_dir, "/nix/store");
	assert_string_equal(m.job.spec.store_root, "/mnt");
	assert_true(m.job.spec.mtime == -5 && m.job.spec.uid == UINT64_MAX);
	assert_int_equal(m.job.spec.gid, 1000);
	assert_string_equal(m.job.spec.uname, "root");
	assert_string_equal(m.job.spec.gname, "wheel");
	assert_int_equal(m.job.spec.encoding.kind, ENCODING_ZSTD);
	assert_int_equal(m.job.spec.encoding.level, 19);
	assert_string_equal(m.job.spec.file, "");
	assert_int_equal(m.job.stream, MSG_PUSH_PLACES);
	assert_int_equal(m.job.spec.n_outputs, 4);
	assert_int_equal(m.job.spec.outputs[2].kind, LAYER_TO_SPOOL_TAR);
	assert_int_equal(m.job.spec.outputs[2].size, 10240);
	assert_int_equal(m.job.spec.outputs[3].kind, LAYER_TO_SPOOL_BLOB);
	assert_string_equal(m.job.spec.outputs[1].path, "/tmp/blobs");
	assert_int_equal(m.job.spec.outputs[1].kind, LAYER_TO_BLOB);
	assert_true(m.job.spec.outputs[0].size == LAYER_SIZE_UNKNOWN);
	assert_true(m.job.spec.outputs[0].offset == INT64_MAX);
	msg_clear(&m);
	encode(&samples[MSG_ITEMS - 1], &buf);
	assert_int_equal(msg_decode(buf.data, buf.size, &m, &e), 0);
	msgpack_sbuffer_destroy(&buf);
	assert_int_equal(m.items.n, 2);
	assert_string_equal(m.items.item[1].path, "/nix/store/b\xff\n");
	assert_true(m.items.item[0].has_hash && !m.items.item[1].has_hash);
	assert_true(
	    digest_equal(&m.items.item[0].nar_hash, &items[0].nar_hash));
	assert_int_equal(m.items.item[0].nar_size, 123456789);
	msg_clear(&m);
}

static struct msg
again(const struct msg *m)
{
	struct err e = ERR_INIT;
	msgpack_sbuffer buf;
	struct msg out;

	encode(m, &buf);
	if (msg_decode(buf.data, buf.size, &out, &e) < 0)
		fail_msg("%s", e.text);
	msgpack_sbuffer_destroy(&buf);
	return out;
}

/* Each number of a result is its own. */
static void
test_result_fields(void **state)
{
	struct msg m = again(&samples[MSG_DONE - 1]);
	const struct layer_result *r = &m.done.result;

	(void)state;
	assert_true(m.done.job == 1 && m.done.attempt == 2);
	assert_true(r->diff_id.b[0] == 1 && r->digest.b[0] == 2);
	assert_true(r->tar_size == 10240 && r->size == INT64_MAX);
	assert_true(r->entries == 5 && r->bytes_read == 6);
	assert_true(r->fetched == 7 && r->fetch_us == 8);
	assert_int_equal(m.done.cpu_us, 77);
	msg_clear(&m);
	m = again(&samples[MSG_SIZED - 1]);
	assert_true(m.sized.job == 1 && m.sized.attempt == 2);
	assert_true(m.sized.tar_size == 10240 && m.sized.entries == 4);
	msg_clear(&m);
	m = again(&samples[MSG_FAIL - 1]);
	assert_true(m.fail.job == 1 && m.fail.attempt == 2);
	assert_true(m.fail.kind == ERR_RETRY && m.fail.sys == ENOSPC);
	assert_string_equal(m.fail.text, "full");
	msg_clear(&m);
	m = again(&samples[MSG_BEAT - 1]);
	assert_int_equal(m.beat.n, 2);
	assert_true(m.beat.progress[1].job == 4);
	assert_true(m.beat.progress[1].attempt == 5);
	assert_true(m.beat.progress[0].bytes == 3);
	msg_clear(&m);
	m = again(&samples[MSG_HELLO - 1]);
	assert_true(m.hello.session == 9 && m.hello.n_held == 2);
	assert_true(m.hello.fetches);
	assert_true(m.hello.speed[ENCODING_GZIP] == 1);
	assert_true(m.hello.speed[ENCODING_ZSTD] == MSG_SPEED_MAX);
	assert_true(m.hello.held[0].job == 1 && m.hello.held[0].attempt == 2);
	msg_clear(&m);
	m = again(&samples[MSG_ENTRIES - 1]);
	assert_int_equal(m.entries.n, 3);
	assert_string_equal(m.entries.entry[1].name, "/bin/sh");
	assert_string_equal(m.entries.entry[1].target, "/nix/store/a/bin/sh");
	assert_true(m.entries.entry[1].uid == 1 && m.entries.entry[1].gid == 2);
	assert_int_equal(m.entries.entry[0].mode, 01777);
	assert_int_equal(m.entries.entry[2].type, TAR_REGULAR);
	msg_clear(&m);
}

#define CHECK(TYPE, change, text)                                              \
	do {                                                                   \
		struct msg m = samples[TYPE - 1];                              \
		change;                                                        \
		assert_string_equal(verdict(&m), text);                        \
	} while (0)

static const char *
repeat(size_t len)
{
	static char s[MSG_PATH_MAX + 2];

	memset(s, '/', len);
	s[len] = '\0';
	return s;
}

static void
test_hello_limits(void **state)
{
	(void)state;
	CHECK(MSG_HELLO, m.hello.slots = 1, "");
	CHECK(MSG_HELLO, m.hello.slots = 0, "hello: field 5 is 0, below 1");
	CHECK(MSG_HELLO, m.hello.slots = MSG_SLOTS_MAX + 1,
	    "hello: field 5 is 1025, above 1024");
	CHECK(MSG_HELLO, m.hello.pid = (uint64_t)INT32_MAX + 1,
	    "hello: field 4 is 2147483648, above 2147483647");
	CHECK(MSG_HELLO, m.hello.host = repeat(MSG_NAME_MAX), "");
	CHECK(MSG_HELLO, m.hello.host = repeat(MSG_NAME_MAX + 1),
	    "hello: field 3 has 257 bytes, above 256");
	CHECK(MSG_HELLO, m.hello.speed[0] = MSG_SPEED_MAX + 1,
	    "hello: field 12 is 100000000001, above 100000000000");
	CHECK(MSG_WELCOME, m.welcome.beat_ms = MSG_BEAT_MS_MAX, "");
	CHECK(MSG_WELCOME, m.welcome.beat_ms = 0,
	    "welcome: field 2 is 0, below 1");
	CHECK(MSG_WELCOME, m.welcome.beat_ms = MSG_BEAT_MS_MAX + 1,
	    "welcome: field 2 is 3600001, above 3600000");
	CHECK(MSG_REFUSE, m.refuse.text = repeat(ERR_TEXT_MAX - 1), "");
	CHECK(MSG_REFUSE, m.refuse.text = repeat(ERR_TEXT_MAX),
	    "refuse: field 1 has 1024 bytes, above 1023");
	CHECK(MSG_WELCOME, m.welcome.data = "", "");
	CHECK(MSG_WELCOME, m.welcome.data = repeat(MSG_PATH_MAX + 1),
	    "welcome: field 4 has 8193 bytes, above 8192");
	CHECK(MSG_BYE, m.bye.reason = 2, "bye: field 1 is 2, above 1");
}

static void
test_client_fields(void **state)
{
	struct msg m = again(&samples[MSG_CLIENT - 1]);

	(void)state;
	assert_true(m.client.protocol == PROTOCOL_VERSION);
	assert_string_equal(m.client.program, "0.1.0");
	assert_string_equal(m.client.host, "host");
	assert_int_equal(m.client.pid, 7);
	assert_string_equal(m.client.image, "app:1");
	assert_string_equal(m.client.gzip, "gz 1");
	assert_string_equal(m.client.zstd, "zstd 2");
	assert_int_equal(m.client.instance[15], 6);
	assert_int_equal(m.client.session, 11);
	msg_clear(&m);
	m = again(&samples[MSG_MADE - 1]);
	assert_true(m.made.job == 1 && m.made.attempt == 2);
	assert_string_equal(m.made.worker, "host/7");
	assert_int_equal(m.made.ms, 1500);
	msg_clear(&m);
	m = again(&samples[MSG_STATE - 1]);
	assert_int_equal(m.state.request, 4);
	assert_string_equal(m.state.text, "{\n\"clients\": []\n}");
	msg_clear(&m);
}

static void
test_client_limits(void **state)
{
	char *text = calloc(1, MSG_STATE_MAX + 2);

	(void)state;
	assert_non_null(text);
	CHECK(MSG_CLIENT, m.client.image = repeat(MSG_NAME_MAX), "");
	CHECK(MSG_CLIENT, m.client.image = repeat(MSG_NAME_MAX + 1),
	    "client: field 5 has 257 bytes, above 256");
	CHECK(MSG_CLIENT, m.client.pid = (uint64_t)INT32_MAX + 1,
	    "client: field 4 is 2147483648, above 2147483647");
	CHECK(MSG_MADE, m.made.worker = repeat(MSG_NAME_MAX + 1),
	    "made: field 3 has 257 bytes, above 256");
	CHECK(MSG_MADE, m.made.ms = UINT64_MAX,
	    "made: field 4 is 18446744073709551615, above "
	    "9223372036854775807");
	memset(text, ' ', MSG_STATE_MAX);
	CHECK(MSG_STATE, m.state.text = text, "");
	text[MSG_STATE_MAX] = ' ';
	CHECK(MSG_STATE, m.state.text = text,
	    "state: field 2 has 786433 bytes, above 786432");
	free(text);
}

static void
test_push_fields(void **state)
{
	struct msg m = again(&samples[MSG_PUSH - 1]);

	(void)state;
	assert_true(m.push.push == UINT64_MAX && m.push.place == 2);
	assert_string_equal(m.push.file, "/blobs/a");
	assert_true(m.push.job == 3 && m.push.attempt == 4);
	assert_true(m.push.digest.b[0] == 5 && m.push.digest.b[31] == 6);
	assert_true(m.push.size == INT64_MAX);
	msg_clear(&m);
	m = again(&samples[MSG_PUSHED - 1]);
	assert_true(m.pushed.push == 7 && m.pushed.uploaded);
	assert_int_equal(m.pushed.throttled, 8);
	assert_string_equal(m.pushed.text, "registry: 403");
	msg_clear(&m);
	m = again(&samples[MSG_TOKEN - 1]);
	assert_true(m.token.place == 1 && m.token.serial == 2);
	assert_string_equal(m.token.base, "https://registry:5000");
	assert_string_equal(m.token.repo, "team/app");
	assert_string_equal(m.token.token, "ey.J~");
	assert_string_equal(m.token.authorities, "--\n");
	assert_true(m.token.insecure && m.token.stall_s == 60);
	msg_clear(&m);
	m = again(&samples[MSG_EXPIRED - 1]);
	assert_true(m.expired.place == 1 && m.expired.serial == UINT64_MAX);
	msg_clear(&m);
}

/* So many letters; the caller's. */
static char *
letters(size_t n)
{
	char *s = calloc(1, n + 1);

	assert_non_null(s);
	memset(s, 'a', n);
	return s;
}

static void
test_push_limits(void **state)
{
	char *token = letters(REGISTRY_TOKEN_MAX + 1);
	char *pem = letters(MSG_AUTHORITIES_MAX + 1);

	(void)state;
	CHECK(MSG_PUSH, m.push.file = "", "");
	CHECK(MSG_PUSH, m.push.file = "blobs/a",
	    "push: field 3 is not an absolute path");
	CHECK(MSG_PUSHED, m.pushed.text = repeat(ERR_TEXT_MAX),
	    "pushed: field 4 has 1024 bytes, above 1023");
	CHECK(MSG_TOKEN, m.token.base = "ftp://a",
	    "token: field 3 is no registry");
	CHECK(MSG_TOKEN, m.token.base = "https://a\r\nb",
	    "token: field 3 has a character that none may have");
	CHECK(MSG_TOKEN, m.token.repo = "../a",
	    "token: field 4 is no repository");
	CHECK(MSG_TOKEN, m.token.token = "", "");
	CHECK(MSG_TOKEN, m.token.token = "a\r\nHost: b",
	    "token: field 5 has a character that none may have");
	CHECK(MSG_TOKEN, m.token.token = token,
	    "token: field 5 has 65537 bytes, above 65536");
	CHECK(MSG_TOKEN, m.token.token = token + 1, "");
	CHECK(MSG_TOKEN, m.token.authorities = pem,
	    "token: field 6 has 262145 bytes, above 262144");
	CHECK(MSG_TOKEN, m.token.authorities = pem + 1, "");
	free(token);
	free(pem);
}

static void
test_token_is_not_shown(void **state)
{
	char line[1024];

	(void)state;
	msg_print(&samples[MSG_TOKEN - 1], line, sizeof(line));
	assert_non_null(strstr(line, "registry:5000/team/app"));
	assert_null(strstr(line, "ey.J~"));
}

static void
test_probe_limits(void **state)
{
	(void)state;
	CHECK(MSG_PROBE, m.probe.folder = "out",
	    "probe: field 2 is not an absolute path");
	CHECK(MSG_PROBE, m.probe.name = "",
	    "probe: field 3 is no name of a file");
	CHECK(MSG_PROBE, m.probe.name = "..",
	    "probe: field 3 is no name of a file");
	CHECK(MSG_PROBE, m.probe.name = "../a",
	    "probe: field 3 is no name of a file");
	CHECK(MSG_PROBED, m.probed.sys = 4096,
	    "probed: field 2 is 4096, above 4095");
	CHECK(MSG_PROBED, m.probed.text = repeat(ERR_TEXT_MAX),
	    "probed: field 3 has 1024 bytes, above 1023");
	CHECK(MSG_POSTPONE, m.postpone.text = repeat(ERR_TEXT_MAX - 1), "");
	CHECK(MSG_POSTPONE, m.postpone.text = repeat(ERR_TEXT_MAX),
	    "postpone: field 3 has 1024 bytes, above 1023");
}

static void
test_ask_fields(void **state)
{
	struct msg m = again(&samples[MSG_ASK - 1]);

	(void)state;
	assert_true(m.ask.ask == 6 && m.ask.n == MSG_LIST_MAX);
	assert_true(m.ask.list.b[0] == 7 && m.ask.list.b[31] == 1);
	assert_string_equal(m.ask.store_dir, "/nix/store");
	assert_string_equal(m.ask.store_root, "/mnt");
	msg_clear(&m);
	m = again(&samples[MSG_PATHS - 1]);
	assert_true(m.paths.first == MSG_LIST_MAX - 1 && m.paths.n == 2);
	assert_true(m.paths.key[0] == keys[0] && m.paths.key[1] == keys[1]);
	msg_clear(&m);
	m = again(&samples[MSG_HAVE - 1]);
	assert_true(m.have.ask == 6 && m.have.first == 16 && m.have.n == 3);
	assert_memory_equal(m.have.bits, bits, 3);
	msg_clear(&m);
}

static void
test_ask_limits(void **state)
{
	static uint64_t many[MSG_PATHS_MAX];
	static uint8_t long_bits[MSG_BITS_MAX + 1];

	(void)state;
	CHECK(MSG_ASK, m.ask.n = MSG_LIST_MAX + 1,
	    "ask: field 3 is 16777217, above 16777216");
	CHECK(MSG_ASK, m.ask.n = 0, "ask: field 3 is 0, below 1");
	CHECK(MSG_ASK, m.ask.store_dir = "nix",
	    "ask: field 4 is not an absolute path");
	CHECK(MSG_ASK, m.ask.store_root = repeat(MSG_PATH_MAX + 1),
	    "ask: field 5 has 8193 bytes, above 8192");
	CHECK(MSG_WANT, m.want.first = MSG_LIST_MAX,
	    "want: field 2 is 16777216, above 16777215");
	CHECK(MSG_PATHS, (m.paths.key = many, m.paths.n = MSG_PATHS_MAX), "");
	CHECK(MSG_PATHS, m.paths.n = 0,
	    "paths: field 3 has 0 bytes, no whole keys");
	CHECK(MSG_PATHS, m.paths.first = MSG_LIST_MAX,
	    "paths: field 2 is 16777216, above 16777215");
	CHECK(MSG_HAVE, m.have.first = 9, "have: field 3 is no multiple of 8");
	CHECK(MSG_HAVE, m.have.n = 0, "have: field 4 is empty");
	CHECK(MSG_HAVE, m.have.sys = EACCES, "have: field 4 is not empty");
	CHECK(MSG_HAVE, (m.have.sys = EACCES, m.have.n = 0), "");
	CHECK(MSG_HAVE, m.have.sys = 4096, "have: field 2 is 4096, above 4095");
	CHECK(MSG_HAVE, (m.have.bits = long_bits, m.have.n = MSG_BITS_MAX), "");
	CHECK(MSG_HAVE, (m.have.bits = long_bits, m.have.n = MSG_BITS_MAX + 1),
	    "have: field 4 has 65537 bytes, more than 65536");
}

/* Keys that are not whole, or one too many: no encoder of ours makes them. */
static void
test_keys_limit(void **state)
{
	static const uint8_t zeros[8 * MSG_PATHS_MAX + 8];
	const size_t sizes[] = {7, 8 * MSG_PATHS_MAX + 8};
	const char *says[] = {"paths: field 3 has 7 bytes, no whole keys",
	    "paths: field 3 has 65544 bytes, more than 65536"};

	(void)state;
	for (int i = 0; i < 2; i++) {
		struct err e = ERR_INIT;
		struct wire_out out;
		msgpack_sbuffer buf;
		struct msg m;

		msgpack_sbuffer_init(&buf);
		wire_out_init(&out, &buf);
		wire_put_array(&out, 4);
		wire_put_uint(&out, MSG_PATHS);
		wire_put_uint(&out, 1);
		wire_put_uint(&out, 0);
		wire_put_bytes(&out, zeros, sizes[i]);
		assert_int_equal(msg_decode(buf.data, buf.size, &m, &e), -1);
		assert_string_equal(e.text, says[i]);
		msgpack_sbuffer_destroy(&buf);
	}
}

static void
test_job_limits(void **state)
{
	(void)state;
	CHECK(MSG_JOB, m.job.n_items = MSG_ITEMS_MAX + 1,
	    "job: field 3 is 67108865, above 67108864");
	CHECK(MSG_JOB, m.job.spec.source = 3, "job: field 4 is 3, above 2");
	CHECK(MSG_JOB, m.job.spec.source = LAYER_FROM_FILE,
	    "job: field 4 is a file, but items are announced");
	CHECK(MSG_JOB, (m.job.spec.source = LAYER_FROM_FILE, m.job.n_items = 0),
	    "job: field 17 does not fit the job's source");
	CHECK(MSG_JOB, m.job.spec.file = "/a",
	    "job: field 17 does not fit the job's source");
	CHECK(MSG_JOB,
	    (m.job.spec.source = LAYER_FROM_FILE, m.job.n_items = 0,
		m.job.spec.file = "/a"),
	    "");
	CHECK(MSG_JOB, m.job.spec.dialect = 2, "job: field 5 is 2, above 1");
	CHECK(MSG_JOB, m.job.stream = MSG_PUSH_PLACES + 1,
	    "job: field 19 is 17, above 16");
	CHECK(MSG_DONE, m.done.stream = (enum layer_stream)5,
	    "done: field 12 is 5, above 4");
	CHECK(MSG_JOB, m.job.spec.store_dir = "nix",
	    "job: field 8 is not an absolute path");
	CHECK(MSG_JOB, m.job.spec.store_dir = repeat(MSG_PATH_MAX), "");
	CHECK(MSG_JOB, m.job.spec.store_dir = repeat(MSG_PATH_MAX + 1),
	    "job: field 8 has 8193 bytes, above 8192");
	CHECK(MSG_JOB, m.job.spec.encoding.kind = 3,
	    "job: field 15 is 3, above 2");
	CHECK(MSG_JOB, m.job.spec.encoding.level = 20,
	    "job: field 16 does not fit: encoding zstd: level 20 is not in 1 "
	    "to 19");
	CHECK(MSG_JOB, m.job.spec.encoding.level = -1,
	    "job: field 16 is 18446744073709551615, above 32767");
	CHECK(MSG_JOB, m.job.spec.outputs[1].kind = 4,
	    "job: field 18.1.0 is 4, above 3");
	CHECK(MSG_JOB, m.job.spec.outputs[2].path = "/tmp",
	    "job: field 18.2.1 is a path");
	CHECK(MSG_JOB, m.job.spec.outputs[0].path = "",
	    "job: field 18.0.1 is empty");
	CHECK(MSG_JOB, m.job.spec.outputs[0].offset = (uint64_t)INT64_MAX + 1,
	    "job: field 18.0.2 is 9223372036854775808, above "
	    "9223372036854775807");
	CHECK(MSG_JOB, m.job.spec.outputs[0].size = LAYER_SIZE_UNKNOWN - 1,
	    "job: field 18.0.3 is no size");
	CHECK(MSG_JOB, m.job.spec.n_outputs = 0, "");
}

static void
test_list_limits(void **state)
{
	struct msg_progress many[MSG_SLOTS_MAX + 1] = {{0}};
	struct layer_item bad_item = {"store", false};
	struct layer_entry entry = entries[1];

	(void)state;
	CHECK(MSG_ITEMS, (m.items.item = &bad_item, m.items.n = 1),
	    "items: field 3.0.0 is not an absolute path");
	CHECK(MSG_ITEMS, m.items.n = 0, "");
	CHECK(MSG_BEAT, m.beat.n = 0, "");
	CHECK(MSG_BEAT, (m.beat.progress = many, m.beat.n = MSG_SLOTS_MAX), "");
	CHECK(MSG_BEAT, (m.beat.progress = many, m.beat.n = MSG_SLOTS_MAX + 1),
	    "beat: field 1 has 1025 elements, above 1024");
	entry.type = '1';
	CHECK(MSG_ENTRIES, (m.entries.entry = &entry, m.entries.n = 1),
	    "entries: field 3.0.1 is 49, no type of tar entry");
	entry.type = TAR_DIRECTORY;
	CHECK(MSG_ENTRIES, (m.entries.entry = &entry, m.entries.n = 1),
	    "entries: field 3.0.5 does not fit the entry's type");
	entry = entries[1];
	entry.target = "";
	CHECK(MSG_ENTRIES, (m.entries.entry = &entry, m.entries.n = 1),
	    "entries: field 3.0.5 does not fit the entry's type");
	entry = entries[1];
	entry.mode = 010000;
	CHECK(MSG_ENTRIES, (m.entries.entry = &entry, m.entries.n = 1),
	    "entries: field 3.0.2 is 4096, above 4095");
}

static void
test_result_limits(void **state)
{
	(void)state;
	CHECK(MSG_FAIL, m.fail.kind = ERR_JOB, "");
	CHECK(MSG_FAIL, m.fail.kind = ERR_USAGE, "fail: field 3 is 1, below 2");
	CHECK(MSG_FAIL, m.fail.kind = ERR_PEER, "fail: field 3 is 4, above 3");
	CHECK(MSG_FAIL, m.fail.sys = 4096, "fail: field 4 is 4096, above 4095");
	CHECK(MSG_SIZED, m.sized.tar_size = UINT64_MAX,
	    "sized: field 3 is 18446744073709551615, above "
	    "9223372036854775807");
	CHECK(MSG_DONE, m.done.result.size = UINT64_MAX,
	    "done: field 6 is 18446744073709551615, above "
	    "9223372036854775807");
}

/* The longest item list that is taken, and one item more. */
static void
test_items_limit(void **state)
{
	struct err e = ERR_INIT;
	struct wire_out out;
	msgpack_sbuffer buf;
	struct msg m;

	(void)state;
	for (size_t n = MSG_PART_ITEMS_MAX; n <= MSG_PART_ITEMS_MAX + 1; n++) {
		msgpack_sbuffer_init(&buf);
		wire_out_init(&out, &buf);
		wire_put_array(&out, 4);
		wire_put_uint(&out, MSG_ITEMS);
		wire_put_uint(&out, 1);
		wire_put_uint(&out, 1);
		wire_put_array(&out, n);
		for (size_t i = 0; i < n; i++)
			wire_put_array(&out, 0);
		assert_int_equal(msg_decode(buf.data, buf.size, &m, &e), -1);
		assert_string_equal(e.text,
		    n == MSG_PART_ITEMS_MAX
			? "items: field 3.0.0 is missing"
			: "items: field 3 has 65537 elements, above 65536");
		err_clear(&e);
		msgpack_sbuffer_destroy(&buf);
	}
}

/* Outputs and digests: no encoder of ours makes too many or too few. */
static void
test_exact(void **state)
{
	struct err e = ERR_INIT;
	msgpack_sbuffer buf;
	struct msg m;
	char *at;

	(void)state;
	encode(&samples[MSG_DONE - 1], &buf);
	at = memchr(buf.data, '\xc4', buf.size);
	assert_int_equal(at[1], DIGEST_SIZE);
	/* A byte less of digest: the byte that is left becomes a field. */
	at[1] = DIGEST_SIZE - 1;
	buf.data[0]++;
	assert_int_equal(msg_decode(buf.data, buf.size, &m, &e), -1);
	assert_string_equal(e.text, "done: field 3 has 31 bytes instead of 32");
	msgpack_sbuffer_destroy(&buf);
	err_clear(&e);
	assert_int_equal(msg_decode("\x92\x0c\x00\x00", 3, &m, &e), 0);
	msg_clear(&m);
	assert_int_equal(msg_decode("\x93\x0c\x00\x00", 4, &m, &e), -1);
	assert_string_equal(e.text, "bye: field 2 is one too many");
	err_clear(&e);
	assert_int_equal(msg_decode("\x91\x0c", 2, &m, &e), -1);
	assert_string_equal(e.text, "bye: field 1 is missing");
	err_clear(&e);
	assert_int_equal(msg_decode("\x90", 1, &m, &e), -1);
	assert_string_equal(e.text, "message: field 0 is missing");
	err_clear(&e);
	assert_int_equal(msg_decode("\x01", 1, &m, &e), -1);
	assert_string_equal(e.text, "message is not an array");
	err_clear(&e);
	assert_int_equal(msg_decode("\x91\xcd\x01\x0c", 4, &m, &e), -1);
	assert_string_equal(
	    e.text, "message: field 0 is 268, no type of message");
	err_clear(&e);
	assert_int_equal(msg_decode("\x91\x00", 2, &m, &e), -1);
	assert_string_equal(
	    e.text, "message: field 0 is 0, no type of message");
}

/* No encoder of ours writes more outputs than there can be. */
static void
test_outputs_limit(void **state)
{
	struct msg m = samples[MSG_JOB - 1];
	struct err e = ERR_INIT;
	msgpack_sbuffer buf;

	(void)state;
	m.job.spec.n_outputs = 0;
	m.job.stream = 0;
	encode(&m, &buf);
	/* What follows the outputs goes behind those that are written now. */
	buf.data[--buf.size - 1] = '\x99';
	for (size_t i = 0; i <= LAYER_OUTPUTS_MAX; i++)
		msgpack_sbuffer_write(&buf, "\x90", 1);
	msgpack_sbuffer_write(&buf, "\x00", 1);
	assert_int_equal(msg_decode(buf.data, buf.size, &m, &e), -1);
	assert_string_equal(e.text, "job: field 18 has 9 elements, above 8");
	msgpack_sbuffer_destroy(&buf);
}

static void
test_size(void **state)
{
	struct err e = ERR_INIT;
	msgpack_sbuffer buf;
	struct msg m = samples[MSG_ITEMS - 1];
	struct layer_item big[200];
	char *huge;

	(void)state;
	for (size_t i = 0; i < 200; i++)
		big[i] = (struct layer_item){repeat(MSG_PATH_MAX), false};
	m.items.item = big;
	m.items.n = 120;
	assert_string_equal(verdict(&m), "");
	m.items.n = 200;
	msgpack_sbuffer_init(&buf);
	msgpack_sbuffer_write(&buf, "x", 1);
	assert_int_equal(msg_encode(&m, &buf, &e), -1);
	assert_int_equal(e.kind, ERR_FATAL);
	assert_non_null(strstr(e.text, "ITEMS of "));
	/* What was there before is still there, and nothing else. */
	assert_int_equal(buf.size, 1);
	msgpack_sbuffer_destroy(&buf);
	err_clear(&e);
	huge = calloc(1, MSG_SIZE_MAX + 1);
	assert_int_equal(msg_decode(huge, MSG_SIZE_MAX + 1, &m, &e), -1);
	assert_int_equal(e.kind, ERR_PEER);
	assert_string_equal(
	    e.text, "message of 1048577 bytes, more than 1048576");
	free(huge);
}

/* Whichever allocation fails: ERR_FATAL, nothing leaks, *out is empty. */
static void
test_no_memory(void **state)
{
	static struct layer_item many[3000];
	struct msg m = samples[MSG_ITEMS - 1], out;
	msgpack_sbuffer buf;
	int n = 0, rc = -1;

	(void)state;
	for (size_t i = 0; i < 3000; i++)
		many[i] = items[i % 2];
	m.items.item = many;
	m.items.n = 3000;
	encode(&m, &buf);
	while (rc < 0) {
		struct err e = ERR_INIT;

		fail_at = n++;
		rc = msg_decode(buf.data, buf.size, &out, &e);
		if (rc < 0) {
			assert_int_equal(e.kind, ERR_FATAL);
			assert_non_null(strstr(e.text, "out of memory"));
			assert_null(out.zone);
			assert_int_equal(out.type, 0);
		}
	}
	fail_at = -1;
	/* Zones, objects, the list and many strings. */
	assert_true(n > 6);
	msg_clear(&out);
	msgpack_sbuffer_destroy(&buf);
}

static void
test_print(void **state)
{
	char line[200], tiny[4];

	(void)state;
	for (size_t i = 0; i < N_SAMPLES; i++) {
		const char *name = msg_name(samples[i].type);

		msg_print(&samples[i], line, sizeof(line));
		assert_memory_equal(line, name, strlen(name));
		assert_int_equal(line[strlen(name)], ' ');
		assert_null(strchr(line, '\n'));
		msg_print(&samples[i], tiny, sizeof(tiny));
		assert_int_equal(strlen(tiny), 3);
	}
	assert_string_equal(msg_name(MSG_JOB), "JOB");
	assert_string_equal(msg_name(77), "?");
	msg_print(&samples[MSG_FAIL - 1], line, sizeof(line));
	assert_string_equal(line, "FAIL 1 attempt 2 retry: full");
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_round_trip),
	    cmocka_unit_test(test_fields),
	    cmocka_unit_test(test_result_fields),
	    cmocka_unit_test(test_hello_limits),
	    cmocka_unit_test(test_client_fields),
	    cmocka_unit_test(test_client_limits),
	    cmocka_unit_test(test_push_fields),
	    cmocka_unit_test(test_push_limits),
	    cmocka_unit_test(test_token_is_not_shown),
	    cmocka_unit_test(test_probe_limits),
	    cmocka_unit_test(test_ask_fields),
	    cmocka_unit_test(test_ask_limits),
	    cmocka_unit_test(test_keys_limit),
	    cmocka_unit_test(test_job_limits),
	    cmocka_unit_test(test_list_limits),
	    cmocka_unit_test(test_result_limits),
	    cmocka_unit_test(test_items_limit),
	    cmocka_unit_test(test_exact),
	    cmocka_unit_test(test_outputs_limit),
	    cmocka_unit_test(test_size),
	    cmocka_unit_test(test_no_memory),
	    cmocka_unit_test(test_print),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
