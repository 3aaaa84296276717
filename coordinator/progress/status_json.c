#include "progress/status.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "err.h"
#include "text/json_file.h"
#include "own.h"
#include "progress/status_fields.h"

#define FORM (JSON_COMPACT | JSON_SORT_KEYS)
#define DEPTH_MAX 8
#define KEY_MAX 32

static int
no_memory(struct err *e)
{
	return err_set(e, ERR_FATAL, 0, "status: out of memory");
}

/*
 * The object that holds what path names ("a.b.c": c's), and its last word;
 * NULL: it is not there, and cannot be made.
 */
static json_t *
holder(json_t *doc, const char *path, bool make, const char **word)
{
	const char *dot;
	char key[KEY_MAX];

	for (; (dot = strchr(path, '.')) != NULL; path = dot + 1) {
		json_t *next;

		snprintf(key, sizeof(key), "%.*s", (int)(dot - path), path);
		next = json_object_get(doc, key);
		if (next == NULL && make) {
			next = json_object();
			if (json_object_set_new(doc, key, next) < 0)
				return NULL;
		}
		doc = next;
	}
	*word = path;
	return doc;
}

static json_t *
count(uint64_t v)
{
	return json_integer(v < INT64_MAX ? (json_int_t)v : INT64_MAX);
}

static int
put_field(json_t *doc, const struct status *s, const struct status_field *f)
{
	const char *word = NULL;
	json_t *in = holder(doc, f->path, true, &word);

	return in == NULL
	    ? -1
	    : json_object_set_new(in, word, count(status_get(s, f)));
}

static json_t *
worker_value(const struct status *s, size_t i)
{
	const struct status_worker *w = &s->worker[i];

	return json_pack("{s:s,s:b,s:b,s:b,s:o,s:o,s:o,s:o,s:o,s:o}", "name",
	    w->name, "remote", w->remote, "draining", w->draining, "aside",
	    w->aside, "slots", count(w->slots), "running", count(w->running),
	    "waiting", count(w->waiting), "rate", count(w->rate), "done",
	    count(w->done), "failures", count(w->failures));
}

static json_t *
client_value(const struct status *s, size_t i)
{
	const struct status_client *c = &s->client[i];

	return json_pack("{s:s,s:s,s:o,s:o}", "name", c->name, "image",
	    c->image, "wanted", count(c->wanted), "done", count(c->done));
}

/* False: it has no room, and is gone; its size is taken off the room. */
static bool
fits(json_t *item, size_t *room)
{
	size_t size = json_dumpb(item, NULL, 0, FORM) + 1;

	if (size > *room) {
		json_decref(item);
		return false;
	}
	*room -= size;
	return true;
}

/* Element i of one of the lists. */
typedef json_t *value_at(const struct status *s, size_t i);

/* The first n, as many as have room; *cut: how many are left out. */
static json_t *
list_value(const struct status *s, size_t n, value_at *value, size_t *room,
    uint64_t *cut)
{
	json_t *list = json_array(), *item;

	for (size_t i = 0; i < n; i++) {
		if ((item = value(s, i)) != NULL && !fits(item, room)) {
			*cut += n - i;
			break;
		}
		if (json_array_append_new(list, item) < 0) {
			json_decref(list);
			return NULL;
		}
	}
	return list;
}

/* Clients may have half of the room; workers have what is left. */
static int
put_lists(json_t *doc, struct status *s, size_t room)
{
	size_t half = room / 2, rest;
	json_t *workers, *clients;

	clients = list_value(
	    s, s->n_clients, client_value, &half, &s->clients_omitted);
	rest = half + room - room / 2;
	workers = list_value(
	    s, s->n_workers, worker_value, &rest, &s->workers_omitted);
	for (size_t i = 0; i < status_fields; i++)
		if (put_field(doc, s, &status_field[i]) < 0) {
			json_decref(workers);
			json_decref(clients);
			return -1;
		}
	if (json_object_set_new(
		json_object_get(doc, "workers"), "list", workers) < 0) {
		json_decref(clients);
		return -1;
	}
	return json_object_set_new(
	    json_object_get(doc, "clients"), "list", clients);
}

int
status_json(const struct status *s, size_t max, char **out, struct err *e)
{
	AUTO(json_file_decrefp) json_t *doc = NULL;
	struct status shown = *s; /* borrows the lists */
	char session[20];
	char *text;

	snprintf(session, sizeof(session), "%016" PRIx64, s->session);
	doc = json_pack("{s:s,s:s,s:s}", "version", s->version, "command",
	    s->command, "session", session);
	if (doc == NULL || put_lists(doc, &shown, max - STATUS_JSON_MIN) < 0 ||
	    (text = json_dumps(doc, FORM)) == NULL)
		return no_memory(e);
	*out = text;
	return 0;
}

/* Of an object's member. */
static int
get_count(const json_t *in, const char *key, uint64_t *out, struct err *e)
{
	const json_t *v = json_object_get(in, key);

	if (!json_is_integer(v) || json_integer_value(v) < 0)
		return err_set(e, ERR_PEER, 0, "status: %s is no count", key);
	*out = (uint64_t)json_integer_value(v);
	return 0;
}

