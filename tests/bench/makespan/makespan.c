/*
 * How long the scheduler makes a run of jobs, against the least that any could
 * take; and what its own decisions cost.  Time is simulated, so that each run
 * is the same again.
 *
 *	makespan [-n RUNS] [-k] [-w PART] [-f FACTOR] [-e PART] [-s SLOTS]
 *		heavy|real|equal|FILE
 *		tables over numbers of jobs and workers, and by how much these
 *		differ in speed.  heavy: 10 MB to 20 GB; real: as the paths of
 *		a desktop; FILE: a closure's, a line a job, its bytes.
 *		-k: workers say how fast they are when they join; -w: and are
 *		wrong by up to that part, up or down; -f: and all by that
 *		factor; -e: each attempt's speed is off by up to that part
 *	makespan cost JOBS WORKERS	CPU time a job
 *	makespan check			status 1 if goals are missed
 *
 * The sizes of a closure's layers are in the file that quarry's
 * --metadata-file writes: jq '.layers[].tar_size'.
 *
 * "simple" is max(sum of work / sum of speeds, largest job / fastest worker);
 * "least" sees also that the second largest job needs a fast worker (see
 * least_cut).  "best" is the shortest that is found by who knows all speeds.
 */
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "instance.h"
#include "simulate.h"

enum { RUNS_MAX = 1000 };

/* Of so many runs, each sorted. */
struct ratios {
	double simple[RUNS_MAX], least[RUNS_MAX], best[RUNS_MAX];
	double reach[RUNS_MAX];
	double twice[RUNS_MAX]; /* % */
	double killed[RUNS_MAX];
};

static int runs = 100;

