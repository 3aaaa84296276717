/* Where a blob can be mounted from: another repository, the same registry. */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "output/blob_places.h"
#include "output/blob_places_file.h"
#include "digest.h"
#include "err.h"

#define HERE "https://here.example"
#define THERE "https://there.example"

static struct err e;

/* Where a push into repo would mount it from; "" if it is the first. */
static const char *
begin(struct blob_places *p, const char *base, const char *repo,
    const struct digest *blob)
{
	const char *from;

	if (blob_places_begin(p, base, repo, blob, &from)) {
		assert_null(from);
		return "";
	}
	return from;
}

static void
another_repository_of_the_same_registry(void **state)
{
	struct blob_places *p;
	struct digest a, b;

	(void)state;
	digest_of("a", 1, &a);
	digest_of("b", 1, &b);
	assert_int_equal(blob_places_new(&p, &e), 0);
	assert_null(blob_places_find(p, HERE, &a));
	assert_string_equal(begin(p, HERE, "x", &a), "");
	assert_null(blob_places_find(p, HERE, &a));
	blob_places_end(p, HERE, &a, true);
	assert_string_equal(blob_places_find(p, HERE, &a), "x");
	assert_null(blob_places_find(p, THERE, &a));
	assert_null(begin(p, HERE, "x", &a));
	assert_string_equal(begin(p, HERE, "y", &a), "x");
	assert_string_equal(begin(p, HERE, "y", &b), "");
	blob_places_end(p, HERE, &b, true);
	/* Another registry has nothing yet. */
	assert_string_equal(begin(p, THERE, "q", &a), "");
	blob_places_end(p, THERE, &a, true);
	assert_string_equal(begin(p, THERE, "y", &a), "q");
	assert_string_equal(begin(p, HERE, "z", &a), "x");
	blob_places_free(p);
}

/* Whoever comes next is the first then, in a repository of its own. */
static void
one_that_failed(void **state)
{
	struct blob_places *p;
	struct digest a;

	(void)state;
	digest_of("a", 1, &a);
	assert_int_equal(blob_places_new(&p, &e), 0);
	assert_string_equal(begin(p, HERE, "x", &a), "");
	blob_places_end(p, HERE, &a, false);
	assert_string_equal(begin(p, HERE, "y", &a), "");
	blob_places_end(p, HERE, &a, true);
	assert_string_equal(begin(p, HERE, "x", &a), "y");
	blob_places_free(p);
}

/* Nobody is sent to where it was lost; others that have it stay. */
static void
one_that_is_lost(void **state)
{
	struct blob_places *p;
	struct digest a, b;

	(void)state;
	digest_of("a", 1, &a);
	digest_of("b", 1, &b);
	assert_int_equal(blob_places_new(&p, &e), 0);
	assert_string_equal(begin(p, HERE, "x", &a), "");
	blob_places_lost(p, HERE, "x", &a); /* it is only coming */
	blob_places_end(p, HERE, &a, true);
	blob_places_lost(p, HERE, "y", &a);
	blob_places_lost(p, THERE, "x", &a);
	blob_places_lost(p, HERE, "x", &b);
	assert_string_equal(begin(p, HERE, "y", &a), "x");
	blob_places_lost(p, HERE, "x", &a);
	assert_string_equal(begin(p, HERE, "y", &a), "");
	blob_places_end(p, HERE, &a, true);
	assert_string_equal(begin(p, HERE, "x", &a), "y");
	blob_places_lost(NULL, HERE, "x", &a);
	blob_places_free(p);
}

struct waiting {
	struct blob_places *p;
	struct digest blob;
	const char *from;
	bool first, over;
};

static void *
wait_for_it(void *arg)
{
	struct waiting *w = arg;

	w->first = blob_places_begin(w->p, HERE, "y", &w->blob, &w->from);
	__atomic_store_n(&w->over, true, __ATOMIC_SEQ_CST);
	return NULL;
}

static void
others_wait_for_the_first(void **state)
{
	(void)state;
	for (int there = 0; there < 2; there++) {
		struct waiting w = {.from = "?"};
		pthread_t thread;

		digest_of("a", 1, &w.blob);
		assert_int_equal(blob_places_new(&w.p, &e), 0);
		assert_string_equal(begin(w.p, HERE, "x", &w.blob), "");
		assert_int_equal(
		    pthread_create(&thread, NULL, wait_for_it, &w), 0);
		usleep(50000);
		assert_false(__atomic_load_n(&w.over, __ATOMIC_SEQ_CST));
		blob_places_end(w.p, HERE, &w.blob, there != 0);
		pthread_join(thread, NULL);
		assert_int_equal(w.first, !there);
		if (there)
			assert_string_equal(w.from, "x");
		else
			assert_null(w.from);
		blob_places_free(w.p);
	}
}

