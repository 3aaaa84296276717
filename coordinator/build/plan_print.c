#include "build/plan_print.h"

#include <errno.h>
#include <inttypes.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "closure/closure.h"
#include "digest.h"
#include "err.h"
#include "text/human.h"
#include "cache/layer_key.h"
#include "plan/layer_plan.h"
#include "text/stream_end.h"

/* So many names of a layer's store paths are shown. */
#define NAMES_MAX 4
#define NAMES_LEAST 12 /* columns, however narrow the terminal is */

#define CELL_MAX 48

enum column { LAYER, RANK, PATHS, SIZE, SHARE, COLUMNS };

struct row {
	char cell[COLUMNS][CELL_MAX];
};

struct table {
	const struct plan_view *view;
	FILE *out;
	uint64_t total; /* bytes of all store layers */
	int width[COLUMNS];
};

size_t
plan_print_warnings(
    size_t total_layers, char text[static PLAN_WARNINGS_MAX][PLAN_WARNING_MAX])
{
	static const struct {
		size_t most;
		const char *who;
	} limits[PLAN_WARNINGS_MAX] = {
	    {64, "sysbox fails above 64"},
	    {125, "docker 20.10 fails above 125"},
	    {127, "an overlay mount fails above 127 lower directories"},
	};
	size_t n = 0;

	for (size_t i = 0; i < PLAN_WARNINGS_MAX; i++)
		if (total_layers > limits[i].most)
			snprintf(text[n++], PLAN_WARNING_MAX,
			    "the image has %zu layers: %s; lower maxLayers",
			    total_layers, limits[i].who);
	return n;
}

static size_t
total_layers(const struct plan_view *v)
{
	return v->base_layers + v->plan->n + v->root_layer;
}

/* "7" or "7-12", counted from 1. */
static void
put_range(char out[static CELL_MAX], size_t first, size_t last)
{
	if (first == last)
		snprintf(out, CELL_MAX, "%zu", first + 1);
	else
		snprintf(out, CELL_MAX, "%zu-%zu", first + 1, last + 1);
}

static void
put_rank(
    const struct table *t, const struct layer *layer, char out[static CELL_MAX])
{
	const uint32_t *rank = t->view->plan->rank;
	uint32_t first = UINT32_MAX, last = 0;

	out[0] = '\0';
	if (rank == NULL || layer->n == 0)
		return;
	for (size_t i = 0; i < layer->n; i++) {
		uint32_t r = rank[layer->path[i]];

		first = r < first ? r : first;
		last = r > last ? r : last;
	}
	put_range(out, first, last);
}

static double
share(const struct table *t, const struct layer *layer)
{
	return t->total > 0 ? (double)layer->nar_size / (double)t->total : 0;
}

static void
fill_row(const struct table *t, size_t i, struct row *row)
{
	const struct plan_view *v = t->view;
	const struct layer *layer = &v->plan->layer[i];

	put_range(row->cell[LAYER], v->base_layers + i, v->base_layers + i);
	put_rank(t, layer, row->cell[RANK]);
	snprintf(row->cell[PATHS], CELL_MAX, "%zu", layer->n);
	if (v->closure->nar_size != NULL) {
		human_bytes(layer->nar_size, row->cell[SIZE]);
		snprintf(row->cell[SHARE], CELL_MAX, "%.1f%%",
		    100 * share(t, layer));
	} else {
		strcpy(row->cell[SIZE], "?");
		strcpy(row->cell[SHARE], "?");
	}
}

static void
widen(struct table *t, const struct row *row)
{
	for (int k = 0; k < COLUMNS; k++) {
		int len = (int)strlen(row->cell[k]);

		if (len > t->width[k])
			t->width[k] = len;
	}
}

/* The row without its names; returns how many columns it took. */
static size_t
put_cells(const struct table *t, const struct row *row)
{
	size_t used = 0;

	for (int k = 0; k < COLUMNS; k++) {
		if (k == RANK && t->view->plan->rank == NULL)
			continue;
		fprintf(t->out, "%*s  ", t->width[k], row->cell[k]);
		used += (size_t)t->width[k] + 2;
	}
	return used;
}

