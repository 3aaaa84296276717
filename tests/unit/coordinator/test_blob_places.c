/* Where a blob can be mounted from: another repository, the same registry. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "blob_places.h"
#include "digest.h"
#include "err.h"

#define HERE "https://here.example"
#define THERE "https://there.example"

static void
another_repository_of_the_same_registry(void **state)
{
	struct blob_places *p;
	struct digest a, b;
	struct err e = ERR_INIT;

	(void)state;
	digest_of("a", 1, &a);
	digest_of("b", 1, &b);
	assert_int_equal(blob_places_new(&p, &e), 0);
	assert_null(blob_places_find(p, HERE, "x", &a));
	blob_places_put(p, HERE, "x", &a);
	assert_null(blob_places_find(p, HERE, "x", &a));
	assert_string_equal(blob_places_find(p, HERE, "y", &a), "x");
	assert_null(blob_places_find(p, THERE, "y", &a));
	assert_null(blob_places_find(p, HERE, "y", &b));
	/* The first place stays: what was mounted elsewhere came from there. */
	blob_places_put(p, HERE, "y", &a);
	assert_string_equal(blob_places_find(p, HERE, "z", &a), "x");
	blob_places_put(p, THERE, "q", &a);
	assert_string_equal(blob_places_find(p, THERE, "y", &a), "q");
	assert_string_equal(blob_places_find(p, HERE, "y", &a), "x");
	blob_places_free(p);
}

static void
many_blobs(void **state)
{
	struct blob_places *p;
	struct err e = ERR_INIT;
	char repo[32];

	(void)state;
	assert_int_equal(blob_places_new(&p, &e), 0);
	for (int round = 0; round < 2; round++)
		for (int i = 0; i < 3000; i++) {
			struct digest d;
			const char *found;

			digest_of(&i, sizeof(i), &d);
			snprintf(repo, sizeof(repo), "r%d", i / 100);
			found = blob_places_find(p, HERE, "other", &d);
			if (round == 0)
				assert_null(found);
			else
				assert_string_equal(found, repo);
			blob_places_put(p, HERE, repo, &d);
		}
	blob_places_free(p);
}

static void
without_any_nothing_is_known(void **state)
{
	struct digest a = {{0}};

	(void)state;
	blob_places_put(NULL, HERE, "x", &a);
	assert_null(blob_places_find(NULL, HERE, "y", &a));
	blob_places_free(NULL);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(another_repository_of_the_same_registry),
	    cmocka_unit_test(many_blobs),
	    cmocka_unit_test(without_any_nothing_is_known),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
