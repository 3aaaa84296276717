#include "options/options.h"

#include <errno.h>
#include <getopt.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "err.h"
#include "text/nearest.h"
#include "options/options_check.h"
#include "options/options_number.h"
#include "options/options_registry.h"
#include "own.h"

#define FOR_BUILD 1u
#define FOR_PLAN 2u
#define FOR_KEYGEN 4u
#define FOR_CACHE 8u
#define FOR_STATUS 16u
#define FOR_SERVE 32u
#define FOR_INDEX 64u
/* A batch takes what a build does, but for what cannot be said of many. */
#define FOR_BATCH 128u
#define NOT_BATCH 256u
#define FOR_BOTH (FOR_BUILD | FOR_PLAN)
#define FOR_WORK (FOR_BUILD | FOR_SERVE)
#define FOR_ALL                                                                \
	(FOR_BOTH | FOR_KEYGEN | FOR_CACHE | FOR_INDEX | FOR_STATUS | FOR_SERVE)
/* What asks registries. */
#define FOR_REGISTRY (FOR_BOTH | FOR_INDEX)

/* getopt_long's codes: anything that is no character of a short option. */
#define CODE_FIRST 1000

struct option_spec {
	const char *name;
	unsigned commands;
	int has_arg;
	size_t text; /* offset of a const char * that takes the argument */
	size_t flag; /* offset of a bool that becomes true */
	int (*set)(struct options *o, const char *arg, struct err *e);
};

static int
set_slots(struct options *o, const char *arg, struct err *e)
{
	return options_count(arg, OPTIONS_SLOTS_MAX, "slots", &o->slots, e);
}

static int
set_local_slots(struct options *o, const char *arg, struct err *e)
{
	if ((o->no_local_slots = strcmp(arg, "0") == 0))
		return 0;
	return options_count(
	    arg, OPTIONS_SLOTS_MAX, "local-slots", &o->slots, e);
}

static int
set_audit(struct options *o, const char *arg, struct err *e)
{
	return options_count(arg, 100, "audit", &o->audit, e);
}

static int
set_min_workers(struct options *o, const char *arg, struct err *e)
{
	return options_count(
	    arg, OPTIONS_WORKERS_MAX, "min-workers", &o->min_workers, e);
}

static int
set_workers(struct options *o, const char *arg, struct err *e)
{
	return options_count(arg, OPTIONS_SLOTS_MAX, "workers", &o->workers, e);
}

static int
set_launch(struct options *o, const char *arg, struct err *e)
{
	if (arg[strspn(arg, " \t\n")] == '\0')
		return err_set(e, ERR_USAGE, 0, "--launch: is empty");
	o->launch = arg;
	return 0;
}

static int
set_store_root(struct options *o, const char *arg, struct err *e)
{
	if (*arg == '\0')
		return err_set(e, ERR_USAGE, 0, "--store-root: is empty");
	/* What is under '/' needs no prefix. */
	o->store_root = strcmp(arg, "/") == 0 ? "" : arg;
	return 0;
}

static int
add_path(struct options *o, const char *arg, struct err *e)
{
	(void)e;
	o->paths[o->n_paths++] = arg; /* there is one for every argument */
	return 0;
}

static int
add_substituter(struct options *o, const char *arg, struct err *e)
{
	return cache_list_add_url(&o->caches, arg, e);
}

static int
add_trusted_key(struct options *o, const char *arg, struct err *e)
{
	return cache_list_add_key(&o->caches, arg, e);
}

static int
add_output(struct options *o, const char *arg, struct err *e)
{
	if (o->n_outputs == OPTIONS_OUTPUTS_MAX)
		return err_set(e, ERR_USAGE, 0,
		    "--to %.200s: no more than %d outputs at once", arg,
		    OPTIONS_OUTPUTS_MAX);
	o->to[o->n_outputs] = arg;
	if (o->command != COMMAND_BATCH &&
	    output_target_parse(arg, &o->outputs[o->n_outputs], e) < 0)
		return err_ctx(e, "--to");
	o->n_outputs++;
	return 0;
}

static int
set_metadata_file(struct options *o, const char *arg, struct err *e)
{
	if (*arg == '\0')
		return err_set(e, ERR_USAGE, 0, "--metadata-file: is empty");
	o->metadata_file = strcmp(arg, "/dev/stdout") == 0 ? "-" : arg;
	return 0;
}

static int
set_max_size(struct options *o, const char *arg, struct err *e)
{
	return options_size(arg, "cache-size", &o->max_size, e);
}

