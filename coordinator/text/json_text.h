/*
 * Texts for JSON, which is UTF-8, as names of files need not be.  Any thread.
 */
#ifndef JSON_TEXT_H
#define JSON_TEXT_H

#include <jansson.h>

/* The text; what is not UTF-8 with '?' in it.  NULL: out of memory. */
json_t *json_text(const char *text);

/* The same, and null for NULL. */
json_t *json_text_or_null(const char *text);

#endif
