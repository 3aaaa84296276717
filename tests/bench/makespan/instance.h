/*
 * Jobs and workers drawn at random, and the least time that they can take:
 * every bound below holds for any schedule.  One thread.
 */
#ifndef INSTANCE_H
#define INSTANCE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { WORKERS_MAX = 4096, SLOTS_MAX = 64 };

enum sizes {
	SIZES_HEAVY, /* a Pareto tail of index 1, 10 MB to 20 GB */
	SIZES_REAL,  /* the store paths of a desktop */
	SIZES_EQUAL, /* 50 MB */
	SIZES_GIVEN
};

struct instance {
	uint64_t *weight;
	size_t n_jobs, n_workers, slots; /* slots: of each worker */
	double speed[WORKERS_MAX];	 /* bytes/ms of a slot */
};

uint64_t random_u64(void);
void random_seed(uint64_t seed);

void draw_sizes(struct instance *x, enum sizes sizes);

/* From 25 MB/s to `spread` times that, even on a scale of logarithms. */
void draw_speeds(struct instance *x, double spread);

/* max(sum of work / sum of speeds, largest job / fastest worker), ms. */
double least_simple(const struct instance *x);

/*
 * And for the k largest jobs on the k fastest slots, for each k below their
 * number: the shortest time there is where jobs may be cut and go on elsewhere
 * at any moment (Horvath, Lam and Sethi 1977; McNaughton's for equal slots).
 * No other schedule is shorter.
 */
double least_cut(struct instance *x);

/*
 * A schedule by who knows all sizes and speeds: the heaviest job first, where
 * it ends soonest, or packed into as little time as can be found, to 0.2 %.
 * As good as there is a simple way to; the best one lies between least_cut and
 * this.
 */
double best_known(struct instance *x);

#endif