static int
set_unused_days(struct options *o, const char *arg, struct err *e)
{
	return options_count(
	    arg, OPTIONS_DAYS_MAX, "unused-days", &o->unused_days, e);
}

static int
set_watch(struct options *o, const char *arg, struct err *e)
{
	return options_count(arg, OPTIONS_WATCH_MAX, "watch", &o->watch_s, e);
}

static int
set_encoding(struct options *o, const char *arg, struct err *e)
{
	if (encoding_parse(arg, &o->encoding, e) < 0)
		return err_ctx(e, "--encoding");
	o->encoding_given = true;
	return 0;
}

/* The index of arg in names, or -1 with an error that tells what is known. */
static int
choose(const char *option, const char *arg, const char *const *names, size_t n,
    struct err *e)
{
	for (size_t i = 0; i < n; i++)
		if (strcmp(arg, names[i]) == 0)
			return (int)i;
	return err_set(e, ERR_USAGE, 0,
	    "--%s: '%.40s' is not known; the nearest is '%s'", option, arg,
	    nearest_of(arg, names, n));
}

static int
set_dialect(struct options *o, const char *arg, struct err *e)
{
	static const char *const names[] = {
	    [TAR_PAX] = "pax", [TAR_GNU] = "gnu"};
	int i;

	if ((i = choose("dialect", arg, names, 2, e)) < 0)
		return -1;
	o->dialect = (enum tar_dialect)i;
	return 0;
}

static int
set_progress(struct options *o, const char *arg, struct err *e)
{
	static const char *const names[] = {
	    [PROGRESS_AUTO] = "auto",
	    [PROGRESS_BAR] = "bar",
	    [PROGRESS_PLAIN] = "plain",
	    [PROGRESS_JSON] = "json",
	    [PROGRESS_NONE] = "none",
	};
	int i;

	if ((i = choose("progress", arg, names, 5, e)) < 0)
		return -1;
	o->progress = (enum progress_mode)i;
	return 0;
}

static int
set_help(struct options *o, const char *arg, struct err *e)
{
	(void)arg;
	(void)e;
	if (o->command != COMMAND_HELP) {
		o->help_for = o->command;
		o->command = COMMAND_HELP;
	}
	return 0;
}

static int
set_version(struct options *o, const char *arg, struct err *e)
{
	(void)arg;
	(void)e;
	o->command = COMMAND_VERSION;
	return 0;
}

#define TEXT(commands, name, field)                                            \
	{                                                                      \
		name, commands, required_argument,                             \
		    offsetof(struct options, field), 0, NULL                   \
	}
#define FLAG(commands, name, field)                                            \
	{                                                                      \
		name, commands, no_argument, 0,                                \
		    offsetof(struct options, field), NULL                      \
	}
#define CALL(commands, name, has_arg, set)                                     \
	{                                                                      \
		name, commands, has_arg, 0, 0, set                             \
	}

