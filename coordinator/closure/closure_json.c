#include "closure/closure_json.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "closure/closure_draft.h"
#include "closure/closure_input.h"
#include "err.h"
#include "closure/json_pull.h"
#include "closure/json_scan.h"
#include "own.h"
#include "store_path.h"

enum field {
	FIELD_OTHER = 0,
	FIELD_PATH = 1,
	FIELD_HASH = 2,
	FIELD_SIZE = 4,
	FIELD_REFS = 8,
	FIELD_VALID = 16
};

struct reader {
	struct json_pull p;
	struct closure_builder *b;
	const char *store_dir;
	struct closure_draft draft;
	uint64_t entry_at;
	unsigned seen; /* fields of this entry, of whatever type */
	bool keyed;    /* the path is the key that held the entry */
	bool invalid;  /* Nix says that it does not have the path */
	/*
	 * The first wrong value of this entry.  It is an error only once it is
	 * clear that the object is an entry at all: .attrs.json holds others.
	 */
	uint64_t fault_at;
	char fault[ERR_TEXT_MAX / 2];
	bool found, found_map;
	char file_store_dir[STORE_PATH_MAX];
	uint64_t file_store_dir_at;
};

static void
reader_close(struct reader *r)
{
	json_pull_free(&r->p);
	closure_draft_free(&r->draft);
}

static bool
text_is(const struct closure_text *t, const char *s)
{
	return t->len == strlen(s) && memcmp(t->s, s, t->len) == 0;
}

static enum field
field_of(const struct closure_text *key)
{
	if (text_is(key, "path"))
		return FIELD_PATH;
	if (text_is(key, "narHash"))
		return FIELD_HASH;
	if (text_is(key, "narSize"))
		return FIELD_SIZE;
	if (text_is(key, "references"))
		return FIELD_REFS;
	return text_is(key, "valid") ? FIELD_VALID : FIELD_OTHER;
}

/* Whether a key or a value is meant as a store path, even as a bad one. */
static bool
like_path(const struct closure_text *t)
{
	return t->len > 0 &&
	    (t->s[0] == '/' || store_path_base_len(t->s, t->len) == t->len);
}

__attribute__((format(printf, 3, 4))) static void
fault(struct reader *r, uint64_t at, const char *fmt, ...)
{
	va_list ap;

	if (r->fault[0] != '\0')
		return;
	r->fault_at = at;
	va_start(ap, fmt);
	vsnprintf(r->fault, sizeof(r->fault), fmt, ap);
	va_end(ap);
}

/* A value of the wanted kind, or a fault that names what and *taken false. */
static int
want(struct reader *r, enum json_kind wanted, const char *what, bool *taken,
    uint64_t *at, struct err *e)
{
	enum json_kind kind;

	if (json_pull_peek(&r->p, &kind, e) < 0)
		return -1;
	*at = closure_input_at(r->p.in);
	*taken = kind == wanted;
	if (*taken)
		return 0;
	fault(r, *at, "%s is wanted", what);
	return json_pull_skip(&r->p, e);
}

/* The same store path, one perhaps without the store directory. */
static bool
same_path(const struct closure_text *a, const struct closure_text *b)
{
	const struct closure_text *longer = a->len > b->len ? a : b;
	const struct closure_text *shorter = longer == a ? b : a;
	size_t skip = longer->len - shorter->len;

	return shorter->len > 0 &&
	    memcmp(longer->s + skip, shorter->s, shorter->len) == 0 &&
	    (skip == 0 || (longer->s[skip - 1] == '/' && shorter->s[0] != '/'));
}

static int
read_path(struct reader *r, struct err *e)
{
	struct closure_text t, key = closure_draft_text(&r->draft);
	char shown[CLOSURE_SHOWN_MAX];
	uint64_t at;
	bool taken;

	if (want(r, JSON_STRING, "path: a string", &taken, &at, e) < 0)
		return -1;
	if (!taken)
		return 0;
	if (json_pull_string(&r->p, &t, e) < 0)
		return -1;
	if (!r->keyed)
		return closure_draft_path(&r->draft, &t, e);
	if (!same_path(&key, &t))
		fault(r, at, "its path is %s", closure_text_show(&t, shown));
	return 0;
}

