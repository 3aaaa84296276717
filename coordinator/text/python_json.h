/*
 * Text as Python writes it: json.dumps(value, indent=4) and repr() of strings
 * and lists of strings.  Bytes that are not UTF-8 are what Python makes of
 * them in file names: surrogates U+DC80 to U+DCFF.  Writes to a stream (an
 * open_memstream, say), whose error the caller looks at; no locale but "C".
 */
#ifndef PYTHON_JSON_H
#define PYTHON_JSON_H

#include <stddef.h>
#include <stdio.h>

#include <jansson.h>

void python_json_put(FILE *f, const json_t *value);

/* "['a', 'b']"; what Python can print stays as it is, in UTF-8. */
void python_json_put_repr(FILE *f, const char *const *texts, size_t n);

#endif
