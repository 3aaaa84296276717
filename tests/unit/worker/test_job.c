/* Putting a job together from parts, and refusing parts that are not its. */
#include "job.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "protocol.h"

#define STORE "/nix/store/"
#define HASH "00000000000000000000000000000000"

static struct job *
new_job(enum layer_source source, uint64_t n_items)
{
	struct msg m = {.type = MSG_JOB,
	    .job = {7, 2, n_items,
		{.source = source, .store_dir = "/nix/store"}},
	    .zone = msgpack_zone_new(MSGPACK_ZONE_CHUNK_SIZE)};
	struct err e = ERR_INIT;
	struct job *job;

	assert_int_equal(job_new(&m, &job, &e), 0);
	assert_null(m.zone);
	return job;
}

static void
test_items(void **state)
{
	char path[] = STORE HASH "-a";
	struct layer_item item = {path, true, {{1}}, 9};
	struct msg_items m = {7, 2, &item, 1};
	struct job *job = new_job(LAYER_FROM_STORE, 300);
	struct err e = ERR_INIT;

	(void)state;
	for (size_t i = 0; i < 300; i++) {
		assert_false(job_complete(job));
		path[sizeof(path) - 2] = (char)('a' + i % 26);
		assert_int_equal(job_add_items(job, &m, &e), 0);
	}
	assert_true(job_complete(job));
	/* The job has strings of its own. */
	path[0] = '\0';
	assert_int_equal(job->layer.n, 300);
	for (size_t i = 0; i < 300; i++) {
		assert_int_equal(
		    job->layer.item[i].path[sizeof(path) - 2], 'a' + i % 26);
		assert_int_equal(job->layer.item[i].nar_hash.b[0], 1);
	}
	path[0] = '/';
	assert_int_equal(job_add_items(job, &m, &e), -1);
	assert_int_equal(e.kind, ERR_RETRY);
	assert_string_equal(e.text, "more parts than the 300 items announced");
	job_free(job);
}

static void
test_entries(void **state)
{
	struct layer_entry entry[] = {{"/a", TAR_DIRECTORY, 0755, 0, 0, ""},
	    {"/b", TAR_SYMLINK, 0777, 1, 2, "/a"}};
	struct msg_entries m = {7, 2, entry, 2};
	struct msg_items items = {7, 2, NULL, 0};
	struct job *job = new_job(LAYER_FROM_ENTRIES, 4);
	struct err e = ERR_INIT;

	(void)state;
	assert_int_equal(job_add_entries(job, &m, &e), 0);
	assert_false(job_complete(job));
	assert_int_equal(job_add_entries(job, &m, &e), 0);
	assert_true(job_complete(job));
	assert_string_equal(job->layer.entry[3].name, "/b");
	assert_string_equal(job->layer.entry[3].target, "/a");
	assert_int_equal(job->layer.entry[3].gid, 2);
	assert_int_equal(job_add_items(job, &items, &e), -1);
	assert_int_equal(e.kind, ERR_RETRY);
	job_free(job);
}

/* A giant announcement costs nothing; what is no store path fails the job. */
static void
test_refusals(void **state)
{
	struct layer_item item = {STORE HASH "-a/../../etc", false};
	struct msg_items m = {7, 2, &item, 1};
	struct job *job = new_job(LAYER_FROM_STORE, MSG_ITEMS_MAX);
	struct err e = ERR_INIT;

	(void)state;
	assert_int_equal(job_add_items(job, &m, &e), -1);
	assert_int_equal(e.kind, ERR_JOB);
	assert_non_null(strstr(e.text, STORE HASH "-a/../../etc"));
	assert_int_equal(job->layer.n, 0);
	assert_true(job->room < 1000);
	job_free(job);
	job_free(NULL);
}

static void
test_answers(void **state)
{
	struct job *job = new_job(LAYER_FROM_STORE, 0);
	struct msg m;

	(void)state;
	assert_true(job_complete(job));
	job->result.tar_size = 10240;
	job->result.entries = 3;
	job->cpu_us = 55;
	job->progress.read = 99;
	job_answer(job, &m);
	assert_int_equal(m.type, MSG_DONE);
	assert_true(m.done.job == 7 && m.done.attempt == 2);
	assert_int_equal(m.done.result.tar_size, 10240);
	assert_int_equal(m.done.cpu_us, 55);
	job->layer.spec.measure = true;
	job_answer(job, &m);
	assert_int_equal(m.type, MSG_SIZED);
	assert_true(m.sized.job == 7 && m.sized.attempt == 2);
	assert_true(m.sized.tar_size == 10240 && m.sized.entries == 3);
	err_set(&job->err, ERR_JOB, 0, "gone");
	job_answer(job, &m);
	assert_int_equal(m.type, MSG_FAIL);
	assert_true(m.fail.job == 7 && m.fail.attempt == 2);
	assert_int_equal(m.fail.kind, ERR_JOB);
	assert_string_equal(m.fail.text, "gone");
	assert_int_equal(m.fail.read, 99);
	job->postponed = true;
	job_answer(job, &m);
	assert_int_equal(m.type, MSG_POSTPONE);
	assert_int_equal(m.postpone.read, 99);
	job->postponed = false;
	/* Only these two kinds cross the wire. */
	err_clear(&job->err);
	err_set(&job->err, ERR_FATAL, ENOMEM, "memory");
	job_answer(job, &m);
	assert_int_equal(m.fail.kind, ERR_RETRY);
	assert_int_equal(m.fail.sys, ENOMEM);
	job_free(job);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_items),
	    cmocka_unit_test(test_entries),
	    cmocka_unit_test(test_refusals),
	    cmocka_unit_test(test_answers),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
