#include "plan/layer_plan_size.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "closure/closure.h"
#include "err.h"
#include "plan/layer_plan.h"
#include "own.h"
#include "plan/primary_sets.h"

/* Direction of a walk: to what a path refers to, or to what refers to it. */
struct edges {
	const size_t *start;
	const uint32_t *to;
};

/* What a walk has seen: those whose mark is the walk's. */
struct walk {
	uint32_t *mark;
	uint32_t *found; /* the starts first */
	size_t n;
	uint32_t now;
};

struct planner {
	const struct closure *closure;
	struct edges down, up;
	size_t *up_start;
	uint32_t *up_to;
	uint32_t *by_size; /* primaries in the order in which they are taken */
	uint32_t *set;	   /* of each path */
	struct primary_sets sets;
	struct walk users, needs; /* of the primary that is being taken */
	uint32_t *touched;	  /* sets that the step looked at */
	size_t n_touched, touched_room;
	uint32_t *scratch; /* members of a set that is being made */
};

static void
planner_clear(struct planner *p)
{
	free(p->up_start);
	free(p->up_to);
	free(p->by_size);
	free(p->set);
	primary_sets_clear(&p->sets);
	free(p->users.mark);
	free(p->users.found);
	free(p->needs.mark);
	free(p->needs.found);
	free(p->touched);
	free(p->scratch);
}

static int
walk_alloc(struct walk *w, size_t n)
{
	w->mark = calloc(n, sizeof(*w->mark));
	w->found = calloc(n, sizeof(*w->found));
	return w->mark == NULL || w->found == NULL ? -1 : 0;
}

static void
walk_from(
    struct walk *w, const struct edges *edges, const uint32_t *starts, size_t n)
{
	w->now++;
	w->n = 0;
	for (size_t i = 0; i < n; i++) {
		w->mark[starts[i]] = w->now;
		w->found[w->n++] = starts[i];
	}
	for (size_t at = 0; at < w->n; at++) {
		uint32_t u = w->found[at];

		for (size_t k = edges->start[u]; k < edges->start[u + 1]; k++) {
			uint32_t v = edges->to[k];

			if (w->mark[v] != w->now) {
				w->mark[v] = w->now;
				w->found[w->n++] = v;
			}
		}
	}
}

static bool
walk_saw(const struct walk *w, uint32_t u)
{
	return w->mark[u] == w->now;
}

/* The references turned around. */
static void
fill_up(struct planner *p)
{
	const struct closure *c = p->closure;
	size_t *start = p->up_start;

	/* start[v + 1] is first where v's users go next, then where they end */
	for (size_t k = 0; k < c->ref_start[c->n]; k++)
		if (c->ref[k] + 2 <= c->n)
			start[c->ref[k] + 2]++;
	for (size_t i = 2; i <= c->n; i++)
		start[i] += start[i - 1];
	for (uint32_t u = 0; u < c->n; u++)
		for (size_t k = c->ref_start[u]; k < c->ref_start[u + 1]; k++)
			p->up_to[start[c->ref[k] + 1]++] = u;
	p->down = (struct edges){c->ref_start, c->ref};
	p->up = (struct edges){p->up_start, p->up_to};
}

static int
larger_first(const void *pa, const void *pb, void *arg)
{
	const struct closure *c = arg;
	uint32_t a = *(const uint32_t *)pa, b = *(const uint32_t *)pb;

	if (c->nar_size[a] != c->nar_size[b])
		return c->nar_size[a] > c->nar_size[b] ? -1 : 1;
	return a > b ? -1 : a < b;
}

static int
planner_init(
    struct planner *p, const struct closure *c, size_t limit, struct err *e)
{
	size_t most = limit < c->n ? limit : c->n;

