/*
 * `quarry build`, from options to result: request, closure, plan, workers,
 * layers, outputs.
 */
#ifndef BUILD_H
#define BUILD_H

struct err;
struct options;

int build_run(const struct options *options, struct err *e);

#endif
