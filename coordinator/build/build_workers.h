/*
 * The workers of one run, as the options have them: processes of this machine,
 * and those of others that join.  For build.c and batch.c; one thread.
 */
#ifndef BUILD_WORKERS_H
#define BUILD_WORKERS_H

#include <stdbool.h>

#include "encoding.h"

struct dispatch;
struct dispatch_config;
struct err;
struct launch;
struct options;
struct progress;
struct scratch;

/* Of zeros until it is started. */
struct build_workers {
	struct dispatch *dispatch;
	struct launch *launch;
};

/* That enough files may be open: libzmq aborts where they may not. */
int build_workers_check(const struct options *options, struct err *e);

/*
 * from: its hooks, `encoder`, `cached` and `metrics` are taken over, the rest
 * is the options'.  encoding: of the blobs.
 */
int build_workers_start(const struct options *options,
    const struct dispatch_config *from, const struct encoding *encoding,
    struct progress *progress, struct scratch *scratch,
    struct build_workers *out, struct err *e);

/* Sends them home. */
void build_workers_end(struct build_workers *w);

#endif
