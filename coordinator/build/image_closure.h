/*
 * Which store paths an image holds: the closure of its roots, from a closure
 * file or from Nix.  Roots are contents, paths and what the config names.
 */
#ifndef IMAGE_CLOSURE_H
#define IMAGE_CLOSURE_H

#include <stdbool.h>

struct closure;
struct err;
struct options;
struct request;

/*
 * For a planned request (the reference's own) the closure is the paths of its
 * layers, without references; hashes come from the closure file if there is
 * one.  ERR_USAGE: a root that the closure file does not hold or Nix does not
 * know.
 */
int image_closure_make(const struct request *request,
    const struct options *options, struct closure **out, struct err *e);

/*
 * The same out of a graph (of the file, for errors) that outlives it: strings
 * are the graph's.  Without roots it is all of it (whole), or an error, where
 * the graph is one of many images.
 */
int image_closure_reach(const struct request *request,
    const struct closure *graph, const char *file, bool whole,
    struct closure **out, struct err *e);

#endif
