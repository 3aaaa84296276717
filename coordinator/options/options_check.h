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

/* The positional of cache, and that of keygen. */
int options_take_cache_verb(struct options *o, struct err *e);
int options_take_key_file(struct options *o, struct err *e);

/* What goes together, and what does not. */
int options_check_together(const struct options *o, struct err *e);
/* Of that: where workers of other machines may join, and who. */
int options_check_listen(const struct options *o, struct err *e);

/* options_serve.c: all of serve's. */
int options_check_serve(const struct options *o, struct err *e);

/* The same for quarry status. */
int options_check_status(const struct options *o, struct err *e);

/* The same of a batch, whose only positional is its file. */
int options_take_batch(struct options *o, struct err *e);

#endif