static void
take_hash(struct reader *r, const struct closure_text *t, uint64_t at)
{
	char shown[CLOSURE_SHOWN_MAX];

	if (digest_from_nix(t->s, t->len, &r->draft.entry.nar_hash))
		r->draft.entry.has_hash = true;
	else
		fault(r, at, "narHash %s is not a SHA-256 as Nix writes it",
		    closure_text_show(t, shown));
}

/* {"algorithm": "sha256", "format": ..., "hash": ...}; 44 digits: base 64. */
static int
read_hash_object(struct reader *r, uint64_t at, struct err *e)
{
	char sri[8 + 44] = "sha256-";
	struct closure_text key, t;
	enum json_kind kind;
	bool more, sha256 = false;

	if (json_pull_enter(&r->p, e) < 0)
		return -1;
	for (;;) {
		bool is_hash, is_algorithm;

		if (json_pull_more(&r->p, &more, e) < 0)
			return -1;
		if (!more)
			break;
		if (json_pull_key(&r->p, &key, e) < 0)
			return -1;
		is_hash = text_is(&key, "hash");
		is_algorithm = text_is(&key, "algorithm");
		if (json_pull_peek(&r->p, &kind, e) < 0)
			return -1;
		if (kind != JSON_STRING || (!is_hash && !is_algorithm)) {
			if (json_pull_skip(&r->p, e) < 0)
				return -1;
			continue;
		}
		if (json_pull_string(&r->p, &t, e) < 0)
			return -1;
		if (is_algorithm) {
			sha256 = text_is(&t, "sha256");
			continue;
		}
		if (t.len == 44) {
			memcpy(sri + 7, t.s, 44);
			t = (struct closure_text){sri, 7 + 44};
		}
		take_hash(r, &t, at);
	}
	if (!sha256 || !r->draft.entry.has_hash)
		fault(r, at, "narHash is not a SHA-256 as Nix writes it");
	return 0;
}

static int
read_hash(struct reader *r, struct err *e)
{
	struct closure_text t;
	enum json_kind kind;
	uint64_t at;
	bool taken;

	if (json_pull_peek(&r->p, &kind, e) < 0)
		return -1;
	if (kind == JSON_OBJECT)
		return read_hash_object(r, closure_input_at(r->p.in), e);
	if (want(r, JSON_STRING, "narHash: a string", &taken, &at, e) < 0)
		return -1;
	if (!taken)
		return 0;
	if (json_pull_string(&r->p, &t, e) < 0)
		return -1;
	take_hash(r, &t, at);
	return 0;
}

static int
read_size(struct reader *r, struct err *e)
{
	char shown[CLOSURE_SHOWN_MAX];
	struct closure_text t;
	uint64_t at, v = 0;
	bool taken, ok = true;

	if (want(r, JSON_NUMBER, "narSize: a number", &taken, &at, e) < 0)
		return -1;
	if (!taken)
		return 0;
	if (json_pull_number(&r->p, &t, e) < 0)
		return -1;
	for (size_t i = 0; i < t.len && ok; i++) {
		ok =
		    t.s[i] >= '0' && t.s[i] <= '9' && v <= CLOSURE_NAR_SIZE_MAX;
		v = v * 10 + (uint64_t)(t.s[i] - '0');
	}
	if (!ok || v > CLOSURE_NAR_SIZE_MAX)
		fault(r, at,
		    "narSize %s is not a whole number of bytes from 0 to %llu",
		    closure_text_show(&t, shown),
		    (unsigned long long)CLOSURE_NAR_SIZE_MAX);
	r->draft.entry.has_size = true;
	r->draft.entry.nar_size = v;
	return 0;
}

static int
read_refs(struct reader *r, struct err *e)
{
	struct closure_text t;
	uint64_t at;
	bool taken, more;

	if (want(r, JSON_ARRAY, "references: an array", &taken, &at, e) < 0)
		return -1;
	if (!taken)
		return 0;
	if (json_pull_enter(&r->p, e) < 0)
		return -1;
	for (;;) {
		if (json_pull_more(&r->p, &more, e) < 0)
			return -1;
		if (!more)
			return 0;
		if (want(r, JSON_STRING, "references: a store path as a string",
			&taken, &at, e) < 0)
			return -1;
		if (taken &&
		    (json_pull_string(&r->p, &t, e) < 0 ||
			closure_draft_ref(&r->draft, &t, e) < 0))
			return -1;
	}
}

