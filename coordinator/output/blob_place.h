/*
 * Where the bytes of one blob go as they come: hashed once, written to every
 * output that takes this form of the layer.  Blobs appear by blob_dir's rules,
 * and only when size and digest are what was said; a file's place in an
 * archive is not looked at before the archive is whole.  One thread.
 */
#ifndef BLOB_PLACE_H
#define BLOB_PLACE_H

#include <stddef.h>
#include <stdint.h>

#include "data_protocol.h"

struct blob_place;
struct blob_request;
struct digest;
struct err;
struct write_behind;

/*
 * Opens the outputs.  Copies what it needs of r; behind is borrowed, or NULL.
 * ERR_FATAL.
 */
int blob_place_new(const struct blob_request *r, enum data_form form,
    struct write_behind *behind, struct blob_place **out, struct err *e);
/* ERR_FATAL: an output cannot be written. */
int blob_place_write(
    struct blob_place *p, const void *data, size_t len, struct err *e);
/*
 * All has come.  ERR_PEER: other bytes than was said, and nothing appears;
 * ERR_FATAL: an output.
 */
int blob_place_commit(struct blob_place *p, struct err *e);
/* Gives up what was not committed. */
void blob_place_free(struct blob_place *p);
void blob_place_freep(struct blob_place **p);

/* Whether digest and size are those wanted; else ERR_PEER names both. */
int blob_place_compare(enum data_form form, const struct digest *want,
    uint64_t want_size, const struct digest *have, uint64_t have_size,
    struct err *e);

#endif
