/*
 * The requests of a batch: an array of them, or JSON lines.  An array that is
 * no JSON is refused as a whole, before any work, and so are lines of which
 * none is an object; else what is wrong with one request, or line, is its own.
 * Owns its documents; one thread.
 */
#ifndef BATCH_FILE_H
#define BATCH_FILE_H

#include <stddef.h>

#include <jansson.h>

struct err;

#define BATCH_REQUESTS_MAX ((size_t)100000)
#define BATCH_OUTPUTS_MAX 8 /* of one image */

struct batch_entry {
	json_t *doc;	 /* NULL: it is no JSON, */
	char *fault;	 /* for this reason */
	char title[256]; /* "FILE: line 3", "FILE: request 3" */
};

struct batch_file {
	struct batch_entry *entry;
	size_t n, room;
};

/* name: the file, or "-" for standard input.  ERR_USAGE. */
int batch_file_read(const char *name, struct batch_file **out, struct err *e);
/* The same from memory. */
int batch_file_parse(const char *name, const char *data, size_t len,
    struct batch_file **out, struct err *e);
void batch_file_free(struct batch_file *f);
void batch_file_freep(struct batch_file **f);

/* What a request has here beside what `quarry build` takes. */
struct batch_extra {
	char *closure; /* or NULL */
	char *to[BATCH_OUTPUTS_MAX];
	size_t n_to;
};

/* Takes "closure" and "to" out of the document.  ERR_USAGE. */
int batch_extra_take(json_t *doc, struct batch_extra *out, struct err *e);
void batch_extra_clear(struct batch_extra *x);

#endif
