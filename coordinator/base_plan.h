/*
 * Which files of a base image are its config and its layers, as its manifest
 * says: manifest.json of a docker-archive, or index.json of an OCI layout.
 * Owns its strings.
 */
#ifndef BASE_PLAN_H
#define BASE_PLAN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "digest.h"

struct base_files;
struct err;

struct base_ref {
	char *name;
	bool has_size, has_digest; /* what the manifest promises */
	uint64_t size;
	struct digest digest;
};

struct base_plan {
	struct base_ref config;
	struct base_ref *layer; /* bottom first */
	size_t n;
};

int base_plan_make(
    struct base_files *files, struct base_plan *out, struct err *e);
void base_plan_clear(struct base_plan *plan);

/* Checks the file that ref names: there, of that size, of that digest. */
int base_plan_check(
    struct base_files *files, const struct base_ref *ref, struct err *e);

#endif
