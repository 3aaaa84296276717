#include "request/request_reference.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "err.h"
#include "image/image_name.h"
#include "text/json_file.h"
#include "options/options.h"
#include "own.h"
#include "request/request.h"
#include "request/request_settings.h"
#include "store_path.h"

bool
request_reference_is(const json_t *doc)
{
	return json_object_get(doc, "store_layers") != NULL;
}

int
request_reference_layers(
    struct request_in *in, const json_t *value, struct err *e)
{
	struct request *r = in->request;
	size_t n = json_array_size(value);

	if (n > LAYER_PLAN_MAX)
		return err_set(e, ERR_USAGE, 0, "%zu layers, more than %d", n,
		    LAYER_PLAN_MAX);
	r->layer = calloc(n > 0 ? n : 1, sizeof(*r->layer));
	if (r->layer == NULL)
		return err_set(e, ERR_FATAL, errno, "request");
	r->n_layers = n;
	for (size_t i = 0; i < n; i++) {
		const json_t *paths = json_array_get(value, i);

		if (!json_is_array(paths))
			return err_set(e, ERR_USAGE, 0,
			    "layer %zu: an array of store paths is wanted, not "
			    "%s",
			    i + 1, json_file_type_name(paths));
		if (json_array_size(paths) == 0)
			return err_set(
			    e, ERR_USAGE, 0, "layer %zu is empty", i + 1);
		if (request_settings_strings(
			paths, &r->layer[i].path, &r->layer[i].n, e) < 0)
			return err_ctx(e, "layer %zu", i + 1);
	}
	return 0;
}

/* NAME:TAG; a ':' before the last '/' is that of a port. */
int
request_reference_repo_tag(
    struct request_in *in, const json_t *value, struct err *e)
{
	AUTO(own_freep) char *name = NULL;
	AUTO(own_freep) char *tag = NULL;
	const char *text = json_string_value(value);
	const char *colon = strrchr(text, ':'), *slash = strrchr(text, '/');

	if (colon == NULL || (slash != NULL && colon < slash))
		return err_set(e, ERR_USAGE, 0,
		    "'%.200s' has no tag: NAME:TAG is wanted", text);
	name = strndup(text, (size_t)(colon - text));
	tag = strdup(colon + 1);
	if (name == NULL || tag == NULL)
		return err_set(e, ERR_FATAL, errno, "request");
	if (image_name_check(name, e) < 0 || image_tag_check(tag, e) < 0)
		return -1;
	in->request->name = STEAL(&name);
	in->request->tag = STEAL(&tag);
	return 0;
}

static int
check_layers(const struct request *r, struct err *e)
{
	AUTO(json_file_decrefp) json_t *seen = json_object();

	if (seen == NULL)
		return err_set(e, ERR_FATAL, errno, "request");
	for (size_t i = 0; i < r->n_layers; i++)
		for (size_t j = 0; j < r->layer[i].n; j++) {
			const char *path = r->layer[i].path[j];
			const json_t *before = json_object_get(seen, path);

			if (store_path_check(path, r->store_dir, e) < 0)
				return err_ctx(e, "layer %zu", i + 1);
			if (before != NULL)
				return err_set(e, ERR_USAGE, 0,
				    "%.300s is in layer %lld and in layer %zu",
				    path, (long long)json_integer_value(before),
				    i + 1);
			if (json_object_set_new(seen, path,
				json_integer((json_int_t)i + 1)) < 0)
				return err_set(
				    e, ERR_FATAL, 0, "request: out of memory");
		}
	return 0;
}

int
request_reference_check(const struct request *request, struct err *e)
{
	if (request->customisation_layer == NULL)
		return err_set(
		    e, ERR_USAGE, 0, "key 'customisation_layer' is missing");
	if (check_layers(request, e) < 0)
		return err_ctx(e, "store_layers");
	return 0;
}

int
request_reference_options(const struct options *options, struct err *e)
{
	const struct {
		const char *name;
		bool given;
	} asked[] = {
	    {"max-layers", options->max_layers != NULL},
	    {"strategy", options->strategy != NULL},
	    {"include-store-paths", options->include_store_paths != NULL},
	    {"root-tree", options->root_tree != NULL},
	    {"path", options->n_paths > 0},
	};

	for (size_t i = 0; i < sizeof(asked) / sizeof(asked[0]); i++)
		if (asked[i].given)
			return err_set(e, ERR_USAGE, 0,
			    "--%s: the request's layers are planned already "
			    "(store_layers)",
			    asked[i].name);
	return 0;
}