/* The name of a path that need not be a store path. */
static const char *
name_of(const char *path)
{
	const char *slash = strrchr(path, '/');
	const char *base = slash != NULL ? slash + 1 : path;
	const char *dash = strchr(base, '-');

	return dash != NULL ? dash + 1 : base;
}

/* As many of the names as fit into room; what is left out is "...". */
static void
put_names(const struct table *t, const struct layer *layer, size_t room)
{
	size_t most = layer->n < NAMES_MAX ? layer->n : NAMES_MAX, used = 0;

	for (size_t i = 0; i < most; i++) {
		const char *name =
		    name_of(t->view->closure->path[layer->path[i]]);
		size_t len = strlen(name);
		size_t more = i + 1 < layer->n ? strlen(", ...") : 0;

		if (i > 0 && used + 2 + len + more > room)
			break;
		if (i == 0 && len + more > room) {
			/* Cut, which also says that more is left out. */
			fprintf(t->out, "%.*s...", (int)(room - 3), name);
			return;
		}
		used +=
		    (size_t)fprintf(t->out, "%s%s", i > 0 ? ", " : "", name);
		if (i + 1 == layer->n)
			return;
	}
	fprintf(t->out, "%s...", used > 0 ? ", " : "");
}

static void
put_row(const struct table *t, size_t i)
{
	const struct layer *layer = &t->view->plan->layer[i];
	struct row row;
	size_t used, room;

	fill_row(t, i, &row);
	used = put_cells(t, &row);
	if (t->view->columns == 0)
		room = SIZE_MAX / 2;
	else if (t->view->columns < used + NAMES_LEAST)
		room = NAMES_LEAST;
	else
		room = t->view->columns - used;
	if (layer->n > 0)
		put_names(t, layer, room);
	fputc('\n', t->out);
}

/* A row for layers that hold no planned store paths. */
static void
put_other(const struct table *t, size_t first, size_t n, const char *what)
{
	struct row row = {0};

	put_range(row.cell[LAYER], first, first + n - 1);
	put_cells(t, &row);
	fprintf(t->out, "%s\n", what);
}

static void
put_totals(const struct table *t)
{
	const struct plan_view *v = t->view;
	size_t total = total_layers(v);
	char size[HUMAN_MAX] = "size unknown";

	if (v->closure->nar_size != NULL)
		human_bytes(t->total, size);
	fprintf(t->out, "\n%zu layer%s", total, total == 1 ? "" : "s");
	if (v->name != NULL)
		fprintf(t->out, " of %s", v->name);
	fprintf(t->out, ": %zu with %zu store paths (%s)", v->plan->n,
	    v->closure->n, size);
	if (v->base_layers > 0)
		fprintf(t->out, ", %zu of the base image", v->base_layers);
	if (v->root_layer)
		fputs(", 1 root layer", t->out);
	fputc('\n', t->out);
}

/* A layer of many paths and most of the bytes keeps one worker busy. */
static void
put_notes(const struct table *t)
{
	const struct plan_view *v = t->view;
	char text[PLAN_WARNINGS_MAX][PLAN_WARNING_MAX];
	size_t n = plan_print_warnings(total_layers(v), text);

	for (size_t i = 0; i < n; i++)
		fprintf(t->out, "warning: %s\n", text[i]);
	for (size_t i = 0; i < v->plan->n && v->plan->rank != NULL; i++) {
		const struct layer *layer = &v->plan->layer[i];

		if (layer->n > 1 && share(t, layer) > 0.5)
			fprintf(t->out,
			    "note: layer %zu holds %.0f%% of the bytes in %zu "
			    "store paths; --strategy size spreads them\n",
			    v->base_layers + i + 1, 100 * share(t, layer),
			    layer->n);
	}
}

