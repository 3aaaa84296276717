/*
 * The numbers of a snapshot, each with the names that it goes by: the one list
 * from which JSON is written and read and Prometheus' text is made.  For the
 * files of status alone.
 */
#ifndef STATUS_FIELDS_H
#define STATUS_FIELDS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct status;

struct status_field {
	const char *path;   /* in JSON: "jobs.queued" */
	size_t at;	    /* of its uint64_t in struct status */
	const char *metric; /* of the same name: one after the other */
	const char *label;  /* "reason=\"failed\"", or NULL */
	bool gauge;	    /* or else a counter */
	const char *help;
};

extern const struct status_field status_field[];
extern const size_t status_fields;

uint64_t status_get(const struct status *s, const struct status_field *f);
void status_set(struct status *s, const struct status_field *f, uint64_t v);

#endif
