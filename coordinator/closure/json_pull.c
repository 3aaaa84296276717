#include "closure/json_pull.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "closure/closure.h"
#include "closure/closure_input.h"
#include "err.h"
#include "closure/json_scan.h"

void
json_pull_init(struct json_pull *p, struct closure_input *in)
{
	memset(p, 0, sizeof(*p));
	p->in = in;
}

void
json_pull_free(struct json_pull *p)
{
	free(p->key);
	p->key = NULL;
}

/* *c is the next byte that is not white space, or -1 at the end. */
static int
skip_space(struct json_pull *p, int *c, struct err *e)
{
	struct closure_input *in = p->in;
	int rc;

	for (;;) {
		for (; in->pos < in->len; in->pos++) {
			*c = (unsigned char)in->buf[in->pos];
			if (*c > ' ' ||
			    (*c != ' ' && *c != '\n' && *c != '\t' &&
				*c != '\r'))
				return 0;
		}
		if ((rc = closure_input_more(in, e)) < 0)
			return -1;
		if (rc == 0) {
			*c = -1;
			return 0;
		}
	}
}

int
json_pull_peek(struct json_pull *p, enum json_kind *kind, struct err *e)
{
	int c;

	if (skip_space(p, &c, e) < 0)
		return -1;
	if (c == '"')
		*kind = JSON_STRING;
	else if (c == '{')
		*kind = JSON_OBJECT;
	else if (c == '[')
		*kind = JSON_ARRAY;
	else if (c == '-' || (c >= '0' && c <= '9'))
		*kind = JSON_NUMBER;
	else if (c == 't' || c == 'f')
		*kind = JSON_BOOL;
	else if (c == 'n')
		*kind = JSON_NULL;
	else if (c < 0)
		return json_fail_end(p->in, e);
	else
		return json_fail_here(
		    p->in, e, "not JSON: a value is wanted here");
	return 0;
}

int
json_pull_enter(struct json_pull *p, struct err *e)
{
	if (p->depth == JSON_DEPTH_MAX)
		return json_fail(e, closure_input_at(p->in),
		    "nested deeper than %d", JSON_DEPTH_MAX);
	p->level[++p->depth] = (struct json_level){
	    .is_object = p->in->buf[p->in->pos] == '{',
	    .first_key = p->n_keys,
	};
	p->in->pos++;
	return 0;
}

void
json_pull_keys_elsewhere(struct json_pull *p)
{
	p->level[p->depth].keys_elsewhere = true;
}

static int
compare_u64(const void *pa, const void *pb)
{
	uint64_t a, b;

	memcpy(&a, pa, sizeof(a));
	memcpy(&b, pb, sizeof(b));
	return a < b ? -1 : a > b;
}

/* Few keys are compared as they come, many at the object's end. */
#define KEYS_FEW 16

static int
note_key(struct json_pull *p, const struct closure_text *key, uint64_t at,
    struct err *e)
{
	size_t first = p->level[p->depth].first_key;
	uint64_t h = 0xcbf29ce484222325U;
	char shown[CLOSURE_SHOWN_MAX];

	for (size_t i = 0; i < key->len; i++)
		h = (h ^ (unsigned char)key->s[i]) * 0x100000001b3U;
	if (p->n_keys - first < KEYS_FEW)
		for (size_t i = first; i < p->n_keys; i++)
			if (p->key[i] == h)
				return json_fail(e, at,
				    "the key \"%s\" for the second time",
				    closure_text_show(key, shown));
	if (p->n_keys == p->cap_keys) {
		size_t n = p->cap_keys + p->cap_keys / 2 + 64;
		uint64_t *mem = reallocarray(p->key, n, sizeof(*mem));

		if (mem == NULL)
			return err_set(
			    e, ERR_FATAL, 0, "closure: out of memory");
		p->key = mem;
		p->cap_keys = n;
	}
	p->key[p->n_keys++] = h;
	return 0;
}

static int
leave(struct json_pull *p, struct err *e)
{
	struct json_level *level = &p->level[p->depth];
	uint64_t *key;
	size_t n = p->n_keys - level->first_key;

	if (n > KEYS_FEW) {
		key = p->key + level->first_key;
		qsort(key, n, sizeof(*key), compare_u64);
		for (size_t i = 1; i < n; i++)
			if (key[i] == key[i - 1])
				return json_fail_here(p->in, e,
				    "the object that ends here has a key "
				    "twice");
	}
	p->n_keys = level->first_key;
	p->in->pos++;
	p->depth--;
	return 0;
}

