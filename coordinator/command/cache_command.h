/* quarry cache list, verify, prune.  One thread. */
#ifndef CACHE_COMMAND_H
#define CACHE_COMMAND_H

struct err;
struct options;

/*
 * Prints on standard output.  ERR_USAGE; ERR_FATAL: also where verify finds
 * damage.
 */
int cache_command_run(const struct options *options, struct err *e);

#endif
