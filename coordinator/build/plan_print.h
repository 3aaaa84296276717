/*
 * What `quarry plan` prints: a table for people, or JSON that the reference's
 * request takes its store_layers from.  Writes as it goes, so memory does not
 * grow with the closure.  Borrows all it is given; one thread.
 */
#ifndef PLAN_PRINT_H
#define PLAN_PRINT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

struct closure;
struct err;
struct layer_plan;
struct layer_spec;

struct plan_view {
	const char *name; /* of the image, or NULL */
	const struct closure *closure;
	const struct layer_plan *plan;
	const struct layer_spec *spec; /* for the layer keys */
	size_t base_layers;
	bool root_layer;
	size_t columns; /* table: the terminal's width; 0: none */
};

/* Both: ERR_FATAL where out cannot be written; out is flushed. */
int plan_print_table(const struct plan_view *view, FILE *out, struct err *e);

/*
 * {"name"?, "store_layers": [[path...]...], "layers": [{"paths", "narSize",
 * "key"}...], "base_layers", "total_layers", "warnings": [...]}; narSize and
 * key are null where the closure does not know them.  ERR_USAGE: a string
 * that is not UTF-8.
 */
int plan_print_json(const struct plan_view *view, FILE *out, struct err *e);

#define PLAN_WARNINGS_MAX 3
#define PLAN_WARNING_MAX 160

/* Which runtimes fail on so many layers; returns how many lines there are. */
size_t plan_print_warnings(
    size_t total_layers, char text[static PLAN_WARNINGS_MAX][PLAN_WARNING_MAX]);

#endif
