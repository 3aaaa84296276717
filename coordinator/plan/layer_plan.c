#include "plan/layer_plan.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "closure/closure.h"
#include "err.h"
#include "plan/layer_plan_size.h"
#include "own.h"
#include "plan/rank.h"
#include "plan/topo.h"

void
layer_plan_free(struct layer_plan *plan)
{
	if (plan == NULL)
		return;
	for (size_t i = 0; i < plan->n; i++)
		free(plan->layer[i].path);
	free(plan->layer);
	free(plan->rank);
	free(plan);
}

void
layer_plan_freep(struct layer_plan **plan)
{
	layer_plan_free(*plan);
	*plan = NULL;
}

/* A layer of the next n paths at order. */
static int
add_layer(struct layer_plan *plan, const struct closure *c,
    const uint32_t *order, size_t n, struct err *e)
{
	struct layer *layer = &plan->layer[plan->n];

	if ((layer->path = calloc(n, sizeof(*layer->path))) == NULL)
		return err_set(e, ERR_FATAL, errno, "layer plan");
	plan->n++;
	layer->n = n;
	memcpy(layer->path, order, n * sizeof(*order));
	for (size_t i = 0; i < n && c->nar_size != NULL; i++)
		layer->nar_size += c->nar_size[order[i]];
	return 0;
}

static int
plan_popularity(const struct closure *c, size_t limit, struct layer_plan *plan,
    struct err *e)
{
	AUTO(own_freep) uint32_t *order = NULL;
	size_t single = c->n <= limit ? c->n : limit - 1;

	if (rank_popularity(c, &order, e) < 0)
		return -1;
	if ((plan->rank = calloc(c->n, sizeof(*plan->rank))) == NULL ||
	    (plan->layer = calloc(single + 1, sizeof(*plan->layer))) == NULL)
		return err_set(e, ERR_FATAL, errno, "layer plan");
	for (size_t i = 0; i < c->n; i++)
		plan->rank[order[i]] = (uint32_t)i;
	for (size_t i = 0; i < single; i++)
		if (add_layer(plan, c, order + i, 1, e) < 0)
			return -1;
	if (single < c->n)
		return add_layer(plan, c, order + single, c->n - single, e);
	return 0;
}

/* No cycle, and sizes that can be added up. */
static int
check_closure(const struct closure *c, enum strategy strategy, struct err *e)
{
	AUTO(topo_freep) struct topo *t = NULL;
	uint64_t sum = 0;

	if (strategy == STRATEGY_SIZE) {
		if (c->nar_size == NULL)
			return err_set(e, ERR_USAGE, 0,
			    "strategy 'size': the closure has no narSize; use "
			    "the strategy 'popularity' or a closure with "
			    "narSizes");
		if (topo_make(c, &t, e) < 0)
			return -1;
	}
	for (size_t i = 0; i < c->n && c->nar_size != NULL; i++)
		if (__builtin_add_overflow(sum, c->nar_size[i], &sum) ||
		    sum > INT64_MAX)
			return err_set(e, ERR_USAGE, 0,
			    "%s: with its narSize the sum of all is 2^63 bytes "
			    "or more",
			    c->path[i]);
	return 0;
}

/* *limit: how many layers the store paths may have. */
static int
find_limit(const struct closure *c, size_t max_layers, size_t base_layers,
    size_t *limit, struct err *e)
{
	size_t least;

	if (max_layers > LAYER_PLAN_MAX)
		return err_set(e, ERR_USAGE, 0,
		    "maxLayers is %zu: at most %d are possible", max_layers,
		    LAYER_PLAN_MAX);
	if (base_layers > LAYER_PLAN_MAX)
		return err_set(e, ERR_USAGE, 0,
		    "the base image has %zu layers: at most %d are possible",
		    base_layers, LAYER_PLAN_MAX);
	least = base_layers + 1 + (c->n > 0);
	if (max_layers >= least) {
		*limit = max_layers - 1 - base_layers;
		return 0;
	}
	if (base_layers == 0)
		return err_set(e, ERR_USAGE, 0,
		    "maxLayers is %zu, but the customisation layer %s: "
		    "maxLayers must be at least %zu",
		    max_layers,
		    c->n > 0 ? "is one and leaves none for the store paths"
			     : "is one",
		    least);
	return err_set(e, ERR_USAGE, 0,
	    "maxLayers is %zu, but the base image uses %zu and the "
	    "customisation layer 1%s: maxLayers must be at least %zu",
	    max_layers, base_layers,
	    c->n > 0 ? ", which leaves none for the store paths" : "", least);
}

int
layer_plan_make(const struct closure *c, enum strategy strategy,
    size_t max_layers, size_t base_layers, struct layer_plan **out,
    struct err *e)
{
	AUTO(layer_plan_freep) struct layer_plan *plan = NULL;
	size_t limit = 0;
	int done = 0;

	if (find_limit(c, max_layers, base_layers, &limit, e) < 0)
		return -1;
	if ((plan = calloc(1, sizeof(*plan))) == NULL)
		return err_set(e, ERR_FATAL, errno, "layer plan");
	if (c->n > 0) {
		if (check_closure(c, strategy, e) < 0)
			return -1;
		done = strategy == STRATEGY_SIZE
		    ? layer_plan_size(c, limit, plan, e)
		    : plan_popularity(c, limit, plan, e);
	}
	if (done < 0)
		return -1;
	*out = STEAL(&plan);
	return 0;
}

int
layer_plan_check(const struct layer_plan *plan, const struct closure *c,
    size_t max_layers, size_t base_layers, struct err *e)
{
	AUTO(own_freep) unsigned char *seen = NULL;
	size_t paths = 0;

	if (max_layers < base_layers + 1 ||
	    plan->n > max_layers - base_layers - 1)
		return err_set(e, ERR_FATAL, 0,
		    "layer plan: %zu store layers, %zu of the base and the "
		    "customisation layer are more than maxLayers, %zu",
		    plan->n, base_layers, max_layers);
	if ((seen = calloc(c->n + 1, 1)) == NULL)
		return err_set(e, ERR_FATAL, errno, "layer plan");
	for (size_t i = 0; i < plan->n; i++) {
		const struct layer *layer = &plan->layer[i];

		if (layer->n == 0)
			return err_set(e, ERR_FATAL, 0,
			    "layer plan: layer %zu is empty", i + 1);
		for (size_t k = 0; k < layer->n; k++) {
			if (layer->path[k] >= c->n)
				return err_set(e, ERR_FATAL, 0,
				    "layer plan: layer %zu has a path that the "
				    "closure lacks",
				    i + 1);
			if (seen[layer->path[k]]++)
				return err_set(e, ERR_FATAL, 0,
				    "layer plan: %s is in two layers",
				    c->path[layer->path[k]]);
		}
		paths += layer->n;
	}
	if (paths == c->n)
		return 0;
	for (paths = 0; seen[paths];)
		paths++;
	return err_set(
	    e, ERR_FATAL, 0, "layer plan: %s is in no layer", c->path[paths]);
}
