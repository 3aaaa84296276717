/*
 * Image names and tags, held against what registries and engines take:
 * [HOST[:PORT]/]COMPONENT[/COMPONENT...], and a tag.  Pure.
 */
#ifndef IMAGE_NAME_H
#define IMAGE_NAME_H

#include <stddef.h>

struct err;

#define IMAGE_NAME_MAX 255
#define IMAGE_TAG_MAX 128

/* ERR_USAGE says what is wrong and, where it can, what would do. */
int image_name_check(const char *name, struct err *e);
int image_tag_check(const char *tag, struct err *e);

/* Bytes of the HOST[:PORT] that name starts with; 0 if it has none. */
size_t image_name_host_len(const char *name);

#endif
