#include "batch/batch_file.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "err.h"
#include "text/json_file.h"
#include "own.h"

#define BLANK " \t\r\n"

void
batch_file_free(struct batch_file *f)
{
	if (f == NULL)
		return;
	for (size_t i = 0; i < f->n; i++) {
		json_decref(f->entry[i].doc);
		free(f->entry[i].fault);
	}
	free(f->entry);
	free(f);
}

void
batch_file_freep(struct batch_file **f)
{
	batch_file_free(*f);
	*f = NULL;
}

/* Takes the document; NULL: fault says what is wrong. */
static int
add(struct batch_file *f, const char *title, json_t **doc, const char *fault,
    struct err *e)
{
	struct batch_entry *entry;

	if (f->n == BATCH_REQUESTS_MAX)
		return err_set(e, ERR_USAGE, 0,
		    "%.200s: a batch has at most %zu requests", title,
		    BATCH_REQUESTS_MAX);
	if (f->n == f->room) {
		size_t room = f->room == 0 ? 64 : 2 * f->room;

		entry = reallocarray(f->entry, room, sizeof(*entry));
		if (entry == NULL)
			return err_set(e, ERR_FATAL, errno, "requests");
		f->entry = entry;
		f->room = room;
	}
	entry = &f->entry[f->n];
	snprintf(entry->title, sizeof(entry->title), "%s", title);
	entry->fault = NULL;
	if (*doc == NULL && (entry->fault = strdup(fault)) == NULL)
		return err_set(e, ERR_FATAL, errno, "requests");
	entry->doc = STEAL(doc);
	f->n++;
	return 0;
}

static int
take_array(
    const char *title, const json_t *all, struct batch_file *f, struct err *e)
{
	char each[256];

	for (size_t i = 0; i < json_array_size(all); i++) {
		json_t *doc = json_incref(json_array_get(all, i));

		snprintf(
		    each, sizeof(each), "%.200s: request %zu", title, i + 1);
		if (add(f, each, &doc, NULL, e) < 0) {
			json_decref(doc);
			return -1;
		}
	}
	return 0;
}

/* Where in the line it is wrong: which line is known. */
static void
parse_line(const char *line, size_t len, json_t **out, struct err *why)
{
	json_error_t error;

	if (json_file_too_deep(line, len, JSON_FILE_DEPTH_MAX)) {
		err_set(why, ERR_USAGE, 0, "nested deeper than %d levels",
		    JSON_FILE_DEPTH_MAX);
		return;
	}
	*out = json_loadb(line, len, JSON_REJECT_DUPLICATES, &error);
	if (*out == NULL)
		err_set(why, ERR_USAGE, 0, "column %d: %s", error.column,
		    error.text);
}

/* A document over many lines, or no JSON at all. */
static int
none_is_one(const struct batch_file *f, struct err *e)
{
	const struct batch_entry *first = &f->entry[0];

	return err_set(e, ERR_USAGE, 0,
	    "one request a line is wanted, or an array of them: %s: %.300s",
	    first->title, first->doc == NULL ? first->fault : "no object");
}

static int
take_lines(const char *title, const char *data, size_t len,
    struct batch_file *f, struct err *e)
{
	const char *end = data + len, *next;
	char each[256];
	size_t line = 1;
	bool any = false;

	for (const char *at = data; at < end; at = next, line++) {
		AUTO(json_file_decrefp) json_t *doc = NULL;
		struct err why = ERR_INIT;
		const char *stop = memchr(at, '\n', (size_t)(end - at));

		next = stop != NULL ? stop + 1 : end;
		while (at < next && strchr(BLANK, *at) != NULL && *at != '\0')
			at++;
		if (at == next)
			continue;
		snprintf(each, sizeof(each), "%.200s: line %zu", title, line);
		parse_line(at, (size_t)(next - at), &doc, &why);
		any |= json_is_object(doc);
		if (add(f, each, &doc, why.text, e) < 0)
			return -1;
	}
	return f->n == 0 || any ? 0 : none_is_one(f, e);
}

int
batch_file_parse(const char *name, const char *data, size_t len,
    struct batch_file **out, struct err *e)
{
	AUTO(batch_file_freep) struct batch_file *f = calloc(1, sizeof(*f));
	AUTO(json_file_decrefp) json_t *all = NULL;
	const char *title = json_file_title(name);
	size_t at = 0;
	int rc;

	if (f == NULL)
		return err_set(e, ERR_FATAL, errno, "requests");
	if (len > JSON_FILE_SIZE_MAX)
		return err_set(e, ERR_USAGE, 0, "%.200s: larger than %zu MiB",
		    title, JSON_FILE_SIZE_MAX >> 20);
	while (at < len && data[at] != '\0' && strchr(BLANK, data[at]) != NULL)
		at++;
	if (at < len && data[at] == '[') {
		if (json_file_parse(name, data, len, &all, e) < 0)
			return -1;
		rc = take_array(title, all, f, e);
	} else {
		rc = take_lines(title, data, len, f, e);
	}
	if (rc < 0)
		return -1;
	if (f->n == 0)
		return err_set(
		    e, ERR_USAGE, 0, "%.200s: holds no request", title);
	*out = STEAL(&f);
	return 0;
}

int
batch_file_read(const char *name, struct batch_file **out, struct err *e)
{
	AUTO(own_freep) char *data = NULL;
	size_t len;

	if (json_file_text(name, &data, &len, e) < 0)
		return -1;
	return batch_file_parse(name, data, len, out, e);
}

static int
copy_text(const json_t *v, const char *what, char **out, struct err *e)
{
	if (!json_is_string(v) || json_string_length(v) == 0 ||
	    strlen(json_string_value(v)) != json_string_length(v))
		return err_set(e, ERR_USAGE, 0,
		    "%s: a string is wanted, not %s", what,
		    json_is_string(v) ? "an empty one"
				      : json_file_type_name(v));
	if ((*out = strdup(json_string_value(v))) == NULL)
		return err_set(e, ERR_FATAL, errno, "request");
	return 0;
}

static int
take_to(const json_t *to, struct batch_extra *out, struct err *e)
{
	size_t n = json_is_array(to) ? json_array_size(to) : 1;

	if (n == 0 || n > BATCH_OUTPUTS_MAX)
		return err_set(e, ERR_USAGE, 0,
		    "to: 1 to %d outputs are wanted, not %zu",
		    BATCH_OUTPUTS_MAX, n);
	for (size_t i = 0; i < n; i++) {
		if (copy_text(json_is_array(to) ? json_array_get(to, i) : to,
			"to", &out->to[i], e) < 0)
			return -1;
		out->n_to++;
	}
	return 0;
}

int
batch_extra_take(json_t *doc, struct batch_extra *out, struct err *e)
{
	const json_t *closure = json_object_get(doc, "closure");
	const json_t *to = json_object_get(doc, "to");

	memset(out, 0, sizeof(*out));
	if ((closure != NULL &&
		copy_text(closure, "closure", &out->closure, e) < 0) ||
	    (to != NULL && take_to(to, out, e) < 0)) {
		batch_extra_clear(out);
		return -1;
	}
	json_object_del(doc, "closure");
	json_object_del(doc, "to");
	return 0;
}

void
batch_extra_clear(struct batch_extra *x)
{
	free(x->closure);
	for (size_t i = 0; i < x->n_to; i++)
		free(x->to[i]);
	memset(x, 0, sizeof(*x));
}