static const struct option_spec specs[] = {
    TEXT(FOR_BOTH | FOR_KEYGEN | NOT_BATCH, "name", name),
    TEXT(FOR_BOTH, "tag", tag),
    TEXT(FOR_BOTH, "config", config_file),
    TEXT(FOR_BOTH, "created", created),
    TEXT(FOR_BOTH, "mtime", mtime),
    TEXT(FOR_BOTH, "uid", uid),
    TEXT(FOR_BOTH, "gid", gid),
    TEXT(FOR_BOTH, "uname", uname),
    TEXT(FOR_BOTH, "gname", gname),
    TEXT(FOR_BOTH, "architecture", architecture),
    TEXT(FOR_BOTH, "arch", architecture),
    TEXT(FOR_BOTH, "max-layers", max_layers),
    TEXT(FOR_BOTH, "strategy", strategy),
    TEXT(FOR_BOTH, "from-image", from_image),
    CALL(FOR_BOTH, "path", required_argument, add_path),
    TEXT(FOR_BOTH, "include-store-paths", include_store_paths),
    TEXT(FOR_BOTH, "root-tree", root_tree),
    TEXT(FOR_BOTH | FOR_SERVE, "store-dir", store_dir),
    TEXT(FOR_BOTH, "closure", closure_file),
    CALL(FOR_BOTH | FOR_SERVE, "store-root", required_argument, set_store_root),
    FLAG(FOR_BUILD, "verify-store", verify_store),
    CALL(FOR_WORK, "slots", required_argument, set_slots),
    CALL(FOR_WORK, "workers", required_argument, set_workers),
    TEXT(FOR_WORK, "worker-program", worker_program),
    CALL(FOR_WORK, "substituter", required_argument, add_substituter),
    CALL(FOR_WORK, "trusted-key", required_argument, add_trusted_key),
    FLAG(FOR_WORK, "no-require-sigs", caches.no_require_sigs),
    TEXT(FOR_BUILD | FOR_STATUS, "coordinator", coordinator),
    TEXT(FOR_BUILD | FOR_STATUS, "server-key", server_key),
    TEXT(FOR_WORK, "listen", listen),
    CALL(FOR_WORK, "launch", required_argument, set_launch),
    TEXT(FOR_WORK, "advertise", advertise),
    TEXT(FOR_WORK | FOR_STATUS, "key", key_file),
    TEXT(FOR_WORK, "workers-keys", workers_keys),
    FLAG(FOR_WORK, "listen-without-keys", listen_plain),
    TEXT(FOR_SERVE, "clients", clients),
    TEXT(FOR_SERVE, "clients-keys", clients_keys),
    FLAG(FOR_SERVE, "clients-without-keys", clients_plain),
    TEXT(FOR_SERVE, "push-to", push_to),
    CALL(FOR_WORK, "local-slots", required_argument, set_local_slots),
    CALL(FOR_BUILD, "min-workers", required_argument, set_min_workers),
    FLAG(FOR_WORK, "no-locality", no_locality),
    CALL(FOR_WORK, "audit", required_argument, set_audit),
    CALL(FOR_BUILD, "to", required_argument, add_output),
    TEXT(FOR_WORK | FOR_CACHE, "cache", cache_dir),
    CALL(FOR_WORK | FOR_CACHE, "cache-size", required_argument, set_max_size),
    CALL(FOR_CACHE, "unused-days", required_argument, set_unused_days),
    FLAG(FOR_CACHE, "deep", deep),
    FLAG(FOR_BUILD, "no-cache", no_cache),
    CALL(FOR_BUILD, "cache-repo", required_argument, options_set_cache_repo),
    CALL(FOR_INDEX, "manifest", required_argument, options_add_manifest),
    CALL(FOR_BUILD, "push-from", required_argument, options_set_push_from),
    FLAG(FOR_BUILD | NOT_BATCH, "stream", stream),
    TEXT(FOR_REGISTRY, "authfile", registry.auth_file),
    TEXT(FOR_REGISTRY | FOR_SERVE, "cert-dir", registry.cert_dir),
    CALL(FOR_REGISTRY, "tls-verify", required_argument, options_set_tls_verify),
    CALL(FOR_REGISTRY, "token-server", required_argument,
	options_add_token_server),
    CALL(FOR_REGISTRY, "registry-timeout", required_argument,
	options_set_timeout),
    CALL(FOR_BUILD, "format", required_argument, options_set_format),
    CALL(FOR_BUILD, "encoding", required_argument, set_encoding),
    CALL(FOR_BUILD, "dialect", required_argument, set_dialect),
    CALL(FOR_BUILD, "metadata-file", required_argument, set_metadata_file),
    TEXT(FOR_BATCH, "image-metadata", image_metadata),
    TEXT(FOR_WORK, "metrics", metrics),
    CALL(FOR_WORK, "progress", required_argument, set_progress),
    FLAG(FOR_PLAN | FOR_CACHE | FOR_STATUS | FOR_BATCH, "json", json),
    CALL(FOR_STATUS, "watch", required_argument, set_watch),
    FLAG(FOR_BOTH | FOR_CACHE | FOR_INDEX | FOR_STATUS | FOR_SERVE, "verbose",
	verbose),
    CALL(FOR_ALL, "help", no_argument, set_help),
    CALL(FOR_ALL, "version", no_argument, set_version),
};

#define N_SPECS (sizeof(specs) / sizeof(specs[0]))

static const char *const commands[] = {
    [COMMAND_BUILD] = "build",
    [COMMAND_BATCH] = "batch",
    [COMMAND_PLAN] = "plan",
    [COMMAND_SERVE] = "serve",
    [COMMAND_KEYGEN] = "keygen",
    [COMMAND_CACHE] = "cache",
    [COMMAND_INDEX] = "index",
    [COMMAND_STATUS] = "status",
    [COMMAND_HELP] = "help",
};

#define N_COMMANDS (sizeof(commands) / sizeof(commands[0]))

static int
find_command(const char *word, enum command *out, struct err *e)
{
	for (size_t i = 0; i < N_COMMANDS; i++) {
		if (strcmp(word, commands[i]) != 0)
			continue;
		*out = (enum command)i;
		return 0;
	}
	return err_set(e, ERR_USAGE, 0,
	    "'%.80s' is no command; the nearest is '%s' (see quarry --help)",
	    word, nearest_of(word, commands, N_COMMANDS));
}

