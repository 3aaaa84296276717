/*
 * A strict pull parser for JSON (RFC 8259), used for closure files alone:
 * they are the one JSON here that is too large for a tree.  (For 60 MB with
 * 10^5 store paths jansson takes 0.7 s and 188 MiB; this reads it through a
 * window, element by element.)
 *
 * Refused beside bad grammar: invalid UTF-8, halves of surrogate pairs, the
 * same key twice in an object, anything after the document, and what the
 * limits below exclude.  Errors are ERR_USAGE and begin with the byte offset.
 *
 * The caller goes through the document: _peek tells the kind of the next
 * value, which _enter, _string, _number, _bool or _skip then takes.  In an
 * array or object _more must come before each element, and in an object _key
 * after it.  The input is borrowed; one thread.
 */
#ifndef JSON_PULL_H
#define JSON_PULL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct closure_input;
struct closure_text;
struct err;

#define JSON_DEPTH_MAX 64
/* Held strings, keys and numbers are at most CLOSURE_INPUT_TOKEN_MAX long. */

enum json_kind {
	JSON_OBJECT,
	JSON_ARRAY,
	JSON_STRING,
	JSON_NUMBER,
	JSON_BOOL,
	JSON_NULL
};

struct json_level {
	bool is_object, started;
	bool keys_elsewhere; /* the caller looks for keys that come twice */
	size_t first_key;    /* into json_pull.key */
};

struct json_pull {
	struct closure_input *in;
	unsigned depth;
	struct json_level level[JSON_DEPTH_MAX + 1];
	uint64_t *key; /* hashes of the keys of all open objects */
	size_t n_keys, cap_keys;
};

void json_pull_init(struct json_pull *p, struct closure_input *in);
void json_pull_free(struct json_pull *p);

/* Skips white space; *kind is the next value's. */
int json_pull_peek(struct json_pull *p, enum json_kind *kind, struct err *e);

/* Goes into the object or array that json_pull_peek told of. */
int json_pull_enter(struct json_pull *p, struct err *e);

/* Leaves keys of the object just entered out of the search for doubles. */
void json_pull_keys_elsewhere(struct json_pull *p);

/* Whether an element follows; if not, its object or array is left. */
int json_pull_more(struct json_pull *p, bool *more, struct err *e);

/* A key and its colon.  Texts are valid until the next call. */
int json_pull_key(struct json_pull *p, struct closure_text *key, struct err *e);
int json_pull_string(
    struct json_pull *p, struct closure_text *out, struct err *e);
/* The number as it is written; its grammar was checked. */
int json_pull_number(
    struct json_pull *p, struct closure_text *out, struct err *e);
int json_pull_bool(struct json_pull *p, bool *out, struct err *e);

/* The value that is next, whatever it is. */
int json_pull_skip(struct json_pull *p, struct err *e);

/* What is left of the object or array that was entered at this depth. */
int json_pull_skip_rest(struct json_pull *p, unsigned depth, struct err *e);

/* Nothing but white space may be left. */
int json_pull_finish(struct json_pull *p, struct err *e);

#endif
