/*
 * What all sources of a layer share in putting an entry into its tar.
 */
#ifndef LAYER_PUT_H
#define LAYER_PUT_H

#include "tar_header.h"

struct err;
struct layer_spec;
struct layer_tar;
struct look_ahead;
struct nar_hash;
struct tree_mark;

/* What all entries of a layer have in common. */
struct tar_entry layer_put_blank(
    const struct layer_spec *spec, enum tar_type type, const char *name);

/*
 * The content of the file at fd, which has to stay what its mark says; nar and
 * la as in layer_tar_content.  The error does not name the file.
 */
int layer_put_file(struct layer_tar *lt, int fd, const struct tree_mark *mark,
    struct nar_hash *nar, struct look_ahead *la, struct err *e);

#endif
