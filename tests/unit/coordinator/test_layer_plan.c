/* Plans against the oracle over random graphs, examples, borders, faults. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "err.h"
#include "graph_closure.h"
#include "plan/layer_plan.h"
#include "plan_oracle.h"

static uint64_t random_state = 0x2545f4914f6cdd1d;

static uint32_t
random_below(uint32_t n)
{
	random_state ^= random_state << 13;
	random_state ^= random_state >> 7;
	random_state ^= random_state << 17;
	return (uint32_t)((random_state >> 16) % n);
}

enum shape { SPARSE, DENSE, TREE, LADDER, FOREST, LAYERED, EMPTY, SHAPES };

/* Whether u refers to the later v. */
static bool
refers(enum shape shape, size_t n, size_t u, size_t v)
{
	switch (shape) {
	case SPARSE:
		return random_below((uint32_t)n) < 3;
	case DENSE:
		return random_below(3) > 0;
	case TREE:
		return (v - 1) / 2 == u;
	case LADDER: /* diamonds one below the other */
		return (u % 3 == 0 && v <= u + 2) ||
		    (u % 3 == 1 && v == u + 2) || (u % 3 == 2 && v == u + 1);
	case FOREST:
		return v == u + 1 + random_below(4) && u % 5 != 0;
	case LAYERED:
		return u / 8 + 1 == v / 8 && random_below(2) == 0;
	case EMPTY:
	case SHAPES:
		break;
	}
	return false;
}

/* few: names and sizes come several times. */
static struct closure *
random_closure(const char *dir, enum shape shape, size_t n, bool few)
{
	struct graph_edge *edge = calloc(n * n + 1, sizeof(*edge));
	uint32_t *label = calloc(n + 1, sizeof(*label));
	char **path = calloc(n + 1, sizeof(*path));
	struct closure *c;
	size_t n_edges = 0;
	char name[32];

	for (size_t i = 0; i < n; i++) {
		size_t j = random_below((uint32_t)i + 1);

		label[i] = label[j];
		label[j] = (uint32_t)i;
		snprintf(name, sizeof(name), "n%u%s-x%u",
		    random_below(few ? 3 : 1000), few ? "" : "-lib",
		    random_below(2));
		path[i] = graph_path(dir, random_state, name);
	}
	qsort(path, n, sizeof(*path), graph_path_compare);
	for (size_t u = 0; u < n; u++)
		for (size_t v = u + 1; v < n; v++)
			if (refers(shape, n, u, v))
				edge[n_edges++] =
				    (struct graph_edge){label[u], label[v]};
	c = graph_closure(dir, path, n, edge, n_edges);
	for (size_t i = 0; i < n; i++)
		c->nar_size[i] =
		    few ? random_below(3) * 100 : 1 + random_below(1 << 20);
	free(edge);
	free(label);
	free(path);
	return c;
}

struct random_case {
	struct closure *closure;
	enum strategy strategy;
	size_t max_layers, base_layers;
};

#define CASES 700

static void
make_case(struct random_case *rc, size_t i)
{
	static const char *const dirs[] = {
	    "/nix/store", "/gnu/store", "/my-nix/the-store", "/nix/store"};
	static const size_t sizes[] = {1, 2, 3, 7, 12, 20, 40, 64, 90};
	enum shape shape = (enum shape)(i % SHAPES);
	size_t n = sizes[i / SHAPES % 9], limit;

	if (i % 50 == 49)
		n = 300 + random_below(400); /* several blocks */
	rc->closure = random_closure(
	    dirs[random_below(4)], shape, n, random_below(2) == 0);
	rc->strategy = n < 300 && i / SHAPES % 2 == 0 ? STRATEGY_SIZE
						      : STRATEGY_POPULARITY;
	limit = 1 + random_below((uint32_t)n + 3);
	if (random_below(4) == 0) /* at the border */
		limit = n + random_below(3) > 1 ? n + random_below(3) - 1 : 1;
	if (limit == 0)
		limit = 1;
	rc->base_layers = random_below(3) == 0 ? random_below(9) : 0;
	rc->max_layers = limit + 1 + rc->base_layers;
}

