/*
 * A random world for the scheduler, all from one seed: machines of different
 * speed and size that fail, freeze, restart, lie, hand jobs back and leave; a
 * network that loses, delays, doubles and reorders; jobs that kill, that
 * cannot be built, and that nobody wants any more.  One machine, the first,
 * is good and stays, so every world must come to its end.
 */
#ifndef WORLD_H
#define WORLD_H

#include <stdbool.h>
#include <stdint.h>

struct world_sums {
	uint64_t jobs, sent, accepted, failed, left, copies, postponed;
	uint64_t confirmed, differs, skipped, aside, dropped, restarts;
	int64_t ms, longest_ms;
};

/* Ends the program with status 1 where something does not hold. */
void world_run(uint64_t seed, bool trace, struct world_sums *sums);

#endif
