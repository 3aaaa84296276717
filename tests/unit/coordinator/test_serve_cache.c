/*
 * The layers of a server: relied on while somebody refers to them, doubted,
 * checked, gone.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "digest.h"
#include "err.h"
#include "layer_spec.h"
#include "monotime.h"
#include "serve/serve_cache.h"

struct fixture {
	char folder[32];
	struct serve_cache *cache;
};

static struct err e;

static int
setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	strcpy(f->folder, "/tmp/serve-cache-XXXXXX");
	assert_non_null(mkdtemp(f->folder));
	assert_int_equal(serve_cache_open(f->folder, 1000, &f->cache, &e), 0);
	*state = f;
	return 0;
}

static int
teardown(void **state)
{
	struct fixture *f = *state;
	char command[64];

	serve_cache_free(f->cache);
	snprintf(command, sizeof(command), "rm -rf %s", f->folder);
	assert_int_equal(system(command), 0);
	free(f);
	return 0;
}

/* A blob as a worker puts it there. */
static struct layer_result
make_blob(const struct fixture *f, const char *bytes)
{
	struct layer_result r = {
	    .size = strlen(bytes), .tar_size = strlen(bytes), .entries = 1};
	char hex[DIGEST_HEX_LEN + 1], path[512];
	FILE *file;

	digest_of(bytes, strlen(bytes), &r.digest);
	r.diff_id = r.digest;
	digest_hex(&r.digest, hex);
	snprintf(path, sizeof(path), "%s/%s", serve_cache_blobs(f->cache), hex);
	assert_non_null(file = fopen(path, "w"));
	fputs(bytes, file);
	fclose(file);
	return r;
}

static bool
is_there(const char *folder, const struct digest *digest)
{
	char hex[DIGEST_HEX_LEN + 1], path[512];

	digest_hex(digest, hex);
	snprintf(path, sizeof(path), "%s/%s", folder, hex);
	return access(path, F_OK) == 0;
}

static bool
is_pinned(const struct fixture *f, const struct layer_result *r)
{
	return is_there(serve_cache_pins(f->cache), &r->digest);
}

static void
pinned_while_referred_to(void **state)
{
	const struct fixture *f = *state;
	struct layer_result r = make_blob(f, "one"), found;
	const struct digest key = {{1}};

	assert_int_equal(
	    serve_cache_find(f->cache, &key, false, &found), SERVE_MISSING);
	assert_int_equal(serve_cache_put(f->cache, &key, &r, false, &e), 0);
	serve_cache_refer(f->cache, &r.digest);
	serve_cache_drop(f->cache, &r.digest);
	assert_true(is_pinned(f, &r));
	serve_cache_drop(f->cache, &r.digest);
	assert_false(is_pinned(f, &r));
	/* One that is not referred to cannot be dropped. */
	serve_cache_drop(f->cache, &r.digest);
	/* It is known nevertheless, but not as verified. */
	assert_int_equal(
	    serve_cache_find(f->cache, &key, true, &found), SERVE_MISSING);
	assert_int_equal(
	    serve_cache_find(f->cache, &key, false, &found), SERVE_FOUND);
	assert_true(digest_equal(&found.digest, &r.digest));
	assert_true(is_pinned(f, &r));
	serve_cache_drop(f->cache, &r.digest);
	assert_false(is_pinned(f, &r));
}

