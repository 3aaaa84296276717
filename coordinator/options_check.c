#include "options_check.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>
#include <sys/stat.h>

#include "endpoint.h"
#include "err.h"
#include "file_place.h"
#include "options.h"
#include "store_path.h"

static bool
is_json_name(const char *s)
{
	size_t len = strlen(s);

	return len >= 5 && strcmp(s + len - 5, ".json") == 0;
}

/* Whether the last component looks like one of a store path. */
static bool
is_store_name(const char *s)
{
	const char *base = strrchr(s, '/');

	return base != NULL &&
	    store_path_base_len(base + 1, strlen(base + 1)) ==
	    strlen(base + 1) &&
	    base[1] != '\0';
}

static int
check_positional(const char *arg, bool only, struct err *e)
{
	bool file = is_json_name(arg) && !is_store_name(arg);
	struct stat st;

	if (strcmp(arg, "-") == 0 ||
	    (file && stat(arg, &st) == 0 && S_ISREG(st.st_mode)))
		return only ? 0
			    : err_set(e, ERR_USAGE, 0,
				  "%.200s: a request file must be the only "
				  "one, without store paths",
				  arg);
	if (file && stat(arg, &st) < 0)
		return err_set(e, ERR_USAGE, errno, "request file %.200s", arg);
	if (file)
		return err_set(e, ERR_USAGE, 0,
		    "request file %.200s: not a regular file", arg);
	if (*arg != '/')
		return err_set(e, ERR_USAGE, 0,
		    "'%.200s' is neither a store path nor a request file "
		    "(whose name ends in .json)",
		    arg);
	return 0;
}

/* Tells the request file from store paths. */
int
options_sort_positionals(struct options *o, struct err *e)
{
	const char *first = o->n_store_paths > 0 ? o->store_paths[0] : "";
	bool only = o->n_store_paths == 1;
	struct stat st;

	if (only &&
	    (strcmp(first, "-") == 0 ||
		(is_json_name(first) && stat(first, &st) == 0 &&
		    S_ISREG(st.st_mode)))) {
		o->request_file = first;
		o->n_store_paths = 0;
		return 0;
	}
	for (size_t i = 0; i < o->n_store_paths; i++)
		if (check_positional(o->store_paths[i], only, e) < 0)
			return -1;
	return 0;
}

static bool
is_dash(const char *s)
{
	return s != NULL && strcmp(s, "-") == 0;
}

/* Two outputs in one place: the second would replace the first. */
static int
check_places(const struct options *o, struct err *e)
{
	for (size_t i = 0; i < o->n_outputs; i++) {
		const char *path = o->outputs[i].path;
		bool twice = o->metadata_file != NULL &&
		    file_place_same(o->metadata_file, path);

		for (size_t j = 0; j < i; j++)
			twice |= file_place_same(o->outputs[j].path, path);
		if (twice && *path != '\0' && !is_dash(path))
			return err_set(e, ERR_USAGE, 0,
			    "%s: two outputs cannot have the same place", path);
	}
	return 0;
}

/* Keys are made for what is launched, so they need not be given. */
static int
check_launch(const struct options *o, struct err *e)
{
	struct endpoint where;

	if (o->listen != NULL) {
		if (endpoint_check(o->listen, true, &where, e) < 0)
			return err_ctx(e, "--listen");
		if (where.kind != ENDPOINT_TCP)
			return err_set(e, ERR_USAGE, 0,
			    "--listen %.120s: with --launch it must be "
			    "tcp://HOST:PORT",
			    o->listen);
	}
	if (o->workers_keys != NULL && o->key_file == NULL)
		return err_set(e, ERR_USAGE, 0,
		    "--workers-keys needs --key: workers know this "
		    "coordinator by it");
	if (o->listen_plain)
		return err_set(e, ERR_USAGE, 0,
		    "--listen-without-keys: --launch has keys");
	return 0;
}

