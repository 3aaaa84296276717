/*
 * Where store paths come from that are not on this machine.  Set up once,
 * before the first job; then the jobs' threads share it, and change only what
 * is atomic.
 */
#ifndef LAYER_INPUTS_H
#define LAYER_INPUTS_H

#include <stdatomic.h>
#include <stdint.h>

#include "cache_list.h"

struct layer_inputs {
	struct cache_list caches;
	/* Of each cache: when it last failed, in ms of monotime; 0: never. */
	atomic_int_fast64_t failed_at[CACHE_URLS_MAX];
};

#endif
