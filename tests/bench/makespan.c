/*
 * How long the scheduler makes a run of jobs, against the least that any could
 * take, max(sum of work / sum of speeds, largest job / fastest worker); and
 * what its own decisions cost.  Time is simulated.
 *
 *	makespan		tables over drawn job sizes and workers: of
 *				equal speed, of unequal speed, and the same
 *				known from the start
 *	makespan FILE		the same for a closure: a line a job, its bytes
 *	makespan cost JOBS WORKERS	CPU time a job
 *	makespan check		status 1 if goals are missed
 *
 * The sizes of a closure's layers are in the file that quarry's
 * --metadata-file writes: jq '.layers[].tar_size'.
 */
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "schedule/scheduler.h"

enum { WORKERS_MAX = 4096, INSTANCES = 100, BEAT_MS = 1000 };

struct task {
	uint64_t job, attempt;
};

struct worker {
	double speed; /* bytes/ms */
	bool up;
	size_t slots, n_tasks;
	struct task task[2];
	int64_t started, ends; /* of the first task */
};

/* Ends of first tasks and beats; stale ones are passed over. */
struct event {
	int64_t at;
	size_t worker;
	bool beat;
};

struct bench {
	uint64_t *weight;
	size_t n_jobs, n_workers;
	bool measured; /* speeds are known from the start */
	struct worker worker[WORKERS_MAX];
	struct event *heap;
	size_t n_events, room;
	int64_t now;
};

static uint64_t random_state = 1;

static uint64_t
random_u64(void)
{
	uint64_t z = random_state += UINT64_C(0x9e3779b97f4a7c15);

	z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
	return z ^ (z >> 31);
}

/* A Pareto tail of index 1, from 10 MB to 20 GB: half are below 20 MB. */
static uint64_t
heavy_tailed(void)
{
	double u = ((double)(random_u64() >> 11) + 1) / 9007199254740992.0;
	double bytes = 1e7 / u;

	return bytes < 2e10 ? (uint64_t)bytes : 20000000000;
}

static void
push(struct bench *b, int64_t at, size_t worker, bool beat)
{
	size_t i = b->n_events++;

	if (i == b->room) {
		b->room = 2 * b->room + 1024;
		b->heap = realloc(b->heap, b->room * sizeof(*b->heap));
		if (b->heap == NULL)
			abort();
	}
	for (; i > 0 && at < b->heap[(i - 1) / 2].at; i = (i - 1) / 2)
		b->heap[i] = b->heap[(i - 1) / 2];
	b->heap[i] = (struct event){at, worker, beat};
}

static struct event
pop(struct bench *b)
{
	struct event top = b->heap[0], last = b->heap[--b->n_events];
	size_t i = 0, child;

	while ((child = 2 * i + 1) < b->n_events) {
		if (child + 1 < b->n_events &&
		    b->heap[child + 1].at < b->heap[child].at)
			child++;
		if (last.at <= b->heap[child].at)
			break;
		b->heap[i] = b->heap[child];
		i = child;
	}
	b->heap[i] = last;
	return top;
}

static void
start(struct bench *b, struct worker *w)
{
	if (w->n_tasks == 0) {
		w->ends = INT64_MAX;
		return;
	}
	w->started = b->now;
	w->ends = b->now +
	    (int64_t)((double)b->weight[w->task[0].job] / w->speed + 0.5);
	push(b, w->ends, (size_t)(w - b->worker), false);
}

static void
act(struct bench *b, struct scheduler *s)
{
	struct sched_action a;

	while (sched_next(s, b->now, &a)) {
		struct worker *w = &b->worker[a.worker.v];

		/* What a dead one is told changes nothing. */
		if ((a.kind == SCHED_SEND || a.kind == SCHED_CANCEL) && !w->up)
			continue;
		if (a.kind == SCHED_SEND) {
			w->task[w->n_tasks++] =
			    (struct task){a.job.v, a.attempt};
			if (w->n_tasks == 1)
				start(b, w);
		} else if (a.kind == SCHED_CANCEL) {
			bool first = w->task[0].job == a.job.v;

			if (first)
				w->task[0] = w->task[1];
			w->n_tasks--;
			if (first)
				start(b, w);
		} else if (a.kind != SCHED_DROP) {
			fprintf(stderr, "makespan: action %d\n", (int)a.kind);
			exit(1);
		}
	}
}

