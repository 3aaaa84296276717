#include "request/request.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "err.h"
#include "text/json_file.h"
#include "own.h"
#include "store_path.h"

struct scan {
	const char *store_dir;
	size_t dir_len;
	json_t *found; /* its keys: a set that keeps their order */
};

static int
scan_add(struct scan *scan, const char *path, size_t len)
{
	AUTO(own_freep) char *copy = strndup(path, len);

	return copy == NULL
	    ? -1
	    : json_object_set_new(scan->found, copy, json_true());
}

/* Every STOREDIR/HASH-NAME in a text, as long as the grammar goes on. */
static int
scan_text(struct scan *scan, const char *text, size_t len)
{
	const char *p = text, *end = text + len, *start;
	size_t base;

	while ((p = memmem(p, (size_t)(end - p), scan->store_dir,
		    scan->dir_len)) != NULL) {
		start = p;
		p += scan->dir_len;
		if (p == end || *p != '/')
			continue;
		base = store_path_base_len(p + 1, (size_t)(end - p) - 1);
		if (base == 0)
			continue;
		p += 1 + base;
		if (scan_add(scan, start, (size_t)(p - start)) < 0)
			return -1;
	}
	return 0;
}

static int
scan_value(struct scan *scan, json_t *value)
{
	const char *key;
	json_t *member;
	size_t i;

	if (json_is_string(value))
		return scan_text(
		    scan, json_string_value(value), json_string_length(value));
	json_array_foreach(value, i, member)
	{
		if (scan_value(scan, member) < 0)
			return -1;
	}
	json_object_foreach(value, key, member)
	{
		if (scan_text(scan, key, strlen(key)) < 0 ||
		    scan_value(scan, member) < 0)
			return -1;
	}
	return 0;
}

int
request_config_paths(
    const struct request *r, char ***out, size_t *n, struct err *e)
{
	AUTO(json_file_decrefp) json_t *found = json_object();
	struct scan scan = {r->store_dir, strlen(r->store_dir), found};
	const char *key;
	json_t *value;
	char **list;
	size_t i = 0;

	if (found == NULL || scan_value(&scan, r->config) < 0)
		return err_set(e, ERR_FATAL, 0, "config: out of memory");
	list = calloc(json_object_size(found) + 1, sizeof(*list));
	if (list == NULL)
		return err_set(e, ERR_FATAL, errno, "config");
	json_object_foreach(found, key, value)
	{
		if ((list[i++] = strdup(key)) != NULL)
			continue;
		while (i > 0)
			free(list[--i]);
		free(list);
		return err_set(e, ERR_FATAL, errno, "config");
	}
	*n = i;
	*out = list;
	return 0;
}
