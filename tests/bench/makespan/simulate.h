/* A run of jobs by the scheduler, in simulated time: deterministic. */
#ifndef SIMULATE_H
#define SIMULATE_H

#include "instance.h"

struct simulation {
	bool measured;	 /* speeds are said from the start, */
	double wrong;	 /* off by up to this part, */
	double scale;	 /* and all by this factor more; 0: 1 */
	double noise;	 /* each attempt's speed is off by up to this part */
	int64_t kill_at; /* when a worker falls silent; INT64_MAX: never */
	bool told;	 /* and is known to */
};

struct simulated {
	int64_t ms;
	double twice;	 /* bytes made in vain, by those that were needed */
	uint64_t copies; /* attempts beside others */
};

struct simulated simulate(
    const struct instance *x, const struct simulation *how);

#endif