static void
beat(struct bench *b, struct scheduler *s, size_t i)
{
	const struct worker *w = &b->worker[i];

	if (w->n_tasks > 0)
		sched_progress(s, b->now, (struct worker_id){i},
		    (struct job_id){w->task[0].job}, w->task[0].attempt,
		    (uint64_t)((double)(b->now - w->started) * w->speed));
	sched_beat(s, b->now, (struct worker_id){i}, w->n_tasks > 0);
	push(b, b->now + BEAT_MS, i, true);
}

static void
end(struct bench *b, struct scheduler *s, size_t i)
{
	static const struct digest same;
	struct worker *w = &b->worker[i];
	struct task t = w->task[0];

	w->task[0] = w->task[1];
	w->n_tasks--;
	sched_done(s, b->now, (struct worker_id){i}, (struct job_id){t.job},
	    t.attempt, &same);
	start(b, w);
}

static struct scheduler *
begin(struct bench *b)
{
	static const struct sched_config config = {
	    .silent_ms = 10000,
	    .lease_ms = 120000,
	    .poison = 3,
	    .copy_percent = 10,
	};
	struct err e = ERR_INIT;
	struct scheduler *s;
	struct job_id id;

	b->now = 0;
	b->n_events = 0;
	if (sched_new(&config, &s, &e) < 0)
		abort();
	for (size_t i = 0; i < b->n_jobs; i++)
		if (sched_add_job(s, b->weight[i], &id, &e) < 0)
			abort();
	for (size_t i = 0; i < b->n_workers; i++) {
		b->worker[i].up = true;
		b->worker[i].n_tasks = 0;
		b->worker[i].ends = INT64_MAX;
		if (sched_worker_up(s, 0, (struct worker_id){i}, 1, "w", &e) <
		    0)
			abort();
		if (b->measured)
			sched_measured(s, (struct worker_id){i},
			    (uint64_t)(b->worker[i].speed * 1000), 1000);
		push(b, (int64_t)(random_u64() % BEAT_MS), i, true);
	}
	return s;
}

/* kill_at: when a worker falls silent; told: and is known to. */
static int64_t
run(struct bench *b, int64_t kill_at, bool told)
{
	struct scheduler *s = begin(b);
	const size_t victim = random_u64() % b->n_workers;

	for (act(b, s); sched_open(s) > 0; act(b, s)) {
		struct event v = pop(b);
		struct worker *w = &b->worker[v.worker];

		b->now = v.at;
		if (b->now >= kill_at && b->worker[victim].up) {
			b->worker[victim].up = false;
			if (told)
				sched_worker_gone(s, b->now,
				    (struct worker_id){victim}, "killed");
		}
		if (!w->up)
			continue;
		if (v.beat)
			beat(b, s, v.worker);
		else if (w->n_tasks > 0 && w->ends == v.at)
			end(b, s, v.worker);
	}
	sched_free(s);
	return b->now;
}

static double
least(const struct bench *b)
{
	double sum = 0, largest = 0, speeds = 0, fastest = 0;

	for (size_t i = 0; i < b->n_jobs; i++) {
		sum += (double)b->weight[i];
		if ((double)b->weight[i] > largest)
			largest = (double)b->weight[i];
	}
	for (size_t i = 0; i < b->n_workers; i++) {
		speeds += b->worker[i].speed;
		if (b->worker[i].speed > fastest)
			fastest = b->worker[i].speed;
	}
	return sum / speeds > largest / fastest ? sum / speeds
						: largest / fastest;
}

