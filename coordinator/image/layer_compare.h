/*
 * What differs between two copies of a layer that ought to be the same: the
 * first entry of the tar that does, and how.  Both are read once, side by side;
 * memory is that of two entries' headers.  One thread; it reads until it is
 * done, or has read what the places allow, and says so.
 */
#ifndef LAYER_COMPARE_H
#define LAYER_COMPARE_H

#include <stddef.h>

struct err;
struct layer_place;

#define LAYER_COMPARE_MAX 640

/*
 * *out: "opt/x: content differs from byte 17 on", "opt/x: mode is 0755 of A,
 * 0644 of B", "opt/x is not in B's", ...; A and B are the workers.  Control
 * characters of names are '?'.  ERR_FATAL: a copy cannot be read.
 */
int layer_compare(const struct layer_place *a, const struct layer_place *b,
    char out[static LAYER_COMPARE_MAX], struct err *e);

#endif
