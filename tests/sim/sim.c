/*
 * The scheduler in random worlds:
 *
 *	sim [FIRST [COUNT]]	so many seeds, and what happened in them
 *	sim --seed N		one, with all that happens
 *
 * Status 1: something does not hold; standard error says what, and the seed.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "world.h"

int
main(int argc, char **argv)
{
	uint64_t first = 1, count = 1000;
	struct world_sums n = {0};

	if (argc == 3 && strcmp(argv[1], "--seed") == 0) {
		world_run(strtoull(argv[2], NULL, 10), true, &n);
		return 0;
	}
	if (argc > 1)
		first = strtoull(argv[1], NULL, 10);
	if (argc > 2)
		count = strtoull(argv[2], NULL, 10);
	for (uint64_t seed = first; seed < first + count; seed++)
		world_run(seed, false, &n);
#define PRINT(what) printf("%-12s %llu\n", #what, (unsigned long long)n.what)
	PRINT(jobs);
	PRINT(sent);
	PRINT(accepted);
	PRINT(failed);
	PRINT(left);
	PRINT(copies);
	PRINT(postponed);
	PRINT(confirmed);
	PRINT(differs);
	PRINT(skipped);
	PRINT(aside);
	PRINT(dropped);
	PRINT(restarts);
	printf("%llu worlds, %.0f s on average, %.0f s the longest\n",
	    (unsigned long long)count, (double)n.ms / 1000 / (double)count,
	    (double)n.longest_ms / 1000);
	return 0;
}
