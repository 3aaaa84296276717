#include "request/request.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "image/architecture.h"
#include "err.h"
#include "text/json_file.h"
#include "options/options.h"
#include "own.h"
#include "request/request_directory.h"
#include "request/request_reference.h"
#include "request/request_settings.h"
#include "store_path.h"

#define MAX_LAYERS_DEFAULT 100
#define CREATED_DEFAULT "1970-01-01T00:00:01+00:00"

static void
free_strings(char **list, size_t n)
{
	for (size_t i = 0; i < n; i++)
		free(list[i]);
	free(list);
}

void
request_free(struct request *r)
{
	if (r == NULL)
		return;
	free(r->name);
	free(r->tag);
	free_strings(r->contents, r->n_contents);
	free_strings(r->paths, r->n_paths);
	json_decref(r->config);
	free(r->created);
	free(r->uname);
	free(r->gname);
	free(r->architecture);
	free(r->os);
	free(r->from_image);
	for (size_t i = 0; i < r->n_directories; i++)
		free(r->directory[i].path);
	free(r->directory);
	free(r->root_tree);
	free(r->store_dir);
	for (size_t i = 0; i < r->n_layers; i++)
		free_strings(r->layer[i].path, r->layer[i].n);
	free(r->layer);
	free(r->customisation_layer);
	free(r);
}

void
request_freep(struct request **r)
{
	request_free(*r);
	*r = NULL;
}

static int
set_default(char **field, const char *value, struct err *e)
{
	if (*field == NULL && (*field = strdup(value)) == NULL)
		return err_set(e, ERR_FATAL, errno, "request");
	return 0;
}

static int
set_defaults(struct request_in *in, struct err *e)
{
	struct request *r = in->request;
	char here[ARCHITECTURE_HERE_SIZE];

	architecture_here(here);
	if (r->config == NULL && (r->config = json_object()) == NULL)
		return err_set(e, ERR_FATAL, errno, "request");
	/* Before it had a key of its own, created was mtime. */
	if (r->planned && !in->has_mtime && in->has_created)
		r->mtime = iso_time_seconds(&in->created);
	if (set_default(&r->created, CREATED_DEFAULT, e) < 0 ||
	    set_default(&r->uname, "root", e) < 0 ||
	    set_default(&r->gname, "root", e) < 0 ||
	    set_default(&r->architecture, here, e) < 0 ||
	    set_default(&r->os, "linux", e) < 0 ||
	    set_default(&r->store_dir, STORE_DIR_DEFAULT, e) < 0)
		return -1;
	return 0;
}

static int
request_new(struct request **out, struct err *e)
{
	struct request *r;

	if ((r = calloc(1, sizeof(*r))) == NULL)
		return err_set(e, ERR_FATAL, errno, "request");
	r->mtime = 1;
	r->max_layers = MAX_LAYERS_DEFAULT;
	r->strategy = STRATEGY_POPULARITY;
	r->include_store_paths = true;
	*out = r;
	return 0;
}

static int
check_store_path(const char *path, const char *store_dir, struct err *e)
{
	size_t dir = strlen(store_dir), base;

	if (strncmp(path, store_dir, dir) == 0 && path[dir] == '/') {
		base =
		    store_path_base_len(path + dir + 1, strlen(path) - dir - 1);
		if (base > 0 && path[dir + 1 + base] == '/')
			return err_set(e, ERR_USAGE, 0,
			    "%.300s is inside a store path: %.*s itself is "
			    "wanted",
			    path, (int)(dir + 1 + base), path);
	}
	return store_path_check(path, store_dir, e);
}

/* Checks store paths; of equal ones the first stays. */
static int
check_paths(char **list, size_t *n, const char *store_dir, struct err *e)
{
	AUTO(json_file_decrefp) json_t *seen = json_object();
	size_t kept = 0, len;
	bool fresh;

	if (seen == NULL)
		return err_set(e, ERR_FATAL, errno, "request");
	for (size_t i = 0; i < *n; i++) {
		/* Shells complete folders with a '/'. */
		for (len = strlen(list[i]); len > 1 && list[i][len - 1] == '/';)
			list[i][--len] = '\0';
		if (check_store_path(list[i], store_dir, e) < 0)
			return -1;
	}
	for (size_t i = 0; i < *n; i++) {
		fresh = json_object_get(seen, list[i]) == NULL;
		if (fresh &&
		    json_object_set_new(seen, list[i], json_true()) < 0)
			return err_set(
			    e, ERR_FATAL, 0, "request: out of memory");
		if (fresh)
			list[kept++] = list[i];
		else
			free(list[i]);
	}
	*n = kept;
	return 0;
}

