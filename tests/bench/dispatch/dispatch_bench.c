/*
 * What the coordinator costs: its real dispatch, over TCP with CURVE (or ipc),
 * and workers that do nothing, in a process of their own.
 *
 *	dispatch_bench jobs [JOBS [WORKERS]]	no-op jobs as fast as they go
 *	dispatch_bench idle [RUNS [WORKERS]]	a job to a worker that waits
 *	dispatch_bench load [JOBS [WORKERS]]	jobs of 50 ms each: how long
 *				workers wait from an answer to the next job
 *	dispatch_bench serve [JOBS [WORKERS]]	jobs that come one by one, as to
 *				quarry serve
 *	dispatch_bench swarm ENDPOINT [WORKERS]	the workers alone (1000), of a
 *				coordinator on this machine that wants no keys
 *
 * Options before that: --plain (no keys), --paths N (store paths a job, 1),
 * --slots N (of each worker, 1), --work MS, --threads N (of workers, 1),
 * --list N (store paths of the closure, of which workers are asked; 1),
 * --differ (each worker has another half of them).
 * CPU time is the coordinator's process: its loop, libzmq's thread, and those
 * that check keys and pull layers.  A turn is what the loop does between two
 * waits, in CPU time of its thread: what has come waits for the rest of the
 * turn that is on, and for its own.
 */
#include <getopt.h>
#include <poll.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <signal.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "closure/closure.h"
#include "curve_key.h"
#include "dispatch/dispatch.h"
#include "dispatch/dispatch_state.h"
#include "err.h"
#include "link.h"
#include "monotime.h"
#include "progress/progress.h"
#include "process/scratch.h"
#include "swarm.h"

struct bench {
	size_t jobs, workers, paths, list, slots, threads;
	bool differ;
	int64_t work_us;
	bool plain;
	struct curve_key server, client;
	struct swarm_stats *stats;
	int pipe[2]; /* tells the swarm the endpoint */
	pid_t swarm;
	struct scratch *scratch;
	struct progress *progress;
	struct dispatch *dispatch;
	char *keys;
	struct closure closure;
	struct layer_spec spec;
	struct dispatch_job *job;
	uint32_t *path;
	struct layer_item *item; /* of `serve`, whose jobs have no closure */
	size_t done;
};

static long long turn[SWARM_BUCKETS]; /* how many took so long */

int __real_poll(struct pollfd *fds, nfds_t n, int ms);
int __wrap_poll(struct pollfd *fds, nfds_t n, int ms);