/* What others have put there: it is mounted from there, and counted once. */
static void
one_that_is_noted(void **state)
{
	struct blob_places *p;
	struct digest a, b;

	(void)state;
	digest_of("a", 1, &a);
	digest_of("b", 1, &b);
	assert_int_equal(blob_places_new(&p, &e), 0);
	blob_places_note(p, HERE, "x", &a, REGISTRY_UPLOADED);
	blob_places_note(p, HERE, "y", &a, REGISTRY_MOUNTED);
	blob_places_note(p, HERE, "x", &b, REGISTRY_THERE);
	assert_string_equal(begin(p, HERE, "z", &a), "x");
	assert_string_equal(begin(p, HERE, "z", &b), "x");
	assert_null(begin(p, HERE, "x", &a));
	assert_int_equal(
	    blob_places_noted(p, HERE, "x", &a), REGISTRY_UPLOADED);
	assert_int_equal(blob_places_noted(p, HERE, "x", &a), REGISTRY_THERE);
	assert_int_equal(blob_places_noted(p, HERE, "y", &a), REGISTRY_MOUNTED);
	assert_int_equal(blob_places_noted(p, HERE, "x", &b), REGISTRY_THERE);
	assert_int_equal(blob_places_noted(p, THERE, "x", &a), REGISTRY_THERE);
	assert_int_equal(blob_places_noted(p, HERE, "q", &a), REGISTRY_THERE);
	/* While another one puts it there that one's place counts. */
	blob_places_lost(p, HERE, "x", &a);
	assert_string_equal(begin(p, HERE, "z", &a), "");
	blob_places_note(p, HERE, "x", &a, REGISTRY_UPLOADED);
	blob_places_end(p, HERE, &a, true);
	assert_string_equal(begin(p, HERE, "x", &a), "z");
	assert_int_equal(
	    blob_places_noted(p, HERE, "x", &a), REGISTRY_UPLOADED);
	blob_places_note(NULL, HERE, "x", &a, REGISTRY_UPLOADED);
	assert_int_equal(
	    blob_places_noted(NULL, HERE, "x", &a), REGISTRY_THERE);
	blob_places_free(p);
}

static void
many_blobs(void **state)
{
	struct blob_places *p;
	char repo[32];

	(void)state;
	assert_int_equal(blob_places_new(&p, &e), 0);
	for (int round = 0; round < 2; round++)
		for (int i = 0; i < 3000; i++) {
			struct digest d;

			digest_of(&i, sizeof(i), &d);
			snprintf(repo, sizeof(repo), "r%d", i / 100);
			if (round == 1) {
				assert_string_equal(
				    begin(p, HERE, "other", &d), repo);
				continue;
			}
			assert_string_equal(begin(p, HERE, repo, &d), "");
			blob_places_end(p, HERE, &d, true);
		}
	blob_places_free(p);
}

static void
without_any_nothing_is_known(void **state)
{
	struct digest a = {{0}};

	(void)state;
	assert_null(begin(NULL, HERE, "y", &a));
	blob_places_free(NULL);
}

/* A hint is for the first who asks; what he has seen then counts. */
static void
hints(void **state)
{
	struct blob_places *p;
	struct digest a;
	const char *from;

	(void)state;
	digest_of("a", 1, &a);
	assert_int_equal(blob_places_new(&p, &e), 0);
	assert_true(blob_places_hint(p, HERE, "old", &a));
	assert_null(blob_places_find(p, HERE, &a));
	assert_string_equal(blob_places_hinted(p, HERE, "x", &a), "old");
	assert_null(blob_places_hinted(p, HERE, "old", &a));
	assert_null(blob_places_hinted(p, THERE, "x", &a));
	assert_null(blob_places_hinted(NULL, HERE, "x", &a));
	assert_true(blob_places_begin(p, HERE, "x", &a, &from));
	assert_null(blob_places_hinted(p, HERE, "y", &a));
	assert_string_equal(from, "old");
	blob_places_end(p, HERE, &a, true);
	assert_string_equal(begin(p, HERE, "y", &a), "x");
	/* Too late. */
	assert_true(blob_places_hint(p, HERE, "old", &a));
	assert_string_equal(begin(p, HERE, "y", &a), "x");
	blob_places_free(p);
}

static char folder[] = "/tmp/test-places-XXXXXX", file[64];

static void
write_file(const char *text)
{
	FILE *f = fopen(file, "w");

	assert_non_null(f);
	fputs(text, f);
	fclose(f);
}

/* Repositories as they are hinted at by the file, of "a" and "b". */
static void
load(const char *a_in, const char *b_in)
{
	const char *const in[] = {a_in, b_in};
	struct blob_places *p;

	assert_int_equal(blob_places_new(&p, &e), 0);
	blob_places_load(p, folder);
	for (size_t i = 0; i < 2; i++) {
		struct digest blob;
		const char *from;

		digest_of(&"ab"[i], 1, &blob);
		assert_true(blob_places_begin(p, HERE, "-", &blob, &from));
		if (in[i] == NULL)
			assert_null(from);
		else
			assert_string_equal(from, in[i]);
		blob_places_end(p, HERE, &blob, false);
	}
	blob_places_free(p);
}

