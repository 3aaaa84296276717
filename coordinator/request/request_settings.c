#include "request/request_settings.h"

#include <errno.h>
#include <limits.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "err.h"
#include "image/image_name.h"
#include "text/json_file.h"
#include "text/nearest.h"
#include "options/options.h"
#include "own.h"
#include "request/request.h"
#include "request/request_reference.h"

#define TYPE(t) (1u << (t))
#define STRING TYPE(JSON_STRING)
#define INTEGER TYPE(JSON_INTEGER)
#define BOOLEAN (TYPE(JSON_TRUE) | TYPE(JSON_FALSE))
#define ARRAY TYPE(JSON_ARRAY)
#define OBJECT TYPE(JSON_OBJECT)
#define NONE TYPE(JSON_NULL) /* null: as if it were not there */

#define BOTH (REQUEST_OURS | REQUEST_REFERENCE)

/* User and group names, as long as a message between processes carries. */
#define OWNER_NAME_MAX 255
#define ARCHITECTURE_MAX 64
/* The largest user ID that Linux has: one more means none. */
#define ID_MAX ((uint64_t)UINT32_MAX - 1)

static int
take_text(char **field, const char *text, struct err *e)
{
	char *copy = strdup(text);

	if (copy == NULL)
		return err_set(e, ERR_FATAL, errno, "request");
	free(*field);
	*field = copy;
	return 0;
}

static int
set_name(struct request_in *in, const json_t *v, struct err *e)
{
	if (image_name_check(json_string_value(v), e) < 0)
		return -1;
	return take_text(&in->request->name, json_string_value(v), e);
}

static int
set_tag(struct request_in *in, const json_t *v, struct err *e)
{
	if (image_tag_check(json_string_value(v), e) < 0)
		return -1;
	return take_text(&in->request->tag, json_string_value(v), e);
}

static int
set_config(struct request_in *in, const json_t *v, struct err *e)
{
	(void)e;
	json_decref(in->request->config);
	in->request->config = json_incref((json_t *)(uintptr_t)v);
	return 0;
}

/* Digits, perhaps behind a '-': strtoll takes more than that. */
static bool
whole_number(const char *text, long long *out)
{
	char *end;

	errno = 0;
	*out = strtoll(text, &end, 10);
	return (*text == '-' || (*text >= '0' && *text <= '9')) &&
	    end != text && *end == '\0' && errno == 0;
}

static int
parse_seconds(const char *text, struct iso_time *out, struct err *e)
{
	long long v;

	if (!whole_number(text + 1, &v) || v < ISO_TIME_FIRST ||
	    v > ISO_TIME_LAST)
		return err_set(e, ERR_USAGE, 0,
		    "'%.80s': @ must be followed by seconds since 1970, in the "
		    "years 1 to 9999",
		    text);
	iso_time_from_seconds(v, 0, out);
	return 0;
}

static int
parse_time(struct request_in *in, const char *text, struct iso_time *out,
    struct err *e)
{
	if (*text == '@')
		return parse_seconds(text, out, e);
	if (strcmp(text, "now") != 0)
		return iso_time_parse(text, out, e);
	if (!in->has_now)
		iso_time_now(&in->now);
	in->has_now = true;
	*out = in->now;
	return 0;
}

static int
set_created(struct request_in *in, const json_t *v, struct err *e)
{
	char text[ISO_TIME_SIZE];

	if (parse_time(in, json_string_value(v), &in->created, e) < 0)
		return -1;
	in->has_created = true;
	iso_time_format(&in->created, text);
	return take_text(&in->request->created, text, e);
}

static int
set_mtime(struct request_in *in, const json_t *v, struct err *e)
{
	struct iso_time t;
	json_int_t seconds = json_integer_value(v);

	if (json_is_string(v)) {
		if (parse_time(in, json_string_value(v), &t, e) < 0)
			return -1;
		in->request->mtime = iso_time_seconds(&t);
	} else if (seconds < ISO_TIME_FIRST || seconds > ISO_TIME_LAST) {
		return err_set(e, ERR_USAGE, 0,
		    "%lld seconds since 1970 are not in the years 1 to 9999",
		    (long long)seconds);
	} else {
		in->request->mtime = seconds;
	}
	in->has_mtime = true;
	return 0;
}

