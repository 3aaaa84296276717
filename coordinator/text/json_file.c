#include "text/json_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "err.h"
#include "own.h"

#define READ_SIZE ((size_t)64 << 10)

bool
json_file_too_deep(const char *data, size_t len, size_t max)
{
	size_t depth = 0;
	bool quoted = false;

	for (size_t i = 0; i < len; i++) {
		if (quoted && data[i] == '\\')
			i++;
		else if (data[i] == '"')
			quoted = !quoted;
		else if (quoted)
			continue;
		else if (data[i] == '[' || data[i] == '{') {
			if (++depth > max)
				return true;
		} else if ((data[i] == ']' || data[i] == '}') && depth > 0)
			depth--;
	}
	return false;
}

static bool
is_blank(const char *data, size_t len)
{
	for (size_t i = 0; i < len; i++)
		if (strchr(" \t\r\n", data[i]) == NULL || data[i] == '\0')
			return false;
	return true;
}

int
json_file_parse(
    const char *name, const char *data, size_t len, json_t **out, struct err *e)
{
	const char *title = json_file_title(name);
	json_error_t error;
	json_t *doc;

	if (len > JSON_FILE_SIZE_MAX)
		return err_set(e, ERR_USAGE, 0, "%.200s: larger than %zu MiB",
		    title, JSON_FILE_SIZE_MAX >> 20);
	if (is_blank(data, len))
		return err_set(e, ERR_USAGE, 0,
		    "%.200s: is empty, where JSON is wanted", title);
	if (json_file_too_deep(data, len, JSON_FILE_DEPTH_MAX))
		return err_set(e, ERR_USAGE, 0,
		    "%.200s: nested deeper than %d levels", title,
		    JSON_FILE_DEPTH_MAX);
	doc = json_loadb(data, len, JSON_REJECT_DUPLICATES, &error);
	if (doc == NULL)
		return err_set(e, ERR_USAGE, 0,
		    "%.200s: line %d, column %d: %s", title, error.line,
		    error.column, error.text);
	*out = doc;
	return 0;
}

/* Reads to the end, or until there is one byte too many. */
static int
read_all(int fd, char **out, size_t *out_len)
{
	AUTO(own_freep) char *data = NULL;
	size_t len = 0, cap = 0;
	char *more;
	ssize_t n;

	while (len <= JSON_FILE_SIZE_MAX) {
		if (cap - len < READ_SIZE) {
			cap = 2 * cap + READ_SIZE;
			if ((more = realloc(data, cap)) == NULL)
				return -1;
			data = more;
		}
		if ((n = read(fd, data + len, READ_SIZE)) < 0) {
			if (errno == EINTR)
				continue;
			return -1;
		}
		if (n == 0)
			break;
		len += (size_t)n;
	}
	*out = STEAL(&data);
	*out_len = len;
	return 0;
}

int
json_file_text(const char *name, char **data, size_t *len, struct err *e)
{
	AUTO(own_closep) int fd = -1;

	if (strcmp(name, "-") != 0 &&
	    (fd = open(name, O_RDONLY | O_CLOEXEC)) < 0)
		return err_set(e, ERR_USAGE, errno, "%.200s", name);
	if (read_all(fd < 0 ? STDIN_FILENO : fd, data, len) < 0)
		return err_set(
		    e, ERR_USAGE, errno, "%.200s", json_file_title(name));
	return 0;
}

int
json_file_read(const char *name, json_t **out, struct err *e)
{
	AUTO(own_freep) char *data = NULL;
	size_t len;

	if (json_file_text(name, &data, &len, e) < 0)
		return -1;
	return json_file_parse(name, data, len, out, e);
}

const char *
json_file_title(const char *name)
{
	return strcmp(name, "-") == 0 ? "standard input" : name;
}

void
json_file_decrefp(json_t **value)
{
	json_decref(*value);
	*value = NULL;
}

const char *
json_file_type_name(const json_t *value)
{
	switch (json_typeof(value)) {
	case JSON_OBJECT:
		return "an object";
	case JSON_ARRAY:
		return "an array";
	case JSON_STRING:
		return "a string";
	case JSON_INTEGER:
		return "a whole number";
	case JSON_REAL:
		return "a number with a fraction";
	case JSON_TRUE:
	case JSON_FALSE:
		return "true or false";
	case JSON_NULL:
		break;
	}
	return "null";
}
