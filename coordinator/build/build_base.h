/*
 * The layers of a base image that is in a registry: they stay there where all
 * outputs can do with that, else they are fetched, once.  For build*.c.
 */
#ifndef BUILD_BASE_H
#define BUILD_BASE_H

#include <stdbool.h>

struct build;
struct err;

/* Whether no output needs the bytes of what is in this registry. */
bool build_base_stays(const struct build *b, const char *registry);

/* The image's base layers have files then, if any output needs them. */
int build_base_fetch(struct build *b, struct err *e);

#endif
