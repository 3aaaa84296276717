#include "closure/closure_text.h"

#include <string.h>

#include "closure/closure_draft.h"
#include "closure/closure_input.h"
#include "err.h"
#include "own.h"

struct reader {
	struct closure_input *in;
	struct closure_draft draft;
	uint64_t line_no; /* of the line read last */
	bool classic;
};

static void
reader_close(struct reader *r)
{
	closure_draft_free(&r->draft);
}

/* 1, 0 at the end, -1. */
static int
next_line(struct reader *r, struct closure_text *line, struct err *e)
{
	r->line_no++;
	return closure_input_line(r->in, line, e);
}

/* A line that a record that has begun needs. */
static int
need_line(struct reader *r, const char *what, struct closure_text *line,
    struct err *e)
{
	int rc = next_line(r, line, e);

	if (rc == 0)
		return err_set(e, ERR_USAGE, 0,
		    "the file ends where %s is wanted: truncated?", what);
	return rc < 0 ? -1 : 0;
}

static int
get_number(const struct closure_text *line, uint64_t max, const char *what,
    uint64_t *out, struct err *e)
{
	char shown[CLOSURE_SHOWN_MAX];
	bool ok = line->len > 0;
	uint64_t v = 0;

	for (size_t i = 0; i < line->len && ok; i++) {
		ok = line->s[i] >= '0' && line->s[i] <= '9' && v <= max;
		v = v * 10 + (uint64_t)(line->s[i] - '0');
	}
	if (!ok || v > max)
		return err_set(e, ERR_USAGE, 0,
		    "%s is wanted, from 0 to %llu, not '%s'", what,
		    (unsigned long long)max, closure_text_show(line, shown));
	*out = v;
	return 0;
}

static int
read_hash_and_size(struct reader *r, struct err *e)
{
	char shown[CLOSURE_SHOWN_MAX];
	struct closure_entry *entry = &r->draft.entry;
	struct closure_text line;

	if (need_line(r, "a narHash", &line, e) < 0)
		return -1;
	if (!digest_from_nix(line.s, line.len, &entry->nar_hash))
		return err_set(e, ERR_USAGE, 0,
		    "a narHash (SHA-256 as Nix writes it) is wanted, not '%s'",
		    closure_text_show(&line, shown));
	if (need_line(r, "a narSize", &line, e) < 0 ||
	    get_number(&line, CLOSURE_NAR_SIZE_MAX, "a narSize",
		&entry->nar_size, e) < 0)
		return -1;
	entry->has_hash = entry->has_size = true;
	return 0;
}

/* All of a record after its path. */
static int
read_record(struct reader *r, struct err *e)
{
	char shown[CLOSURE_SHOWN_MAX];
	struct closure_text line;
	uint64_t n = 0;

	if (!r->classic && read_hash_and_size(r, e) < 0)
		return -1;
	if (need_line(r, "a deriver or an empty line", &line, e) < 0)
		return -1;
	if (line.len > 0 && line.s[0] != '/')
		return err_set(e, ERR_USAGE, 0,
		    "a deriver or an empty line is wanted, not '%s'",
		    closure_text_show(&line, shown));
	if (need_line(r, "the number of references", &line, e) < 0 ||
	    get_number(
		&line, CLOSURE_REFS_MAX, "the number of references", &n, e) < 0)
		return -1;
	for (; n > 0; n--) {
		if (need_line(r, "a reference", &line, e) < 0)
			return -1;
		if (line.len == 0 || line.s[0] != '/')
			return err_set(e, ERR_USAGE, 0,
			    "a reference is wanted, not '%s'",
			    closure_text_show(&line, shown));
		if (closure_draft_ref(&r->draft, &line, e) < 0)
			return -1;
	}
	return 0;
}

/* Looks at the second line, without taking anything. */
static int
detect(struct reader *r, struct err *e)
{
	struct closure_input *in = r->in;
	char *end, *second;
	int more = 1;

	/* Two lines of a closure are far shorter than this. */
	while (more > 0 && in->len - in->pos < CLOSURE_INPUT_TOKEN_MAX)
		if ((more = closure_input_more(in, e)) < 0)
			return -1;
	end = memchr(in->buf + in->pos, '\n', in->len - in->pos);
	if (end == NULL || (second = end + 1) == in->buf + in->len)
		return 0;
	r->classic = *second == '\n' || *second == '/';
	return 0;
}

static int
read_records(struct reader *r, struct closure_builder *b, uint64_t *record,
    struct err *e)
{
	struct closure_text line;
	int rc;

	for (;;) {
		if ((rc = next_line(r, &line, e)) <= 0)
			return rc;
		*record = r->line_no;
		closure_draft_clear(&r->draft);
		if (line.len == 0 || line.s[0] != '/')
			return err_set(
			    e, ERR_USAGE, 0, "a store path is wanted here");
		if (closure_draft_path(&r->draft, &line, e) < 0 ||
		    read_record(r, e) < 0)
			return -1;
		if (closure_draft_add(&r->draft, b, e) < 0) {
			r->line_no = *record;
			return -1;
		}
	}
}

int
closure_text_read(
    struct closure_input *in, struct closure_builder *b, struct err *e)
{
	AUTO(reader_close) struct reader r = {.in = in};
	uint64_t record = 0;

	if (detect(&r, e) < 0)
		return -1;
	if (read_records(&r, b, &record, e) < 0)
		return err_ctx(e, "line %llu", (unsigned long long)r.line_no);
	return 0;
}
