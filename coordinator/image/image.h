/*
 * An image on its way: its layers, bottom first, then config and manifest.
 * Data without behaviour; build.c fills it step by step, image_json and the
 * outputs read it.  One thread.
 */
#ifndef IMAGE_H
#define IMAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <jansson.h>

#include "registry/image_format.h"
#include "layer_spec.h"

enum image_layer_kind { IMAGE_BASE, IMAGE_STORE, IMAGE_ROOT };

struct image_layer {
	enum image_layer_kind kind;
	/*
	 * What the history says of it: store paths; a base layer's name in
	 * its archive; the customisation layer's folder (or nothing).
	 * The strings are borrowed, the array is the image's.
	 */
	const char **paths;
	size_t n_paths;
	const char *media_type; /* of the blob, as OCI has it; static */
	/* A file that holds the blob: of the base, of a known one; borrowed. */
	const char *file;
	/* Registry ("https://HOST") and repository that have it, or NULL. */
	const char *registry, *repository;
	bool remote; /* they alone have it */
	struct layer_result result;
	char worker[64]; /* who made it: "HOST/PID", "" for base layers */
	double seconds;	 /* from dispatch to result */
	bool cached;	 /* it was made before */
};

struct image {
	/* From the request; borrowed. */
	const char *name;
	const char *tag; /* NULL until known: then the ID's first 32 digits */
	const char *created; /* ISO 8601 with offset, as it is written */
	const char *architecture, *os;
	const json_t *config;	   /* an object */
	const json_t *base_config; /* the base image's "config", or NULL */
	int64_t mtime;
	enum image_format format; /* of the manifest */

	struct image_layer *layer;
	size_t n_layers;

	/* Made by image_json once all results are in; the image's own. */
	char *config_json;
	size_t config_len;
	struct digest id; /* SHA-256 of config_json */
	char *manifest_json;
	size_t manifest_len;
	struct digest manifest_digest;
	char default_tag[33];
};

#endif
