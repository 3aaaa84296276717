/* The makespan bench's bounds, against every schedule that a few jobs have. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "instance.h"

enum { JOBS_MAX = 6, SLOTS = 6, CASES = 300, STEPS = 2000 };

static uint64_t weight[JOBS_MAX];
static struct instance x = {.weight = weight};

/* Few jobs on few slots, often of equal size or speed. */
static void
draw(void)
{
	x.n_jobs = 1 + random_u64() % JOBS_MAX;
	x.n_workers = 1 + random_u64() % 3;
	x.slots = 1 + random_u64() % 2;
	for (size_t i = 0; i < x.n_jobs; i++)
		weight[i] = 1000 * (1 + random_u64() % 20);
	for (size_t i = 0; i < x.n_workers; i++)
		x.speed[i] = (double)(1 + random_u64() % 6);
}

static double
speed_of(size_t slot)
{
	return x.speed[slot / x.slots];
}

/* Of all ways to give each job to a slot the shortest. */
static double
shortest(size_t job, double *load)
{
	const size_t n = x.n_workers * x.slots;
	double best = 1e300;

	if (job == x.n_jobs) {
		best = 0;
		for (size_t k = 0; k < n; k++)
			if (load[k] / speed_of(k) > best)
				best = load[k] / speed_of(k);
		return best;
	}
	for (size_t k = 0; k < n; k++) {
		double ms;

		load[k] += (double)weight[job];
		ms = shortest(job + 1, load);
		load[k] -= (double)weight[job];
		if (ms < best)
			best = ms;
	}
	return best;
}

/* Of the speeds of all sets of so many slots the most. */
static double
fastest(int n_slots)
{
	const size_t n = x.n_workers * x.slots;
	double most = 0;

	for (unsigned slots = 1; slots < 1u << n; slots++) {
		double speed = 0;

		if (__builtin_popcount(slots) != n_slots)
			continue;
		for (size_t k = 0; k < n; k++)
			speed += slots >> k & 1 ? speed_of(k) : 0;
		if (speed > most)
			most = speed;
	}
	return most;
}

/* Whatever jobs: no more slots than they are can work on them at once. */
static double
any_set(void)
{
	const int n = (int)(x.n_workers * x.slots);
	double most = 0;

	for (unsigned jobs = 1; jobs < 1u << x.n_jobs; jobs++) {
		int n_jobs = __builtin_popcount(jobs);
		double work = 0;

		for (size_t i = 0; i < x.n_jobs; i++)
			work += jobs >> i & 1 ? (double)weight[i] : 0;
		work /= fastest(n_jobs < n ? n_jobs : n);
		if (work > most)
			most = work;
	}
	return most;
}

/* The index of the highest that is not taken yet. */
static size_t
highest(const double *value, size_t n, unsigned taken)
{
	size_t best = n;

	for (size_t i = 0; i < n; i++)
		if (!(taken >> i & 1) && (best == n || value[i] > value[best]))
			best = i;
	return best;
}

/*
 * A schedule that cuts jobs: for each moment what has the most left is where it
 * goes fastest.  Longer than it need be by the length of such moments.
 */
static double
cut_up(double moment)
{
	const size_t n = x.n_workers * x.slots;
	double left[JOBS_MAX], speed[SLOTS], ms = 0, most;

	for (size_t i = 0; i < x.n_jobs; i++)
		left[i] = (double)weight[i];
	for (size_t k = 0; k < n; k++)
		speed[k] = speed_of(k);
	do {
		unsigned jobs = 0, slots = 0;

		for (size_t k = 0; k < n && k < x.n_jobs; k++) {
			size_t i = highest(left, x.n_jobs, jobs);
			size_t at = highest(speed, n, slots);

			jobs |= 1u << i;
			slots |= 1u << at;
			left[i] -= speed[at] * moment;
		}
		ms += moment;
		most = left[highest(left, x.n_jobs, 0)];
	} while (most > 0);
	return ms;
}

static void
no_schedule_is_shorter(void **state)
{
	(void)state;
	random_seed(1);
	for (int i = 0; i < CASES; i++) {
		double load[SLOTS] = {0}, least, best;

		draw();
		least = least_cut(&x);
		best = shortest(0, load);
		assert_true(best >= least * 0.999999);
		assert_true(least >= least_simple(&x));
		assert_true(best_known(&x) >= best * 0.999999);
	}
}

static void
it_is_the_most_that_any_jobs_need(void **state)
{
	(void)state;
	random_seed(2);
	for (int i = 0; i < CASES; i++) {
		double least, most;

		draw();
		least = least_cut(&x);
		most = any_set();
		assert_true(least < most * 1.000001);
		assert_true(least > most * 0.999999);
	}
}

/* So no bound that holds for such schedules is higher. */
static void
jobs_that_are_cut_take_no_longer(void **state)
{
	(void)state;
	random_seed(3);
	for (int i = 0; i < CASES; i++) {
		double least;

		draw();
		least = least_cut(&x);
		assert_true(cut_up(least / STEPS) < least * 1.01);
	}
}

static void
the_second_job_needs_a_fast_slot_too(void **state)
{
	(void)state;
	x.n_jobs = x.n_workers = 2;
	x.slots = 1;
	weight[0] = weight[1] = 8000;
	x.speed[0] = 7;
	x.speed[1] = 1;
	/* 16000 / 8; the largest alone takes 8000 / 7. */
	assert_true(least_cut(&x) == 2000);
	/* One after the other. */
	assert_true(best_known(&x) > 2285 && best_known(&x) < 2287);
	x.speed[1] = 4;
	x.n_workers = 3;
	x.speed[2] = 4;
	assert_true(least_cut(&x) > 1454 && least_cut(&x) < 1455);
	assert_true(least_simple(&x) < 1143);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(no_schedule_is_shorter),
	    cmocka_unit_test(it_is_the_most_that_any_jobs_need),
	    cmocka_unit_test(jobs_that_are_cut_take_no_longer),
	    cmocka_unit_test(the_second_job_needs_a_fast_slot_too),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
