/* What clients of a server want, and whose turn it is. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "err.h"
#include "serve/serve_queue.h"

#define MIB ((uint64_t)1 << 20)

static struct err e;
static uint64_t next_id;

static struct serve_queue *
make(void)
{
	const struct serve_limits limits = {
	    .jobs = 20000, .bytes = 1000, .all_jobs = 30000, .all_bytes = 5000};
	struct serve_queue *q;

	assert_int_equal(serve_queue_new(&limits, &q, &e), 0);
	return q;
}

static struct serve_flow *
join(struct serve_queue *q, int *given)
{
	struct serve_flow *f;

	assert_int_equal(serve_queue_join(q, given, &f, &e), 0);
	return f;
}

static struct digest
key_of(uint64_t n)
{
	struct digest d;

	digest_of(&n, sizeof(n), &d);
	return d;
}

/* Wants the layer of that number; 0: one that is nobody else's. */
static struct serve_job *
want(struct serve_queue *q, struct serve_flow *f, uint64_t layer,
    uint64_t weight)
{
	const struct data_id id = {++next_id, 1};
	struct digest key = key_of(layer);
	struct serve_job *job = layer == 0 ? NULL : serve_queue_find(q, &key);

	if (job == NULL) {
		assert_int_equal(serve_queue_add(q, layer == 0 ? NULL : &key,
				     weight, 0, &job, &e),
		    0);
		assert_int_equal(serve_queue_want(q, f, job, &id, 0, &e), 0);
		serve_queue_release(q, job);
	} else {
		assert_int_equal(serve_queue_want(q, f, job, &id, 0, &e), 0);
	}
	return job;
}

static void
end_all(struct serve_queue *q)
{
	struct serve_job *job;

	while ((job = serve_queue_any(q)) != NULL)
		serve_queue_end(q, job);
}

static void
one_job_for_all_who_want_it(void **state)
{
	struct serve_queue *q = make();
	int a = 0, b = 0;
	struct serve_flow *fa = join(q, &a), *fb = join(q, &b);
	struct serve_job *first, *job;
	struct serve_counts n;

	(void)state;
	first = want(q, fa, 7, 5);
	assert_ptr_equal(want(q, fb, 7, 5), first);
	assert_ptr_not_equal(want(q, fa, 0, 5), want(q, fb, 0, 5));
	serve_queue_count(q, &n);
	assert_int_equal(n.queued, 3);
	assert_int_equal(n.wants, 4);
	job = serve_queue_next(q);
	assert_ptr_equal(job, first);
	assert_int_equal(job->n_wants, 2);
	/* It runs: whoever comes now has it as well, and is given it once. */
	assert_ptr_equal(want(q, fb, 7, 5), first);
	assert_int_equal(job->n_wants, 3);
	serve_queue_end(q, job);
	assert_non_null(job = serve_queue_next(q));
	serve_queue_end(q, job);
	assert_non_null(job = serve_queue_next(q));
	serve_queue_end(q, job);
	assert_null(serve_queue_next(q));
	assert_null(serve_queue_any(q));
	/* What ends before its turn is counted. */
	serve_queue_end(q, want(q, fa, 8, 5));
	serve_queue_count(q, &n);
	assert_int_equal(n.dropped, 1);
	assert_int_equal(n.queued, 0);
	serve_queue_leave(q, fa);
	serve_queue_leave(q, fb);
	serve_queue_free(q);
}

/* Ten layers beside ten thousand: all ten come among the first few dozen. */
static void
the_small_one_is_not_held_up(void **state)
{
	struct serve_queue *q = make();
	int large = 0, small = 0;
	struct serve_flow *fl = join(q, &large), *fs = join(q, &small);
	int turns = 0;

	(void)state;
	for (uint64_t i = 0; i < 10000; i++)
		want(q, fl, 1 + i, 200 * MIB);
	for (int i = 0; i < 20; i++)
		serve_queue_end(q, serve_queue_next(q));
	for (uint64_t i = 0; i < 10; i++)
		want(q, fs, 20000 + i, 100 * MIB);
	while (fs->n_wants > 0 && turns++ < 1000)
		serve_queue_end(q, serve_queue_next(q));
	assert_in_range(turns, 10, 20);
	end_all(q);
	serve_queue_leave(q, fl);
	serve_queue_leave(q, fs);
	serve_queue_free(q);
}

