#include "output/output.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "err.h"

static void
parsed(const char *text, enum output_kind kind, const char *path)
{
	struct output_target target;
	struct err e = ERR_INIT;

	if (output_target_parse(text, &target, &e) < 0)
		fail_msg("%s", e.text);
	assert_int_equal(target.kind, kind);
	assert_string_equal(target.path, path);
}

static void
test_parse(void **state)
{
	static const char *bad[] = {"", "oci", "oci:", "docker-archive",
	    "docker-archive:", "docker:x", "ocix:y", "none:x", "oci:a:latest",
	    "oci:/a/b:latest", "/tmp/x.tar", ":x"};

	(void)state;
	parsed("none", OUTPUT_NONE, "");
	parsed("docker-archive:-", OUTPUT_DOCKER_ARCHIVE, "-");
	parsed("docker-archive:a:b.tar", OUTPUT_DOCKER_ARCHIVE, "a:b.tar");
	parsed("oci:a:b/c", OUTPUT_OCI, "a:b/c");
	parsed("oci-archive:/x", OUTPUT_OCI_ARCHIVE, "/x");
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		struct output_target target;
		struct err e = ERR_INIT;

		assert_int_equal(output_target_parse(bad[i], &target, &e), -1);
		assert_int_equal(e.kind, ERR_USAGE);
		assert_non_null(strstr(e.text, bad[i]));
	}
}

static void
test_none(void **state)
{
	const struct output_target target = {OUTPUT_NONE, ""};
	struct output *o = NULL;
	struct layer_output sink;
	struct err e = ERR_INIT;

	(void)state;
	assert_int_equal(output_open(&target, NULL, &o, &e), 0);
	assert_false(output_takes_blobs(o));
	assert_false(output_needs_sizes(o));
	assert_int_equal(output_layout(o, NULL, &e), 0);
	assert_false(output_sink(o, 4, &sink));
	assert_int_equal(output_commit(o, NULL, NULL, &e), 0);
	output_free(o);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_parse),
	    cmocka_unit_test(test_none),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