int
request_settings_id(const json_t *value, uint64_t *out, struct err *e)
{
	const char *text = json_string_value(value);
	long long v = json_integer_value(value);

	if (text != NULL && !whole_number(text, &v))
		return err_set(
		    e, ERR_USAGE, 0, "'%.40s' is not a whole number", text);
	if (v < 0 || (unsigned long long)v > ID_MAX)
		return err_set(e, ERR_USAGE, 0, "%lld is not in 0 to %llu", v,
		    (unsigned long long)ID_MAX);
	*out = (uint64_t)v;
	return 0;
}

static int
set_uid(struct request_in *in, const json_t *v, struct err *e)
{
	return request_settings_id(v, &in->request->uid, e);
}

static int
set_gid(struct request_in *in, const json_t *v, struct err *e)
{
	return request_settings_id(v, &in->request->gid, e);
}

/* A text that is there, is not too long and has no control characters. */
static int
take_path(char **field, const json_t *v, size_t max, struct err *e)
{
	const char *text = json_string_value(v);
	size_t len = strlen(text);

	if (len == 0)
		return err_set(e, ERR_USAGE, 0, "is empty");
	if (len > max)
		return err_set(e, ERR_USAGE, 0,
		    "'%.40s...' is longer than %zu bytes", text, max);
	for (size_t i = 0; i < len; i++)
		if ((unsigned char)text[i] < 0x20 || text[i] == 0x7f)
			return err_set(
			    e, ERR_USAGE, 0, "holds a control character");
	return take_text(field, text, e);
}

/* Not the name of a file, which may be any bytes: it has to be UTF-8. */
static int
take_word(char **field, const json_t *v, size_t max, struct err *e)
{
	AUTO(json_file_decrefp)
	json_t *checked = json_string(json_string_value(v));

	if (checked == NULL)
		return err_set(e, ERR_USAGE, 0, "is not UTF-8");
	return take_path(field, v, max, e);
}

static int
set_uname(struct request_in *in, const json_t *v, struct err *e)
{
	return take_word(&in->request->uname, v, OWNER_NAME_MAX, e);
}

static int
set_gname(struct request_in *in, const json_t *v, struct err *e)
{
	return take_word(&in->request->gname, v, OWNER_NAME_MAX, e);
}

static int
set_architecture(struct request_in *in, const json_t *v, struct err *e)
{
	return take_word(&in->request->architecture, v, ARCHITECTURE_MAX, e);
}

static int
set_os(struct request_in *in, const json_t *v, struct err *e)
{
	return take_word(&in->request->os, v, ARCHITECTURE_MAX, e);
}

static int
set_max_layers(struct request_in *in, const json_t *v, struct err *e)
{
	json_int_t n = json_integer_value(v);

	if (n < 1 || n > LAYER_PLAN_MAX)
		return err_set(e, ERR_USAGE, 0, "%lld is not in 1 to %d",
		    (long long)n, LAYER_PLAN_MAX);
	in->request->max_layers = (size_t)n;
	return 0;
}

static int
set_strategy(struct request_in *in, const json_t *v, struct err *e)
{
	const char *text = json_string_value(v);

	if (strcmp(text, "popularity") == 0)
		in->request->strategy = STRATEGY_POPULARITY;
	else if (strcmp(text, "size") == 0)
		in->request->strategy = STRATEGY_SIZE;
	else
		return err_set(e, ERR_USAGE, 0,
		    "'%.40s' is not known: popularity or size", text);
	return 0;
}

static int
set_from_image(struct request_in *in, const json_t *v, struct err *e)
{
	return take_path(&in->request->from_image, v, PATH_MAX - 1, e);
}

static int
set_root_tree(struct request_in *in, const json_t *v, struct err *e)
{
	return take_path(&in->request->root_tree, v, PATH_MAX - 1, e);
}

static int
set_store_dir(struct request_in *in, const json_t *v, struct err *e)
{
	return take_word(&in->request->store_dir, v, PATH_MAX - 1, e);
}