static void
test_oracle(void **state)
{
	struct random_case *rc = calloc(CASES, sizeof(*rc));
	struct plan_oracle oracle;

	(void)state;
	plan_oracle_open(&oracle);
	for (size_t i = 0; i < CASES; i++) {
		make_case(&rc[i], i);
		plan_oracle_add(&oracle, rc[i].closure, rc[i].strategy,
		    rc[i].max_layers, rc[i].base_layers);
	}
	plan_oracle_run(&oracle);
	for (size_t i = 0; i < CASES; i++) {
		struct closure *c = rc[i].closure;
		struct layer_plan *plan = NULL;
		struct err e = ERR_INIT;
		char *wanted = plan_oracle_answer(&oracle), *got;
		int made = layer_plan_make(c, rc[i].strategy, rc[i].max_layers,
		    rc[i].base_layers, &plan, &e);

		assert_string_equal(e.text, "");
		assert_int_equal(made, 0);
		got = plan_text(plan, c);
		if (strcmp(got, wanted) != 0)
			print_message("case %zu: %zu paths, strategy %d, "
				      "max %zu, base %zu\n",
			    i, c->n, (int)rc[i].strategy, rc[i].max_layers,
			    rc[i].base_layers);
		assert_string_equal(got, wanted);
		assert_int_equal(layer_plan_check(plan, c, rc[i].max_layers,
				     rc[i].base_layers, &e),
		    0);
		layer_plan_free(plan);
		graph_closure_free(c);
		free(wanted);
		free(got);
	}
	assert_true(plan_oracle_close(&oracle));
	free(rc);
}

/* The graph of the specification's examples. */
static struct closure *
example(void)
{
	static const uint64_t sizes[] = {1, 5, 20, 3, 9, 30, 2};
	struct graph_edge edge[] = {
	    {0, 1}, {0, 6}, {1, 2}, {1, 4}, {2, 3}, {2, 4}, {3, 5}, {4, 5}};
	char *path[7];
	struct closure *c;

	for (size_t i = 0; i < 7; i++) {
		path[i] = malloc(64);
		snprintf(
		    path[i], 64, "/nix/store/%032zu-%c", i, (char)('A' + i));
	}
	c = graph_closure("/nix/store", path, 7, edge, 8);
	memcpy(c->nar_size, sizes, sizeof(sizes));
	return c;
}

/* The plan as letters: "F|E|DCB". */
static void
letters(const struct layer_plan *plan, const struct closure *c, char *out)
{
	for (size_t i = 0; i < plan->n; i++) {
		if (i > 0)
			*out++ = '|';
		for (size_t k = 0; k < plan->layer[i].n; k++)
			*out++ = c->path[plan->layer[i].path[k]][44];
	}
	*out = '\0';
}

static void
expect(enum strategy strategy, size_t max_layers, size_t base_layers,
    const char *wanted)
{
	struct closure *c = example();
	struct layer_plan *plan = NULL;
	struct err e = ERR_INIT;
	char got[64];

	assert_int_equal(
	    layer_plan_make(c, strategy, max_layers, base_layers, &plan, &e),
	    0);
	letters(plan, c, got);
	assert_string_equal(got, wanted);
	layer_plan_free(plan);
	graph_closure_free(c);
}

static void
test_examples(void **state)
{
	(void)state;
	expect(STRATEGY_POPULARITY, 100, 0, "F|E|D|C|B|G|A");
	expect(STRATEGY_SIZE, 4, 0, "F|CDE|ABG");
	expect(STRATEGY_SIZE, 6, 0, "F|E|CD|B|AG");
	expect(STRATEGY_SIZE, 9, 3, "F|E|CD|B|AG");
}

static void
test_borders(void **state)
{
	(void)state;
	expect(STRATEGY_POPULARITY, 2, 0, "FEDCBGA");
	expect(STRATEGY_POPULARITY, 3, 0, "F|EDCBGA");
	expect(STRATEGY_POPULARITY, 7, 0, "F|E|D|C|B|GA");
	expect(STRATEGY_POPULARITY, 8, 0, "F|E|D|C|B|G|A");
	expect(STRATEGY_POPULARITY, 9, 0, "F|E|D|C|B|G|A");
	expect(STRATEGY_POPULARITY, 12, 5, "F|E|D|C|B|GA");
	expect(STRATEGY_POPULARITY, LAYER_PLAN_MAX, 0, "F|E|D|C|B|G|A");
	expect(STRATEGY_SIZE, 2, 0, "ABCDEFG");
	expect(STRATEGY_SIZE, LAYER_PLAN_MAX, 7, "G|F|D|E|C|B|A");
}

static void
refuse(struct closure *c, enum strategy strategy, size_t max_layers,
    size_t base_layers, const char *text)
{
	struct layer_plan *plan = NULL;
	struct err e = ERR_INIT;

	assert_int_equal(
	    layer_plan_make(c, strategy, max_layers, base_layers, &plan, &e),
	    -1);
	assert_int_equal(e.kind, ERR_USAGE);
	if (strstr(e.text, text) == NULL)
		print_message("got: %s\n", e.text);
	assert_non_null(strstr(e.text, text));
	assert_null(plan);
}

