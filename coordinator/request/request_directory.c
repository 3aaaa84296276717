#include "request/request_directory.h"

#include <errno.h>
#include <limits.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "err.h"
#include "text/json_file.h"
#include "own.h"
#include "request/request.h"
#include "request/request_settings.h"

#define MODE_DEFAULT 0755
#define MODE_MAX 07777

static const char *const keys[] = {"path", "mode", "uid", "gid"};

/* Octal digits, as a string or as a number that looks like them. */
static int
read_mode(const json_t *value, uint32_t *out, struct err *e)
{
	const char *p = json_string_value(value);
	char text[24];
	uint32_t mode = 0;
	size_t len;

	if (json_is_integer(value)) {
		snprintf(text, sizeof(text), "%lld",
		    (long long)json_integer_value(value));
		p = text;
	}
	if (p == NULL)
		return err_set(e, ERR_USAGE, 0,
		    "octal digits are wanted, not %s",
		    json_file_type_name(value));
	len = strlen(p);
	if (len < 1 || len > 6 || strspn(p, "01234567") != len)
		return err_set(
		    e, ERR_USAGE, 0, "'%.40s' is not an octal mode", p);
	for (size_t i = 0; i < len; i++)
		mode = mode * 8 + (uint32_t)(p[i] - '0');
	if (mode > MODE_MAX)
		return err_set(e, ERR_USAGE, 0, "'%s' is not in 0 to 7777", p);
	*out = mode;
	return 0;
}

/* Absolute, without empty, '.' and '..' components; a last '/' is taken off. */
static bool
clean_path(char *path)
{
	size_t len = strlen(path), n;
	const char *p = path;

	if (len > 1 && path[len - 1] == '/')
		path[--len] = '\0';
	if (*p != '/' || len < 2 || len >= PATH_MAX)
		return false;
	while (*p == '/') {
		n = strcspn(++p, "/");
		if (n == 0 || n > NAME_MAX || (n == 1 && p[0] == '.') ||
		    (n == 2 && p[0] == '.' && p[1] == '.'))
			return false;
		p += n;
	}
	return true;
}

static int
read_path(
    const struct request *r, const json_t *value, char **out, struct err *e)
{
	AUTO(own_freep) char *path = NULL;
	size_t dir = strlen(r->store_dir);

	if (!json_is_string(value))
		return err_set(e, ERR_USAGE, 0,
		    "path: an absolute path is wanted, not %s",
		    value != NULL ? json_file_type_name(value) : "nothing");
	if ((path = strdup(json_string_value(value))) == NULL)
		return err_set(e, ERR_FATAL, errno, "request");
	if (!clean_path(path))
		return err_set(e, ERR_USAGE, 0,
		    "path '%.200s': an absolute path is wanted, without '//', "
		    "'.' and '..', and not '/' itself",
		    path);
	if (strncmp(path, r->store_dir, dir) == 0 &&
	    (path[dir] == '/' || path[dir] == '\0'))
		return err_set(e, ERR_USAGE, 0,
		    "path '%.200s' is in the store directory %.200s", path,
		    r->store_dir);
	*out = STEAL(&path);
	return 0;
}

static int
read_owner(const json_t *value, const char *key, uint64_t *out, struct err *e)
{
	if (value == NULL)
		return 0;
	if (!json_is_integer(value) && !json_is_string(value))
		return err_set(e, ERR_USAGE, 0,
		    "%s: a whole number is wanted, not %s", key,
		    json_file_type_name(value));
	if (request_settings_id(value, out, e) < 0)
		return err_ctx(e, "%s", key);
	return 0;
}

static int
read_directory(const struct request *r, const json_t *value,
    struct request_directory *out, struct err *e)
{
	AUTO(own_freep) char *path = NULL;
	struct request_directory d = {
	    .mode = MODE_DEFAULT, .uid = r->uid, .gid = r->gid};
	const json_t *mode = json_object_get(value, "mode");

	if (request_settings_only(
		value, keys, sizeof(keys) / sizeof(keys[0]), e) < 0 ||
	    read_path(r, json_object_get(value, "path"), &path, e) < 0)
		return -1;
	if (mode != NULL && read_mode(mode, &d.mode, e) < 0)
		return err_ctx(e, "%.200s: mode", path);
	if (read_owner(json_object_get(value, "uid"), "uid", &d.uid, e) < 0 ||
	    read_owner(json_object_get(value, "gid"), "gid", &d.gid, e) < 0)
		return err_ctx(e, "%.200s", path);
	d.path = STEAL(&path);
	*out = d;
	return 0;
}

int
request_directory_read(
    struct request *request, const json_t *list, struct err *e)
{
	AUTO(json_file_decrefp) json_t *seen = json_object();
	size_t n = json_array_size(list);
	struct request_directory *d;

	if (n > REQUEST_DIRECTORIES_MAX)
		return err_set(e, ERR_USAGE, 0, "%zu of them, more than %d", n,
		    REQUEST_DIRECTORIES_MAX);
	request->directory = calloc(n > 0 ? n : 1, sizeof(*d));
	if (request->directory == NULL || seen == NULL)
		return err_set(e, ERR_FATAL, errno, "request");
	for (size_t i = 0; i < n; i++) {
		d = &request->directory[i];
		if (read_directory(request, json_array_get(list, i), d, e) < 0)
			return err_ctx(e, "element %zu", i + 1);
		request->n_directories++;
		if (json_object_get(seen, d->path) != NULL)
			return err_set(
			    e, ERR_USAGE, 0, "%.200s: is there twice", d->path);
		if (json_object_set_new(seen, d->path, json_true()) < 0)
			return err_set(
			    e, ERR_FATAL, 0, "request: out of memory");
	}
	return 0;
}