int
json_pull_more(struct json_pull *p, bool *more, struct err *e)
{
	struct json_level *level = &p->level[p->depth];
	int c;

	assert(p->depth > 0);
	if (skip_space(p, &c, e) < 0)
		return -1;
	if (c < 0)
		return json_fail_end(p->in, e);
	if (c == (level->is_object ? '}' : ']')) {
		*more = false;
		return leave(p, e);
	}
	*more = true;
	if (level->started) {
		if (c != ',')
			return json_fail_here(p->in, e,
			    level->is_object
				? "not JSON: ',' or '}' is wanted"
				: "not JSON: ',' or ']' is wanted");
		p->in->pos++;
	}
	level->started = true;
	return 0;
}

int
json_pull_key(struct json_pull *p, struct closure_text *key, struct err *e)
{
	uint64_t at;
	size_t start;
	int c;

	if (skip_space(p, &c, e) < 0)
		return -1;
	if (c < 0)
		return json_fail_end(p->in, e);
	if (c != '"')
		return json_fail_here(
		    p->in, e, "not JSON: a key is wanted here");
	at = closure_input_at(p->in);
	if (json_scan_string(p->in, key, e) < 0)
		return -1;
	if (!p->level[p->depth].keys_elsewhere && note_key(p, key, at, e) < 0)
		return -1;
	/* Reading on to the colon may move the window; the key goes along. */
	start = (size_t)(key->s - p->in->buf);
	p->in->mark = start;
	if (skip_space(p, &c, e) < 0)
		return -1;
	key->s = p->in->buf + p->in->mark;
	p->in->mark = CLOSURE_INPUT_NO_MARK;
	if (c < 0)
		return json_fail_end(p->in, e);
	if (c != ':')
		return json_fail_here(
		    p->in, e, "not JSON: ':' is wanted after a key");
	p->in->pos++;
	return 0;
}

int
json_pull_string(struct json_pull *p, struct closure_text *out, struct err *e)
{
	return json_scan_string(p->in, out, e);
}

int
json_pull_number(struct json_pull *p, struct closure_text *out, struct err *e)
{
	return json_scan_number(p->in, out, e);
}

int
json_pull_bool(struct json_pull *p, bool *out, struct err *e)
{
	*out = p->in->buf[p->in->pos] == 't';
	return json_scan_word(p->in, *out ? "true" : "false", e);
}

/* Takes a scalar or goes into an array or object. */
static int
skip_step(struct json_pull *p, struct err *e)
{
	struct closure_text text;
	enum json_kind kind = JSON_NULL;
	bool b;

	if (json_pull_peek(p, &kind, e) < 0)
		return -1;
	switch (kind) {
	case JSON_OBJECT:
	case JSON_ARRAY:
		return json_pull_enter(p, e);
	case JSON_STRING:
		return json_scan_string(p->in, NULL, e);
	case JSON_NUMBER:
		return json_scan_number(p->in, &text, e);
	case JSON_BOOL:
		return json_pull_bool(p, &b, e);
	case JSON_NULL:
		break;
	}
	return json_scan_word(p->in, "null", e);
}

int
json_pull_skip_rest(struct json_pull *p, unsigned depth, struct err *e)
{
	struct closure_text key;
	bool more = false;

	while (p->depth >= depth) {
		if (json_pull_more(p, &more, e) < 0)
			return -1;
		if (!more)
			continue;
		if (p->level[p->depth].is_object &&
		    json_pull_key(p, &key, e) < 0)
			return -1;
		if (skip_step(p, e) < 0)
			return -1;
	}
	return 0;
}

int
json_pull_skip(struct json_pull *p, struct err *e)
{
	unsigned depth = p->depth;

	if (skip_step(p, e) < 0)
		return -1;
	return json_pull_skip_rest(p, depth + 1, e);
}

int
json_pull_finish(struct json_pull *p, struct err *e)
{
	int c;

	if (skip_space(p, &c, e) < 0)
		return -1;
	if (c >= 0)
		return json_fail_here(
		    p->in, e, "something follows the document");
	return 0;
}
