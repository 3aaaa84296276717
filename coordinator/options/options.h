/*
 * The command line of quarry, as data.  Parsed once, then passed down as
 * const; strings are argv's own.
 */
#ifndef OPTIONS_H
#define OPTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "cache_list.h"
#include "encoding.h"
#include "registry/image_format.h"
#include "output/output.h"
#include "progress/progress.h"
#include "registry/registry_options.h"
#include "tar_header.h"

struct err;

enum command {
	COMMAND_BUILD,
	COMMAND_BATCH,
	COMMAND_PLAN,
	COMMAND_SERVE,
	COMMAND_KEYGEN,
	COMMAND_CACHE,
	COMMAND_INDEX,
	COMMAND_STATUS,
	COMMAND_HELP,
	COMMAND_VERSION
};

#define OPTIONS_OUTPUTS_MAX LAYER_OUTPUTS_MAX
#define OPTIONS_SLOTS_MAX 1024
#define OPTIONS_WORKERS_MAX 100000
#define OPTIONS_DAYS_MAX 36500
#define OPTIONS_WATCH_MAX 86400			/* seconds */
#define OPTIONS_CACHE_SIZE ((uint64_t)20 << 30) /* by default */

struct options {
	enum command command;
	enum command help_for; /* COMMAND_HELP: of which command, or HELP */

	/* What to build: a request file, or store paths (or neither). */
	const char *request_file; /* "-" is stdin; or NULL */
	const char **store_paths;
	size_t n_store_paths;

	/* Settings that win over the request file's; NULL: not given. */
	const char *name, *tag, *config_file, *created, *mtime, *uid, *gid,
	    *uname, *gname, *architecture, *max_layers, *strategy, *from_image,
	    *include_store_paths, *root_tree, *store_dir;
	const char **paths; /* --path, repeatable */
	size_t n_paths;

	const char *closure_file; /* "-" is stdin; or NULL: ask Nix */
	const char *store_root;	  /* "" for none */
	bool verify_store;
	size_t slots;		    /* 0: this machine's cores */
	size_t workers;		    /* local worker processes, 1 by default */
	const char *worker_program; /* NULL: beside quarry, then PATH */

	/* Where local workers get store paths that are not here. */
	struct cache_list caches;

	/* Workers of other machines. */
	const char *listen;	  /* endpoint, or NULL: none may join */
	const char *launch;	  /* a command that starts some, or NULL */
	const char *advertise;	  /* how they call this machine, or NULL */
	const char *key_file;	  /* our key pair; keygen: where it goes */
	const char *workers_keys; /* file or folder of those who may join */
	bool listen_plain;	  /* without keys, beyond this machine */
	bool no_local_slots;	  /* all work is theirs */
	size_t min_workers;	  /* work begins when so many are there */
	bool no_locality;	  /* jobs go anywhere */
	size_t audit;		  /* percent of layers that are made twice */

	/* A coordinator that stays up, whose workers make the layers. */
	const char *coordinator; /* endpoint, or NULL */
	const char *server_key;	 /* its public key, or a file that has it */

	/* serve: clients, and who they may be. */
	const char *clients;	  /* endpoint */
	const char *clients_keys; /* file or folder, or NULL */
	bool clients_plain;	  /* without keys, beyond this machine */
	const char *push_to;	  /* registries, for clients; or NULL: none */

	const char *to[OPTIONS_OUTPUTS_MAX]; /* --to; of a batch, templates: */
	struct output_target outputs[OPTIONS_OUTPUTS_MAX]; /* not read then */
	size_t n_outputs;
	struct registry_options registry;
	bool push_from_here;   /* workers put nothing there */
	bool stream;	       /* layers go there while they are made */
	const char *cache_dir; /* of layers made before; NULL: the default */
	bool no_cache;
	const char *cache_repo; /* a shared one: HOST[:PORT]/REPOSITORY */
	const char *index_name; /* index: where it goes */
	const char **manifests; /* --manifest, repeatable */
	size_t n_manifests;
	const char *cache_verb;	  /* cache: list, verify, prune */
	bool deep;		  /* verify: read every blob */
	uint64_t max_size;	  /* of the cache, bytes */
	size_t unused_days;	  /* prune: SIZE_MAX: not asked for */
	struct encoding encoding; /* of OCI layers */
	bool encoding_given;
	enum image_format format; /* of manifests in registries */
	enum tar_dialect dialect;
	const char *metadata_file;  /* or NULL */
	const char *image_metadata; /* of a batch: a template, or NULL */
	const char *metrics;	    /* where they are told, or NULL: nowhere */
	enum progress_mode progress;
	size_t watch_s; /* status: again after so many seconds; 0: once */
	bool json;	/* plan, cache, status, batch */
	bool verbose;	/* --verbose: debug lines */
};

/* ERR_USAGE names the argument and what is known; *out is then empty. */
int options_parse(int argc, char **argv, struct options *out, struct err *e);
void options_free(struct options *o);

/* The text of --help for a command (COMMAND_HELP: the overview); static. */
const char *options_help(enum command command);

#endif
