/*
 * One path of a closure while a reader collects it from its file: copies of
 * what the file says, kept until closure_draft_add hands them to the builder.
 * Made by zeroing; reused for each path.  Belongs to one thread.
 */
#ifndef CLOSURE_DRAFT_H
#define CLOSURE_DRAFT_H

#include <stddef.h>

#include "closure/closure.h"

struct err;

struct closure_draft {
	struct closure_entry entry; /* path and refs are set by _add */
	char *path, *refs;
	size_t path_len, path_cap;
	size_t refs_len, refs_cap;
	struct closure_text *ref;
	size_t n_refs, cap_refs;
};

void closure_draft_free(struct closure_draft *d);

/* Empties it; what was allocated stays for the next path. */
void closure_draft_clear(struct closure_draft *d);

int closure_draft_path(
    struct closure_draft *d, const struct closure_text *t, struct err *e);
int closure_draft_ref(
    struct closure_draft *d, const struct closure_text *t, struct err *e);

/* The path as it is so far. */
struct closure_text closure_draft_text(const struct closure_draft *d);

int closure_draft_add(
    struct closure_draft *d, struct closure_builder *b, struct err *e);

#endif
