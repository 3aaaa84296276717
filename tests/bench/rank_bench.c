/*
 * Times ranking and planning alone, without the reading: prints CPU seconds
 * and peak memory.  The graph is made here or read from a list:
 *
 *	rank_bench sparse N REFS [STRATEGY]  each path refers to REFS later ones
 *	rank_bench dense N REFS		     and to the next: all reach all
 *	rank_bench ladder N		     N diamonds, numbers of N bits
 *	rank_bench file GRAPH [STRATEGY]     lines: PATH NARSIZE REF...
 */
#include <sys/resource.h>

#include <malloc.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "../unit/coordinator/graph_closure.h"
#include "err.h"
#include "plan/layer_plan.h"
#include "plan/rank.h"

static uint64_t random_state = 88172645463325252u;

static uint64_t
random_u64(void)
{
	random_state ^= random_state << 13;
	random_state ^= random_state >> 7;
	random_state ^= random_state << 17;
	return random_state;
}

static double
cpu_seconds(void)
{
	struct timespec t;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static double
peak_mib(void)
{
	struct rusage u;

	getrusage(RUSAGE_SELF, &u);
	return (double)u.ru_maxrss / 1024;
}

/* Gives back what is free, and lets the peak start from here. */
static void
forget_peak(void)
{
	FILE *f = fopen("/proc/self/clear_refs", "w");

	malloc_trim(0);
	if (f != NULL) {
		fputs("5", f);
		fclose(f);
	}
}

struct graph {
	struct graph_edge *edge;
	size_t n, n_edges, room;
};

static void
add_edge(struct graph *g, size_t from, size_t to)
{
	if (g->n_edges == g->room) {
		g->room = g->room * 2 + 1024;
		g->edge = realloc(g->edge, g->room * sizeof(*g->edge));
		if (g->edge == NULL)
			abort();
	}
	g->edge[g->n_edges++] =
	    (struct graph_edge){(uint32_t)from, (uint32_t)to};
}

/* REFS different later paths of each; window: how far away they may be. */
static void
make_random(struct graph *g, size_t refs, bool dense)
{
	for (size_t u = 0; u + 1 < g->n; u++) {
		size_t left = g->n - u - 1, step, to = u + 1;

		step = 2 * left / (refs > 0 ? refs : 1) + 1;
		if (dense)
			add_edge(g, u, to++);
		for (size_t k = dense; k < refs; k++) {
			to += random_u64() % step;
			if (to >= g->n)
				break;
			add_edge(g, u, to++);
		}
	}
}

static void
make_ladder(struct graph *g)
{
	size_t rungs = g->n;

	g->n = 3 * rungs + 1;
	for (size_t i = 0; i < rungs; i++) {
		add_edge(g, 3 * i, 3 * i + 1);
		add_edge(g, 3 * i, 3 * i + 2);
		add_edge(g, 3 * i + 1, 3 * i + 3);
		add_edge(g, 3 * i + 2, 3 * i + 3);
	}
}

/* Paths are sorted by hash, which has nothing to do with the references. */
static void
shuffle(struct graph *g)
{
	uint32_t *label = calloc(g->n, sizeof(*label));

	for (size_t i = 0; i < g->n; i++) {
		size_t j = random_u64() % (i + 1);

		label[i] = label[j];
		label[j] = (uint32_t)i;
	}
	for (size_t k = 0; k < g->n_edges; k++) {
		g->edge[k].from = label[g->edge[k].from];
		g->edge[k].to = label[g->edge[k].to];
	}
	free(label);
}

static struct closure *
make_closure(struct graph *g)
{
	char **path = calloc(g->n, sizeof(*path));
	char name[64];
	struct closure *c;

	shuffle(g);
	for (size_t i = 0; i < g->n; i++) {
		snprintf(name, sizeof(name), "package-%zu-1.0", i % 1000);
		path[i] = graph_path("/nix/store", i, name);
	}
	qsort(path, g->n, sizeof(*path), graph_path_compare);
	c = graph_closure("/nix/store", path, g->n, g->edge, g->n_edges);
	for (size_t i = 0; i < g->n; i++)
		c->nar_size[i] = 1000 + random_u64() % 1000000;
	free(path);
	return c;
}

static size_t
find_path(char **path, size_t n, const char *wanted)
{
	char **at =
	    bsearch(&wanted, path, n, sizeof(*path), graph_path_compare);

	if (at == NULL) {
		fprintf(stderr, "rank_bench: no path %s\n", wanted);
		exit(1);
	}
	return (size_t)(at - path);
}

/* Lines must be sorted by path. */
static struct closure *
read_closure(const char *file, struct graph *g)
{
	char **path = NULL, *line = NULL;
	uint64_t *size = NULL;
	size_t room = 0, len = 0;
	struct closure *c;
	FILE *f;

	if ((f = fopen(file, "r")) == NULL) {
		perror(file);
		exit(1);
	}
	while (getline(&line, &len, f) > 0) {
		if (g->n == room) {
			room = room * 2 + 1024;
			path = realloc(path, room * sizeof(*path));
			size = realloc(size, room * sizeof(*size));
		}
		path[g->n] = strdup(strtok(line, " \n"));
		size[g->n++] = strtoull(strtok(NULL, " \n"), NULL, 10);
	}
	rewind(f);
	for (size_t u = 0; getline(&line, &len, f) > 0; u++) {
		char *ref = strtok(line, " \n");

		ref = strtok(NULL, " \n");
		while ((ref = strtok(NULL, " \n")) != NULL)
			if (strcmp(ref, path[u]) != 0)
				add_edge(g, u, find_path(path, g->n, ref));
	}
	fclose(f);
	c = graph_closure("/nix/store", path, g->n, g->edge, g->n_edges);
	memcpy(c->nar_size, size, g->n * sizeof(*size));
	free(size);
	free(path);
	free(line);
	return c;
}

static int
bench(const struct closure *c, enum strategy strategy)
{
	struct layer_plan *plan = NULL;
	struct err e = ERR_INIT;
	double before, start;

	forget_peak();
	before = peak_mib();
	start = cpu_seconds();

	if (layer_plan_make(c, strategy, 100, 0, &plan, &e) < 0 ||
	    layer_plan_check(plan, c, 100, 0, &e) < 0) {
		fprintf(stderr, "rank_bench: %s\n", e.text);
		return 1;
	}
	printf("%zu paths, %zu references: %.3f s CPU, %zu layers, "
	       "%.1f MiB beyond the closure's %.1f MiB\n",
	    c->n, c->ref_start[c->n], cpu_seconds() - start, plan->n,
	    peak_mib() - before, before);
	layer_plan_free(plan);
	return 0;
}

int
main(int argc, char **argv)
{
	struct graph g = {0};
	struct closure *c;
	const char *shape = argc > 2 ? argv[1] : "";
	const char *strategy = "popularity";
	int status;

	if (strcmp(shape, "file") == 0) {
		c = read_closure(argv[2], &g);
		if (argc > 3)
			strategy = argv[3];
	} else {
		if (argc < 3 || (argc < 4 && strcmp(shape, "ladder") != 0)) {
			fprintf(
			    stderr, "usage: see the head of %s\n", __FILE__);
			return 2;
		}
		g.n = strtoull(argv[2], NULL, 10);
		if (strcmp(shape, "ladder") == 0)
			make_ladder(&g);
		else
			make_random(&g, strtoull(argv[3], NULL, 10),
			    strcmp(shape, "dense") == 0);
		if (argc > 4)
			strategy = argv[4];
		c = make_closure(&g);
	}
	free(g.edge);
	status = bench(c,
	    strcmp(strategy, "size") == 0 ? STRATEGY_SIZE
					  : STRATEGY_POPULARITY);
	graph_closure_free(c);
	return status;
}
