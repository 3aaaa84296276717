/*
 * What is known of a layer, as an OCI artifact: a manifest that names the blob
 * as its only layer, so that the registry keeps it, and has the record among
 * its annotations.  Pure.
 */
#ifndef SHARED_RECORD_H
#define SHARED_RECORD_H

#include <stdbool.h>
#include <stddef.h>

#include "digest.h"

struct err;
struct layer_record;
struct layer_result;

#define SHARED_RECORD_MAX ((size_t)16 << 10) /* bytes */
#define SHARED_RECORD_TYPE "application/vnd.quarry.layer.v1+json"
#define SHARED_RECORD_EMPTY "{}" /* the config: OCI's empty blob */

/* Under which it is: "layer-" and the key in hexadecimal, with its NUL. */
#define SHARED_RECORD_TAG_SIZE (sizeof("layer-") + DIGEST_HEX_LEN)
void shared_record_tag(
    const struct digest *key, char out[static SHARED_RECORD_TAG_SIZE]);

/* media_type: of the blob.  *out is the caller's. */
int shared_record_print(const struct digest *key,
    const struct layer_record *record, const char *media_type, char **out,
    size_t *len, struct err *e);

/* false: it is no record, or not of this key and media type. */
bool shared_record_parse(const char *data, size_t len, const struct digest *key,
    const char *media_type, bool *verified, struct layer_result *out);

#endif
