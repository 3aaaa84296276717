/* What is noted of a source that confirms nothing has an end. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "transfer/blob_source.h"
#include "err.h"

static void
releases_have_an_end(void **state)
{
	struct err e = ERR_INIT;
	struct blob_source *s;
	struct data_id id = {.attempt = 1};

	(void)state;
	assert_int_equal(blob_source_new("worker", "w", "", &s, &e), 0);
	for (id.job = 0; id.job < 3 * BLOB_RELEASES_MAX; id.job++) {
		const struct blob_release *r =
		    blob_source_release(s, &id, id.job % 2 == 0);

		assert_non_null(r);
		assert_int_equal(r->id.job, id.job);
		/* The last one is noted. */
		assert_null(blob_source_release(s, &id, false));
	}
	assert_int_equal(s->n_releases, BLOB_RELEASES_MAX);
	assert_int_equal(s->room_releases, BLOB_RELEASES_MAX);
	id.job--;
	blob_source_released(s, &id);
	assert_int_equal(s->n_releases, BLOB_RELEASES_MAX - 1);
	assert_non_null(blob_source_release(s, &id, true));
	blob_source_free(s);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(releases_have_an_end),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