static int
get_name(
    const json_t *in, const char *key, char *out, size_t size, struct err *e)
{
	const json_t *v = json_object_get(in, key);

	if (!json_is_string(v))
		return err_set(e, ERR_PEER, 0, "status: %s is no string", key);
	status_name(out, size, json_string_value(v));
	return 0;
}

static int
get_flag(const json_t *in, const char *key, bool *out, struct err *e)
{
	const json_t *v = json_object_get(in, key);

	if (!json_is_boolean(v))
		return err_set(
		    e, ERR_PEER, 0, "status: %s is not true or false", key);
	*out = json_is_true(v);
	return 0;
}

static int
get_worker(const json_t *in, struct status_worker *w, struct err *e)
{
	return get_name(in, "name", w->name, sizeof(w->name), e) < 0 ||
		get_flag(in, "remote", &w->remote, e) < 0 ||
		get_flag(in, "draining", &w->draining, e) < 0 ||
		get_flag(in, "aside", &w->aside, e) < 0 ||
		get_count(in, "slots", &w->slots, e) < 0 ||
		get_count(in, "running", &w->running, e) < 0 ||
		get_count(in, "waiting", &w->waiting, e) < 0 ||
		get_count(in, "rate", &w->rate, e) < 0 ||
		get_count(in, "done", &w->done, e) < 0 ||
		get_count(in, "failures", &w->failures, e) < 0
	    ? -1
	    : 0;
}

static int
get_client(const json_t *in, struct status_client *c, struct err *e)
{
	return get_name(in, "name", c->name, sizeof(c->name), e) < 0 ||
		get_name(in, "image", c->image, sizeof(c->image), e) < 0 ||
		get_count(in, "wanted", &c->wanted, e) < 0 ||
		get_count(in, "done", &c->done, e) < 0
	    ? -1
	    : 0;
}

/* The list of doc's member; its length is that of the text, at most. */
static int
get_list(const json_t *doc, const char *key, const json_t **out, size_t *n,
    struct err *e)
{
	*out = json_object_get(json_object_get(doc, key), "list");
	if (!json_is_array(*out))
		return err_set(e, ERR_PEER, 0, "status: %s has no list", key);
	*n = json_array_size(*out);
	return 0;
}

static int
get_lists(const json_t *doc, struct status *s, struct err *e)
{
	const json_t *workers, *clients;
	size_t n_workers, n_clients;

	if (get_list(doc, "workers", &workers, &n_workers, e) < 0 ||
	    get_list(doc, "clients", &clients, &n_clients, e) < 0)
		return -1;
	s->worker = calloc(n_workers + 1, sizeof(*s->worker));
	s->client = calloc(n_clients + 1, sizeof(*s->client));
	if (s->worker == NULL || s->client == NULL)
		return no_memory(e);
	for (; s->n_workers < n_workers; s->n_workers++)
		if (get_worker(json_array_get(workers, s->n_workers),
			&s->worker[s->n_workers], e) < 0)
			return -1;
	for (; s->n_clients < n_clients; s->n_clients++)
		if (get_client(json_array_get(clients, s->n_clients),
			&s->client[s->n_clients], e) < 0)
			return -1;
	return 0;
}

static int
get_all(json_t *doc, struct status *s, struct err *e)
{
	char session[20];
	char *end;

	if (get_name(doc, "version", s->version, sizeof(s->version), e) < 0 ||
	    get_name(doc, "command", s->command, sizeof(s->command), e) < 0 ||
	    get_name(doc, "session", session, sizeof(session), e) < 0)
		return -1;
	s->session = strtoull(session, &end, 16);
	if (*session == '\0' || *end != '\0')
		return err_set(e, ERR_PEER, 0, "status: session is no number");
	for (size_t i = 0; i < status_fields; i++) {
		const struct status_field *f = &status_field[i];
		const char *word = NULL;
		const json_t *in = holder(doc, f->path, false, &word);
		uint64_t v;

		if (get_count(in, word, &v, e) < 0)
			return err_ctx(e, "%s", f->path);
		status_set(s, f, v);
	}
	return get_lists(doc, s, e);
}

int
status_parse(const char *text, size_t len, struct status *out, struct err *e)
{
	AUTO(json_file_decrefp) json_t *doc = NULL;
	struct status s = {0};
	json_error_t bad;

	if (json_file_too_deep(text, len, DEPTH_MAX))
		return err_set(e, ERR_PEER, 0,
		    "status: nested deeper than %d levels", DEPTH_MAX);
	doc = json_loadb(text, len, JSON_REJECT_DUPLICATES, &bad);
	if (doc == NULL)
		return err_set(e, ERR_PEER, 0, "status: column %d: %s",
		    bad.column, bad.text);
	if (get_all(doc, &s, e) < 0) {
		status_clear(&s);
		return -1;
	}
	*out = s;
	return 0;
}
