/*
 * What every kind of output is made of; for output.c and output_*.c only.
 */
#ifndef OUTPUT_OPS_H
#define OUTPUT_OPS_H

#include <stdbool.h>
#include <stddef.h>

#include "output/push.h"

struct err;
struct image;
struct layer_output;
struct output;
struct output_target;
struct scratch;

/* layout, sink and commit: NULL where there is nothing to do. */
struct output_ops {
	bool takes_blobs;
	int (*layout)(struct output *, const struct image *, struct err *);
	bool (*sink)(struct output *, size_t, struct layer_output *);
	int (*commit)(struct output *, const struct image *,
	    const struct output *blobs_of, struct err *);
	void (*free)(struct output *); /* frees itself too */
};

struct output {
	const struct output_ops *ops;
	struct scratch *scratch;
	bool needs_sizes;  /* else layers that need them go to own files */
	bool shares;	   /* takes its blobs from another output */
	const char *blobs; /* the folder of its blobs, where it has one */
	/* Where it goes, of a registry: "https://HOST"; or NULL. */
	const char *registry, *repository;
	struct push *push;
	char said[120]; /* of the commit, for people */
	struct push_counts pushed;
};

int output_docker_archive_open(const struct output_target *target,
    struct scratch *scratch, struct output **out, struct err *e);
int output_oci_open(const struct output_target *target, struct scratch *scratch,
    struct output **out, struct err *e);
int output_oci_archive_open(const struct output_target *target,
    struct scratch *scratch, struct output **out, struct err *e);
int output_registry_open(const struct output_target *target,
    struct scratch *scratch, struct output **out, struct err *e);

#endif
