/* `quarry plan`: what `quarry build` would make, shown and not made. */
#ifndef PLAN_H
#define PLAN_H

struct err;
struct options;

/* Prints to standard output; nothing is written or started but Nix. */
int plan_run(const struct options *options, struct err *e);

#endif