	p->closure = c;
	p->up_start = calloc(c->n + 1, sizeof(*p->up_start));
	p->up_to = calloc(c->ref_start[c->n] + 1, sizeof(*p->up_to));
	p->by_size = calloc(c->n, sizeof(*p->by_size));
	p->set = calloc(c->n, sizeof(*p->set));
	p->scratch = calloc(most + 2, sizeof(*p->scratch));
	if (p->up_start == NULL || p->up_to == NULL || p->by_size == NULL ||
	    p->set == NULL || p->scratch == NULL ||
	    walk_alloc(&p->users, c->n) < 0 || walk_alloc(&p->needs, c->n) < 0)
		return err_set(e, ERR_FATAL, errno, "layer plan");
	fill_up(p);
	for (uint32_t u = 0; u < c->n; u++)
		p->by_size[u] = u;
	qsort_r(p->by_size, c->n, sizeof(*p->by_size), larger_first, (void *)c);
	return primary_sets_init(&p->sets, most, c->n, e);
}

static int
touch(struct planner *p, uint32_t set, struct err *e)
{
	uint32_t *grown;

	if (p->n_touched == p->touched_room) {
		p->touched_room = p->touched_room * 2 + 64;
		grown =
		    realloc(p->touched, p->touched_room * sizeof(*p->touched));
		if (grown == NULL)
			return err_set(e, ERR_FATAL, errno, "layer plan");
		p->touched = grown;
	}
	p->touched[p->n_touched++] = set;
	return 0;
}

/* What a set that the step's primary needs becomes. */
static int
change_set(struct planner *p, uint32_t set, uint32_t step, struct err *e)
{
	const struct primary_set *old = &p->sets.set[set];
	bool needed = false;
	uint32_t made;
	size_t n = 0;

	for (size_t i = 0; i < old->n; i++) {
		uint32_t primary = p->by_size[old->member[i]];

		if (walk_saw(&p->users, primary))
			continue;
		needed |= walk_saw(&p->needs, primary);
		p->scratch[n++] = old->member[i];
	}
	if (!needed)
		p->scratch[n++] = step;
	if (primary_sets_find(&p->sets, p->scratch, n, &made, e) < 0)
		return -1;
	p->sets.set[set].step = step + 1;
	p->sets.set[set].becomes = made;
	return touch(p, set, e);
}

/* Gives the sets of all that the primary needs, and its own, their paths. */
static int
count_step(struct planner *p, uint32_t step, uint32_t *own, struct err *e)
{
	uint32_t primary = p->by_size[step];

	p->n_touched = 0;
	if (primary_sets_find(&p->sets, &step, 1, own, e) < 0 ||
	    touch(p, p->set[primary], e) < 0)
		return -1;
	primary_sets_move(&p->sets, p->set[primary], *own);
	for (size_t i = 1; i < p->needs.n; i++) {
		uint32_t set = p->set[p->needs.found[i]];

		if (p->sets.set[set].step != step + 1 &&
		    change_set(p, set, step, e) < 0)
			return -1;
		primary_sets_move(&p->sets, set, p->sets.set[set].becomes);
	}
	return 0;
}

/* Takes one primary.  1: done; 0: the limit would be passed. */
static int
take(struct planner *p, uint32_t step, size_t limit, struct err *e)
{
	uint32_t primary = p->by_size[step], own;

	walk_from(&p->users, &p->up, &primary, 1);
	walk_from(&p->needs, &p->down, &primary, 1);
	if (count_step(p, step, &own, e) < 0)
		return -1;
	if (p->sets.carried > limit)
		return 0; /* no path carries its new set yet: undone */
	for (size_t i = 1; i < p->needs.n; i++) {
		uint32_t *set = &p->set[p->needs.found[i]];

		*set = p->sets.set[*set].becomes;
	}
	p->set[primary] = own;
	for (size_t i = 0; i < p->n_touched; i++)
		primary_sets_release(&p->sets, p->touched[i]);
	return 1;
}

struct name_order {
	const char *name;
	uint32_t path;
};

/* The hash follows the store directory: of equal names the index decides. */
static int
by_name(const void *pa, const void *pb)
{
	const struct name_order *a = pa, *b = pb;
	int order = strcmp(a->name, b->name);

	if (order != 0)
		return order;
	return a->path < b->path ? -1 : a->path > b->path;
}

