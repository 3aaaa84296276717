/*
 * Plans the store layers: which store paths, in which order, make which
 * layer.  A pure function of closure and options; never looks at workers,
 * cache or registry.  A plan owns its arrays; it holds indices into the
 * closure, not strings.
 */
#ifndef LAYER_PLAN_H
#define LAYER_PLAN_H

#include <stddef.h>
#include <stdint.h>

struct closure;
struct err;

enum strategy { STRATEGY_POPULARITY = 0, STRATEGY_SIZE = 1 };

#define LAYER_PLAN_MAX 65536 /* most layers an image may ask for */

struct layer {
	uint32_t *path; /* indices into the closure, in the layer's order */
	size_t n;
	uint64_t nar_size; /* bytes, the sum; 0 where sizes are unknown */
};

struct layer_plan {
	size_t n;
	struct layer *layer; /* bottom first */
	uint32_t *rank; /* popularity: rank[index] = 0 for first; or NULL */
};

/*
 * max_layers counts all layers, base_layers and the root layer among them.
 * ERR_USAGE: no room for store layers (says how many the base uses), a
 * cycle, strategy size without narSizes.  A closure of no paths makes a plan
 * of no layers, and max_layers - base_layers - 1 may then be 0.
 */
int layer_plan_make(const struct closure *c, enum strategy strategy,
    size_t max_layers, size_t base_layers, struct layer_plan **out,
    struct err *e);

/*
 * Holds the plan against the closure: every path in exactly one layer, no
 * layer empty, no more than max_layers in all.  A fault is ours: ERR_FATAL.
 */
int layer_plan_check(const struct layer_plan *plan, const struct closure *c,
    size_t max_layers, size_t base_layers, struct err *e);

void layer_plan_free(struct layer_plan *plan);
void layer_plan_freep(struct layer_plan **plan);

#endif
