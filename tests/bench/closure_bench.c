/*
 * Reads a closure file and says what it took: closure_bench FILE [STORE-DIR]
 * prints paths, references, seconds of CPU and the peak of memory.
 */
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>

#include "closure/closure.h"
#include "closure/closure_file.h"
#include "err.h"
#include "own.h"
#include "store_path.h"

static double
seconds(const struct timeval *t)
{
	return (double)t->tv_sec + (double)t->tv_usec / 1e6;
}

int
main(int argc, char **argv)
{
	AUTO(closure_freep) struct closure *c = NULL;
	struct err e = ERR_INIT;
	struct rusage use;

	if (argc < 2 || argc > 3) {
		fprintf(stderr, "usage: closure_bench FILE [STORE-DIR]\n");
		return 2;
	}
	if (closure_file_read(
		argv[1], argc > 2 ? argv[2] : STORE_DIR_DEFAULT, &c, &e) < 0) {
		fprintf(stderr, "closure_bench: %s\n", e.text);
		return e.kind == ERR_USAGE ? 2 : 1;
	}
	getrusage(RUSAGE_SELF, &use);
	printf("%zu paths, %zu references, %.3f s user, %.3f s system, "
	       "%.1f MiB\n",
	    c->n, c->ref_start[c->n], seconds(&use.ru_utime),
	    seconds(&use.ru_stime), (double)use.ru_maxrss / 1024);
	return 0;
}
