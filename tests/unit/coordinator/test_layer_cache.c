#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "cache/layer_cache.h"
#include "cache/layer_cache_list.h"
#include "digest.h"
#include "err.h"
#include "layer_spec.h"

/* Link seam: what some file systems do not offer. */
static bool no_links;

int
linkat(int from_dir, const char *from, int to_dir, const char *to, int flags)
{
	if (no_links) {
		errno = EPERM;
		return -1;
	}
	return (int)syscall(SYS_linkat, from_dir, from, to_dir, to, flags);
}

/* What happens between two folders of the cache that are listed. */
static void (*between)(void);

DIR *
fdopendir(int fd)
{
	static unsigned calls;
	DIR *(*real)(int) = (DIR * (*)(int)) dlsym(RTLD_NEXT, "fdopendir");

	if (between != NULL && ++calls % 2 == 0) {
		void (*what)(void) = between;

		between = NULL;
		what();
	}
	return real(fd);
}

static char folder[] = "/tmp/test_layer_cache-XXXXXX";

static int
set_up(void **state)
{
	(void)state;
	return mkdtemp(folder) == NULL;
}

static int
tear_down(void **state)
{
	char command[100];

	(void)state;
	snprintf(command, sizeof(command), "rm -rf %s", folder);
	return system(command);
}

/* Nothing is in the pins' folder. */
static bool
is_clean(void)
{
	char command[200];

	snprintf(
	    command, sizeof(command), "test -z \"$(ls -A %s/pins)\"", folder);
	return system(command) == 0;
}

static void
test_pins(void **state)
{
	struct layer_cache *c = NULL;
	struct err e = ERR_INIT;
	char command[300];

	(void)state;
	assert_int_equal(layer_cache_open(folder, &c, &e), 0);
	snprintf(command, sizeof(command), "test -z \"$(ls -A %s)\"",
	    layer_cache_pins(c));
	assert_int_equal(system(command), 0);
	assert_false(is_clean());
	layer_cache_freep(&c);
	assert_true(is_clean());
}

/* A blob that cannot be pinned would be found out when it is made. */
static void
test_without_links(void **state)
{
	struct layer_cache *c = NULL;
	struct err e = ERR_INIT;

	(void)state;
	no_links = true;
	assert_int_equal(layer_cache_open(folder, &c, &e), -1);
	no_links = false;
	assert_null(c);
	assert_int_equal(e.kind, ERR_USAGE);
	assert_non_null(strstr(e.text, "hard link"));
	assert_non_null(strstr(e.text, folder));
	assert_true(is_clean());
}

/* A blob of these bytes, and its record, as a build leaves them. */
static void
add_layer(const char *bytes, uint8_t key_byte)
{
	const struct digest key = {{key_byte}};
	struct layer_result r = {.size = strlen(bytes), .tar_size = 512};
	const struct layer_record record = {&r, false};
	char path[300], hex[DIGEST_HEX_LEN + 1];
	struct layer_cache *c = NULL;
	struct err e = ERR_INIT;
	FILE *f;

	digest_of(bytes, strlen(bytes), &r.digest);
	r.diff_id = r.digest;
	digest_hex(&r.digest, hex);
	snprintf(path, sizeof(path), "%s/blobs/sha256/%s", folder, hex);
	assert_int_equal(layer_cache_open(folder, &c, &e), 0);
	assert_non_null(f = fopen(path, "w"));
	fputs(bytes, f);
	assert_int_equal(fclose(f), 0);
	assert_int_equal(layer_cache_put(c, &key, &record, &e), 0);
	layer_cache_free(c);
}

static void
set_used(uint8_t key_byte, time_t when)
{
	const struct timespec times[2] = {{when, 0}, {when, 0}};
	const struct digest key = {{key_byte}};
	char path[300], hex[DIGEST_HEX_LEN + 1];

	digest_hex(&key, hex);
	snprintf(path, sizeof(path), "%s/layers/%s", folder, hex);
	assert_int_equal(utimensat(AT_FDCWD, path, times, 0), 0);
}

