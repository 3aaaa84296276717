#include "options/options_check.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "endpoint.h"
#include "err.h"
#include "process/file_place.h"
#include "progress/metrics.h"
#include "options/options.h"
#include "options/options_registry.h"
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
	char to[STORE_PATH_MAX + 1];
	ssize_t n = is_store_name(arg) ? -1 : readlink(arg, to, sizeof(to) - 1);
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
	if (n > 0) {
		to[n] = '\0';
		return err_set(e, ERR_USAGE, 0,
		    "'%.200s' is a link to %s: name that, with \"$(readlink "
		    "-f %.200s)\"",
		    arg, to, arg);
	}
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

/* Each belongs to one of cache's verbs, and means nothing to the others. */
static int
check_cache_options(const struct options *o, struct err *e)
{
	const struct {
		const char *name, *verb;
		bool given;
	} option[] = {
	    {"json", "list", o->json},
	    {"deep", "verify", o->deep},
	    {"cache-size", "prune", o->max_size != OPTIONS_CACHE_SIZE},
	    {"unused-days", "prune", o->unused_days != SIZE_MAX},
	};

	for (size_t i = 0; i < sizeof(option) / sizeof(option[0]); i++)
		if (option[i].given &&
		    strcmp(o->cache_verb, option[i].verb) != 0)
			return err_set(e, ERR_USAGE, 0,
			    "cache %.40s: --%s is an option of cache %s",
			    o->cache_verb, option[i].name, option[i].verb);
	return 0;
}

/* cache has one, too: what to do. */
int
options_take_cache_verb(struct options *o, struct err *e)
{
	if (o->n_store_paths != 1)
		return err_set(e, ERR_USAGE, 0,
		    "cache: one of list, verify and prune is wanted (see "
		    "quarry help cache)");
	o->cache_verb = o->store_paths[0];
	o->n_store_paths = 0;
	return check_cache_options(o, e);
}

/* keygen has one positional. */
int
options_take_key_file(struct options *o, struct err *e)
{
	if (o->n_store_paths != 1)
		return err_set(e, ERR_USAGE, 0,
		    "keygen: one FILE is wanted, for the key pair (see quarry "
		    "help keygen)");
	o->key_file = o->store_paths[0];
	o->n_store_paths = 0;
	return 0;
}

static bool
is_dash(const char *s)
{
	return s != NULL && strcmp(s, "-") == 0;
}

/* A layout is replaced as a whole, and what is in it would go. */
static int
check_nested(
    const struct options *o, const struct output_target *t, struct err *e)
{
	if (t->kind == OUTPUT_NONE || t->kind == OUTPUT_REGISTRY ||
	    is_dash(t->path))
		return 0;
	for (size_t i = 0; i < o->n_outputs; i++)
		if (o->outputs[i].kind == OUTPUT_OCI &&
		    file_place_below(t->path, o->outputs[i].path))
			return err_set(e, ERR_USAGE, 0,
			    "%s: it is inside of another output, the layout "
			    "%s, which is replaced as a whole",
			    t->path, o->outputs[i].path);
	return 0;
}

/* What standard output goes to may have a name, too. */
static bool
is_standard_output(const char *path)
{
	struct stat out, st;

	return fstat(STDOUT_FILENO, &out) == 0 && S_ISREG(out.st_mode) &&
	    stat(path, &st) == 0 && st.st_dev == out.st_dev &&
	    st.st_ino == out.st_ino;
}

static bool
same_place(const char *a, const char *b)
{
	if (is_dash(a) != is_dash(b))
		return is_standard_output(is_dash(a) ? b : a);
	return file_place_same(a, b);
}

