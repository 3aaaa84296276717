#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "err.h"
#include "cache/layer_cache.h"
#include "layer_spec.h"
#include "own.h"
#include "cache/shared_record.h"

#define GZIP "application/vnd.oci.image.layer.v1.tar+gzip"

static struct digest key;
static struct layer_result result;

static char *
printed(size_t *len)
{
	const struct layer_record record = {
	    .result = &result, .verified = true};
	struct err e = ERR_INIT;
	char *text = NULL;

	memset(key.b, 0xab, sizeof(key.b));
	memset(result.diff_id.b, 1, DIGEST_SIZE);
	memset(result.digest.b, 2, DIGEST_SIZE);
	result.tar_size = 10240;
	result.size = 1234;
	result.entries = 7;
	if (shared_record_print(&key, &record, GZIP, &text, len, &e) < 0)
		fail_msg("%s", e.text);
	return text;
}

/* What others must be able to read does not change by chance. */
static void
bytes(void **state)
{
	size_t len;
	AUTO(own_freep) char *text = printed(&len);
	char tag[SHARED_RECORD_TAG_SIZE];

	(void)state;
#define AB "abababababababababababababababab"
#define ONE "0101010101010101010101010101010101010101010101010101010101010101"
#define TWO "0202020202020202020202020202020202020202020202020202020202020202"
	assert_string_equal(text,
	    "{\"schemaVersion\":2,\"mediaType\":\"application/"
	    "vnd.oci.image.manifest.v1+json\",\"artifactType\":\"application/"
	    "vnd.quarry.layer.v1+json\",\"config\":{\"mediaType\":"
	    "\"application/vnd.oci.empty.v1+json\",\"digest\":\"sha256:"
	    "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"
	    "\",\"size\":2,\"data\":\"e30=\"},\"layers\":[{\"mediaType\":"
	    "\"" GZIP "\",\"digest\":\"sha256:" TWO "\",\"size\":1234}],"
	    "\"annotations\":{\"vnd.quarry.layer.key\":\"" AB AB "\","
	    "\"vnd.quarry.layer.record\":\"{\\\"version\\\": 1, "
	    "\\\"diff_id\\\": \\\"sha256:" ONE "\\\", \\\"tar_size\\\": 10240, "
	    "\\\"entries\\\": 7, \\\"digest\\\": \\\"sha256:" TWO "\\\", "
	    "\\\"size\\\": 1234, \\\"verified\\\": true}\\n\"}}");
	assert_int_equal(len, strlen(text));
	shared_record_tag(&key, tag);
	assert_string_equal(tag, "layer-" AB AB);
}

static void
round_trip(void **state)
{
	size_t len;
	AUTO(own_freep) char *text = printed(&len);
	struct layer_result found;
	struct digest other = key;
	bool verified = false;

	(void)state;
	assert_true(
	    shared_record_parse(text, len, &key, GZIP, &verified, &found));
	assert_true(verified);
	assert_memory_equal(&found, &result, sizeof(found));
	other.b[0] ^= 1;
	assert_false(
	    shared_record_parse(text, len, &other, GZIP, &verified, &found));
	assert_false(shared_record_parse(
	    text, len, &key, "text/plain", &verified, &found));
}

/* No byte less will do. */
static void
cut(void **state)
{
	size_t len;
	AUTO(own_freep) char *text = printed(&len);
	struct layer_result found;
	bool verified;

	(void)state;
	for (size_t n = 0; n < len; n++)
		assert_false(shared_record_parse(
		    text, n, &key, GZIP, &verified, &found));
}

/* One of its parts says something else. */
static void
changed(void **state)
{
	static const struct {
		const char *from, *to;
	} cases[] = {
	    {"vnd.quarry.layer.v1", "vnd.quarry.other.v1"},
	    {"\"size\":1234", "\"size\":1235"},
	    {"\"digest\":\"sha256:02", "\"digest\":\"sha256:12"},
	    {"\\\"size\\\": 1234", "\\\"size\\\": 1235"},
	    {"\\\"version\\\": 1", "\\\"version\\\": 2"},
	    {"\\\"tar_size\\\": 10240", "\\\"tar_size\\\": -1024"},
	    {"vnd.quarry.layer.record", "vnd.quarry.layer.recorx"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		size_t len;
		AUTO(own_freep) char *text = printed(&len);
		struct layer_result found;
		bool verified;
		char *at = strstr(text, cases[i].from);

		assert_non_null(at);
		assert_int_equal(strlen(cases[i].from), strlen(cases[i].to));
		memcpy(at, cases[i].to, strlen(cases[i].to));
		if (shared_record_parse(
			text, len, &key, GZIP, &verified, &found))
			fail_msg("%s was taken", cases[i].to);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(bytes),
	    cmocka_unit_test(round_trip),
	    cmocka_unit_test(cut),
	    cmocka_unit_test(changed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
