/*
 * A JSON document that a person wrote, read whole: limits first (jansson
 * recurses), then jansson, duplicate keys refused.  Not for closures, which
 * are too large for a tree.  Usable in any thread.
 */
#ifndef JSON_FILE_H
#define JSON_FILE_H

#include <stdbool.h>
#include <stddef.h>

#include <jansson.h>

struct err;

#define JSON_FILE_SIZE_MAX ((size_t)64 << 20)
#define JSON_FILE_DEPTH_MAX 64

/*
 * name: the file, or "-" for standard input.  The document is an object or an
 * array; *out is the caller's.  Errors are ERR_USAGE and name file and place.
 */
int json_file_read(const char *name, json_t **out, struct err *e);

/*
 * Its text, the caller's, not parsed yet; of a file that is too large one byte
 * more than is allowed.
 */
int json_file_text(const char *name, char **data, size_t *len, struct err *e);

/* The same from memory; name is what errors call it. */
int json_file_parse(const char *name, const char *data, size_t len,
    json_t **out, struct err *e);

/*
 * Whether brackets nest deeper than max; says nothing of what else is wrong.
 * For whoever hands a text to jansson, which recurses.
 */
bool json_file_too_deep(const char *data, size_t len, size_t max);

/* What errors call a file: its name, "standard input" for "-". */
const char *json_file_title(const char *name);

/* For AUTO. */
void json_file_decrefp(json_t **value);

/* "a string", "an object", ...; static. */
const char *json_file_type_name(const json_t *value);

#endif
