#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cmocka.h>

#include "blob_dir.h"
#include "digest.h"
#include "err.h"
#include "layer_sink.h"
#include "layer_spec.h"
#include "sink.h"

static char folder[64], file[80];

static int
setup(void **state)
{
	int fd;

	(void)state;
	snprintf(folder, sizeof(folder), "/tmp/sink.XXXXXX");
	if (mkdtemp(folder) == NULL)
		return -1;
	snprintf(file, sizeof(file), "%s/file", folder);
	fd = open(file, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	if (fd < 0 || write(fd, "0123456789", 10) != 10)
		return -1;
	return close(fd);
}

static int
teardown(void **state)
{
	char command[100];

	(void)state;
	snprintf(command, sizeof(command), "rm -rf %s", folder);
	return system(command);
}

static void
check_file(const char *path, const char *want)
{
	char got[100] = "";
	FILE *f = fopen(path, "rb");
	size_t n;

	assert_non_null(f);
	n = fread(got, 1, sizeof(got) - 1, f);
	fclose(f);
	assert_int_equal(n, strlen(want));
	assert_string_equal(got, want);
}

/* The places around a layer's own are other layers'. */
static void
test_file(void **state)
{
	struct sink *s = NULL;
	struct err e = ERR_INIT;

	(void)state;
	assert_int_equal(sink_file_new(file, 3, 4, NULL, &s, &e), 0);
	assert_int_equal(sink_write(s, "ab", 2, &e), 0);
	assert_int_equal(sink_write(s, "cd", 2, &e), 0);
	assert_int_equal(sink_close(s, &e), 0);
	sink_free(s);
	check_file(file, "012abcd789");
}

static void
test_file_size(void **state)
{
	struct sink *s = NULL;
	struct err e = ERR_INIT;

	(void)state;
	assert_int_equal(sink_file_new(file, 3, 4, NULL, &s, &e), 0);
	assert_int_equal(sink_write(s, "abc", 3, &e), 0);
	assert_int_equal(sink_write(s, "de", 2, &e), -1);
	assert_int_equal(e.kind, ERR_JOB);
	sink_free(s);
	check_file(file, "012abc6789");
	err_clear(&e);
	assert_int_equal(sink_file_new(file, 3, 4, NULL, &s, &e), 0);
	assert_int_equal(sink_write(s, "abc", 3, &e), 0);
	assert_int_equal(sink_close(s, &e), -1);
	assert_int_equal(e.kind, ERR_JOB);
	sink_free(s);
	err_clear(&e);
	assert_int_equal(sink_file_new(file, UINT64_MAX, 4, NULL, &s, &e), -1);
	err_clear(&e);
	assert_int_equal(
	    sink_file_new(file, 10, UINT64_MAX - 1, NULL, &s, &e), -1);
}

static void
test_file_errors(void **state)
{
	struct rlimit old, small = {8, 8};
	struct sink *s = NULL;
	struct err e = ERR_INIT;

	(void)state;
	assert_int_equal(sink_file_new("/none/x", 0, 4, NULL, &s, &e), -1);
	assert_int_equal(e.kind, ERR_RETRY);
	assert_non_null(strstr(e.text, "/none/x"));
	err_clear(&e);
	signal(SIGXFSZ, SIG_IGN);
	assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
	small.rlim_max = old.rlim_max;
	assert_int_equal(sink_file_new(file, 8, UINT64_MAX, NULL, &s, &e), 0);
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
	assert_int_equal(sink_write(s, "abc", 3, &e), -1);
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
	assert_int_equal(e.kind, ERR_RETRY);
	assert_int_equal(e.sys, EFBIG);
	assert_non_null(strstr(e.text, file));
	sink_free(s);
}

static void
make_layer(const struct layer_spec *spec, struct layer_result *result)
{
	struct layer_sink *ls = NULL;
	struct err e = ERR_INIT;

	memset(result, 0, sizeof(*result));
	assert_int_equal(layer_sink_new(spec, NULL, NULL, NULL, &ls, &e), 0);
	assert_int_equal(layer_sink_write(ls, "he", 2, &e), 0);
	assert_int_equal(layer_sink_write(ls, "llo", 3, &e), 0);
	assert_int_equal(layer_sink_commit(ls, result, &e), 0);
	layer_sink_free(ls);
}

/* Two files and two folders at once, encoded and not. */
static void
test_outputs(void **state)
{
	char a[100], b[100], blob[600], hex[DIGEST_HEX_LEN + 1];
	struct layer_result none, gzip, got;
	struct layer_spec spec = {.encoding = {ENCODING_NONE, 0},
	    .n_outputs = 4,
	    .outputs = {{LAYER_TO_BLOB, a, 0, LAYER_SIZE_UNKNOWN},
		{LAYER_TO_FILE, file, 0, 5}, {LAYER_TO_FILE, file, 5, 5},
		{LAYER_TO_BLOB, b, 0, LAYER_SIZE_UNKNOWN}}};
	struct digest hello;

	(void)state;
	snprintf(a, sizeof(a), "mkdir %s/a %s/b", folder, folder);
	assert_int_equal(system(a), 0);
	snprintf(a, sizeof(a), "%s/a", folder);
	snprintf(b, sizeof(b), "%s/b", folder);
	make_layer(&spec, &none);
	digest_of("hello", 5, &hello);
	assert_true(digest_equal(&none.diff_id, &hello));
	assert_true(digest_equal(&none.digest, &hello));
	assert_int_equal(none.tar_size, 5);
	assert_int_equal(none.size, 5);
	check_file(file, "hellohello");
	digest_hex(&hello, hex);
	snprintf(blob, sizeof(blob), "%s/%s", a, hex);
	check_file(blob, "hello");
	snprintf(blob, sizeof(blob), "%s/%s", b, hex);
	check_file(blob, "hello");

	spec.encoding = (struct encoding){ENCODING_GZIP, 1};
	make_layer(&spec, &gzip);
	assert_true(digest_equal(&gzip.diff_id, &hello));
	assert_false(digest_equal(&gzip.digest, &hello));
	check_file(file, "hellohello");
	digest_hex(&gzip.digest, hex);
	snprintf(blob, sizeof(blob),
	    "test \"$(gzip -dc < %s/%s)\" = hello && cmp %s/%s %s/%s", a, hex,
	    a, hex, b, hex);
	assert_int_equal(system(blob), 0);
	/* Digests alone. */
	spec.n_outputs = 0;
	make_layer(&spec, &got);
	assert_memory_equal(&got, &gzip, sizeof(got));
}

static void
test_bad_outputs(void **state)
{
	char folder_a[100];
	struct layer_spec spec = {.encoding = {ENCODING_ZSTD, 3},
	    .n_outputs = 2,
	    .outputs = {{LAYER_TO_BLOB, folder_a, 0, LAYER_SIZE_UNKNOWN},
		{LAYER_TO_BLOB, "/none", 0, LAYER_SIZE_UNKNOWN}}};
	struct layer_sink *ls = NULL;
	struct err e = ERR_INIT;

	(void)state;
	snprintf(folder_a, sizeof(folder_a), "%s", folder);
	assert_int_equal(layer_sink_new(&spec, NULL, NULL, NULL, &ls, &e), -1);
	assert_int_equal(e.kind, ERR_RETRY);
	err_clear(&e);
	spec.n_outputs = 9;
	assert_int_equal(layer_sink_new(&spec, NULL, NULL, NULL, &ls, &e), -1);
	assert_int_equal(e.kind, ERR_JOB);
	err_clear(&e);
	spec.n_outputs = 0;
	spec.encoding.level = 99;
	assert_int_equal(layer_sink_new(&spec, NULL, NULL, NULL, &ls, &e), -1);
	assert_null(ls);
	layer_sink_free(NULL);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(test_file, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_file_size, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_file_errors, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_outputs, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_bad_outputs, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
