#include "batch/batch_state.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "closure/closure.h"
#include "closure/closure_file.h"
#include "build/image_closure.h"
#include "options/options.h"
#include "own.h"
#include "request/request.h"

/* A closure file that was read, or what is wrong with it. */
struct graph {
	char *file, *store_dir;
	struct closure *closure;
	struct err err;
};

struct batch_sources {
	/* --closure's, one a store directory; and the last of a request's. */
	struct graph *common;
	size_t n_common;
	struct graph own;
};

static void
graph_clear(struct graph *g)
{
	free(g->file);
	free(g->store_dir);
	closure_free(g->closure);
	*g = (struct graph){.err = ERR_INIT};
}

int
batch_sources_new(struct batch_sources **out, struct err *e)
{
	if ((*out = calloc(1, sizeof(**out))) == NULL)
		return err_set(e, ERR_FATAL, errno, "batch");
	return 0;
}

void
batch_sources_drop_graphs(struct batch_sources *s)
{
	for (size_t i = 0; i < s->n_common; i++)
		graph_clear(&s->common[i]);
	free(s->common);
	s->common = NULL;
	s->n_common = 0;
	graph_clear(&s->own);
}

void
batch_sources_free(struct batch_sources *s)
{
	if (s == NULL)
		return;
	batch_sources_drop_graphs(s);
	free(s);
}

/* Reads it, which may fail; -1 only where there is no memory. */
static int
graph_read(
    struct graph *g, const char *file, const char *store_dir, struct err *e)
{
	*g = (struct graph){.err = ERR_INIT};
	if ((g->file = strdup(file)) == NULL ||
	    (g->store_dir = strdup(store_dir)) == NULL) {
		graph_clear(g);
		return err_set(e, ERR_FATAL, errno, "closures");
	}
	closure_file_read(file, store_dir, &g->closure, &g->err);
	return 0;
}

static int
common_graph(struct batch_sources *s, const char *file, const char *store_dir,
    struct graph **out, struct err *e)
{
	struct graph *grown;
	size_t i = 0;

	while (
	    i < s->n_common && strcmp(s->common[i].store_dir, store_dir) != 0)
		i++;
	if (i == s->n_common) {
		if (i > 0 && strcmp(file, "-") == 0)
			return err_set(e, ERR_USAGE, 0,
			    "--closure -: standard input is read once, for "
			    "one storeDir");
		grown = reallocarray(s->common, i + 1, sizeof(*grown));
		if (grown == NULL)
			return err_set(e, ERR_FATAL, errno, "closures");
		s->common = grown;
		if (graph_read(&s->common[i], file, store_dir, e) < 0)
			return -1;
		s->n_common++;
	}
	*out = &s->common[i];
	return 0;
}

static int
own_graph(struct batch_sources *s, const char *file, const char *store_dir,
    struct graph **out, struct err *e)
{
	*out = &s->own;
	if (s->own.file != NULL && strcmp(s->own.file, file) == 0 &&
	    strcmp(s->own.store_dir, store_dir) == 0)
		return 0;
	graph_clear(&s->own);
	return graph_read(&s->own, file, store_dir, e);
}

int
batch_sources_closure(struct batch_sources *s, const struct options *o,
    const struct batch_image *image, struct closure **out, struct err *e)
{
	const struct request *r = image->request;
	const char *own = image->extra.closure;
	struct graph *g = NULL;

	if (own == NULL && o->closure_file == NULL)
		return image_closure_make(r, o, out, e);
	if (own != NULL
		? own_graph(s, own, r->store_dir, &g, e) < 0
		: common_graph(s, o->closure_file, r->store_dir, &g, e) < 0)
		return -1;
	if (g->err.kind != ERR_NONE) {
		*e = g->err;
		return err_ctx(e, own != NULL ? "closure" : "--closure");
	}
	return image_closure_reach(r, g->closure, g->file, own != NULL, out, e);
}