int
plan_print_table(const struct plan_view *v, FILE *out, struct err *e)
{
	struct table t = {.view = v, .out = out};
	struct row row = {.cell = {"LAYER", "RANK", "PATHS", "SIZE", "SHARE"}};
	struct row each;

	for (size_t i = 0; i < v->plan->n; i++)
		t.total += v->plan->layer[i].nar_size;
	widen(&t, &row);
	for (size_t i = 0; i < v->plan->n; i++) {
		fill_row(&t, i, &each);
		widen(&t, &each);
	}
	put_cells(&t, &row);
	fputs("STORE PATHS\n", out);
	if (v->base_layers > 0)
		put_other(&t, 0, v->base_layers, "(base image)");
	for (size_t i = 0; i < v->plan->n; i++)
		put_row(&t, i);
	if (v->root_layer)
		put_other(&t, v->base_layers + v->plan->n, 1, "(root layer)");
	put_totals(&t);
	put_notes(&t);
	return stream_end(out, "the plan", e);
}

static int
put_string(FILE *out, const char *s, struct err *e)
{
	json_t *value = json_string(s);
	int done;

	if (value == NULL)
		return err_set(e, ERR_USAGE, 0,
		    "'%s' is not UTF-8 and cannot be written as JSON", s);
	done = json_dumpf(value, out, JSON_ENCODE_ANY);
	json_decref(value);
	if (done < 0)
		return err_set(e, ERR_FATAL, errno, "write the plan");
	return 0;
}

static int
put_paths(const struct plan_view *v, const struct layer *layer, FILE *out,
    struct err *e)
{
	for (size_t i = 0; i < layer->n; i++) {
		fputs(i > 0 ? ", " : "[", out);
		if (put_string(out, v->closure->path[layer->path[i]], e) < 0)
			return -1;
	}
	fputs(layer->n > 0 ? "]" : "[]", out);
	return 0;
}

static int
put_layer(const struct plan_view *v, const struct layer *layer, FILE *out,
    struct err *e)
{
	struct digest key;
	char hex[DIGEST_HEX_LEN + 1];
	int known = layer_key(v->spec, v->closure, layer, &key, e);

	if (known < 0)
		return -1;
	fputs("{\"paths\": ", out);
	if (put_paths(v, layer, out, e) < 0)
		return -1;
	if (v->closure->nar_size != NULL)
		fprintf(out, ", \"narSize\": %" PRIu64, layer->nar_size);
	else
		fputs(", \"narSize\": null", out);
	if (known > 0) {
		digest_hex(&key, hex);
		fprintf(out, ", \"key\": \"%s\"}", hex);
	} else {
		fputs(", \"key\": null}", out);
	}
	return 0;
}

/* One layer a line; each writes one. */
static int
put_layers(const struct plan_view *v, FILE *out,
    int (*each)(
	const struct plan_view *, const struct layer *, FILE *, struct err *),
    struct err *e)
{
	for (size_t i = 0; i < v->plan->n; i++) {
		fputs(i > 0 ? ",\n    " : "[\n    ", out);
		if (each(v, &v->plan->layer[i], out, e) < 0)
			return err_ctx(e, "layer %zu", v->base_layers + i + 1);
	}
	fputs(v->plan->n > 0 ? "\n  ]" : "[]", out);
	return 0;
}

int
plan_print_json(const struct plan_view *v, FILE *out, struct err *e)
{
	char text[PLAN_WARNINGS_MAX][PLAN_WARNING_MAX];
	size_t n = plan_print_warnings(total_layers(v), text);

	fputs("{\n", out);
	if (v->name != NULL) {
		fputs("  \"name\": ", out);
		if (put_string(out, v->name, e) < 0)
			return err_ctx(e, "name");
		fputs(",\n", out);
	}
	fputs("  \"store_layers\": ", out);
	if (put_layers(v, out, put_paths, e) < 0)
		return -1;
	fputs(",\n  \"layers\": ", out);
	if (put_layers(v, out, put_layer, e) < 0)
		return -1;
	fprintf(out,
	    ",\n  \"base_layers\": %zu,\n  \"total_layers\": %zu,\n"
	    "  \"warnings\": [",
	    v->base_layers, total_layers(v));
	for (size_t i = 0; i < n; i++) {
		fputs(i > 0 ? ", " : "", out);
		if (put_string(out, text[i], e) < 0)
			return -1;
	}
	fputs("]\n}\n", out);
	return stream_end(out, "the plan", e);
}