static void
doubted_until_checked(void **state)
{
	const struct fixture *f = *state;
	struct layer_result r = make_blob(f, "two"), found;
	const struct digest key = {{2}};

	assert_int_equal(serve_cache_put(f->cache, &key, &r, false, &e), 0);
	serve_cache_doubt(f->cache, &r.digest);
	serve_cache_drop(f->cache, &r.digest);
	assert_int_equal(
	    serve_cache_find(f->cache, &key, false, &found), SERVE_SUSPECT);
	serve_cache_trust(f->cache, &r.digest);
	serve_cache_drop(f->cache, &r.digest);
	assert_int_equal(
	    serve_cache_find(f->cache, &key, false, &found), SERVE_FOUND);
	/* It is not sound: whoever asks now has it made. */
	serve_cache_doubt(f->cache, &r.digest);
	serve_cache_condemn(f->cache, &key, &r.digest);
	serve_cache_drop(f->cache, &r.digest);
	assert_int_equal(
	    serve_cache_find(f->cache, &key, false, &found), SERVE_MISSING);
	assert_false(is_there(serve_cache_blobs(f->cache), &r.digest));
	r = make_blob(f, "two");
	assert_int_equal(serve_cache_put(f->cache, &key, &r, false, &e), 0);
	assert_int_equal(
	    serve_cache_find(f->cache, &key, false, &found), SERVE_FOUND);
	serve_cache_drop(f->cache, &r.digest);
	serve_cache_drop(f->cache, &r.digest);
}

static void
blob_that_is_not_there(void **state)
{
	const struct fixture *f = *state;
	struct layer_result r = {.size = 5};
	struct err bad = ERR_INIT;

	assert_int_equal(serve_cache_put(f->cache, NULL, &r, false, &bad), -1);
	assert_int_equal(bad.kind, ERR_FATAL);
}

/* What is old and unused goes by itself, what somebody refers to stays. */
static void
pruned(void **state)
{
	struct fixture *f = *state;
	char bytes[801];
	struct layer_result old, kept;
	const struct digest a = {{3}}, b = {{4}};

	memset(bytes, 'x', 800);
	bytes[800] = '\0';
	old = make_blob(f, bytes);
	assert_int_equal(serve_cache_put(f->cache, &a, &old, false, &e), 0);
	serve_cache_drop(f->cache, &old.digest);
	bytes[0] = 'y';
	kept = make_blob(f, bytes);
	usleep(20000);
	assert_int_equal(serve_cache_put(f->cache, &b, &kept, false, &e), 0);
	serve_cache_tick(f->cache, monotime_ms());
	serve_cache_free(f->cache);
	assert_int_equal(serve_cache_open(f->folder, 1000, &f->cache, &e), 0);
	assert_int_equal(
	    serve_cache_find(f->cache, &a, false, &old), SERVE_MISSING);
	assert_int_equal(
	    serve_cache_find(f->cache, &b, false, &old), SERVE_FOUND);
}

/* Nothing is put into it but by others, and yet it is pruned. */
static void
pruned_while_idle(void **state)
{
	struct fixture *f = *state;
	const struct digest key[] = {{{3}}, {{4}}};
	struct serve_cache *other;
	char bytes[801], layers[64];
	int64_t now = monotime_ms();

	snprintf(layers, sizeof(layers), "%s/layers", f->folder);
	serve_cache_tick(f->cache, now);
	assert_int_equal(serve_cache_open(f->folder, 1000, &other, &e), 0);
	memset(bytes, 'x', 800);
	bytes[800] = '\0';
	for (int i = 0; i < 2; i++) {
		struct layer_result r;

		bytes[0] = (char)('a' + i);
		r = make_blob(f, bytes);
		assert_int_equal(
		    serve_cache_put(other, &key[i], &r, false, &e), 0);
		serve_cache_drop(other, &r.digest);
		usleep(20000);
	}
	for (int i = 0; i < 3000 && is_there(layers, &key[0]); i++) {
		now += SERVE_CACHE_PRUNE_MS;
		serve_cache_tick(f->cache, now);
		usleep(10000);
	}
	assert_false(is_there(layers, &key[0]));
	assert_true(is_there(layers, &key[1]));
	serve_cache_free(other);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(
		pinned_while_referred_to, setup, teardown),
	    cmocka_unit_test_setup_teardown(
		doubted_until_checked, setup, teardown),
	    cmocka_unit_test_setup_teardown(
		blob_that_is_not_there, setup, teardown),
	    cmocka_unit_test_setup_teardown(pruned, setup, teardown),
	    cmocka_unit_test_setup_teardown(pruned_while_idle, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