/* Where workers of other machines may join, and who. */
static int
check_listen(const struct options *o, struct err *e)
{
	struct endpoint where;

	if (o->launch != NULL)
		return check_launch(o, e);
	if (o->advertise != NULL)
		return err_set(
		    e, ERR_USAGE, 0, "--advertise goes with --launch");
	if (o->listen == NULL) {
		if (o->key_file != NULL || o->workers_keys != NULL ||
		    o->listen_plain || o->min_workers > 0)
			return err_set(e, ERR_USAGE, 0,
			    "--key, --workers-keys, --min-workers and "
			    "--listen-without-keys go with --listen");
		if (o->no_local_slots)
			return err_set(e, ERR_USAGE, 0,
			    "--local-slots 0: without --listen or --launch "
			    "nobody else "
			    "would do the work");
		return 0;
	}
	if (endpoint_check(o->listen, true, &where, e) < 0)
		return err_ctx(e, "--listen");
	if ((o->key_file == NULL) != (o->workers_keys == NULL))
		return err_set(e, ERR_USAGE, 0,
		    "--key and --workers-keys go together: each side proves "
		    "who it is");
	if (o->key_file != NULL && o->listen_plain)
		return err_set(
		    e, ERR_USAGE, 0, "--listen-without-keys: there are keys");
	if (o->key_file == NULL && !where.loopback && !o->listen_plain)
		return err_set(e, ERR_USAGE, 0,
		    "--listen %.120s can be reached from other machines: "
		    "--key and --workers-keys are needed (quarry keygen makes "
		    "keys)",
		    o->listen);
	return 0;
}

/* What can only be seen once all arguments are known. */
int
options_check_together(const struct options *o, struct err *e)
{
	size_t in = is_dash(o->request_file) + is_dash(o->closure_file) +
	    is_dash(o->config_file);
	size_t out = is_dash(o->metadata_file);
	const char *verb = o->command == COMMAND_PLAN ? "plan" : "build";

	if (in > 1)
		return err_set(e, ERR_USAGE, 0,
		    "standard input ('-') can be only one of request, "
		    "--closure and --config");
	for (size_t i = 0; i < o->n_outputs; i++)
		out += is_dash(o->outputs[i].path);
	if (out > 1)
		return err_set(e, ERR_USAGE, 0,
		    "standard output ('-') can take only one of --to and "
		    "--metadata-file");
	/* The cache takes each layer as one more output does. */
	if (o->cache_dir != NULL && !o->no_cache &&
	    o->n_outputs == LAYER_OUTPUTS_MAX)
		return err_set(e, ERR_USAGE, 0,
		    "--cache: no more than %d outputs beside it",
		    LAYER_OUTPUTS_MAX - 1);
	if (check_places(o, e) < 0 || check_listen(o, e) < 0 ||
	    cache_list_check(&o->caches, e) < 0)
		return -1;
	if (o->command == COMMAND_BUILD && o->n_outputs == 0)
		return err_set(e, ERR_USAGE, 0,
		    "--to is missing: docker-archive:FILE, oci:DIR, "
		    "oci-archive:FILE or none");
	if (o->request_file == NULL && o->closure_file == NULL &&
	    o->n_store_paths == 0 && o->n_paths == 0 &&
	    o->config_file == NULL && o->root_tree == NULL &&
	    o->from_image == NULL)
		return err_set(e, ERR_USAGE, 0,
		    "nothing to %s: a request file, store paths or --closure "
		    "is wanted (see quarry help %s)",
		    verb, verb);
	return 0;
}

int
options_take_batch(struct options *o, struct err *e)
{
	size_t in;

	if (o->n_store_paths != 1)
		return err_set(e, ERR_USAGE, 0,
		    "batch: one FILE of requests is wanted (see quarry help "
		    "batch)");
	o->request_file = o->store_paths[0];
	o->n_store_paths = 0;
	in = is_dash(o->request_file) + is_dash(o->closure_file) +
	    is_dash(o->config_file);
	if (in > 1)
		return err_set(e, ERR_USAGE, 0,
		    "standard input ('-') can be only one of requests, "
		    "--closure and --config");
	/* It would be read for each image. */
	if (is_dash(o->config_file))
		return err_set(e, ERR_USAGE, 0,
		    "--config -: standard input is read once, and a batch has "
		    "many images");
	if (o->json && is_dash(o->metadata_file))
		return err_set(e, ERR_USAGE, 0,
		    "--json and --metadata-file -: one of them is enough");
	if (check_listen(o, e) < 0)
		return -1;
	return cache_list_check(&o->caches, e);
}