static int
set_customisation_layer(struct request_in *in, const json_t *v, struct err *e)
{
	return take_path(&in->request->customisation_layer, v, PATH_MAX - 1, e);
}

static int
set_include_store_paths(struct request_in *in, const json_t *v, struct err *e)
{
	(void)e;
	in->request->include_store_paths = json_is_true(v);
	return 0;
}

int
request_settings_strings(
    const json_t *value, char ***list, size_t *n, struct err *e)
{
	size_t more = json_is_string(value) ? 1 : json_array_size(value);
	char **grown;

	if (more == 0)
		return 0;
	if ((grown = reallocarray(*list, *n + more, sizeof(*grown))) == NULL)
		return err_set(e, ERR_FATAL, errno, "request");
	*list = grown;
	for (size_t i = 0; i < more; i++) {
		const json_t *item =
		    json_is_string(value) ? value : json_array_get(value, i);

		if (!json_is_string(item))
			return err_set(e, ERR_USAGE, 0,
			    "element %zu: a store path is wanted, not %s",
			    i + 1, json_file_type_name(item));
		if ((grown[*n] = strdup(json_string_value(item))) == NULL)
			return err_set(e, ERR_FATAL, errno, "request");
		(*n)++;
	}
	return 0;
}

static int
add_contents(struct request_in *in, const json_t *v, struct err *e)
{
	return request_settings_strings(
	    v, &in->request->contents, &in->request->n_contents, e);
}

static int
add_paths(struct request_in *in, const json_t *v, struct err *e)
{
	return request_settings_strings(
	    v, &in->request->paths, &in->request->n_paths, e);
}

static int
set_directories(struct request_in *in, const json_t *v, struct err *e)
{
	(void)e;
	in->directories = v;
	return 0;
}

struct setting {
	const char *key;
	unsigned kinds; /* of request files that have it */
	unsigned types; /* that its value may be of */
	int (*set)(struct request_in *in, const json_t *value, struct err *e);
	const char *option;
	size_t text; /* where struct options has the option's argument */
};

#define OPTION(name, field) name, offsetof(struct options, field)

/* One row for each, in the order in which help texts name them. */
static const struct setting settings[] = {
    {"name", REQUEST_OURS, STRING, set_name, OPTION("name", name)},
    {"tag", REQUEST_OURS, STRING | NONE, set_tag, OPTION("tag", tag)},
    {"repo_tag", REQUEST_REFERENCE, STRING, request_reference_repo_tag},
    {"contents", REQUEST_OURS, STRING | ARRAY, add_contents},
    {"paths", REQUEST_OURS, STRING | ARRAY, add_paths},
    {"store_layers", REQUEST_REFERENCE, ARRAY, request_reference_layers},
    {"customisation_layer", REQUEST_REFERENCE, STRING, set_customisation_layer},
    {"config", BOTH, OBJECT | NONE, set_config},
    {"created", BOTH, STRING, set_created, OPTION("created", created)},
    {"mtime", BOTH, STRING | INTEGER, set_mtime, OPTION("mtime", mtime)},
    {"uid", BOTH, STRING | INTEGER, set_uid, OPTION("uid", uid)},
    {"gid", BOTH, STRING | INTEGER, set_gid, OPTION("gid", gid)},
    {"uname", BOTH, STRING, set_uname, OPTION("uname", uname)},
    {"gname", BOTH, STRING, set_gname, OPTION("gname", gname)},
    {"architecture", BOTH, STRING, set_architecture,
	OPTION("architecture", architecture)},
    {"os", REQUEST_REFERENCE, STRING, set_os},
    {"maxLayers", REQUEST_OURS, INTEGER, set_max_layers,
	OPTION("max-layers", max_layers)},
    {"strategy", REQUEST_OURS, STRING, set_strategy,
	OPTION("strategy", strategy)},
    {"fromImage", REQUEST_OURS, STRING | NONE, set_from_image,
	OPTION("from-image", from_image)},
    {"from_image", REQUEST_REFERENCE, STRING | NONE, set_from_image},
    {"includeStorePaths", REQUEST_OURS, BOOLEAN, set_include_store_paths,
	OPTION("include-store-paths", include_store_paths)},
    {"directories", REQUEST_OURS, ARRAY, set_directories},
    {"rootTree", REQUEST_OURS, STRING | NONE, set_root_tree,
	OPTION("root-tree", root_tree)},
    {"storeDir", REQUEST_OURS, STRING, set_store_dir,
	OPTION("store-dir", store_dir)},
    {"store_dir", REQUEST_REFERENCE, STRING, set_store_dir},
};

