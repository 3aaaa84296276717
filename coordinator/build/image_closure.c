#include "build/image_closure.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "closure/closure.h"
#include "closure/closure_file.h"
#include "err.h"
#include "options/options.h"
#include "own.h"
#include "request/request.h"
#include "store_path.h"

/* The image's roots; config's are ours, the others the request's. */
struct roots {
	const char **path;
	size_t n;
	char **config;
	size_t n_config;
};

static void
roots_freep(struct roots *r)
{
	for (size_t i = 0; i < r->n_config; i++)
		free(r->config[i]);
	free(r->config);
	free(r->path);
}

static int
roots_collect(const struct request *request, struct roots *r, struct err *e)
{
	if (request_config_paths(request, &r->config, &r->n_config, e) < 0)
		return -1;
	r->path =
	    calloc(request->n_contents + request->n_paths + r->n_config + 1,
		sizeof(*r->path));
	if (r->path == NULL)
		return err_set(e, ERR_FATAL, errno, "roots");
	for (size_t i = 0; i < request->n_contents; i++)
		r->path[r->n++] = request->contents[i];
	for (size_t i = 0; i < request->n_paths; i++)
		r->path[r->n++] = request->paths[i];
	for (size_t i = 0; i < r->n_config; i++)
		r->path[r->n++] = r->config[i];
	return 0;
}

/*
 * In a config's text a store path may be followed by punctuation that its
 * grammar allows ("... in /nix/store/HASH-NAME."): what Nix is asked for is
 * what exists.
 */
static void
trim_to_existing(char *path, const char *store_root)
{
	char file[STORE_PATH_MAX + 4096];
	struct stat st;

	for (size_t n = strlen(path); n > 0; n--) {
		snprintf(
		    file, sizeof(file), "%s%.*s", store_root, (int)n, path);
		if (lstat(file, &st) == 0) {
			path[n] = '\0';
			return;
		}
		if (strchr(".?=+_-", path[n - 1]) == NULL)
			return;
	}
}

static int
find_root(const struct closure *c, const char *path, bool by_hash,
    const char *file, uint32_t *out, struct err *e)
{
	size_t i = closure_find(c, path);

	if (i == SIZE_MAX && by_hash)
		i = closure_find_hash(c, store_path_base(path));
	if (i == SIZE_MAX)
		return err_set(e, ERR_USAGE, 0,
		    "%s: the closure %s does not hold it", path, file);
	*out = (uint32_t)i;
	return 0;
}

static int
find_roots(const struct closure *c, const struct roots *r, const char *file,
    uint32_t **out, struct err *e)
{
	AUTO(own_freep) uint32_t *root = NULL;

	if ((root = calloc(r->n + 1, sizeof(*root))) == NULL)
		return err_set(e, ERR_FATAL, errno, "roots");
	for (size_t i = 0; i < r->n; i++)
		/* The config's names may have swallowed punctuation. */
		if (find_root(c, r->path[i], i >= r->n - r->n_config, file,
			&root[i], e) < 0)
			return -1;
	*out = STEAL(&root);
	return 0;
}

/* Keeps of the closure what the roots reach; without roots, all. */
static int
retain(
    struct closure **c, const struct roots *r, const char *file, struct err *e)
{
	AUTO(own_freep) uint32_t *root = NULL;

	if (r->n == 0)
		return 0;
	if (find_roots(*c, r, file, &root, e) < 0)
		return -1;
	return closure_retain(c, root, r->n, e);
}

static struct closure_text
text_of(const char *s)
{
	return (struct closure_text){s, strlen(s)};
}

/* The paths of a planned request's layers, with what known says of them. */
static int
planned_closure(const struct request *request, const struct closure *known,
    const char *file, struct closure **out, struct err *e)
{
	AUTO(closure_builder_freep) struct closure_builder *b = NULL;

	if (closure_builder_new(request->store_dir, &b, e) < 0)
		return -1;
	for (size_t l = 0; l < request->n_layers; l++)
		for (size_t i = 0; i < request->layer[l].n; i++) {
			const char *path = request->layer[l].path[i];
			struct closure_entry entry = {.path = text_of(path)};
			uint32_t at = 0;

			if (known != NULL &&
			    find_root(known, path, false, file, &at, e) < 0)
				return -1;
			if (known != NULL && known->nar_hash != NULL) {
				entry.has_hash = true;
				entry.nar_hash = known->nar_hash[at];
			}
			if (known != NULL && known->nar_size != NULL) {
				entry.has_size = true;
				entry.nar_size = known->nar_size[at];
			}
			if (closure_add(b, &entry, e) < 0)
				return err_ctx(e, "store_layers");
		}
	return closure_finish(&b, out, e);
}

static int
empty_closure(const char *store_dir, struct closure **out, struct err *e)
{
	AUTO(closure_builder_freep) struct closure_builder *b = NULL;

	if (closure_builder_new(store_dir, &b, e) < 0)
		return -1;
	return closure_finish(&b, out, e);
}

int
image_closure_make(const struct request *request, const struct options *options,
    struct closure **out, struct err *e)
{
	AUTO(roots_freep) struct roots roots = {0};
	AUTO(closure_freep) struct closure *c = NULL;
	const char *file = options->closure_file;

	if (file != NULL &&
	    closure_file_read(file, request->store_dir, &c, e) < 0)
		return -1;
	if (request->planned)
		return planned_closure(request, c, file, out, e);
	if (!request->include_store_paths)
		return empty_closure(request->store_dir, out, e);
	if (roots_collect(request, &roots, e) < 0)
		return -1;
	if (c == NULL && roots.n == 0)
		return empty_closure(request->store_dir, out, e);
	if (c == NULL) {
		for (size_t i = 0; i < roots.n_config; i++)
			trim_to_existing(roots.config[i], options->store_root);
		if (closure_nix_query(roots.path, roots.n, request->store_dir,
			options->store_root, &c, e) < 0)
			return -1;
		file = "that Nix gave";
	}
	if (retain(&c, &roots, file, e) < 0)
		return -1;
	*out = STEAL(&c);
	return 0;
}

static int
reach_all(const struct closure *graph, struct closure **out, struct err *e)
{
	AUTO(own_freep) uint32_t *root = calloc(graph->n + 1, sizeof(*root));

	if (root == NULL)
		return err_set(e, ERR_FATAL, errno, "roots");
	for (size_t i = 0; i < graph->n; i++)
		root[i] = (uint32_t)i;
	return closure_reach(graph, root, graph->n, out, e);
}

int
image_closure_reach(const struct request *request, const struct closure *graph,
    const char *file, bool whole, struct closure **out, struct err *e)
{
	AUTO(roots_freep) struct roots roots = {0};
	AUTO(own_freep) uint32_t *root = NULL;

	if (request->planned)
		return planned_closure(request, graph, file, out, e);
	if (!request->include_store_paths)
		return empty_closure(request->store_dir, out, e);
	if (roots_collect(request, &roots, e) < 0)
		return -1;
	if (roots.n == 0 && whole)
		return reach_all(graph, out, e);
	if (roots.n == 0)
		return err_set(e, ERR_USAGE, 0,
		    "neither contents, paths nor config names a store path: "
		    "none of %s would be in the image (\"includeStorePaths\": "
		    "false, if that is meant)",
		    file);
	if (find_roots(graph, &roots, file, &root, e) < 0)
		return -1;
	return closure_reach(graph, root, roots.n, out, e);
}
