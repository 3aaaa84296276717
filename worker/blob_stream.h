/*
 * A layer's blob that goes into a registry while it is made, and touches no
 * disk: one part is filled while a thread of its own sends the one before, so
 * whoever makes the blob waits when the network is slower.  What fits one part
 * is sent once its digest is known, if it is not there.
 *
 * Memory: two parts, of REGISTRY_STREAM_PART bytes or as much as the registry
 * wants, REGISTRY_STREAM_PART_MAX at most.  One thread at a time calls.
 */
#ifndef BLOB_STREAM_H
#define BLOB_STREAM_H

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#include "layer_spec.h"

struct blob_stream;
struct digest;
struct err;
struct upload_place;

/*
 * All are borrowed.  *sending is true while a call waits for the registry,
 * which may be long, but not for ever: as registry.h has it.  ERR_RETRY.
 */
int blob_stream_new(struct upload_place *place, const atomic_bool *cancel,
    atomic_bool *sending, struct blob_stream **out, struct err *e);
/* Unless finished nothing is there; waits for what is on, which ends soon. */
void blob_stream_free(struct blob_stream *b);
void blob_stream_freep(struct blob_stream **b);

/* After a failure (ERR_RETRY), only blob_stream_end and _free follow. */
int blob_stream_write(
    struct blob_stream *b, const void *data, size_t len, struct err *e);
/* That was all: it is there then, as this. */
int blob_stream_finish(struct blob_stream *b, const struct digest *digest,
    uint64_t size, struct err *e);

/*
 * What has become of it.  LAYER_STREAM_NONE: it was given up, by cancel or for
 * reasons that are not the registry's.  *why becomes what has failed, if
 * anything did there.
 */
enum layer_stream blob_stream_end(struct blob_stream *b, struct err *why);

#endif
