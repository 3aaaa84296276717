/* The table and the JSON of `quarry plan`. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <jansson.h>

#include "digest.h"
#include "err.h"
#include "graph_closure.h"
#include "cache/layer_key.h"
#include "plan/layer_plan.h"
#include "layer_spec.h"
#include "build/plan_print.h"

static const struct layer_spec spec = {.dialect = TAR_PAX,
    .store_dir = "/nix/store",
    .store_root = "",
    .mtime = 1,
    .uname = "root",
    .gname = "root",
    .file = ""};

/* A chain: the last is the most popular.  Names "a1", "a2", ... */
static struct closure *
chain(size_t n)
{
	struct graph_edge *edge = calloc(n, sizeof(*edge));
	char **path = calloc(n, sizeof(*path));
	struct closure *c;

	for (size_t i = 0; i < n; i++) {
		if (asprintf(&path[i], "/nix/store/%032zu-a%zu", i, i + 1) < 0)
			abort();
		if (i > 0)
			edge[i - 1] =
			    (struct graph_edge){(uint32_t)i - 1, (uint32_t)i};
	}
	c = graph_closure("/nix/store", path, n, edge, n > 0 ? n - 1 : 0);
	for (size_t i = 0; i < n; i++)
		c->nar_size[i] = 1024 * (i + 1);
	c->nar_hash = calloc(n + 1, sizeof(*c->nar_hash));
	free(edge);
	free(path);
	return c;
}

struct fixture {
	struct closure *closure;
	struct layer_plan *plan;
	struct plan_view view;
};

static struct fixture
make(size_t n, enum strategy strategy, size_t max_layers, size_t base_layers)
{
	struct fixture f = {.closure = chain(n)};
	struct err e = ERR_INIT;

	assert_int_equal(layer_plan_make(f.closure, strategy, max_layers,
			     base_layers, &f.plan, &e),
	    0);
	f.view = (struct plan_view){.name = "hello",
	    .closure = f.closure,
	    .plan = f.plan,
	    .spec = &spec,
	    .base_layers = base_layers,
	    .root_layer = true};
	return f;
}

static void
drop(struct fixture *f)
{
	layer_plan_free(f->plan);
	graph_closure_free(f->closure);
}

/* What print writes; the caller frees it. */
static char *
printed(int (*print)(const struct plan_view *, FILE *, struct err *),
    const struct plan_view *view)
{
	struct err e = ERR_INIT;
	char *text = NULL;
	size_t len;
	FILE *f = open_memstream(&text, &len);

	assert_int_equal(print(view, f, &e), 0);
	fclose(f);
	return text;
}

static void
expect_table(struct fixture *f, size_t columns, const char *wanted)
{
	char *text;

	f->view.columns = columns;
	text = printed(plan_print_table, &f->view);
	assert_string_equal(text, wanted);
	free(text);
}

static void
test_table(void **state)
{
	struct fixture f = make(7, STRATEGY_POPULARITY, 6, 2);

	(void)state;
	expect_table(&f, 0,
	    "LAYER  RANK  PATHS      SIZE  SHARE  STORE PATHS\n"
	    "  1-2                                (base image)\n"
	    "    3     1      1  7.00 KiB  25.0%  a7\n"
	    "    4     2      1  6.00 KiB  21.4%  a6\n"
	    "    5   3-7      5  15.0 KiB  53.6%  a5, a4, a3, a2, ...\n"
	    "    6                                (root layer)\n"
	    "\n"
	    "6 layers of hello: 3 with 7 store paths (28.0 KiB), 2 of the "
	    "base image, 1 root layer\n"
	    "note: layer 5 holds 54% of the bytes in 5 store paths; "
	    "--strategy size spreads them\n");
	drop(&f);
}

/* The line of layer 3 when the terminal has so many columns. */
static void
expect_names(struct fixture *f, size_t columns, const char *wanted)
{
	char *text, *line, *end;

	f->view.columns = columns;
	text = printed(plan_print_table, &f->view);
	line = strstr(text, "15.0 KiB");
	assert_non_null(line);
	end = strchr(line, '\n');
	*end = '\0';
	assert_string_equal(line + strlen("15.0 KiB  53.6%  "), wanted);
	free(text);
}

static void
test_width(void **state)
{
	struct fixture f = make(7, STRATEGY_POPULARITY, 4, 0);

	(void)state;
	expect_names(&f, 37 + 19, "a5, a4, a3, a2, ...");
	expect_names(&f, 37 + 18, "a5, a4, a3, ...");
	expect_names(&f, 37 + 15, "a5, a4, a3, ...");
	expect_names(&f, 37 + 14, "a5, a4, ...");
	expect_names(&f, 1, "a5, a4, ...");
	free((char *)f.closure->path[4]);
	f.closure->path[4] =
	    strdup("/nix/store/00000000000000000000000000000004-"
		   "a-name-that-is-long");
	expect_names(&f, 37 + 14, "a-name-that...");
	expect_names(&f, 37 + 24, "a-name-that-is-long, ...");
	drop(&f);
}

/* No order by rank, no sizes, no name, no base, no root layer. */
static void
test_unknown(void **state)
{
	struct fixture f = make(2, STRATEGY_SIZE, 9, 0);

	(void)state;
	free(f.closure->nar_size);
	f.closure->nar_size = NULL;
	f.view.name = NULL;
	f.view.root_layer = false;
	expect_table(&f, 0,
	    "LAYER  PATHS  SIZE  SHARE  STORE PATHS\n"
	    "    1      1     ?      ?  a2\n"
	    "    2      1     ?      ?  a1\n"
	    "\n"
	    "2 layers: 2 with 2 store paths (size unknown)\n");
	drop(&f);
}

