/*
 * The --metadata-file: what was built, as JSON for programs.  One thread.
 */
#ifndef METADATA_H
#define METADATA_H

#include <stddef.h>

struct err;
struct image;
struct scratch;

/*
 * Whether file ("-" is standard output) can be written, so that a bad place
 * is known before the work.  ERR_USAGE.
 */
int metadata_check(const char *file, struct err *e);

/* The text, whose end is a newline.  seconds: of the whole build. */
int metadata_make(const struct image *image, double seconds, char **out,
    size_t *len, struct err *e);

/*
 * Writes it beside its place and renames it there; what is a stream (standard
 * output, a FIFO, a device) is written as it is.
 */
int metadata_put(const char *data, size_t len, const char *file,
    struct scratch *scratch, struct err *e);

/* What metadata_make makes. */
int metadata_write(const struct image *image, double seconds, const char *file,
    struct scratch *scratch, struct err *e);

#endif
