/*
 * A base image in a registry: its manifest (through an index) and its config
 * are fetched into a folder, as files of a layout.  Its layers stay where they
 * are until somebody needs their bytes.
 */
#ifndef BASE_REGISTRY_H
#define BASE_REGISTRY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct base_files;
struct base_ref;
struct base_registry;
struct digest;
struct err;
struct registry_options;

#define BASE_REGISTRY "docker://"

/*
 * name: HOST[:PORT]/REPOSITORY[:TAG|@DIGEST].  files: get an index.json that
 * names the manifest, and that; folder holds them and is borrowed.
 */
int base_registry_open(const char *name, const struct registry_options *push,
    const char *folder, struct base_files *files, struct base_registry **out,
    struct err *e);
void base_registry_free(struct base_registry *r);
void base_registry_freep(struct base_registry **r);

/* Which registry ("https://HOST[:PORT]") and repository; the registry's. */
const char *base_registry_base(const struct base_registry *r);
const char *base_registry_repo(const struct base_registry *r);

/* Gets a manifest, or a config, that the image names. */
int base_registry_want(struct base_registry *r, struct base_files *files,
    const struct base_ref *ref, bool manifest, struct err *e);

/*
 * Writes a layer into fd, or into the folder blobs by blob_dir's rules.  In any
 * thread.
 */
int base_registry_get(struct base_registry *r, const struct digest *digest,
    uint64_t size, int fd, struct err *e);
int base_registry_fetch(struct base_registry *r, const struct digest *digest,
    uint64_t size, const char *blobs, struct err *e);

#endif