/* Shares of bytes are equal, whatever the sizes of layers are. */
static void
bytes_are_shared_equally(void **state)
{
	enum { CLIENTS = 4 };
	static const uint64_t size[CLIENTS] = {
	    1 * MIB, 90 * MIB, 700 * MIB, 5000 * MIB};
	struct serve_queue *q = make();
	struct serve_flow *f[CLIENTS];
	uint64_t bytes[CLIENTS] = {0}, least = UINT64_MAX, most = 0;
	int at[CLIENTS];

	(void)state;
	for (int i = 0; i < CLIENTS; i++)
		f[i] = join(q, &at[i]);
	for (int turn = 0; turn < 15000; turn++) {
		struct serve_job *job;
		size_t who;

		for (int i = 0; i < CLIENTS; i++)
			while (f[i]->n_wants < 3)
				want(q, f[i], 0, size[i]);
		job = serve_queue_next(q);
		who = (size_t)((int *)TAILQ_FIRST(&job->wants)->flow->client -
		    at);
		bytes[who] += job->weight;
		serve_queue_end(q, job);
	}
	for (int i = 0; i < CLIENTS; i++) {
		/* A layer costs a MiB besides its size. */
		uint64_t cost = bytes[i] / size[i] * (size[i] + SERVE_COST_MIN);

		least = cost < least ? cost : least;
		most = cost > most ? cost : most;
	}
	assert_true(most - least < 6000 * MIB);
	assert_true(least > 10000 * MIB);
	end_all(q);
	for (int i = 0; i < CLIENTS; i++)
		serve_queue_leave(q, f[i]);
	serve_queue_free(q);
}

static void
largest_first(void **state)
{
	struct serve_queue *q = make();
	int a = 0;
	struct serve_flow *f = join(q, &a);
	uint64_t last = UINT64_MAX, r = 3;

	(void)state;
	for (int i = 0; i < 2000; i++) {
		r = r * UINT64_C(6364136223846793005) + 1442695040888963407;
		want(q, f, 0, r >> 54);
	}
	/* Some from the middle are not wanted any more. */
	for (int i = 0; i < 500; i++) {
		struct serve_want *w = TAILQ_FIRST(&f->wants);
		struct serve_job *job = w->job;

		serve_queue_unwant(q, w, 0);
		assert_ptr_equal(serve_queue_expired(q, 0), job);
		serve_queue_end(q, job);
	}
	for (int i = 0; i < 1500; i++) {
		struct serve_job *job = serve_queue_next(q);

		assert_true(job->weight <= last);
		last = job->weight;
		serve_queue_end(q, job);
	}
	assert_null(serve_queue_next(q));
	serve_queue_leave(q, f);
	serve_queue_free(q);
}

static void
what_nobody_wants_ends(void **state)
{
	struct serve_queue *q = make();
	int a = 0, b = 0;
	struct serve_flow *fa = join(q, &a), *fb = join(q, &b);
	struct serve_job *runs, *waits, *alone;

	(void)state;
	runs = want(q, fa, 1, 30);
	alone = want(q, fa, 0, 20);
	waits = want(q, fa, 2, 10);
	assert_ptr_equal(serve_queue_next(q), runs);
	assert_ptr_equal(serve_queue_next(q), alone);
	assert_int_equal(serve_queue_deadline(q), INT64_MAX);
	serve_queue_forget(q, fa, 30000);
	serve_queue_leave(q, fa);
	/* What waits, and what nobody else can want, is no loss. */
	for (int i = 0; i < 2; i++) {
		struct serve_job *job = serve_queue_expired(q, 0);

		assert_true(job == waits || job == alone);
		serve_queue_end(q, job);
	}
	assert_null(serve_queue_expired(q, 29999));
	assert_int_equal(serve_queue_deadline(q), 30000);
	/* It is back in time. */
	assert_ptr_equal(want(q, fb, 1, 30), runs);
	assert_null(serve_queue_expired(q, 40000));
	assert_int_equal(serve_queue_deadline(q), INT64_MAX);
	serve_queue_unwant(q, TAILQ_FIRST(&fb->wants), 50000);
	assert_ptr_equal(serve_queue_expired(q, 50000), runs);
	serve_queue_end(q, runs);
	serve_queue_leave(q, fb);
	serve_queue_free(q);
}

/* A thousand clients with a hundred jobs each, by what is looked at. */
static void
costs_little_with_many_clients(void **state)
{
	enum { CLIENTS = 1000, JOBS = 100, ALL = CLIENTS * JOBS };
	const struct serve_limits all = {
	    .jobs = JOBS, .bytes = 1, .all_jobs = ALL, .all_bytes = 1};
	static struct serve_flow *f[CLIENTS];
	static int at[CLIENTS];
	struct serve_counts n, before;
	struct serve_queue *q;

	(void)state;
	assert_int_equal(serve_queue_new(&all, &q, &e), 0);
	for (int i = 0; i < CLIENTS; i++)
		f[i] = join(q, &at[i]);
	for (uint64_t k = 0; k < JOBS; k++)
		for (int i = 0; i < CLIENTS; i++)
			want(q, f[i], 0, (k * 7919 + (uint64_t)i) % 100 * MIB);
	serve_queue_count(q, &n);
	assert_int_equal(n.queued, ALL);
	assert_true(n.looks < 10 * (uint64_t)ALL);
	/* A half has its turn; of that a half is not wanted any more. */
	before = n;
	for (int i = 0; i < ALL / 2; i++) {
		struct serve_job *job = serve_queue_next(q);

		assert_non_null(job);
		if (i % 2 == 0)
			serve_queue_end(q, job);
		else
			serve_queue_unwant(q, TAILQ_FIRST(&job->wants), 1000);
	}
	for (int i = 0; i < CLIENTS; i++) {
		serve_queue_forget(q, f[i], 2000 + i);
		serve_queue_leave(q, f[i]);
	}
	for (int64_t now = 0; now < 4000; now += 100) {
		struct serve_job *job;

		while ((job = serve_queue_expired(q, now)) != NULL)
			serve_queue_end(q, job);
	}
	serve_queue_count(q, &n);
	assert_int_equal(n.queued + n.running + n.held, 0);
	assert_int_equal(n.dropped, ALL / 2);
	assert_true(n.looks - before.looks < 20 * (uint64_t)ALL);
	serve_queue_free(q);
}

