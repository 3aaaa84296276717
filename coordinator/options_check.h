/*
 * What can only be seen once all of a command line is known; for options.c
 * alone.  ERR_USAGE.
 */
#ifndef OPTIONS_CHECK_H
#define OPTIONS_CHECK_H

struct err;
struct options;

/* Tells the request file from store paths. */
int options_sort_positionals(struct options *o, struct err *e);

/* What goes together, and what does not. */
int options_check_together(const struct options *o, struct err *e);

/* The same of a batch, whose only positional is its file. */
int options_take_batch(struct options *o, struct err *e);

#endif