static bool
spec_for(const struct option_spec *spec, enum command command)
{
	switch (command) {
	case COMMAND_PLAN:
		return (spec->commands & FOR_PLAN) != 0;
	case COMMAND_SERVE:
		return (spec->commands & FOR_SERVE) != 0;
	case COMMAND_KEYGEN:
		return (spec->commands & FOR_KEYGEN) != 0;
	case COMMAND_CACHE:
		return (spec->commands & FOR_CACHE) != 0;
	case COMMAND_BATCH:
		return (spec->commands & (FOR_BUILD | FOR_BATCH)) != 0 &&
		    (spec->commands & NOT_BATCH) == 0;
	case COMMAND_INDEX:
		return (spec->commands & FOR_INDEX) != 0;
	case COMMAND_STATUS:
		return (spec->commands & FOR_STATUS) != 0;
	case COMMAND_BUILD:
	case COMMAND_HELP:
	case COMMAND_VERSION:
		break;
	}
	return (spec->commands & FOR_BUILD) != 0;
}

static int
unknown_option(const struct options *o, const char *arg, struct err *e)
{
	const char *known[N_SPECS], *word = arg;
	size_t n = 0;

	word += strspn(word, "-");
	for (size_t i = 0; i < N_SPECS; i++)
		if (spec_for(&specs[i], o->command))
			known[n++] = specs[i].name;
	return err_set(e, ERR_USAGE, 0,
	    "%.80s: not known to quarry %s; the nearest is --%s", arg,
	    commands[o->command], nearest_of(word, known, n));
}

/* A command that has it, to name one. */
static const char *
first_command(const struct option_spec *spec)
{
	static const enum command order[] = {COMMAND_BUILD, COMMAND_PLAN,
	    COMMAND_SERVE, COMMAND_INDEX, COMMAND_CACHE, COMMAND_STATUS,
	    COMMAND_KEYGEN};

	for (size_t i = 0; i < sizeof(order) / sizeof(order[0]); i++)
		if (spec_for(spec, order[i]))
			return commands[order[i]];
	return "?";
}

static int
set_option(struct options *o, const struct option_spec *spec, const char *arg,
    struct err *e)
{
	if (!spec_for(spec, o->command))
		return err_set(e, ERR_USAGE, 0,
		    "--%s: not an option of quarry %s, but of quarry %s",
		    spec->name, commands[o->command], first_command(spec));
	if (spec->has_arg == required_argument && *arg == '\0' &&
	    spec->set == NULL)
		return err_set(e, ERR_USAGE, 0, "--%s: is empty", spec->name);
	if (spec->set != NULL)
		return spec->set(o, arg, e);
	if (spec->has_arg == required_argument)
		*(const char **)((char *)o + spec->text) = arg;
	else
		*(bool *)((char *)o + spec->flag) = true;
	return 0;
}

/* What getopt_long did not take; letter is its optopt. */
static int
bad_argument(
    const struct options *o, const char *arg, int letter, struct err *e)
{
	size_t len = strcspn(arg, "=");
	size_t matches = 0;

	if (letter > 0 && letter < CODE_FIRST)
		return err_set(e, ERR_USAGE, 0,
		    "-%c: not known to quarry %s; options have long names "
		    "(see quarry help %s)",
		    letter, commands[o->command], commands[o->command]);
	for (size_t i = 0; i < N_SPECS; i++) {
		if (strncmp(arg, "--", 2) != 0 || len < 3 ||
		    strncmp(specs[i].name, arg + 2, len - 2) != 0)
			continue;
		if (strlen(specs[i].name) == len - 2)
			return err_set(e, ERR_USAGE, 0,
			    "--%s takes no argument", specs[i].name);
		matches++;
	}
	if (matches > 1)
		return err_set(e, ERR_USAGE, 0,
		    "%.80s: short for several options; spell it out", arg);
	return unknown_option(o, arg, e);
}

