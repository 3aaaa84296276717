/*
 * Strategy "size": large store paths get layers, together with what only they
 * need.  A part of layer_plan.  Pure.
 */
#ifndef LAYER_PLAN_SIZE_H
#define LAYER_PLAN_SIZE_H

#include <stddef.h>

struct closure;
struct err;
struct layer_plan;

/*
 * Fills plan->layer and plan->n (layer_plan_free frees it in any case).  The
 * closure has a path, narSizes and no cycle; limit is at least 1.  Costs two
 * walks over the graph a layer, and memory for one copy of it.
 */
int layer_plan_size(const struct closure *c, size_t limit,
    struct layer_plan *plan, struct err *e);

#endif
