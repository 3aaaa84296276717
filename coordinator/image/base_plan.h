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
	const char *media_type; /* static, a layer's as OCI has it; or NULL */
	bool has_size, has_digest; /* what the manifest promises */
	uint64_t size;
	struct digest digest;
};

struct base_plan {
	struct base_ref manifest; /* of OCI; name NULL: there is none */
	struct base_ref config;
	struct base_ref *layer; /* bottom first */
	size_t n;
};

int base_plan_make(
    struct base_files *files, struct base_plan *out, struct err *e);
void base_plan_clear(struct base_plan *plan);

/* "blobs/sha256/HEX" */
#define BASE_BLOB_NAME_SIZE (sizeof("blobs/sha256/") + DIGEST_HEX_LEN)
void base_plan_blob_name(
    const struct digest *digest, char out[static BASE_BLOB_NAME_SIZE]);

/*
 * A registry is asked for the manifest or config that ref names; elsewhere it
 * is there or it is not.
 */
int base_plan_want(struct base_files *files, const struct base_ref *ref,
    bool manifest, struct err *e);

/* Checks the file that ref names: there, of that size, of that digest. */
int base_plan_check(
    struct base_files *files, const struct base_ref *ref, struct err *e);

#endif