static int
read_valid(struct reader *r, struct err *e)
{
	bool taken, valid;
	uint64_t at;

	if (want(r, JSON_BOOL, "valid: true or false", &taken, &at, e) < 0)
		return -1;
	if (!taken)
		return 0;
	if (json_pull_bool(&r->p, &valid, e) < 0)
		return -1;
	r->invalid = !valid;
	return 0;
}

static int
read_field(struct reader *r, struct err *e)
{
	struct closure_text key;
	enum field field;

	if (json_pull_key(&r->p, &key, e) < 0)
		return -1;
	field = field_of(&key);
	r->seen |= field;
	switch (field) {
	case FIELD_PATH:
		return read_path(r, e);
	case FIELD_HASH:
		return read_hash(r, e);
	case FIELD_SIZE:
		return read_size(r, e);
	case FIELD_REFS:
		return read_refs(r, e);
	case FIELD_VALID:
		return read_valid(r, e);
	case FIELD_OTHER:
		break;
	}
	return json_pull_skip(&r->p, e);
}

/* Reads the object that is next; key is the path that holds it, or NULL. */
static int
read_entry(struct reader *r, const struct closure_text *key, struct err *e)
{
	enum json_kind kind;
	bool more;

	closure_draft_clear(&r->draft);
	r->seen = 0;
	r->fault[0] = '\0';
	r->invalid = false;
	r->keyed = key != NULL;
	if (key != NULL && closure_draft_path(&r->draft, key, e) < 0)
		return -1;
	if (json_pull_peek(&r->p, &kind, e) < 0)
		return -1;
	r->entry_at = closure_input_at(r->p.in);
	if (r->keyed && kind == JSON_NULL) {
		r->invalid = true;
		return json_pull_skip(&r->p, e);
	}
	if (kind != JSON_OBJECT) {
		fault(r, r->entry_at, "not an object that describes a path");
		return json_pull_skip(&r->p, e);
	}
	if (json_pull_enter(&r->p, e) < 0)
		return -1;
	for (;;) {
		if (json_pull_more(&r->p, &more, e) < 0)
			return -1;
		if (!more)
			return 0;
		if (read_field(r, e) < 0)
			return -1;
	}
}

/* Whether what was read is one path of a closure, right or wrong. */
static bool
like_entry(const struct reader *r)
{
	struct closure_text path = closure_draft_text(&r->draft);

	return like_path(&path) &&
	    (r->invalid ||
		(r->seen & (FIELD_HASH | FIELD_SIZE | FIELD_REFS)) != 0);
}

/* What is wrong with the entry that was read, if anything. */
static int
check_entry(const struct reader *r, struct err *e)
{
	const unsigned needed = FIELD_SIZE | FIELD_REFS;
	struct closure_text path = closure_draft_text(&r->draft);
	char shown[CLOSURE_SHOWN_MAX];

	if (r->fault[0] == '\0' && !r->invalid &&
	    (r->seen & needed) == needed && path.len > 0)
		return 0;
	closure_text_show(&path, shown);
	if (r->fault[0] != '\0')
		return json_fail(e, r->fault_at, "%s%s%s", shown,
		    path.len > 0 ? ": " : "", r->fault);
	if (path.len == 0)
		return json_fail(e, r->entry_at,
		    r->keyed || (r->seen & FIELD_PATH) != 0
			? "an empty store path"
			: "an object without \"path\"");
	if (r->invalid)
		return json_fail(e, r->entry_at,
		    "%s: Nix says that this path is not valid; build or fetch "
		    "it first",
		    shown);
	return json_fail(e, r->entry_at, "%s: no \"%s\"", shown,
	    (r->seen & FIELD_SIZE) == 0 ? "narSize" : "references");
}

static int
add_entry(struct reader *r, struct err *e)
{
	if (check_entry(r, e) < 0)
		return -1;
	if (closure_draft_add(&r->draft, r->b, e) < 0)
		return err_ctx(e, "byte %llu", (unsigned long long)r->entry_at);
	return 0;
}

/* The rest of an array of entries. */
static int
read_array(struct reader *r, struct err *e)
{
	bool more;

	for (;;) {
		if (json_pull_more(&r->p, &more, e) < 0)
			return -1;
		if (!more)
			return 0;
		if (read_entry(r, NULL, e) < 0 || add_entry(r, e) < 0)
			return -1;
	}
}

