/*
 * Where a finished image goes.  An output is opened before any work starts
 * (so a bad place is known at once), tells for each layer where the worker
 * shall write it, and is committed at the end: it appears whole or not at
 * all, and what was there before is replaced only then.  One thread.
 */
#ifndef OUTPUT_H
#define OUTPUT_H

#include <stdbool.h>
#include <stddef.h>

#include "layer_spec.h"

struct err;
struct image;
struct layer_cache;
struct push;
struct push_counts;
struct registry_options;
struct scratch;

enum output_kind {
	OUTPUT_NONE,	       /* none */
	OUTPUT_DOCKER_ARCHIVE, /* docker-archive:FILE, - is stdout */
	OUTPUT_OCI,	       /* oci:DIR */
	OUTPUT_OCI_ARCHIVE,    /* oci-archive:FILE, - is stdout */
	OUTPUT_REGISTRY	       /* docker://HOST[:PORT]/REPOSITORY[:TAG] */
};

struct output_target {
	enum output_kind kind;
	const char *path; /* borrowed from the parsed text; "" for none */
	const struct registry_options *push; /* OUTPUT_REGISTRY; borrowed */
	/* OCI: blobs may be further names of the files that hold them. */
	bool links;
};

/* "docker-archive", "none", ...; static. */
const char *output_kind_name(enum output_kind kind);

/* Reads "KIND:PLACE".  ERR_USAGE names what is known. */
int output_target_parse(
    const char *text, struct output_target *out, struct err *e);

struct output;

int output_open(const struct output_target *target, struct scratch *scratch,
    struct output **out, struct err *e);

/*
 * One whose blobs are the layer cache's, which outlives it; others are given
 * it at their commit.
 */
int output_cache_open(
    const struct layer_cache *cache, struct output **out, struct err *e);

/* Whether the output wants layers compressed (OCI) or as plain tar. */
bool output_takes_blobs(const struct output *o);

/* The folder of its blobs before the commit; NULL: it has none. */
const char *output_blobs(const struct output *o);

/* The registry that it goes to, "https://HOST[:PORT]"; NULL: to none. */
const char *output_registry(const struct output *o);
/* And its repository there. */
const char *output_repository(const struct output *o);

/* What workers may push to while layers are made; NULL: it is none of that. */
struct push *output_push(const struct output *o);

/* Whether it must know every layer's tar_size before layers are written. */
bool output_needs_sizes(const struct output *o);

/*
 * Lets o do without sizes: layers are then written to files of their own, and
 * copied at output_commit.  Before output_layout.
 */
void output_stage(struct output *o);

/*
 * Lets o take its blobs from another output that takes them too (and is given
 * to output_commit) instead of from the workers: output_sink says false then.
 * Before output_layout.
 */
void output_share(struct output *o);

/*
 * Called once, before the first output_sink: the image has all its layers,
 * with result.tar_size set where output_needs_sizes.  Lays out the file.
 */
int output_layout(struct output *o, const struct image *image, struct err *e);

/*
 * Where the worker writes layer i (not a base layer's): fills *out, returns
 * true; false where this output takes its blobs from another one (first).
 * Paths in *out are borrowed from the output.
 */
bool output_sink(struct output *o, size_t i, struct layer_output *out);

/*
 * Writes what workers did not (base layers, config, manifests), syncs and
 * puts all in place.  blobs_of: an output that holds the same blobs, for one
 * whose output_sink said false; else NULL.
 */
int output_commit(struct output *o, const struct image *image,
    const struct output *blobs_of, struct err *e);

/* What there is to tell of the commit, or ""; the output's. */
const char *output_said(const struct output *o);

/* What its commit sent to a registry; zeros where that was none. */
const struct push_counts *output_pushed(const struct output *o);

/* Gives up what was not committed: nothing stays behind. */
void output_free(struct output *o);
void output_freep(struct output **o);

#endif
