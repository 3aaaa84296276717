/* Threads, order, withdrawal and the end, with a layer_run of the test's. */
#include "job_pool.h"

#include <errno.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "err.h"
#include "job.h"

static atomic_int begun;

/* Job of uid 0: at once; 1: until cancelled; 2: 50 ms of CPU. */
int
layer_run(const struct layer_job *job, struct layer_progress *progress,
    struct layer_result *out, struct err *e)
{
	struct timespec t;

	out->entries = (uint64_t)atomic_fetch_add(&begun, 1);
	if (job->spec.uid == 1) {
		while (!atomic_load(&progress->cancel))
			usleep(1000);
		return err_set(e, ERR_RETRY, ECANCELED, "layer");
	}
	while (job->spec.uid == 2) {
		clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
		if (t.tv_sec > 0 || t.tv_nsec > 50000000)
			break;
	}
	return 0;
}

static struct job_pool *
new_pool(size_t n)
{
	struct err e = ERR_INIT;
	struct job_pool *pool;

	atomic_store(&begun, 0);
	assert_int_equal(job_pool_new(n, &pool, &e), 0);
	return pool;
}

static struct job *
wait_take(struct job_pool *pool)
{
	struct pollfd p = {job_pool_fd(pool), POLLIN, 0};
	struct job *job;

	while ((job = job_pool_take(pool)) == NULL)
		if (poll(&p, 1, 5000) != 1)
			fail_msg("no job was finished in 5 s");
	return job;
}

static void
test_order(void **state)
{
	struct job_pool *pool = new_pool(1);
	struct job jobs[20] = {0};
	struct pollfd p = {job_pool_fd(pool), POLLIN, 0};

	(void)state;
	for (size_t i = 0; i < 20; i++)
		job_pool_put(pool, &jobs[i]);
	for (size_t i = 0; i < 20; i++) {
		assert_ptr_equal(wait_take(pool), &jobs[i]);
		assert_int_equal(jobs[i].result.entries, i);
		assert_int_equal(jobs[i].err.kind, ERR_NONE);
		assert_false(atomic_load(&jobs[i].running));
	}
	assert_null(job_pool_take(pool));
	assert_int_equal(poll(&p, 1, 0), 0);
	assert_true(job_pool_stop(pool, 5000));
}

/* What may be open is shared by all threads; one file always may. */
static void
test_files(void **state)
{
	static const size_t may[][3] = {{1, 400, 360}, {2, 400, 160},
	    {9, 400, 4}, {10, 400, 1}, {100, 400, 1}};
	struct rlimit old, few;

	(void)state;
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &old), 0);
	few.rlim_max = old.rlim_max;
	for (size_t i = 0; i < sizeof(may) / sizeof(may[0]); i++) {
		struct job_pool *pool;
		struct job job = {0};

		few.rlim_cur = may[i][1];
		assert_int_equal(setrlimit(RLIMIT_NOFILE, &few), 0);
		pool = new_pool(may[i][0]);
		job_pool_put(pool, &job);
		assert_ptr_equal(wait_take(pool), &job);
		assert_int_equal(job.layer.files_ahead, may[i][2]);
		assert_true(job_pool_stop(pool, 5000));
	}
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &old), 0);
}

static void
test_withdraw(void **state)
{
	struct job_pool *pool = new_pool(1);
	struct job jobs[4] = {0};

	(void)state;
	jobs[0].layer.spec.uid = 1;
	for (size_t i = 0; i < 4; i++)
		job_pool_put(pool, &jobs[i]);
	while (!atomic_load(&jobs[0].running))
		usleep(1000);
	assert_false(job_pool_withdraw(pool, &jobs[0]));
	assert_true(job_pool_withdraw(pool, &jobs[2]));
	assert_false(job_pool_withdraw(pool, &jobs[2]));
	assert_true(job_pool_withdraw(pool, &jobs[3]));
	job_pool_put(pool, &jobs[3]);
	atomic_store(&jobs[0].progress.cancel, true);
	assert_ptr_equal(wait_take(pool), &jobs[0]);
	assert_int_equal(jobs[0].err.kind, ERR_RETRY);
	assert_int_equal(jobs[0].err.sys, ECANCELED);
	assert_ptr_equal(wait_take(pool), &jobs[1]);
	assert_ptr_equal(wait_take(pool), &jobs[3]);
	assert_true(job_pool_stop(pool, 5000));
}

static void
test_threads(void **state)
{
	struct job_pool *pool = new_pool(4);
	struct job jobs[4] = {0};

	(void)state;
	for (size_t i = 0; i < 4; i++) {
		jobs[i].layer.spec.uid = 1;
		job_pool_put(pool, &jobs[i]);
	}
	/* All at once, though none ends. */
	for (size_t i = 0; i < 4; i++)
		while (!atomic_load(&jobs[i].running))
			usleep(1000);
	for (size_t i = 0; i < 4; i++)
		atomic_store(&jobs[i].progress.cancel, true);
	for (size_t i = 0; i < 4; i++)
		wait_take(pool);
	assert_true(job_pool_stop(pool, 5000));
}

static void
test_cpu(void **state)
{
	struct job_pool *pool = new_pool(1);
	struct job jobs[2] = {0};

	(void)state;
	jobs[0].layer.spec.uid = 2;
	job_pool_put(pool, &jobs[0]);
	job_pool_put(pool, &jobs[1]);
	wait_take(pool);
	wait_take(pool);
	assert_in_range(jobs[0].cpu_us, 40000, 1000000);
	assert_in_range(jobs[1].cpu_us, 0, 20000);
	assert_true(job_pool_stop(pool, 5000));
}

static void
test_stop(void **state)
{
	struct job_pool *pool = new_pool(1);
	struct job jobs[2] = {0};

	(void)state;
	jobs[0].layer.spec.uid = 1;
	job_pool_put(pool, &jobs[0]);
	job_pool_put(pool, &jobs[1]);
	while (!atomic_load(&jobs[0].running))
		usleep(1000);
	assert_false(job_pool_stop(pool, 20));
	atomic_store(&jobs[0].progress.cancel, true);
	assert_true(job_pool_stop(pool, 5000));
	/* The one that waited was never begun. */
	assert_int_equal(atomic_load(&begun), 1);
	assert_true(job_pool_stop(NULL, 0));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_order),
	    cmocka_unit_test(test_files),
	    cmocka_unit_test(test_withdraw),
	    cmocka_unit_test(test_threads),
	    cmocka_unit_test(test_cpu),
	    cmocka_unit_test(test_stop),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
