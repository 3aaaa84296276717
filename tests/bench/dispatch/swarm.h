/*
 * Many workers in few threads, that speak the real protocol and do nothing:
 * each job is answered after work_us with a result that holds.  Runs in a
 * process of its own, so that its CPU time is not the coordinator's.
 */
#ifndef SWARM_H
#define SWARM_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "curve_key.h"

/* Of times in us: eight an octave. */
#define SWARM_BUCKETS 512

struct swarm_config {
	const char *endpoint;
	const struct curve_key *key; /* of all; NULL: none */
	const char *server;	     /* the coordinator's public one */
	size_t workers, threads, slots;
	int64_t work_us; /* 0: answers at once */
	bool differ;	 /* each has another half of the store paths */
};

/* Shared by both processes. */
struct swarm_stats {
	atomic_llong jobs;     /* answered */
	atomic_llong received; /* when the last JOB came, us */
	atomic_llong since;    /* answers before that are not counted */
	/* From an answer to the next JOB at the same worker. */
	atomic_llong turn[SWARM_BUCKETS];
};

int64_t swarm_now_us(void);
size_t swarm_bucket(int64_t us);
/* The bucket's lower end. */
int64_t swarm_bucket_us(size_t bucket);

/* Until the coordinator says BYE to all, or the process is killed. */
void swarm_run(const struct swarm_config *config, struct swarm_stats *stats);

#endif
