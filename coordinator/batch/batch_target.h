/*
 * Where the images of a batch go: outputs as --to has them, in which "{name}"
 * and "{tag}" stand for what each image has.  Pure.
 */
#ifndef BATCH_TARGET_H
#define BATCH_TARGET_H

#include <stdbool.h>

struct err;

/*
 * *out is the caller's.  tag NULL: not known yet, "{tag}" stays as it is.
 * ERR_USAGE: another word in braces.
 */
int batch_target_expand(const char *template, const char *name, const char *tag,
    char **out, struct err *e);

bool batch_target_wants_tag(const char *template);

#endif
