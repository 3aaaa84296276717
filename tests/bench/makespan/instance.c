#include "instance.h"

#include <math.h>
#include <stdlib.h>

/* Bytes of 1,341 store paths of a desktop with its tools: at 0, 1/32, ... */
static const double real_size[33] = {2688, 31744, 43008, 54272, 62464, 73728,
    84992, 99328, 113664, 132096, 148480, 173056, 200704, 231424, 260096,
    312320, 356352, 402432, 474112, 522240, 610304, 699392, 823296, 988160,
    1281024, 1667072, 2224128, 2886656, 4261888, 6562816, 11253760, 27140096,
    193404928};

static uint64_t random_state = 1;

void
random_seed(uint64_t seed)
{
	random_state = seed;
}

uint64_t
random_u64(void)
{
	uint64_t z = random_state += UINT64_C(0x9e3779b97f4a7c15);

	z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
	return z ^ (z >> 31);
}

/* Above 0, to 1. */
static double
random_part(void)
{
	return ((double)(random_u64() >> 11) + 1) / 9007199254740992.0;
}

static uint64_t
heavy_tailed(void)
{
	double bytes = 1e7 / random_part();

	return bytes < 2e10 ? (uint64_t)bytes : 20000000000;
}

/* Between two figures of the table, even on a scale of logarithms. */
static uint64_t
like_real(void)
{
	double at = random_part() * 32;
	unsigned i = at < 32 ? (unsigned)at : 31;

	return (uint64_t)(real_size[i] *
	    pow(real_size[i + 1] / real_size[i], at - i));
}

void
draw_sizes(struct instance *x, enum sizes sizes)
{
	for (size_t i = 0; sizes != SIZES_GIVEN && i < x->n_jobs; i++)
		x->weight[i] = sizes == SIZES_HEAVY ? heavy_tailed()
		    : sizes == SIZES_REAL	    ? like_real()
						    : 50000000;
}

void
draw_speeds(struct instance *x, double spread)
{
	for (size_t i = 0; i < x->n_workers; i++)
		x->speed[i] = 25000 * pow(spread, random_part());
}

double
least_simple(const struct instance *x)
{
	double sum = 0, largest = 0, speeds = 0, fastest = 0;

	for (size_t i = 0; i < x->n_jobs; i++) {
		sum += (double)x->weight[i];
		largest = fmax(largest, (double)x->weight[i]);
	}
	for (size_t i = 0; i < x->n_workers; i++) {
		speeds += x->speed[i] * (double)x->slots;
		fastest = fmax(fastest, x->speed[i]);
	}
	return fmax(sum / speeds, largest / fastest);
}

static int
down(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x < y) - (x > y);
}

/* Jobs and slots, the heaviest and the fastest first. */
struct sorted {
	double *weight, *speed, *load;
	size_t n_jobs, n_slots;
};

static struct sorted
sort(const struct instance *x)
{
	struct sorted s = {
	    .n_jobs = x->n_jobs, .n_slots = x->n_workers * x->slots};

	s.weight = calloc(s.n_jobs, sizeof(double));
	s.speed = calloc(s.n_slots, sizeof(double));
	s.load = calloc(s.n_slots, sizeof(double));
	if (s.weight == NULL || s.speed == NULL || s.load == NULL)
		abort();
	for (size_t i = 0; i < s.n_jobs; i++)
		s.weight[i] = (double)x->weight[i];
	for (size_t i = 0; i < s.n_slots; i++)
		s.speed[i] = x->speed[i / x->slots];
	qsort(s.weight, s.n_jobs, sizeof(double), down);
	qsort(s.speed, s.n_slots, sizeof(double), down);
	return s;
}

static void
sorted_free(struct sorted *s)
{
	free(s->weight);
	free(s->speed);
	free(s->load);
}

double
least_cut(struct instance *x)
{
	struct sorted s = sort(x);
	double least = least_simple(x), work = 0, speed = 0;

	for (size_t k = 0; k < s.n_jobs && k < s.n_slots; k++) {
		work += s.weight[k];
		speed += s.speed[k];
		least = fmax(least, work / speed);
	}
	sorted_free(&s);
	return least;
}

static double
soonest(const struct sorted *s)
{
	double longest = 0;

	for (size_t k = 0; k < s->n_slots; k++)
		s->load[k] = 0;
	for (size_t i = 0; i < s->n_jobs; i++) {
		double first = HUGE_VAL;
		size_t best = 0;

		for (size_t k = 0; k < s->n_slots; k++) {
			double end = (s->load[k] + s->weight[i]) / s->speed[k];

			if (end < first) {
				first = end;
				best = k;
			}
		}
		s->load[best] += s->weight[i];
		longest = fmax(longest, first);
	}
	return longest;
}

/* The heaviest first, each on the slowest slot that has the time for it. */
static bool
fits(const struct sorted *s, double ms)
{
	for (size_t k = 0; k < s->n_slots; k++)
		s->load[k] = 0;
	for (size_t i = 0; i < s->n_jobs; i++) {
		size_t k = s->n_slots;

		while (k > 0 &&
		    s->load[k - 1] + s->weight[i] > ms * s->speed[k - 1])
			k--;
		if (k == 0)
			return false;
		s->load[k - 1] += s->weight[i];
	}
	return true;
}

double
best_known(struct instance *x)
{
	struct sorted s = sort(x);
	double low = least_cut(x), high = soonest(&s);

	/* As close as 0.2 %. */
	while (high > low * 1.002) {
		double middle = (low + high) / 2;

		if (fits(&s, middle))
			high = middle;
		else
			low = middle;
	}
	sorted_free(&s);
	return high;
}