/* Two outputs in one place: the second would replace the first. */
static int
check_places(const struct options *o, struct err *e)
{
	for (size_t i = 0; i < o->n_outputs; i++) {
		const char *path = o->outputs[i].path;
		bool twice = o->metadata_file != NULL &&
		    same_place(o->metadata_file, path);

		for (size_t j = 0; j < i; j++)
			twice |= same_place(o->outputs[j].path, path);
		if (twice && *path != '\0')
			return err_set(e, ERR_USAGE, 0,
			    "%s: two outputs cannot have the same place",
			    is_dash(path) ? "standard output" : path);
		if (check_nested(o, &o->outputs[i], e) < 0)
			return -1;
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
int
options_check_listen(const struct options *o, struct err *e)
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
			    "--listen-without-keys go with --listen (and "
			    "--key with --coordinator)");
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

/* What is about workers is the server's to say. */
static int
check_no_workers(const struct options *o, struct err *e)
{
	const struct {
		const char *name;
		bool given;
	} option[] = {
	    {"listen", o->listen != NULL},
	    {"launch", o->launch != NULL},
	    {"advertise", o->advertise != NULL},
	    {"workers-keys", o->workers_keys != NULL},
	    {"listen-without-keys", o->listen_plain},
	    {"local-slots", o->no_local_slots},
	    {"slots", o->slots != 0},
	    {"workers", o->workers != 1},
	    {"min-workers", o->min_workers != 0},
	    {"no-locality", o->no_locality},
	    {"audit", o->audit != 0},
	    {"metrics", o->metrics != NULL},
	    {"substituter", o->caches.n_urls > 0},
	    {"trusted-key", o->caches.n_keys > 0},
	    {"no-require-sigs", o->caches.no_require_sigs},
	    {"metrics", o->metrics != NULL},
	};

	for (size_t i = 0; i < sizeof(option) / sizeof(option[0]); i++)
		if (option[i].given)
			return err_set(e, ERR_USAGE, 0,
			    "--%s does not go with --coordinator: that is for "
			    "the server to say, which has the workers",
			    option[i].name);
	return 0;
}

/* A server makes one form of each layer. */
static int
check_one_form(const struct options *o, struct err *e)
{
	bool tars = false, blobs = false;

	for (size_t i = 0; i < o->n_outputs; i++) {
		bool archive = o->outputs[i].kind == OUTPUT_DOCKER_ARCHIVE;

		tars |= archive;
		blobs |= !archive && o->encoding.kind != ENCODING_NONE;
	}
	if (!tars || !blobs)
		return 0;
	return err_set(e, ERR_USAGE, 0,
	    "--coordinator: a docker-archive holds plain layers, the other "
	    "outputs compressed ones: build them in two runs, or with "
	    "--encoding none");
}

/* Where a coordinator that stays up is, and the keys to it. */
static int
check_server(const struct options *o, struct err *e)
{
	struct endpoint where;

	if (endpoint_check(o->coordinator, false, &where, e) < 0)
		return err_ctx(e, "--coordinator");
	if ((o->key_file == NULL) != (o->server_key == NULL))
		return err_set(e, ERR_USAGE, 0,
		    "--key and --server-key go together: each side proves who "
		    "it is");
	if (o->key_file == NULL && where.kind == ENDPOINT_TCP &&
	    !where.loopback)
		return err_set(e, ERR_USAGE, 0,
		    "--coordinator %.120s is another machine: --key and "
		    "--server-key are needed (quarry keygen makes keys)",
		    o->coordinator);
	return 0;
}

int
options_check_status(const struct options *o, struct err *e)
{
	if (o->n_store_paths > 0)
		return err_set(e, ERR_USAGE, 0,
		    "status: '%.80s' is one word too many (see quarry help "
		    "status)",
		    o->store_paths[0]);
	if (o->coordinator == NULL)
		return err_set(e, ERR_USAGE, 0,
		    "status: --coordinator tcp://HOST:PORT is wanted (see "
		    "quarry help status)");
	return check_server(o, e);
}

/* Layers that a coordinator elsewhere has made. */
static int
check_coordinator(const struct options *o, struct err *e)
{
	if (check_no_workers(o, e) < 0 || check_one_form(o, e) < 0)
		return -1;
	return check_server(o, e);
}

/* Who makes the layers. */
static int
check_work(const struct options *o, struct err *e)
{
	if (o->coordinator != NULL)
		return check_coordinator(o, e);
	if (o->server_key != NULL)
		return err_set(
		    e, ERR_USAGE, 0, "--server-key goes with --coordinator");
	return options_check_listen(o, e);
}

static int
check_no_cache(const struct options *o, struct err *e)
{
	if (o->no_cache && o->cache_dir != NULL)
		return err_set(e, ERR_USAGE, 0,
		    "--cache %.200s and --no-cache: one of them is meant",
		    o->cache_dir);
	if (o->no_cache && o->max_size != OPTIONS_CACHE_SIZE)
		return err_set(e, ERR_USAGE, 0,
		    "--cache-size means nothing with --no-cache");
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
	if (check_places(o, e) < 0 || check_work(o, e) < 0 ||
	    cache_list_check(&o->caches, e) < 0 ||
	    options_check_format(o, e) < 0 ||
	    options_check_push_from(o, e) < 0 ||
	    options_check_stream(o, e) < 0 || check_no_cache(o, e) < 0)
		return -1;
	if (o->metrics != NULL && metrics_check(o->metrics, e) < 0)
		return -1;
	if (o->command == COMMAND_BUILD && o->n_outputs == 0)
		return err_set(e, ERR_USAGE, 0,
		    "--to is missing: docker-archive:FILE, oci:DIR, "
		    "oci-archive:FILE, docker://HOST/REPOSITORY or none");
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
	if (is_dash(o->image_metadata))
		return err_set(e, ERR_USAGE, 0,
		    "--image-metadata: a file of each image is wanted, such "
		    "as '{name}.json'");
	if (o->json && is_dash(o->metadata_file))
		return err_set(e, ERR_USAGE, 0,
		    "--json and --metadata-file -: one of them is enough");
	if (check_work(o, e) < 0 || check_no_cache(o, e) < 0)
		return -1;
	if (o->metrics != NULL && metrics_check(o->metrics, e) < 0)
		return -1;
	return cache_list_check(&o->caches, e);
}