static void
from_run_to_run(void **state)
{
	struct blob_places *p;
	struct digest a, b;

	(void)state;
	digest_of("a", 1, &a);
	digest_of("b", 1, &b);
	load(NULL, NULL);
	assert_int_equal(blob_places_new(&p, &e), 0);
	/* Nothing was seen: nothing is written. */
	assert_true(blob_places_hint(p, HERE, "old/b", &b));
	blob_places_save(p, folder);
	assert_int_not_equal(access(file, F_OK), 0);
	assert_string_equal(begin(p, HERE, "x", &a), "");
	blob_places_end(p, HERE, &a, true);
	blob_places_save(p, folder);
	blob_places_free(p);
	load("x", "old/b");
}

/* One that has no end that it could write all at. */
static void
run_that_is_killed(void **state)
{
	struct blob_places *p;
	struct digest a, b;

	(void)state;
	digest_of("a", 1, &a);
	digest_of("b", 1, &b);
	unlink(file);
	for (int round = 0; round < 2; round++) {
		const char *in = round == 0 ? "x" : "y", *from;
		struct stat st[2];

		assert_int_equal(blob_places_new(&p, &e), 0);
		blob_places_load(p, folder);
		assert_true(blob_places_begin(p, HERE, in, &a, &from));
		blob_places_add(p, HERE, &a); /* it is only coming */
		blob_places_end(p, HERE, &a, true);
		blob_places_add(p, HERE, &a);
		blob_places_add(p, HERE, &b);
		assert_int_equal(stat(file, &st[0]), 0);
		blob_places_add(p, HERE, &a);
		assert_int_equal(stat(file, &st[1]), 0);
		assert_int_equal(st[0].st_size, st[1].st_size);
		blob_places_note(p, HERE, "z", &b, REGISTRY_UPLOADED);
		blob_places_add(p, HERE, &b);
		blob_places_free(p);
		load(in, "z");
	}
	/* What the file says already is not added. */
	assert_int_equal(blob_places_new(&p, &e), 0);
	blob_places_load(p, folder);
	blob_places_note(p, HERE, "y", &a, REGISTRY_THERE);
	assert_false(blob_places_keep(
	    p, HERE, &a, &(const char *){0}, &(const char *){0}));
	blob_places_free(p);
	blob_places_add(NULL, HERE, &a);
	unlink(file);
}

static void
damaged(void **state)
{
	/* After the digest. */
	static const char *const rest[] = {"", " ", " https://here.example",
	    " here.example x", " https:// x", " https://here.example ../x",
	    " https://here.example/v2 x", " https://here.example X",
	    "0 https://here.example x", "  https://here.example x"};
	char hex[DIGEST_HEX_LEN + 1], line[256], text[1024];
	struct digest a, b;

	(void)state;
	digest_of("a", 1, &a);
	digest_hex(&a, hex);
	for (size_t i = 0; i < sizeof(rest) / sizeof(rest[0]); i++) {
		snprintf(text, sizeof(text), "quarry-registry-places 1\n%s%s\n",
		    hex, rest[i]);
		write_file(text);
		load(NULL, NULL);
	}
	/* What was whole before the damage counts. */
	digest_of("b", 1, &b);
	digest_hex(&b, line);
	snprintf(text, sizeof(text),
	    "quarry-registry-places 1\n%s " HERE " x\n%s " HERE " y", hex,
	    line);
	write_file(text);
	load("x", NULL);
	write_file("quarry-registry-places 2\n");
	load(NULL, NULL);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(another_repository_of_the_same_registry),
	    cmocka_unit_test(one_that_failed),
	    cmocka_unit_test(one_that_is_lost),
	    cmocka_unit_test(others_wait_for_the_first),
	    cmocka_unit_test(one_that_is_noted),
	    cmocka_unit_test(many_blobs),
	    cmocka_unit_test(without_any_nothing_is_known),
	    cmocka_unit_test(hints),
	    cmocka_unit_test(from_run_to_run),
	    cmocka_unit_test(run_that_is_killed),
	    cmocka_unit_test(damaged),
	};

	char trash[64];
	int rc;

	if (mkdtemp(folder) == NULL)
		return 1;
	snprintf(file, sizeof(file), "%s/" BLOB_PLACES_FILE, folder);
	snprintf(trash, sizeof(trash), "%s/trash", folder);
	mkdir(trash, 0700);
	rc = cmocka_run_group_tests(tests, NULL, NULL);
	unlink(file);
	rmdir(trash);
	rmdir(folder);
	return rc;
}