static void
test_refused(void **state)
{
	struct closure *c = example();
	uint64_t *sizes;

	(void)state;
	refuse(c, STRATEGY_POPULARITY, 0, 0, "must be at least 2");
	refuse(c, STRATEGY_SIZE, 1, 0, "must be at least 2");
	refuse(c, STRATEGY_POPULARITY, 10, 9,
	    "the base image uses 9 and the customisation layer 1, which "
	    "leaves none for the store paths: maxLayers must be at least 11");
	refuse(c, STRATEGY_POPULARITY, 10, 40, "must be at least 42");
	refuse(c, STRATEGY_POPULARITY, 1000000000, 0, "at most 65536");
	refuse(c, STRATEGY_POPULARITY, 100, SIZE_MAX, "base image");
	c->nar_size[3] = UINT64_MAX - 20;
	refuse(c, STRATEGY_POPULARITY, 100, 0, "3-D: with its narSize");
	sizes = c->nar_size;
	c->nar_size = NULL;
	refuse(c, STRATEGY_SIZE, 100, 0, "no narSize");
	c->nar_size = sizes;
	graph_closure_free(c);
}

static void
test_cycle(void **state)
{
	struct graph_edge edge[] = {{0, 1}, {1, 2}, {2, 1}};
	char *path[3];
	struct closure *c;

	(void)state;
	for (size_t i = 0; i < 3; i++) {
		path[i] = malloc(64);
		snprintf(path[i], 64, "/nix/store/%032zu-p", i);
	}
	c = graph_closure("/nix/store", path, 3, edge, 3);
	refuse(c, STRATEGY_POPULARITY, 100, 0, "1-p -> /nix/store/0");
	refuse(c, STRATEGY_SIZE, 100, 0, "2-p -> /nix/store/0");
	graph_closure_free(c);
}

static void
test_empty(void **state)
{
	struct closure *c = graph_closure("/nix/store", NULL, 0, NULL, 0);

	(void)state;
	for (int s = STRATEGY_POPULARITY; s <= STRATEGY_SIZE; s++) {
		struct layer_plan *plan = NULL;
		struct err e = ERR_INIT;

		assert_int_equal(
		    layer_plan_make(c, (enum strategy)s, 5, 4, &plan, &e), 0);
		assert_int_equal(plan->n, 0);
		assert_int_equal(layer_plan_check(plan, c, 5, 4, &e), 0);
		layer_plan_freep(&plan);
	}
	refuse(c, STRATEGY_POPULARITY, 4, 4, "must be at least 5");
	refuse(c, STRATEGY_POPULARITY, 0, 0, "must be at least 1");
	graph_closure_free(c);
}

static void
expect_fault(const struct layer_plan *plan, const struct closure *c,
    size_t max_layers, const char *text)
{
	struct err e = ERR_INIT;

	assert_int_equal(layer_plan_check(plan, c, max_layers, 1, &e), -1);
	assert_int_equal(e.kind, ERR_FATAL);
	assert_non_null(strstr(e.text, text));
}

static void
test_check(void **state)
{
	struct closure *c = example();
	uint32_t first[] = {0, 1, 2}, second[] = {3, 4, 5, 6}, third[] = {0};
	struct layer layer[] = {{first, 3, 0}, {second, 4, 0}, {third, 0, 0}};
	struct layer_plan plan = {.n = 2, .layer = layer};
	struct err e = ERR_INIT;

	(void)state;
	assert_int_equal(layer_plan_check(&plan, c, 4, 1, &e), 0);
	expect_fault(&plan, c, 3, "more than maxLayers");
	expect_fault(&plan, c, 0, "more than maxLayers");
	second[1] = 2;
	expect_fault(&plan, c, 4, "2-C is in two layers");
	second[1] = 7;
	expect_fault(&plan, c, 4, "layer 2 has a path that the closure lacks");
	second[1] = 4;
	layer[1].n = 3;
	expect_fault(&plan, c, 4, "6-G is in no layer");
	layer[1].n = 4;
	plan.n = 3;
	expect_fault(&plan, c, 5, "layer 3 is empty");
	graph_closure_free(c);
}

static void
test_facts(void **state)
{
	struct closure *c = example();
	struct layer_plan *plan = NULL;
	struct err e = ERR_INIT;

	(void)state;
	assert_int_equal(
	    layer_plan_make(c, STRATEGY_POPULARITY, 4, 0, &plan, &e), 0);
	assert_int_equal(plan->rank[5], 0);
	assert_int_equal(plan->rank[0], 6);
	assert_int_equal(plan->layer[2].nar_size, 3 + 20 + 5 + 2 + 1);
	layer_plan_freep(&plan);
	free(c->nar_size);
	c->nar_size = NULL;
	assert_int_equal(
	    layer_plan_make(c, STRATEGY_POPULARITY, 4, 0, &plan, &e), 0);
	assert_int_equal(plan->layer[2].nar_size, 0);
	layer_plan_freep(&plan);
	graph_closure_free(c);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_examples),
	    cmocka_unit_test(test_borders),
	    cmocka_unit_test(test_oracle),
	    cmocka_unit_test(test_refused),
	    cmocka_unit_test(test_cycle),
	    cmocka_unit_test(test_empty),
	    cmocka_unit_test(test_check),
	    cmocka_unit_test(test_facts),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