static int
compare(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

static void
sort(double *ratio)
{
	qsort(ratio, (size_t)runs, sizeof(*ratio), compare);
}

/* kill: the runs again, with a worker that dies half-way, told or silent. */
static void
measure(struct instance *x, enum sizes sizes, double spread,
    const struct simulation *how, bool kill, struct ratios *r)
{
	for (int i = 0; i < runs; i++) {
		struct simulation worse = *how;
		struct simulated run;
		double least, best;

		random_seed(
		    (uint64_t)i * 1000003 + x->n_jobs * 7 + x->n_workers);
		draw_sizes(x, sizes);
		draw_speeds(x, spread);
		run = simulate(x, how);
		least = least_cut(x);
		best = best_known(x);
		r->simple[i] = (double)run.ms / least_simple(x);
		r->least[i] = (double)run.ms / least;
		r->best[i] = (double)run.ms / best;
		r->reach[i] = best / least;
		r->twice[i] = run.twice * 100;
		if (!kill)
			continue;
		worse.kill_at = run.ms / 2;
		r->killed[i] = (double)simulate(x, &worse).ms / (double)run.ms;
	}
	sort(r->simple);
	sort(r->least);
	sort(r->best);
	sort(r->reach);
	sort(r->twice);
	if (kill)
		sort(r->killed);
}

static void
row(struct instance *x, enum sizes sizes, double spread,
    const struct simulation *how)
{
	const int middle = runs / 2, tenth = runs * 9 / 10, last = runs - 1;
	static struct ratios r;

	measure(x, sizes, spread, how, false, &r);
	printf("%5.0fx %6zu %8zu  %6.3f %6.3f  %6.3f %6.3f %6.3f  "
	       "%6.3f %6.3f %6.3f  %6.3f %6.3f  %5.1f %5.1f\n",
	    spread, x->n_jobs, x->n_workers, r.simple[middle], r.simple[last],
	    r.least[middle], r.least[tenth], r.least[last], r.best[middle],
	    r.best[tenth], r.best[last], r.reach[middle], r.reach[last],
	    r.twice[middle], r.twice[last]);
}

static void
table(struct instance *x, enum sizes sizes, const struct simulation *how)
{
	static const double spread[] = {1, 2, 4, 10};
	static const size_t jobs[] = {64, 256, 1024, 4096};
	const size_t n = sizes == SIZES_GIVEN ? 1 : 4;

	printf("%d runs each: median, nine tenths, worst; or without nine "
	       "tenths\n\n"
	       "%6s %6s %8s  %-13s  %-20s  %-20s  %-13s  %s\n",
	    runs, "speeds", "jobs", "workers", "time / simple", "time / least",
	    "time / best", "best / least", "made twice, %");
	for (size_t i = 0; i < 4; i++)
		for (size_t k = 0; k < n; k++) {
			if (sizes != SIZES_GIVEN)
				x->n_jobs = jobs[k];
			for (size_t m = 4; m <= 256; m *= 4) {
				x->n_workers = m;
				row(x, sizes, spread[i], how);
			}
		}
}

/* False, and said, if the median is over the goal. */
static bool
holds(const struct instance *x, const char *what, double spread, double *ratio,
    double goal)
{
	if (ratio[runs / 2] <= goal)
		return true;
	fprintf(stderr,
	    "makespan: %s, speeds to %.0fx, %zu jobs, %zu workers: %.3f, not "
	    "%.3f\n",
	    what, spread, x->n_jobs, x->n_workers, ratio[runs / 2], goal);
	return false;
}

struct goal {
	enum sizes sizes;
	double spread;
	size_t jobs, workers;
};

/* Nobody says how fast workers are. */
static const struct goal unsaid[] = {
    {SIZES_HEAVY, 1, 64, 8},
    {SIZES_HEAVY, 4, 64, 8},
    {SIZES_HEAVY, 4, 64, 256},
    {SIZES_HEAVY, 4, 256, 32},
    {SIZES_HEAVY, 10, 256, 16},
    {SIZES_HEAVY, 4, 1024, 64},
    {SIZES_REAL, 1, 256, 16},
    {SIZES_REAL, 4, 256, 4},
    {SIZES_REAL, 4, 1024, 8},
    {SIZES_REAL, 4, 4096, 64},
};

/* They say so themselves. */
static const struct goal said[] = {
    {SIZES_REAL, 1, 1024, 64},
    {SIZES_REAL, 2, 64, 16},
    {SIZES_REAL, 4, 64, 64},
    {SIZES_REAL, 4, 64, 256},
    {SIZES_REAL, 4, 256, 16},
    {SIZES_REAL, 4, 4096, 256},
    {SIZES_REAL, 10, 64, 64},
    {SIZES_REAL, 10, 64, 256},
    {SIZES_REAL, 10, 1024, 256},
    {SIZES_HEAVY, 4, 256, 32},
    {SIZES_HEAVY, 10, 64, 256},
};

static bool
check_times(struct instance *x, const char *what, const struct goal *at,
    size_t n, const struct simulation *how)
{
	static struct ratios r;
	bool good = true;

	for (size_t i = 0; i < n; i++) {
		x->n_jobs = at[i].jobs;
		x->n_workers = at[i].workers;
		measure(x, at[i].sizes, at[i].spread, how, false, &r);
		good &= holds(x, what, at[i].spread, r.least, 1.10);
	}
	return good;
}

static bool
check(struct instance *x)
{
	const size_t n = sizeof(said) / sizeof(said[0]);
	struct simulation how = {.kill_at = INT64_MAX};
	static struct ratios r;
	bool good;

	runs = 40;
	good = check_times(
	    x, "time", unsaid, sizeof(unsaid) / sizeof(unsaid[0]), &how);
	how.measured = true;
	good &= check_times(x, "time, speeds said", said, n, &how);
	how.wrong = 0.3;
	how.scale = 0.3;
	good &= check_times(x, "time, speeds said wrong", said, n, &how);
	how = (struct simulation){.kill_at = INT64_MAX};
	x->n_jobs = 4096;
	x->n_workers = 8;
	for (double spread = 1; spread <= 4; spread *= 4)
		for (int told = 0; told < 2; told++) {
			how.told = told > 0;
			measure(x, SIZES_HEAVY, spread, &how, true, &r);
			good &= holds(x, "killed", spread, r.killed, 1.15);
		}
	return good;
}

static double
cpu_seconds(void)
{
	struct timespec t;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void
cost(struct instance *x)
{
	struct simulation how = {.kill_at = INT64_MAX};
	double at;

	draw_sizes(x, SIZES_HEAVY);
	draw_speeds(x, 4);
	at = cpu_seconds();
	simulate(x, &how);
	printf("%zu jobs, %zu workers: %.2f us CPU a job, this bench and five "
	       "beats a second and worker included\n",
	    x->n_jobs, x->n_workers,
	    (cpu_seconds() - at) * 1e6 / (double)x->n_jobs);
}

static void
make_room(struct instance *x, size_t jobs)
{
	x->weight = reallocarray(x->weight, jobs + 1, sizeof(*x->weight));
	if (x->weight == NULL)
		abort();
}

static void
read_sizes(struct instance *x, const char *file)
{
	FILE *f = fopen(file, "r");
	char line[64];

	if (f == NULL) {
		perror(file);
		exit(1);
	}
	while (fgets(line, sizeof(line), f) != NULL) {
		make_room(x, x->n_jobs);
		x->weight[x->n_jobs++] = strtoull(line, NULL, 10);
	}
	fclose(f);
}

static enum sizes
sizes_of(struct instance *x, const char *name)
{
	make_room(x, 4096);
	if (strcmp(name, "heavy") == 0)
		return SIZES_HEAVY;
	if (strcmp(name, "real") == 0)
		return SIZES_REAL;
	if (strcmp(name, "equal") == 0)
		return SIZES_EQUAL;
	read_sizes(x, name);
	return SIZES_GIVEN;
}

static int
usage(void)
{
	fprintf(stderr, "usage: see the head of %s\n", __FILE__);
	return 2;
}

int
main(int argc, char **argv)
{
	static struct instance x = {.slots = 1};
	struct simulation how = {.kill_at = INT64_MAX};
	int option;

	while ((option = getopt(argc, argv, "n:kw:f:e:s:")) != -1)
		switch (option) {
		case 'n':
			runs = atoi(optarg);
			break;
		case 'k':
			how.measured = true;
			break;
		case 'w':
			how.wrong = atof(optarg);
			how.measured = true;
			break;
		case 'f':
			how.scale = atof(optarg);
			how.measured = true;
			break;
		case 'e':
			how.noise = atof(optarg);
			break;
		case 's':
			x.slots = strtoull(optarg, NULL, 10);
			break;
		default:
			return usage();
		}
	argv += optind;
	argc -= optind;
	if (runs < 1 || runs > RUNS_MAX || x.slots < 1 || x.slots > SLOTS_MAX ||
	    argc < 1)
		return usage();
	if (argc == 1 && strcmp(argv[0], "check") == 0) {
		make_room(&x, 4096);
		return check(&x) ? 0 : 1;
	}
	if (argc == 1) {
		table(&x, sizes_of(&x, argv[0]), &how);
		return 0;
	}
	if (argc != 3 || strcmp(argv[0], "cost") != 0)
		return usage();
	x.n_jobs = strtoull(argv[1], NULL, 10);
	x.n_workers = strtoull(argv[2], NULL, 10);
	if (x.n_workers < 1 || x.n_workers > WORKERS_MAX)
		return usage();
	make_room(&x, x.n_jobs);
	cost(&x);
	return 0;
}
