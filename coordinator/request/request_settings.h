/*
 * The settings of a request, one table for both kinds of request file and for
 * the command line: names, types, and what each does to the request.  Used by
 * request*.c alone; one thread.
 */
#ifndef REQUEST_SETTINGS_H
#define REQUEST_SETTINGS_H

#include <stdbool.h>

#include <jansson.h>

#include "text/iso_time.h"

struct err;
struct options;
struct request;

/* A request while it is read.  Borrows all but what request points to. */
struct request_in {
	struct request *request;
	struct iso_time now; /* the same one for created and mtime */
	bool has_now;
	struct iso_time created;
	bool has_created, has_mtime;
	const json_t *directories; /* read last: they need the owner */
};

enum request_kind { REQUEST_OURS = 1, REQUEST_REFERENCE = 2 };

/* All keys of a file's object; unknown ones and wrong types are errors. */
int request_settings_read(struct request_in *in, enum request_kind kind,
    const json_t *doc, struct err *e);

/* The command line's settings. */
int request_settings_override(
    struct request_in *in, const struct options *options, struct err *e);

/* Checks that value is an object without keys other than the n known ones. */
int request_settings_only(
    const json_t *value, const char *const *known, size_t n, struct err *e);

/* A user or group ID from a whole number, or from a string of digits. */
int request_settings_id(const json_t *value, uint64_t *out, struct err *e);

/* Appends copies of a list's strings (or of the one string). */
int request_settings_strings(
    const json_t *value, char ***list, size_t *n, struct err *e);

#endif