#define N_SETTINGS (sizeof(settings) / sizeof(settings[0]))

static const char *
wanted(unsigned types)
{
	if (types & ARRAY)
		return types & STRING ? "an array of strings" : "an array";
	if (types & OBJECT)
		return "an object";
	if (types & INTEGER)
		return "a whole number";
	return types & BOOLEAN ? "true or false" : "a string";
}

static int
apply(struct request_in *in, const struct setting *setting, const json_t *value,
    struct err *e)
{
	if ((setting->types & TYPE(json_typeof(value))) == 0)
		return err_set(e, ERR_USAGE, 0, "%s is wanted, not %s",
		    wanted(setting->types), json_file_type_name(value));
	if (json_is_null(value))
		return 0;
	return setting->set(in, value, e);
}

static int
unknown_key(enum request_kind kind, const char *key, struct err *e)
{
	const char *known[N_SETTINGS];
	size_t n = 0;

	for (size_t i = 0; i < N_SETTINGS; i++)
		if (settings[i].kinds & kind)
			known[n++] = settings[i].key;
	return err_set(e, ERR_USAGE, 0,
	    "key '%.80s' is not known; the nearest is '%s'", key,
	    nearest_of(key, known, n));
}

int
request_settings_read(struct request_in *in, enum request_kind kind,
    const json_t *doc, struct err *e)
{
	const char *key;
	json_t *value;
	size_t i;

	json_object_foreach((json_t *)(uintptr_t)doc, key, value)
	{
		for (i = 0; i < N_SETTINGS; i++)
			if ((settings[i].kinds & kind) != 0 &&
			    strcmp(settings[i].key, key) == 0)
				break;
		if (i == N_SETTINGS)
			return unknown_key(kind, key, e);
		if (apply(in, &settings[i], value, e) < 0)
			return err_ctx(e, "%s", key);
	}
	return 0;
}

/* The value that an option's text means, or NULL. */
static json_t *
text_value(unsigned types, const char *text)
{
	long long v;

	if (types & STRING)
		return json_string_nocheck(text);
	if (types & BOOLEAN) {
		if (strcmp(text, "true") == 0)
			return json_true();
		return strcmp(text, "false") == 0 ? json_false() : NULL;
	}
	return whole_number(text, &v) ? json_integer(v) : NULL;
}

int
request_settings_override(
    struct request_in *in, const struct options *options, struct err *e)
{
	for (size_t i = 0; i < N_SETTINGS; i++) {
		AUTO(json_file_decrefp) json_t *value = NULL;
		const char *text;

		if (settings[i].option == NULL)
			continue;
		text = *(const char *const *)((const char *)options +
		    settings[i].text);
		if (text == NULL)
			continue;
		if ((value = text_value(settings[i].types, text)) == NULL)
			return err_set(e, ERR_USAGE, 0,
			    "--%s: %s is wanted, not '%.80s'",
			    settings[i].option, wanted(settings[i].types),
			    text);
		if (apply(in, &settings[i], value, e) < 0)
			return err_ctx(e, "--%s", settings[i].option);
	}
	return 0;
}

int
request_settings_only(
    const json_t *value, const char *const *known, size_t n, struct err *e)
{
	const char *key;
	json_t *member;
	size_t i;

	if (!json_is_object(value))
		return err_set(e, ERR_USAGE, 0, "an object is wanted, not %s",
		    json_file_type_name(value));
	json_object_foreach((json_t *)(uintptr_t)value, key, member)
	{
		for (i = 0; i < n && strcmp(key, known[i]) != 0;)
			i++;
		if (i == n)
			return err_set(e, ERR_USAGE, 0,
			    "key '%.80s' is not known; the nearest is '%s'",
			    key, nearest_of(key, known, n));
	}
	return 0;
}
