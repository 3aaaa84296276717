#include "closure/closure_draft.h"

#include <stdlib.h>
#include <string.h>

#include "err.h"

void
closure_draft_free(struct closure_draft *d)
{
	free(d->path);
	free(d->refs);
	free(d->ref);
	memset(d, 0, sizeof(*d));
}

void
closure_draft_clear(struct closure_draft *d)
{
	memset(&d->entry, 0, sizeof(d->entry));
	d->path_len = d->refs_len = d->n_refs = 0;
}

static int
append(char **buf, size_t *len, size_t *cap, const struct closure_text *t,
    struct err *e)
{
	if (t->len > *cap - *len) {
		size_t n = *cap + *cap / 2 + t->len + 256;
		char *mem = realloc(*buf, n);

		if (mem == NULL)
			return err_set(
			    e, ERR_FATAL, 0, "closure: out of memory");
		*buf = mem;
		*cap = n;
	}
	if (t->len > 0)
		memcpy(*buf + *len, t->s, t->len);
	*len += t->len;
	return 0;
}

int
closure_draft_path(
    struct closure_draft *d, const struct closure_text *t, struct err *e)
{
	d->path_len = 0;
	return append(&d->path, &d->path_len, &d->path_cap, t, e);
}

/* Their place is known only when the buffer has stopped growing. */
int
closure_draft_ref(
    struct closure_draft *d, const struct closure_text *t, struct err *e)
{
	if (d->n_refs == d->cap_refs) {
		size_t n = d->cap_refs + d->cap_refs / 2 + 32;
		struct closure_text *ref =
		    reallocarray(d->ref, n, sizeof(*ref));

		if (ref == NULL)
			return err_set(
			    e, ERR_FATAL, 0, "closure: out of memory");
		d->ref = ref;
		d->cap_refs = n;
	}
	d->ref[d->n_refs++].len = t->len;
	return append(&d->refs, &d->refs_len, &d->refs_cap, t, e);
}

struct closure_text
closure_draft_text(const struct closure_draft *d)
{
	return (struct closure_text){d->path, d->path_len};
}

int
closure_draft_add(
    struct closure_draft *d, struct closure_builder *b, struct err *e)
{
	const char *s = d->refs;

	for (size_t i = 0; i < d->n_refs; i++) {
		d->ref[i].s = s;
		if (d->ref[i].len > 0) /* all may be empty, and s NULL */
			s += d->ref[i].len;
	}
	d->entry.path = closure_draft_text(d);
	d->entry.refs = d->ref;
	d->entry.n_refs = d->n_refs;
	return closure_add(b, &d->entry, e);
}