/* One whose layer turned out to be there is no loss. */
static void
known_ones_are_not_dropped(void **state)
{
	struct serve_queue *q = make();
	int a = 0;
	struct serve_flow *f = join(q, &a);
	struct serve_job *job = want(q, f, 1, 5);
	struct serve_counts n;

	(void)state;
	job->known = true;
	serve_queue_end(q, job);
	serve_queue_count(q, &n);
	assert_int_equal(n.dropped, 0);
	serve_queue_leave(q, f);
	serve_queue_free(q);
}

/* What one client's jobs wait for does not keep another's from their turns. */
static void
nobody_has_more_than_the_share(void **state)
{
	struct serve_queue *q = make();
	int a = 0, b = 0;
	struct serve_flow *fa = join(q, &a), *fb = join(q, &b);
	struct serve_job *job[3], *both;

	(void)state;
	serve_queue_share(q, 2);
	for (int i = 0; i < 5; i++)
		want(q, fa, 0, 10 * MIB);
	both = want(q, fa, 7, MIB);
	job[0] = serve_queue_next(q);
	job[1] = serve_queue_next(q);
	assert_null(serve_queue_next(q));
	/* Whoever comes has a share of its own; also of what others want. */
	assert_ptr_equal(want(q, fb, 7, MIB), both);
	assert_ptr_equal(serve_queue_next(q), both);
	assert_null(serve_queue_next(q));
	/* One that ends makes room, also one that is not wanted any more. */
	serve_queue_end(q, job[0]);
	assert_non_null(job[2] = serve_queue_next(q));
	assert_null(serve_queue_next(q));
	serve_queue_unwant(q, TAILQ_FIRST(&job[1]->wants), 1000);
	assert_ptr_equal(serve_queue_expired(q, 0), job[1]);
	serve_queue_end(q, job[1]);
	assert_non_null(serve_queue_next(q));
	assert_null(serve_queue_next(q));
	/* And so does a larger share. */
	serve_queue_share(q, 3);
	assert_non_null(serve_queue_next(q));
	assert_null(serve_queue_next(q));
	/* Who is full may leave. */
	serve_queue_share(q, 1);
	want(q, fa, 0, MIB);
	serve_queue_forget(q, fb, 0);
	serve_queue_leave(q, fb);
	end_all(q);
	serve_queue_leave(q, fa);
	serve_queue_free(q);
}

static void
limits(void **state)
{
	const struct serve_limits few = {
	    .jobs = 2, .bytes = 100, .all_jobs = 3, .all_bytes = 150};
	const struct data_id id = {1, 1};
	struct serve_queue *q;
	struct serve_flow *fa, *fb;
	struct serve_job *job;
	int a = 0, b = 0;

	(void)state;
	assert_int_equal(serve_queue_new(&few, &q, &e), 0);
	fa = join(q, &a);
	fb = join(q, &b);
	/* One that is larger than all that may be goes alone. */
	assert_null(serve_queue_refusal(q, fa, 0, 1000));
	assert_non_null(serve_queue_refusal(q, fa, 1, 1000));
	assert_null(serve_queue_refusal(q, fa, 1, 100));
	assert_non_null(serve_queue_refusal(q, fa, 2, 0));
	assert_int_equal(serve_queue_add(q, NULL, 1, 90, &job, &e), 0);
	assert_int_equal(serve_queue_want(q, fa, job, &id, 90, &e), 0);
	assert_ptr_equal(serve_queue_want_of(fa, &id)->job, job);
	assert_non_null(serve_queue_refusal(q, fa, 0, 11));
	assert_null(serve_queue_refusal(q, fa, 0, 10));
	assert_non_null(serve_queue_refusal(q, fb, 0, 61));
	want(q, fa, 0, 1);
	assert_non_null(serve_queue_refusal(q, fa, 0, 0));
	want(q, fb, 0, 1);
	assert_non_null(serve_queue_refusal(q, fb, 0, 0));
	end_all(q);
	assert_null(serve_queue_refusal(q, fb, 0, 0));
	serve_queue_leave(q, fa);
	serve_queue_leave(q, fb);
	serve_queue_free(q);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(one_job_for_all_who_want_it),
	    cmocka_unit_test(the_small_one_is_not_held_up),
	    cmocka_unit_test(bytes_are_shared_equally),
	    cmocka_unit_test(largest_first),
	    cmocka_unit_test(what_nobody_wants_ends),
	    cmocka_unit_test(costs_little_with_many_clients),
	    cmocka_unit_test(known_ones_are_not_dropped),
	    cmocka_unit_test(nobody_has_more_than_the_share),
	    cmocka_unit_test(limits),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