/* As a prune does it: first the record, then the blob. */
static void
prune_layer(const char *bytes, uint8_t key_byte)
{
	const struct digest key = {{key_byte}};
	char path[300], hex[DIGEST_HEX_LEN + 1];
	struct digest digest;

	digest_hex(&key, hex);
	snprintf(path, sizeof(path), "%s/layers/%s", folder, hex);
	assert_int_equal(unlink(path), 0);
	digest_of(bytes, strlen(bytes), &digest);
	digest_hex(&digest, hex);
	snprintf(path, sizeof(path), "%s/blobs/sha256/%s", folder, hex);
	assert_int_equal(unlink(path), 0);
}

static unsigned told;

static void
tell(const char *path, const char *what)
{
	(void)path;
	(void)what;
	if (told++ == 0)
		prune_layer("one", 1);
}

static void
verify(bool deep, size_t want_good, size_t want_bad)
{
	struct err e = ERR_INIT;
	size_t good, bad;

	told = 0;
	assert_int_equal(
	    layer_cache_verify(folder, deep, tell, &good, &bad, &e), 0);
	assert_int_equal(good, want_good);
	assert_int_equal(bad, want_bad);
	assert_int_equal(told, want_bad);
}

static void
make_two(void)
{
	add_layer("two", 2);
}

static void
prune_one(void)
{
	prune_layer("one", 1);
}

/* What others make, or prune, while it is looked at is not damaged. */
static void
test_verify_beside_others(void **state)
{
	char path[300];
	FILE *f;

	(void)state;
	add_layer("one", 1);
	verify(true, 1, 0);
	between = make_two;
	verify(true, 1, 0);
	verify(false, 2, 0);
	between = prune_one;
	verify(false, 1, 0);
	add_layer("one", 1);
	/* Is told first, and then "one" goes. */
	snprintf(path, sizeof(path), "%s/blobs/sha256/%064d", folder, 0);
	assert_non_null(f = fopen(path, "w"));
	assert_int_equal(fclose(f), 0);
	verify(true, 1, 1);
	verify(true, 1, 0);
}

/* A blob that two records have goes with the later one, and counts until. */
static void
test_prune_shared_blob(void **state)
{
	const struct layer_cache_bounds bounds = {.bytes = 3, .unused = -1};
	struct layer_cache_pruned gone;
	struct err e = ERR_INIT;

	(void)state;
	assert_int_equal(layer_cache_prune(folder,
			     &(struct layer_cache_bounds){0, -1}, &gone, &e),
	    0);
	add_layer("abc", 1);
	add_layer("xyz", 2);
	add_layer("abc", 3);
	for (uint8_t i = 1; i <= 3; i++)
		set_used(i, 1000 * i);
	assert_int_equal(layer_cache_prune(folder, &bounds, &gone, &e), 0);
	assert_int_equal(gone.records, 2);
	assert_int_equal(gone.blobs, 1);
	assert_int_equal(gone.left, 3);
	verify(true, 1, 0);
}

/* What is wrong with a blob that was made is said, not what was before. */
static void
test_put_faults(void **state)
{
	struct layer_result r = {.size = 4};
	const struct layer_record record = {&r, false};
	const struct digest key = {{9}};
	char path[300], hex[DIGEST_HEX_LEN + 1];
	struct layer_cache *c = NULL;
	struct err e = ERR_INIT;
	FILE *f;

	(void)state;
	digest_of("abc", 3, &r.digest);
	digest_hex(&r.digest, hex);
	snprintf(path, sizeof(path), "%s/blobs/sha256/%s", folder, hex);
	assert_int_equal(layer_cache_open(folder, &c, &e), 0);
	unlink(path);
	assert_int_equal(layer_cache_put(c, &key, &record, &e), -1);
	assert_non_null(strstr(e.text, "cannot be had: No such file"));
	err_clear(&e);
	assert_non_null(f = fopen(path, "w"));
	fputs("abc", f);
	assert_int_equal(fclose(f), 0);
	errno = EBUSY;
	assert_int_equal(layer_cache_put(c, &key, &record, &e), -1);
	assert_non_null(strstr(e.text, "has another size by now"));
	assert_null(strstr(e.text, strerror(EBUSY)));
	layer_cache_free(c);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_pins),
	    cmocka_unit_test(test_without_links),
	    cmocka_unit_test(test_verify_beside_others),
	    cmocka_unit_test(test_prune_shared_blob),
	    cmocka_unit_test(test_put_faults),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