/* The rest of an object keyed by store path. */
static int
read_map(struct reader *r, struct err *e)
{
	struct closure_text key;
	bool more;

	for (;;) {
		if (json_pull_more(&r->p, &more, e) < 0)
			return -1;
		if (!more)
			return 0;
		if (json_pull_key(&r->p, &key, e) < 0 ||
		    read_entry(r, &key, e) < 0 || add_entry(r, e) < 0)
			return -1;
	}
}

/*
 * An array or object under a key: a graph if its first element is an entry,
 * else skipped.
 */
static int
try_graph(struct reader *r, bool is_map, struct err *e)
{
	struct closure_text key = {"", 0};
	bool more;

	if (json_pull_enter(&r->p, e) < 0 ||
	    json_pull_more(&r->p, &more, e) < 0)
		return -1;
	if (!more)
		return 0;
	if (is_map && json_pull_key(&r->p, &key, e) < 0)
		return -1;
	if (read_entry(r, is_map ? &key : NULL, e) < 0)
		return -1;
	if (!like_entry(r))
		return json_pull_skip_rest(&r->p, r->p.depth, e);
	closure_builder_next_graph(r->b);
	r->found = true;
	r->found_map |= is_map;
	if (add_entry(r, e) < 0)
		return -1;
	if (!is_map)
		return read_array(r, e);
	json_pull_keys_elsewhere(&r->p);
	return read_map(r, e);
}

static int
read_store_dir(struct reader *r, struct err *e)
{
	struct closure_text t;

	r->file_store_dir_at = closure_input_at(r->p.in);
	if (json_pull_string(&r->p, &t, e) < 0)
		return -1;
	if (t.len < sizeof(r->file_store_dir) && t.len > 0 && t.s[0] == '/' &&
	    memchr(t.s, '\0', t.len) == NULL) {
		memcpy(r->file_store_dir, t.s, t.len);
		r->file_store_dir[t.len] = '\0';
	}
	return 0;
}

/* An object that holds graphs under some of its keys; the first was read. */
static int
read_wrapper(struct reader *r, struct closure_text key, struct err *e)
{
	enum json_kind kind;
	bool more = true;
	int rc;

	while (more) {
		bool is_store_dir = text_is(&key, "storeDir");

		if (json_pull_peek(&r->p, &kind, e) < 0)
			return -1;
		if (kind == JSON_ARRAY || kind == JSON_OBJECT)
			rc = try_graph(r, kind == JSON_OBJECT, e);
		else if (kind == JSON_STRING && is_store_dir)
			rc = read_store_dir(r, e);
		else
			rc = json_pull_skip(&r->p, e);
		if (rc < 0 || json_pull_more(&r->p, &more, e) < 0 ||
		    (more && json_pull_key(&r->p, &key, e) < 0))
			return -1;
	}
	if (!r->found)
		return err_set(e, ERR_USAGE, 0,
		    "no closure in this JSON: no key holds an array or object "
		    "of store paths with narSize and references");
	if (r->found_map && r->file_store_dir[0] != '\0' &&
	    strcmp(r->file_store_dir, r->store_dir) != 0)
		return json_fail(e, r->file_store_dir_at,
		    "made for the store directory %.200s, not %s",
		    r->file_store_dir, r->store_dir);
	return 0;
}

static int
read_document(struct reader *r, struct err *e)
{
	enum json_kind kind;
	struct closure_text key;
	bool more;

	if (json_pull_peek(&r->p, &kind, e) < 0)
		return -1;
	if (kind != JSON_ARRAY && kind != JSON_OBJECT)
		return json_fail_here(
		    r->p.in, e, "not a closure: an array or object is wanted");
	if (json_pull_enter(&r->p, e) < 0)
		return -1;
	if (kind == JSON_ARRAY)
		return read_array(r, e);
	if (json_pull_more(&r->p, &more, e) < 0)
		return -1;
	if (!more)
		return 0;
	if (json_pull_key(&r->p, &key, e) < 0)
		return -1;
	if (!like_path(&key))
		return read_wrapper(r, key, e);
	json_pull_keys_elsewhere(&r->p);
	if (read_entry(r, &key, e) < 0 || add_entry(r, e) < 0)
		return -1;
	return read_map(r, e);
}

int
closure_json_read(struct closure_input *in, const char *store_dir,
    struct closure_builder *b, struct err *e)
{
	AUTO(reader_close)
	struct reader r = {.b = b, .store_dir = store_dir};

	json_pull_init(&r.p, in);
	if (read_document(&r, e) < 0)
		return -1;
	return json_pull_finish(&r.p, e);
}