static int
compare(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

/* Speeds from 1 to 4 times 25 MB/s, or all 50 MB/s. */
static void
draw(struct bench *b, bool sizes, bool unequal)
{
	for (size_t i = 0; sizes && i < b->n_jobs; i++)
		b->weight[i] = heavy_tailed();
	for (size_t i = 0; i < b->n_workers; i++)
		b->worker[i].speed = unequal
		    ? 25000.0 * (1 + (double)(random_u64() % 300) / 100)
		    : 50000;
}

/* Sorted. */
struct ratios {
	double whole[INSTANCES], told[INSTANCES], silent[INSTANCES];
};

static void
measure(struct bench *b, bool sizes, bool unequal, struct ratios *r)
{
	for (int i = 0; i < INSTANCES; i++) {
		int64_t ms;

		draw(b, sizes, unequal);
		ms = run(b, INT64_MAX, false);
		r->whole[i] = (double)ms / least(b);
		r->told[i] = (double)run(b, ms / 2, true) / (double)ms;
		r->silent[i] = (double)run(b, ms / 2, false) / (double)ms;
	}
	qsort(r->whole, INSTANCES, sizeof(*r->whole), compare);
	qsort(r->told, INSTANCES, sizeof(*r->told), compare);
	qsort(r->silent, INSTANCES, sizeof(*r->silent), compare);
}

static void
row(struct bench *b, bool sizes, bool unequal)
{
	const int middle = INSTANCES / 2, last = INSTANCES - 1;
	struct ratios r;

	measure(b, sizes, unequal, &r);
	printf("%6zu %8zu %-8s %7.3f %7.3f   %7.3f %7.3f   %7.3f %7.3f\n",
	    b->n_jobs, b->n_workers,
	    !unequal	      ? "equal"
		: b->measured ? "known"
			      : "unequal",
	    r.whole[middle], r.whole[last], r.told[middle], r.told[last],
	    r.silent[middle], r.silent[last]);
}

/* The goals, on 8 workers: false if one is missed. */
static bool
check(struct bench *b)
{
	const int middle = INSTANCES / 2, last = INSTANCES - 1;
	struct ratios r;
	bool good = true;

	b->n_workers = 8;
	for (b->n_jobs = 64; b->n_jobs <= 1024; b->n_jobs *= 4) {
		b->measured = false;
		measure(b, true, false, &r);
		good &= r.whole[middle] <= 1.10 && r.whole[last] <= 4.0 / 3;
		b->measured = true;
		measure(b, true, true, &r);
		good &= r.whole[middle] <= 1.10;
	}
	b->n_jobs = 5000;
	b->measured = false;
	measure(b, true, false, &r);
	good &= r.told[middle] <= 1.15 && r.silent[middle] <= 1.15;
	if (!good)
		fputs("makespan: a goal is missed: see the tables\n", stderr);
	return good;
}

static void
table(struct bench *b, bool sizes)
{
	static const size_t jobs[] = {64, 127, 1000, 5000};

	printf("%d instances each; time / least time, and with one worker "
	       "killed half-way / without,\n"
	       "told of its end (a child) or left to find out (10 s of "
	       "silence)\n\n%34s %7s   %7s %7s   %7s %7s\n"
	       "%6s %8s %-8s %7s %7s   %7s %7s   %7s %7s\n",
	    INSTANCES, "whole", "", "told", "", "silent", "", "jobs", "workers",
	    "speeds", "median", "worst", "median", "worst", "median", "worst");
	for (size_t k = 0; k < (sizes ? 4 : 1); k++)
		for (b->n_workers = 4; b->n_workers <= 256; b->n_workers *= 2) {
			if (sizes)
				b->n_jobs = jobs[k];
			row(b, sizes, false);
			row(b, sizes, true);
			b->measured = true;
			row(b, sizes, true);
			b->measured = false;
		}
}

static double
cpu_seconds(void)
{
	struct timespec t;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void
cost(struct bench *b)
{
	double at;

	draw(b, true, true);
	at = cpu_seconds();
	run(b, INT64_MAX, false);
	printf("%zu jobs, %zu workers: %.2f us CPU a job, this bench and a "
	       "beat a second and worker included\n",
	    b->n_jobs, b->n_workers,
	    (cpu_seconds() - at) * 1e6 / (double)b->n_jobs);
}

static void
read_sizes(struct bench *b, const char *file)
{
	FILE *f = fopen(file, "r");
	char line[64];

	if (f == NULL) {
		perror(file);
		exit(1);
	}
	b->n_jobs = 0;
	while (fgets(line, sizeof(line), f) != NULL) {
		b->weight =
		    reallocarray(b->weight, b->n_jobs + 1, sizeof(*b->weight));
		if (b->weight == NULL)
			abort();
		b->weight[b->n_jobs++] = strtoull(line, NULL, 10);
	}
	fclose(f);
}

int
main(int argc, char **argv)
{
	static struct bench b;

	if (argc == 2 && strcmp(argv[1], "check") != 0) {
		read_sizes(&b, argv[1]);
		table(&b, false);
		return 0;
	}
	b.n_jobs = argc == 4 ? strtoull(argv[2], NULL, 10) : 5000;
	b.n_workers = argc == 4 ? strtoull(argv[3], NULL, 10) : 0;
	if ((argc > 2 && (argc != 4 || strcmp(argv[1], "cost") != 0)) ||
	    b.n_workers > WORKERS_MAX) {
		fprintf(stderr, "usage: see the head of %s\n", __FILE__);
		return 2;
	}
	if ((b.weight = calloc(b.n_jobs, sizeof(*b.weight))) == NULL)
		abort();
	if (argc == 2)
		return check(&b) ? 0 : 1;
	if (argc == 4)
		cost(&b);
	else
		table(&b, true);
	return 0;
}
