/*
 * Makes layers of store paths in this process and prints digests and what they
 * cost: the worker without messages.
 */
#include <getopt.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

#include "err.h"
#include "layer_inputs.h"
#include "layer_run.h"
#include "look_ahead.h"

#define THREADS_MAX 64

static const char usage[] =
    "usage: layer_bench [options] [STORE-PATH...]\n"
    "  -i FILE      more store paths: lines of PATH [NARHASH NARSIZE]\n"
    "  -d DIALECT   pax or gnu\n"
    "  -e ENCODING  none, gzip[:LEVEL], zstd[:LEVEL]\n"
    "  -f FILE      write the tar into this existing file\n"
    "  -b FOLDER    write the blob into this folder\n"
    "  -s DIR       store directory; -r DIR its root on this machine\n"
    "  -u URL       a binary cache, believed without signatures\n"
    "  -m           measure only\n"
    "  -v           verify NAR hashes (of -i)\n"
    "  -t SECONDS   mtime (1)\n"
    "  -j THREADS   as many layers at once, the paths dealt out in turn\n"
    "  -n TIMES     do it again and again\n"
    "  -q           print only sizes and digests\n";

static void __attribute__((noreturn, format(printf, 1, 2)))
die(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fputc('\n', stderr);
	exit(2);
}

struct thread {
	pthread_t id;
	struct layer_job job;
	struct layer_progress progress;
	struct layer_result result;
	struct err err;
	int rc;
};

struct bench {
	struct layer_spec spec;
	struct layer_inputs *inputs;
	struct layer_item *item;
	size_t n, cap;
	size_t threads;
	int times;
	int quiet;
};

static void
add_item(struct bench *b, const char *path, const char *hash, const char *size)
{
	struct layer_item *item;

	if (b->n == b->cap) {
		b->cap = b->cap == 0 ? 64 : 2 * b->cap;
		b->item = realloc(b->item, b->cap * sizeof(*b->item));
		if (b->item == NULL)
			die("realloc");
	}
	item = &b->item[b->n++];
	*item = (struct layer_item){.path = strdup(path)};
	if (hash == NULL || size == NULL)
		return;
	if (!digest_from_nix(hash, strlen(hash), &item->nar_hash))
		die("%s is no hash", hash);
	item->nar_size = strtoull(size, NULL, 10);
	item->has_hash = true;
}

static void
read_items(struct bench *b, const char *file)
{
	FILE *f = fopen(file, "r");
	char *line = NULL, *path, *hash;
	size_t size = 0;

	if (f == NULL)
		die("%s: cannot be read", file);
	while (getline(&line, &size, f) > 0) {
		if ((path = strtok(line, " \n")) == NULL)
			continue;
		hash = strtok(NULL, " \n");
		add_item(b, path, hash, strtok(NULL, " \n"));
	}
	free(line);
	fclose(f);
}

static void
add_output(
    struct layer_spec *spec, enum layer_output_kind kind, const char *path)
{
	if (spec->n_outputs == LAYER_OUTPUTS_MAX)
		die("too many outputs");
	spec->outputs[spec->n_outputs++] = (struct layer_output){
	    .kind = kind, .path = path, .size = LAYER_SIZE_UNKNOWN};
}

static void
option(struct bench *b, int c, char *arg)
{
	struct err e = ERR_INIT;

	switch (c) {
	case 'i':
		read_items(b, arg);
		break;
	case 'd':
		b->spec.dialect = strcmp(arg, "gnu") == 0 ? TAR_GNU : TAR_PAX;
		break;
	case 'e':
		if (encoding_parse(arg, &b->spec.encoding, &e) < 0)
			die("%s", e.text);
		break;
	case 'f':
		add_output(&b->spec, LAYER_TO_FILE, arg);
		break;
	case 'b':
		add_output(&b->spec, LAYER_TO_BLOB, arg);
		break;
	case 's':
		b->spec.store_dir = arg;
		break;
	case 'r':
		b->spec.store_root = arg;
		break;
	case 'u':
		if (cache_list_add_url(&b->inputs->caches, arg, &e) < 0)
			die("%s", e.text);
		break;
	case 'm':
		b->spec.measure = true;
		break;
	case 'v':
		b->spec.verify = true;
		break;
	case 't':
		b->spec.mtime = strtoll(arg, NULL, 10);
		break;
	case 'j':
		b->threads = strtoul(arg, NULL, 10);
		break;
	case 'n':
		b->times = atoi(arg);
		break;
	case 'q':
		b->quiet = 1;
		break;
	default:
		fputs(usage, stderr);
		exit(2);
	}
}