/* Options and positionals of a command; help and version end it. */
static int
parse_arguments(int argc, char **argv, struct options *o, struct err *e)
{
	struct option longs[N_SPECS + 1] = {{0}};
	int code;

	for (size_t i = 0; i < N_SPECS; i++)
		longs[i] = (struct option){
		    specs[i].name, specs[i].has_arg, NULL, CODE_FIRST + (int)i};
	optind = 0;
	opterr = 0;
	/* '-': positionals come as code 1, whatever the environment says. */
	while ((code = getopt_long(argc, argv, "-:hV", longs, NULL)) != -1) {
		if (code == 'h')
			set_help(o, NULL, e);
		else if (code == 'V')
			set_version(o, NULL, e);
		else if (code == 1)
			o->store_paths[o->n_store_paths++] = optarg;
		else if (code == ':')
			return err_set(e, ERR_USAGE, 0,
			    "%.80s: its argument is missing", argv[optind - 1]);
		else if (code == '?')
			return bad_argument(o, argv[optind - 1], optopt, e);
		else if (set_option(o, &specs[code - CODE_FIRST], optarg, e) <
		    0)
			return -1;
		if (o->command == COMMAND_HELP || o->command == COMMAND_VERSION)
			return 0;
	}
	while (optind < argc)
		o->store_paths[o->n_store_paths++] = argv[optind++];
	return 0;
}

/* help [COMMAND], and the words that stand without a command. */
static int
parse_general(int argc, char **argv, struct options *o, struct err *e)
{
	const char *word = argv[1];

	if (word == NULL)
		return err_set(e, ERR_USAGE, 0,
		    "a command is missing: build, batch, plan, serve, index, "
		    "cache, "
		    "status, keygen or help "
		    "(see quarry --help)");
	if (strcmp(word, "--version") == 0 || strcmp(word, "-V") == 0) {
		o->command = COMMAND_VERSION;
		return 0;
	}
	if (strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0) {
		o->command = COMMAND_HELP;
		return 0;
	}
	if (*word == '-')
		return err_set(e, ERR_USAGE, 0,
		    "%.80s: options follow the command, as in quarry build "
		    "%.80s",
		    word, word);
	if (find_command(word, &o->command, e) < 0)
		return -1;
	if (o->command == COMMAND_HELP && argc > 2 && *argv[2] != '-')
		return find_command(argv[2], &o->help_for, e);
	return 0;
}

/* Registries and the way there want small blobs. */
static int
default_encoding(struct options *o, struct err *e)
{
	/* Of a batch, each image says so. */
	if (o->command == COMMAND_BATCH)
		return 0;
	for (size_t i = 0; i < o->n_outputs && !o->encoding_given; i++)
		if (o->outputs[i].kind == OUTPUT_REGISTRY)
			return encoding_parse("gzip", &o->encoding, e);
	return 0;
}

int
options_parse(int argc, char **argv, struct options *out, struct err *e)
{
	struct options o = {.help_for = COMMAND_HELP,
	    .store_root = "",
	    .workers = 1,
	    .encoding = {ENCODING_NONE, 0},
	    .max_size = OPTIONS_CACHE_SIZE,
	    .unused_days = SIZE_MAX,
	    .dialect = TAR_PAX};

	*out = o;
	if (parse_general(argc, argv, &o, e) < 0)
		return -1;
	if (o.command == COMMAND_HELP || o.command == COMMAND_VERSION) {
		*out = o;
		return 0;
	}
	o.store_paths = calloc((size_t)argc, sizeof(*o.store_paths));
	o.paths = calloc((size_t)argc, sizeof(*o.paths));
	o.manifests = calloc((size_t)argc, sizeof(*o.manifests));
	if (o.store_paths == NULL || o.paths == NULL || o.manifests == NULL) {
		options_free(&o);
		return err_set(e, ERR_FATAL, errno, "arguments");
	}
	if (parse_arguments(argc - 1, argv + 1, &o, e) < 0 ||
	    default_encoding(&o, e) < 0 ||
	    (o.command == COMMAND_KEYGEN && options_take_key_file(&o, e) < 0) ||
	    (o.command == COMMAND_CACHE &&
		options_take_cache_verb(&o, e) < 0) ||
	    (o.command == COMMAND_BATCH && options_take_batch(&o, e) < 0) ||
	    (o.command == COMMAND_INDEX && options_take_index(&o, e) < 0) ||
	    (o.command == COMMAND_SERVE && options_check_serve(&o, e) < 0) ||
	    (o.command == COMMAND_STATUS && options_check_status(&o, e) < 0) ||
	    ((o.command == COMMAND_BUILD || o.command == COMMAND_PLAN) &&
		(options_sort_positionals(&o, e) < 0 ||
		    options_check_together(&o, e) < 0))) {
		out->progress = o.progress; /* how this is told */
		options_free(&o);
		return -1;
	}
	*out = o;
	return 0;
}

void
options_free(struct options *o)
{
	free(o->store_paths);
	free(o->paths);
	free(o->manifests);
	o->store_paths = o->paths = o->manifests = NULL;
	o->n_store_paths = o->n_paths = o->n_manifests = 0;
}
