/* An OCI image index over images of several platforms.  Pure. */
#ifndef INDEX_JSON_H
#define INDEX_JSON_H

#include <stddef.h>

struct digest;
struct err;
struct index_manifest;

/* ERR_USAGE: two are of one platform. */
int index_json_check(
    const struct index_manifest *const *manifest, size_t n, struct err *e);

/* In the order that they are in; *out is the caller's. */
int index_json_make(const struct index_manifest *const *manifest, size_t n,
    char **out, size_t *len, struct err *e);

/* index.json of a layout in which the index has this name. */
int index_json_layout(const struct digest *digest, size_t size,
    const char *name, char **out, size_t *len, struct err *e);

#endif