static int64_t
thread_cpu_us(void)
{
	struct timespec t;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
	return (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

/* In place of poll() in the coordinator's code: where turns begin and end. */
int
__wrap_poll(struct pollfd *fds, nfds_t n, int ms)
{
	static _Thread_local int64_t began;
	int rc;

	if (began != 0 && gettid() == getpid())
		turn[swarm_bucket(thread_cpu_us() - began)]++;
	rc = __real_poll(fds, n, ms);
	began = thread_cpu_us();
	return rc;
}

static void
check(int rc, const char *what, const struct err *e)
{
	if (rc >= 0)
		return;
	fprintf(stderr, "dispatch_bench: %s: %s\n", what, e->text);
	exit(1);
}

static double
cpu_us(void)
{
	struct rusage u;

	getrusage(RUSAGE_SELF, &u);
	return (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) * 1e6 +
	    (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec);
}

/* Of this process, MiB. */
static double
memory(const char *field)
{
	FILE *f = fopen("/proc/self/status", "r");
	char line[256];
	double kib = 0;

	while (f != NULL && fgets(line, sizeof(line), f) != NULL)
		if (strncmp(line, field, strlen(field)) == 0)
			kib = strtod(line + strlen(field) + 1, NULL);
	if (f != NULL)
		fclose(f);
	return kib / 1024;
}

static void
start_swarm(struct bench *b)
{
	char endpoint[256] = "";
	const struct swarm_config config = {
	    .endpoint = endpoint,
	    .key = b->plain ? NULL : &b->client,
	    .server = b->server.public,
	    .workers = b->workers,
	    .threads = b->threads,
	    .slots = b->slots,
	    .work_us = b->work_us,
	    .differ = b->differ,
	};

	if (pipe(b->pipe) < 0 || (b->swarm = fork()) < 0) {
		perror("fork");
		exit(1);
	}
	if (b->swarm != 0)
		return;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	close(b->pipe[1]);
	if (read(b->pipe[0], endpoint, sizeof(endpoint) - 1) <= 0)
		_exit(1);
	swarm_run(&config, b->stats);
	_exit(0);
}

/* The folder of the keys is scratch, too. */
static void
write_keys(struct bench *b)
{
	struct err e = ERR_INIT;
	char *folder;

	check(scratch_folder(b->scratch, scratch_temp(), &folder, &e), "keys",
	    &e);
	if (asprintf(&b->keys, "%s/swarm.pub", folder) < 0)
		abort();
	check(curve_key_write_public(b->client.public, b->keys, "swarm", &e),
	    "keys", &e);
	free(folder);
}

static void
raise_files(void)
{
	struct rlimit files;

	getrlimit(RLIMIT_NOFILE, &files);
	files.rlim_cur = files.rlim_max;
	setrlimit(RLIMIT_NOFILE, &files);
}

static int
done(void *bench, const struct dispatch_job *job, struct err *e)
{
	struct bench *b = bench;

	(void)e;
	b->done++;
	dispatch_unlearn(b->dispatch, &b->job[job - b->job]);
	return 0;
}

static void
start(struct bench *b)
{
	struct err e = ERR_INIT;
	struct dispatch_config config = {
	    .hooks = {.arg = b, .done = done},
	    .listen = "tcp://127.0.0.1:*",
	    .plain = b->plain,
	    .min_workers = b->workers,
	};

	raise_files();
	b->stats = mmap(NULL, sizeof(*b->stats), PROT_READ | PROT_WRITE,
	    MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (b->stats == MAP_FAILED)
		abort();
	check(curve_key_make(&b->server, &e), "key", &e);
	check(curve_key_make(&b->client, &e), "key", &e);
	start_swarm(b);
	check(scratch_new(&b->scratch, &e), "scratch", &e);
	check(progress_new(PROGRESS_NONE, &b->progress, &e), "progress", &e);
	write_keys(b);
	config.progress = b->progress;
	if (!b->plain) {
		config.key = &b->server;
		config.keys = b->keys;
	}
	check(dispatch_new(&config, b->scratch, &b->dispatch, &e), "start", &e);
	dprintf(b->pipe[1], "%s", link_endpoint(b->dispatch->remote));
	close(b->pipe[1]);
}

/* What is sent costs what it costs: jobs may have the same store paths. */
static void
make_jobs(struct bench *b)
{
	size_t n = b->list > b->paths ? b->list : b->paths;

	b->closure.n = n;
	b->closure.path = calloc(n + 1, sizeof(*b->closure.path));
	b->closure.nar_hash = calloc(n + 1, sizeof(*b->closure.nar_hash));
	b->closure.nar_size = calloc(n + 1, sizeof(*b->closure.nar_size));
	b->path = calloc(b->paths + b->jobs, sizeof(*b->path));
	b->job = calloc(b->jobs + 1, sizeof(*b->job));
	for (size_t i = 0; i < b->paths + b->jobs; i++)
		b->path[i] = (uint32_t)(i % n);
	for (size_t i = 0; i < n; i++) {
		b->closure.nar_size[i] = 1000000;
		if (asprintf((char **)&b->closure.path[i],
			"/nix/store/%032zu-package-1.%zu", i, i) < 0)
			abort();
	}
	b->spec = (struct layer_spec){
	    .source = LAYER_FROM_STORE,
	    .store_dir = "/nix/store",
	    .store_root = "",
	    .mtime = 1,
	    .uname = "root",
	    .gname = "root",
	    .file = "",
	};
	for (size_t i = 0; i < b->jobs; i++)
		b->job[i] = (struct dispatch_job){
		    .spec = &b->spec,
		    .closure = &b->closure,
		    .path = b->path + (b->list > b->paths ? i : 0),
		    .n = b->paths,
		    .weight = 1000000 + i * 7919 % 1000003,
		    .label = "layer",
		};
}

static void
run(struct bench *b, size_t jobs)
{
	struct err e = ERR_INIT;

	check(dispatch_run(b->dispatch, b->job, jobs, &e), "run", &e);
}

/* All workers are there when it ends. */
static void
warm_up(struct bench *b)
{
	run(b, b->jobs < 20 * b->workers ? b->jobs : 20 * b->workers);
	for (size_t i = 0; i < SWARM_BUCKETS; i++)
		atomic_store(&b->stats->turn[i], 0);
	memset(turn, 0, sizeof(turn));
	atomic_store(&b->stats->jobs, 0);
	atomic_store(&b->stats->since, swarm_now_us());
}

static double
percentile_ms(const long long *n, double share)
{
	long long total = 0, below = 0;
	size_t i = 0;

	for (size_t k = 0; k < SWARM_BUCKETS; k++)
		total += n[k];
	while (i < SWARM_BUCKETS - 1 &&
	    (double)(below += n[i]) < share * (double)total)
		i++;
	return (double)swarm_bucket_us(i) / 1000;
}

static void
print_times(const char *what, const long long *n)
{
	printf("%s: median %.2f, p99 %.2f, p99.9 %.2f ms\n", what,
	    percentile_ms(n, 0.5), percentile_ms(n, 0.99),
	    percentile_ms(n, 0.999));
}

static void
jobs(struct bench *b)
{
	double before = memory("VmRSS:"), cpu;
	long long answered[SWARM_BUCKETS];
	int64_t at;

	warm_up(b);
	cpu = cpu_us();
	at = swarm_now_us();
	run(b, b->jobs);
	cpu = cpu_us() - cpu;
	at = swarm_now_us() - at;
	printf("%zu jobs of %zu store paths, %zu workers of %zu slots, %s: "
	       "%.0f jobs/s, coordinator %.1f us CPU a job\n",
	    b->jobs, b->paths, b->workers, b->slots,
	    b->plain ? "plain" : "CURVE", (double)b->jobs * 1e6 / (double)at,
	    cpu / (double)b->jobs);
	for (size_t i = 0; i < SWARM_BUCKETS; i++)
		answered[i] = atomic_load(&b->stats->turn[i]);
	print_times("answer to next job", answered);
	print_times("a turn of the coordinator", turn);
	printf("coordinator's memory: %.0f MiB before, %.0f at most\n", before,
	    memory("VmHWM:"));
}

static void
take_turn(struct bench *b)
{
	struct err e = ERR_INIT;

	check(dispatch_turn(b->dispatch, NULL, 0, monotime_ms() + 1000, &e),
	    "turn", &e);
}

static void
make_items(struct bench *b)
{
	size_t n = b->closure.n;

	b->item = calloc(b->paths + n, sizeof(*b->item));
	for (size_t i = 0; i < b->paths + n; i++)
		b->item[i] = (struct layer_item){.path = b->closure.path[i % n],
		    .has_hash = true,
		    .nar_size = 1000000};
	for (size_t i = 0; i < b->jobs; i++) {
		b->job[i].closure = NULL;
		b->job[i].path = NULL;
		b->job[i].item = b->item + i * b->paths % n;
	}
}

/*
 * Jobs of so many store paths in a row; as many are known of as clients have.
 */
static void
serve(struct bench *b)
{
	const struct layer_output to = {
	    .kind = LAYER_TO_BLOB, .path = "/tmp/no-such-folder"};
	size_t learnt = 0, added = 0;
	double before, cpu;
	struct err e = ERR_INIT;
	int64_t at;

	make_items(b);
	before = memory("VmRSS:");
	cpu = cpu_us();
	check(dispatch_begin(b->dispatch, &to, &e), "begin", &e);
	while (dispatch_room(b->dispatch) < b->workers * (b->slots + 1))
		take_turn(b);
	printf("%.0f us CPU a worker that joins\n",
	    (cpu_us() - cpu) / (double)b->workers);
	cpu = cpu_us();
	at = swarm_now_us();
	while (b->done < b->jobs) {
		for (; learnt < b->jobs && learnt - added < 4096; learnt++)
			check(dispatch_learn(b->dispatch, &b->job[learnt], &e),
			    "learn", &e);
		for (size_t n = dispatch_wants(b->dispatch);
		     n > 0 && added < learnt &&
		     dispatch_knows(b->dispatch, &b->job[added]);
		     n--) {
			struct job_id id;

			check(dispatch_add(
				  b->dispatch, &b->job[added++], &id, &e),
			    "add", &e);
		}
		take_turn(b);
	}
	at = swarm_now_us() - at;
	cpu = cpu_us() - cpu;
	printf("%zu jobs of %zu of %zu store paths, %zu workers: %.0f jobs/s, "
	       "coordinator %.1f us CPU a job\n",
	    b->jobs, b->paths, b->closure.n, b->workers,
	    (double)b->jobs * 1e6 / (double)at, cpu / (double)b->jobs);
	print_times("a turn of the coordinator", turn);
	printf("coordinator's memory: %.0f MiB before, %.0f at most\n", before,
	    memory("VmHWM:"));
}

static int
compare(const void *a, const void *b)
{
	int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;

	return (x > y) - (x < y);
}

static void
idle(struct bench *b)
{
	int64_t *us = calloc(b->jobs, sizeof(*us));

	warm_up(b);
	for (size_t i = 0; i < b->jobs; i++) {
		int64_t at;

		usleep(5000);
		at = swarm_now_us();
		run(b, 1);
		us[i] = atomic_load(&b->stats->received) - at;
	}
	qsort(us, b->jobs, sizeof(*us), compare);
	printf("%zu runs of one job, %zu workers that wait, %s: the worker "
	       "has it after %.3f ms (median), %.3f (p99)\n",
	    b->jobs, b->workers, b->plain ? "plain" : "CURVE",
	    (double)us[b->jobs / 2] / 1000,
	    (double)us[b->jobs * 99 / 100] / 1000);
	free(us);
}

static void
end(struct bench *b)
{
	dispatch_freep(&b->dispatch);
	progress_freep(&b->progress);
	scratch_freep(&b->scratch);
	waitpid(b->swarm, NULL, 0);
	for (size_t i = 0; i < b->closure.n; i++)
		free((void *)(uintptr_t)b->closure.path[i]);
	free(b->closure.path);
	free(b->closure.nar_hash);
	free(b->closure.nar_size);
	free(b->item);
	free(b->path);
	free(b->job);
	free(b->keys);
}

/* Until the coordinator sends them home. */
static void
swarm(struct bench *b, const char *endpoint)
{
	const struct swarm_config config = {
	    .endpoint = endpoint,
	    .workers = b->workers,
	    .threads = b->threads,
	    .slots = b->slots,
	    .work_us = b->work_us > 0 ? b->work_us : 0,
	    .differ = b->differ,
	};
	static struct swarm_stats stats;

	raise_files();
	swarm_run(&config, &stats);
}

static int
usage(void)
{
	fprintf(stderr, "usage: see the head of %s\n", __FILE__);
	return 2;
}

static bool
parse(struct bench *b, int argc, char **argv)
{
	static const struct option options[] = {{"plain", 0, NULL, 'p'},
	    {"paths", 1, NULL, 'n'}, {"slots", 1, NULL, 's'},
	    {"work", 1, NULL, 'w'}, {"threads", 1, NULL, 't'},
	    {"list", 1, NULL, 'l'}, {"differ", 0, NULL, 'd'}, {0}};
	int c;

	while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
		size_t n = optarg != NULL ? strtoull(optarg, NULL, 10) : 0;

		if (c == 'p')
			b->plain = true;
		else if (c == 'n')
			b->paths = n;
		else if (c == 's')
			b->slots = n;
		else if (c == 'w')
			b->work_us = (int64_t)n * 1000;
		else if (c == 't')
			b->threads = n;
		else if (c == 'l')
			b->list = n;
		else if (c == 'd')
			b->differ = true;
		else
			return false;
	}
	return b->slots > 0 && b->threads > 0;
}

int
main(int argc, char **argv)
{
	struct bench b = {.paths = 1, .slots = 1, .threads = 1, .work_us = -1};
	const char *what;

	if (!parse(&b, argc, argv) || optind == argc)
		return usage();
	what = argv[optind++];
	if (strcmp(what, "swarm") == 0) {
		if (optind == argc)
			return usage();
		what = argv[optind++];
		b.workers =
		    optind < argc ? strtoull(argv[optind], NULL, 10) : 1000;
		swarm(&b, what);
		return 0;
	}
	b.jobs = strcmp(what, "jobs") == 0 ? 500000
	    : strcmp(what, "idle") == 0	   ? 500
	    : strcmp(what, "serve") == 0   ? 100000
	    : strcmp(what, "load") == 0	   ? 1000000
					   : 0;
	b.workers = strcmp(what, "load") == 0 ? 1000 : 8;
	if (b.jobs == 0)
		return usage();
	if (b.work_us < 0)
		b.work_us = strcmp(what, "load") == 0 ? 50000 : 0;
	if (optind < argc)
		b.jobs = strtoull(argv[optind++], NULL, 10);
	if (optind < argc)
		b.workers = strtoull(argv[optind++], NULL, 10);
	if (optind < argc || b.jobs == 0 || b.workers == 0)
		return usage();
	start(&b);
	make_jobs(&b);
	if (strcmp(what, "idle") == 0)
		idle(&b);
	else if (strcmp(what, "serve") == 0)
		serve(&b);
	else
		jobs(&b);
	end(&b);
	return 0;
}