static void
expect_warnings(size_t layers, size_t n, const char *last)
{
	char text[PLAN_WARNINGS_MAX][PLAN_WARNING_MAX];

	assert_int_equal(plan_print_warnings(layers, text), n);
	if (n > 0)
		assert_non_null(strstr(text[n - 1], last));
}

static void
test_warnings(void **state)
{
	struct fixture f = make(130, STRATEGY_POPULARITY, 128, 0);
	char *text = printed(plan_print_table, &f.view);

	(void)state;
	expect_warnings(64, 0, NULL);
	expect_warnings(65, 1, "sysbox");
	expect_warnings(125, 1, "sysbox");
	expect_warnings(126, 2, "docker 20.10");
	expect_warnings(127, 2, "docker 20.10");
	expect_warnings(128, 3, "overlay");
	assert_non_null(strstr(text,
	    "warning: the image has 128 layers: "
	    "docker 20.10 fails above 125"));
	free(text);
	drop(&f);
}

static void
test_json(void **state)
{
	struct fixture f = make(7, STRATEGY_POPULARITY, 130, 120);
	struct err e = ERR_INIT;
	char *text, hex[DIGEST_HEX_LEN + 1];
	json_t *doc, *layers, *layer, *paths;
	struct digest key;
	size_t i, k;

	(void)state;
	f.view.name = "he\"llo\n";
	text = printed(plan_print_json, &f.view);
	doc = json_loads(text, JSON_REJECT_DUPLICATES, NULL);
	assert_non_null(doc);
	free(text);
	assert_string_equal(
	    json_string_value(json_object_get(doc, "name")), "he\"llo\n");
	assert_int_equal(
	    json_integer_value(json_object_get(doc, "base_layers")), 120);
	assert_int_equal(
	    json_integer_value(json_object_get(doc, "total_layers")), 128);
	assert_int_equal(json_array_size(json_object_get(doc, "warnings")), 3);
	layers = json_object_get(doc, "layers");
	assert_int_equal(json_array_size(layers), 7);
	json_array_foreach(layers, i, layer)
	{
		paths = json_object_get(layer, "paths");
		assert_true(json_equal(paths,
		    json_array_get(json_object_get(doc, "store_layers"), i)));
		assert_int_equal(json_array_size(paths), f.plan->layer[i].n);
		for (k = 0; k < f.plan->layer[i].n; k++)
			assert_string_equal(
			    json_string_value(json_array_get(paths, k)),
			    f.closure->path[f.plan->layer[i].path[k]]);
		assert_int_equal(
		    json_integer_value(json_object_get(layer, "narSize")),
		    f.plan->layer[i].nar_size);
		assert_int_equal(
		    layer_key(&spec, f.closure, &f.plan->layer[i], &key, &e),
		    1);
		digest_hex(&key, hex);
		assert_string_equal(
		    json_string_value(json_object_get(layer, "key")), hex);
	}
	json_decref(doc);
	drop(&f);
}

static void
test_json_unknown(void **state)
{
	struct fixture f = make(0, STRATEGY_POPULARITY, 1, 0);
	char *text;

	(void)state;
	f.view.name = NULL;
	text = printed(plan_print_json, &f.view);
	assert_string_equal(text,
	    "{\n  \"store_layers\": [],\n  \"layers\": [],\n"
	    "  \"base_layers\": 0,\n  \"total_layers\": 1,\n"
	    "  \"warnings\": []\n}\n");
	free(text);
	drop(&f);
	f = make(1, STRATEGY_POPULARITY, 2, 0);
	free(f.closure->nar_hash);
	f.closure->nar_hash = NULL;
	free(f.closure->nar_size);
	f.closure->nar_size = NULL;
	text = printed(plan_print_json, &f.view);
	assert_non_null(strstr(text, "\"narSize\": null, \"key\": null}"));
	free(text);
	drop(&f);
}

static void
test_failures(void **state)
{
	struct fixture f = make(3, STRATEGY_POPULARITY, 9, 0);
	FILE *full = fopen("/dev/full", "w");
	struct err e = ERR_INIT;

	(void)state;
	assert_non_null(full);
	assert_int_equal(plan_print_table(&f.view, full, &e), -1);
	assert_int_equal(e.kind, ERR_FATAL);
	assert_non_null(strstr(e.text, "No space left"));
	err_clear(&e);
	assert_int_equal(plan_print_json(&f.view, full, &e), -1);
	assert_int_equal(e.kind, ERR_FATAL);
	err_clear(&e);
	fclose(full);
	full = fopen("/dev/null", "w");
	f.view.name = "\xff";
	assert_int_equal(plan_print_json(&f.view, full, &e), -1);
	assert_int_equal(e.kind, ERR_USAGE);
	fclose(full);
	drop(&f);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_table),
	    cmocka_unit_test(test_width),
	    cmocka_unit_test(test_unknown),
	    cmocka_unit_test(test_warnings),
	    cmocka_unit_test(test_json),
	    cmocka_unit_test(test_json_unknown),
	    cmocka_unit_test(test_failures),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
