/*
 * The files of a base image, by their names in it: the members of an archive,
 * taken apart into a scratch folder under names of ours, the files of a layout
 * folder, or what was fetched from a registry.  Owns its nodes.  One thread.
 */
#ifndef BASE_FILES_H
#define BASE_FILES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <jansson.h>

#include "digest.h"

struct base_limits;
struct base_registry;
struct err;

struct base_file {
	char *name;
	char *file; /* where its bytes are, or NULL for a link */
	char *link; /* the name that it stands for, or NULL */
	uint64_t size;
	bool has_digest;
	struct digest digest;
	/* Of a layer, once it was unpacked. */
	bool unpacked;
	struct digest diff_id;
	uint64_t tar_size;
	const char *media_type;
};

struct base_files {
	const struct base_limits *limits;
	const char *layout; /* the layout's folder, or NULL for an archive */
	struct base_registry *registry; /* borrowed, or NULL */
	/* Which of several images is wanted; NULL: */
	const char *architecture; /* there may be only one */
	const char *ref_name;	  /* what index.json calls them is all one */
	void *tree;		  /* of struct base_file, by name */
	uint64_t unpacked;	  /* bytes of layers so far */
};

void base_files_clear(struct base_files *files);

/*
 * *out: name without "./" in front and '/' behind; "" for the top itself.
 * ERR_USAGE: absolute, with "..", empty parts or control characters, too long.
 */
int base_files_clean_name(const char *name, char **out, struct err *e);

/*
 * Adds a member: moves *file's strings into the tree and sets *added.  The
 * same name again is fine only with the same content (ERR_USAGE else); *file
 * stays the caller's then.
 */
int base_files_add(struct base_files *files, struct base_file *file,
    bool *added, struct err *e);

/* Whether the image has such a file or link. */
bool base_files_has(struct base_files *files, const char *name);

/* The file behind a name, links followed; borrowed.  ERR_USAGE: none. */
int base_files_get(struct base_files *files, const char *name,
    struct base_file **out, struct err *e);

/* Makes sure that file->digest is known. */
int base_files_hash(struct base_file *file, struct err *e);

/* Reads a small file (limits->json); *out (and a 0) is the caller's. */
int base_files_read(struct base_files *files, const char *name, char **out,
    size_t *len, struct err *e);

/* Reads a JSON file; *out is the caller's. */
int base_files_json(
    struct base_files *files, const char *name, json_t **out, struct err *e);

#endif