static double
seconds(clockid_t clock)
{
	struct timespec ts;

	clock_gettime(clock, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

static void *
run(void *arg)
{
	struct thread *t = arg;

	t->rc = layer_run(&t->job, &t->progress, &t->result, &t->err);
	return NULL;
}

static void
start(const struct bench *b, struct thread *t, size_t which)
{
	struct layer_item *item = calloc(b->n + 1, sizeof(*item));
	size_t n = 0;

	if (item == NULL)
		die("calloc");
	for (size_t i = which; i < b->n; i += b->threads)
		item[n++] = b->item[i];
	memset(t, 0, sizeof(*t));
	t->job.spec = b->spec;
	t->job.inputs = b->inputs;
	t->job.item = item;
	t->job.n = n;
	t->job.files_ahead = LOOK_AHEAD_FILES;
	if (pthread_create(&t->id, NULL, run, t) != 0)
		die("pthread_create");
}

static void
print_layer(const struct layer_result *r, bool measured)
{
	char diff_id[DIGEST_HEX_LEN + 1], digest[DIGEST_HEX_LEN + 1];

	printf(
	    "tar_size %" PRIu64 " entries %" PRIu64, r->tar_size, r->entries);
	if (!measured) {
		digest_hex(&r->diff_id, diff_id);
		digest_hex(&r->digest, digest);
		printf(" diff_id %s size %" PRIu64 " digest %s", diff_id,
		    r->size, digest);
	}
	putchar('\n');
}

static int
once(const struct bench *b)
{
	double wall = seconds(CLOCK_MONOTONIC);
	double cpu = seconds(CLOCK_PROCESS_CPUTIME_ID);
	static struct thread t[THREADS_MAX];
	uint64_t bytes = 0, entries = 0;
	struct rusage usage_now;
	int failed = 0;

	for (size_t i = 0; i < b->threads; i++)
		start(b, &t[i], i);
	for (size_t i = 0; i < b->threads; i++)
		pthread_join(t[i].id, NULL);
	wall = seconds(CLOCK_MONOTONIC) - wall;
	cpu = seconds(CLOCK_PROCESS_CPUTIME_ID) - cpu;
	for (size_t i = 0; i < b->threads; i++) {
		if (t[i].rc < 0) {
			fprintf(stderr, "%s: %s\n",
			    t[i].err.kind == ERR_JOB ? "job" : "retry",
			    t[i].err.text);
			failed = 1;
		} else {
			print_layer(&t[i].result, b->spec.measure);
		}
		bytes += t[i].result.tar_size;
		entries += t[i].result.entries;
		free((void *)t[i].job.item);
	}
	if (b->quiet || failed)
		return failed;
	getrusage(RUSAGE_SELF, &usage_now);
	printf("%.3f s wall, %.3f s CPU, %.0f MB per CPU-s, %.2f us CPU an "
	       "entry, %ld KiB\n",
	    wall, cpu, (double)bytes / 1e6 / cpu, cpu * 1e6 / (double)entries,
	    usage_now.ru_maxrss);
	return 0;
}

int
main(int argc, char **argv)
{
	static struct layer_inputs inputs = {.caches.no_require_sigs = true};
	struct bench b = {.threads = 1,
	    .times = 1,
	    .inputs = &inputs,
	    .spec = {.store_dir = "/nix/store",
		.store_root = "",
		.mtime = 1,
		.uname = "root",
		.gname = "root",
		.file = ""}};
	int c;

	while ((c = getopt(argc, argv, "i:d:e:f:b:s:r:u:mvt:j:n:q")) != -1)
		option(&b, c, optarg);
	for (; optind < argc; optind++)
		add_item(&b, argv[optind], NULL, NULL);
	if (b.threads < 1 || b.threads > THREADS_MAX)
		die("1 to %d threads", THREADS_MAX);
	for (int i = 0; i < b.times; i++)
		if (once(&b) != 0)
			return 1;
	for (size_t i = 0; i < b.n; i++)
		free((void *)b.item[i].path);
	free(b.item);
	return 0;
}