/* What can only be told once all settings are in. */
static int
finish(struct request_in *in, struct err *e)
{
	struct request *r = in->request;

	if (set_defaults(in, e) < 0 || store_dir_check(r->store_dir, e) < 0)
		return -1;
	if (check_paths(r->contents, &r->n_contents, r->store_dir, e) < 0)
		return err_ctx(e, "contents");
	if (check_paths(r->paths, &r->n_paths, r->store_dir, e) < 0)
		return err_ctx(e, "paths");
	if (in->directories != NULL &&
	    request_directory_read(r, in->directories, e) < 0)
		return err_ctx(e, "directories");
	return r->planned ? request_reference_check(r, e) : 0;
}

static int
add_texts(char ***list, size_t *n, const char *const *texts, size_t more,
    struct err *e)
{
	char **grown;

	if (more == 0)
		return 0;
	if ((grown = reallocarray(*list, *n + more, sizeof(*grown))) == NULL)
		return err_set(e, ERR_FATAL, errno, "request");
	*list = grown;
	for (size_t i = 0; i < more; i++) {
		if ((grown[*n] = strdup(texts[i])) == NULL)
			return err_set(e, ERR_FATAL, errno, "request");
		(*n)++;
	}
	return 0;
}

static int
read_config(struct request *r, const char *file, struct err *e)
{
	AUTO(json_file_decrefp) json_t *config = NULL;

	if (json_file_read(file, &config, e) < 0)
		return err_ctx(e, "--config");
	if (!json_is_object(config))
		return err_set(e, ERR_USAGE, 0,
		    "--config: %.200s: an object is wanted, not %s",
		    json_file_title(file), json_file_type_name(config));
	json_decref(r->config);
	r->config = STEAL(&config);
	return 0;
}

static int
add_options(struct request_in *in, const struct options *o, struct err *e)
{
	struct request *r = in->request;

	if (r->planned && request_reference_options(o, e) < 0)
		return -1;
	if (request_settings_override(in, o, e) < 0)
		return -1;
	if (o->config_file != NULL && read_config(r, o->config_file, e) < 0)
		return -1;
	if (add_texts(&r->contents, &r->n_contents, o->store_paths,
		o->n_store_paths, e) < 0)
		return -1;
	return add_texts(&r->paths, &r->n_paths, o->paths, o->n_paths, e);
}

/* An error gets the name of the document that it is in. */
static int
in_file(const char *name, struct err *e)
{
	return name != NULL ? err_ctx(e, "%.200s", json_file_title(name)) : -1;
}

static int
check_name(const struct request *r, const struct options *o, struct err *e)
{
	bool option = o->command != COMMAND_BATCH;

	if (r->name != NULL || o->command == COMMAND_PLAN)
		return 0;
	return err_set(e, ERR_USAGE, 0, "the image has no name: %s%s is wanted",
	    r->planned ? "repo_tag" : "the request's 'name'",
	    option ? " or --name NAME" : "");
}

int
request_from(const char *name, const json_t *doc, const struct options *options,
    struct request **out, struct err *e)
{
	AUTO(request_freep) struct request *r = NULL;
	struct request_in in = {0};
	enum request_kind kind = REQUEST_OURS;

	if (doc == NULL)
		name = NULL;
	if (request_new(&r, e) < 0)
		return -1;
	in.request = r;
	if (doc != NULL) {
		if (!json_is_object(doc)) {
			err_set(e, ERR_USAGE, 0, "an object is wanted, not %s",
			    json_file_type_name(doc));
			return in_file(name, e);
		}
		r->planned = request_reference_is(doc);
		if (r->planned)
			kind = REQUEST_REFERENCE;
		if (request_settings_read(&in, kind, doc, e) < 0)
			return in_file(name, e);
	}
	if (add_options(&in, options, e) < 0)
		return -1;
	if (finish(&in, e) < 0 || check_name(r, options, e) < 0)
		return in_file(name, e);
	*out = STEAL(&r);
	return 0;
}

int
request_make(const struct options *options, struct request **out, struct err *e)
{
	AUTO(json_file_decrefp) json_t *doc = NULL;

	if (options->request_file != NULL &&
	    json_file_read(options->request_file, &doc, e) < 0)
		return -1;
	return request_from(options->request_file, doc, options, out, e);
}

int
request_parse(const char *name, const char *data, size_t len,
    const struct options *options, struct request **out, struct err *e)
{
	AUTO(json_file_decrefp) json_t *doc = NULL;

	if (json_file_parse(name, data, len, &doc, e) < 0)
		return -1;
	return request_from(name, doc, options, out, e);
}