static int
sort_by_name(const struct closure *c, struct layer *layer, struct err *e)
{
	AUTO(own_freep) struct name_order *names = NULL;

	if ((names = calloc(layer->n, sizeof(*names))) == NULL)
		return err_set(e, ERR_FATAL, errno, "layer plan");
	for (size_t i = 0; i < layer->n; i++) {
		const char *path = c->path[layer->path[i]];

		names[i].path = layer->path[i];
		names[i].name = strchr(strrchr(path, '/'), '-') + 1;
	}
	qsort(names, layer->n, sizeof(*names), by_name);
	for (size_t i = 0; i < layer->n; i++)
		layer->path[i] = names[i].path;
	return 0;
}

/* Makes the plan's layers of the sets, in no order yet. */
static int
collect(struct planner *p, struct layer_plan *plan, struct err *e)
{
	const struct closure *c = p->closure;
	struct primary_set *set = p->sets.set;
	size_t n = 0;

	for (size_t i = 0; i < p->sets.n; i++)
		set[i].paths = 0;
	for (size_t u = 0; u < c->n; u++)
		n += set[p->set[u]].paths++ == 0;
	if ((plan->layer = calloc(n, sizeof(*plan->layer))) == NULL)
		return err_set(e, ERR_FATAL, errno, "layer plan");
	for (size_t i = 0; i < p->sets.n; i++) {
		if (set[i].paths == 0)
			continue;
		set[i].becomes = (uint32_t)plan->n;
		plan->layer[plan->n].path =
		    calloc(set[i].paths, sizeof(*plan->layer->path));
		if (plan->layer[plan->n++].path == NULL)
			return err_set(e, ERR_FATAL, errno, "layer plan");
	}
	for (uint32_t u = 0; u < c->n; u++) {
		struct layer *layer = &plan->layer[set[p->set[u]].becomes];

		layer->path[layer->n++] = u;
		layer->nar_size += c->nar_size[u];
	}
	return 0;
}

struct ordered {
	uint64_t closure_size;
	struct layer layer;
};

static int
by_closure_size(const void *pa, const void *pb)
{
	const struct ordered *a = pa, *b = pb;

	if (a->closure_size != b->closure_size)
		return a->closure_size < b->closure_size ? -1 : 1;
	return a->layer.path[0] < b->layer.path[0] ? -1 : 1;
}

static int
sort_layers(struct planner *p, struct layer_plan *plan, struct err *e)
{
	AUTO(own_freep) struct ordered *ordered = NULL;

	if ((ordered = calloc(plan->n, sizeof(*ordered))) == NULL)
		return err_set(e, ERR_FATAL, errno, "layer plan");
	for (size_t i = 0; i < plan->n; i++) {
		struct layer *layer = &plan->layer[i];
		struct walk *w = &p->needs;

		if (sort_by_name(p->closure, layer, e) < 0)
			return -1;
		walk_from(w, &p->down, layer->path, layer->n);
		for (size_t k = 0; k < w->n; k++)
			ordered[i].closure_size +=
			    p->closure->nar_size[w->found[k]];
		ordered[i].layer = *layer;
	}
	qsort(ordered, plan->n, sizeof(*ordered), by_closure_size);
	for (size_t i = 0; i < plan->n; i++)
		plan->layer[i] = ordered[i].layer;
	return 0;
}

int
layer_plan_size(const struct closure *c, size_t limit, struct layer_plan *plan,
    struct err *e)
{
	AUTO(planner_clear) struct planner p = {0};
	int taken = 1;

	if (planner_init(&p, c, limit, e) < 0)
		return -1;
	for (uint32_t step = 0; step < c->n && taken == 1; step++)
		taken = take(&p, step, limit, e);
	if (taken < 0 || collect(&p, plan, e) < 0 ||
	    sort_layers(&p, plan, e) < 0)
		return -1;
	return 0;
}
