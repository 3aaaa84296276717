/*
 * What image is asked for: the request file (ours, with nixpkgs' argument
 * names, or the one that streamLayeredImage hands its script), or the same
 * from the command line.  Everything is checked when it is read.  A request
 * owns all it points to.
 */
#ifndef REQUEST_H
#define REQUEST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <jansson.h>

#include "plan/layer_plan.h"

struct err;
struct options;

struct request_directory {
	char *path;    /* absolute, clean */
	uint32_t mode; /* low 12 bits */
	uint64_t uid, gid;
};

struct request_layer { /* of the reference's request: planned already */
	char **path;
	size_t n;
};

struct request {
	char *name; /* as registries take it */
	char *tag;  /* NULL: the first 32 digits of the image ID */
	char **contents;
	size_t n_contents;
	char **paths;
	size_t n_paths;
	json_t *config; /* an object, key order kept */
	char *created;	/* ISO 8601 with offset, as isoformat() writes it */
	int64_t mtime;	/* seconds since 1970 */
	uint64_t uid, gid;
	char *uname, *gname;
	char *architecture, *os;
	size_t max_layers;
	enum strategy strategy;
	char *from_image; /* or NULL */
	bool include_store_paths;
	struct request_directory *directory;
	size_t n_directories;
	char *root_tree; /* or NULL */
	char *store_dir;

	/* The reference's own file: store_layers and customisation_layer. */
	bool planned;
	struct request_layer *layer;
	size_t n_layers;
	char *customisation_layer; /* folder with layer.tar and checksum */
};

/*
 * Makes the request that the options ask for: reads the request file if one
 * is named, then lets the command line's own settings win.  ERR_USAGE.
 * For COMMAND_PLAN the name may be missing (NULL).
 */
int request_make(
    const struct options *options, struct request **out, struct err *e);

/* The same with the request file's content from memory; name is its name. */
int request_parse(const char *name, const char *data, size_t len,
    const struct options *options, struct request **out, struct err *e);

/*
 * The same with its content as it was parsed, or NULL: none; not changed.
 * name NULL: errors do not say where it is.
 */
int request_from(const char *name, const json_t *doc,
    const struct options *options, struct request **out, struct err *e);

void request_free(struct request *r);
void request_freep(struct request **r);

/*
 * The store paths that the config's strings and keys name: *out is an array
 * of n strings STOREDIR/HASH-NAME, without duplicates, all the caller's.
 */
int request_config_paths(
    const struct request *r, char ***out, size_t *n, struct err *e);

#endif
