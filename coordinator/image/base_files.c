#include "image/base_files.h"

#include <errno.h>
#include <fcntl.h>
#include <search.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "image/base_limits.h"
#include "err.h"
#include "text/json_file.h"
#include "own.h"

#define HASH_BUF ((size_t)1 << 17)

static int
file_cmp(const void *a, const void *b)
{
	const struct base_file *x = a, *y = b;

	return strcmp(x->name, y->name);
}

static void
file_clear(struct base_file *file)
{
	own_freep(&file->name);
	own_freep(&file->file);
	own_freep(&file->link);
}

static void
file_free(void *p)
{
	file_clear(p);
	free(p);
}

void
base_files_clear(struct base_files *files)
{
	tdestroy(files->tree, file_free);
	files->tree = NULL;
}

int
base_files_clean_name(const char *name, char **out, struct err *e)
{
	const char *part = name;
	size_t len;

	if (strlen(name) > BASE_NAME_MAX)
		return err_set(e, ERR_USAGE, 0,
		    "member '%.60s...': its name is longer than %d bytes", name,
		    BASE_NAME_MAX);
	for (const char *c = name; *c != '\0'; c++)
		if ((unsigned char)*c < 0x20 || *c == 0x7f)
			return err_set(e, ERR_USAGE, 0,
			    "member '%.*s': control character in its name",
			    (int)(c - name), name);
	while (strncmp(part, "./", 2) == 0)
		part += 2;
	name = part;
	if (strcmp(part, ".") == 0)
		part = name = "";
	for (; *part != '\0'; part += len + (part[len] == '/')) {
		len = strcspn(part, "/");
		if (len == 0 || (len == 1 && part[0] == '.') ||
		    (len == 2 && part[0] == '.' && part[1] == '.'))
			return err_set(e, ERR_USAGE, 0,
			    "member '%.200s': a name must be relative, without "
			    "'.', '..' or empty parts",
			    name);
	}
	len = strlen(name);
	*out = strndup(name, len > 0 && name[len - 1] == '/' ? len - 1 : len);
	return *out != NULL ? 0 : err_set(e, ERR_FATAL, errno, "base image");
}

static bool
same_content(const struct base_file *a, const struct base_file *b)
{
	if (a->link != NULL || b->link != NULL)
		return a->link != NULL && b->link != NULL &&
		    strcmp(a->link, b->link) == 0;
	return a->size == b->size && digest_equal(&a->digest, &b->digest);
}

int
base_files_add(struct base_files *files, struct base_file *file, bool *added,
    struct err *e)
{
	AUTO(own_freep) struct base_file *node = NULL;
	struct base_file **slot;

	if ((node = malloc(sizeof(*node))) == NULL)
		return err_set(e, ERR_FATAL, errno, "base image");
	*node = *file;
	if ((slot = tsearch(node, &files->tree, file_cmp)) == NULL)
		return err_set(e, ERR_FATAL, errno, "base image");
	*added = *slot == node;
	if (!*added) {
		if (!same_content(*slot, file))
			return err_set(e, ERR_USAGE, 0,
			    "member '%.200s' comes twice, with different "
			    "content",
			    file->name);
		return 0;
	}
	memset(file, 0, sizeof(*file));
	STEAL(&node);
	return 0;
}

static struct base_file *
find(struct base_files *files, const char *name)
{
	struct base_file key = {.name = (char *)name};
	struct base_file **slot = tfind(&key, &files->tree, file_cmp);

	return slot != NULL ? *slot : NULL;
}

/* A layout's files become known when they are asked for. */
static int
find_in_layout(struct base_files *files, const char *name,
    struct base_file **out, struct err *e)
{
	struct base_file file = {0};
	struct stat st;
	bool added;
	int ret;

	if (asprintf(&file.file, "%s/%s", files->layout, name) < 0)
		return err_set(e, ERR_FATAL, errno, "base image");
	if (stat(file.file, &st) < 0)
		ret = err_set(e, ERR_USAGE, errno, "%s", name);
	else if (!S_ISREG(st.st_mode))
		ret = err_set(e, ERR_USAGE, 0, "%s is not a file", name);
	else if ((file.name = strdup(name)) == NULL)
		ret = err_set(e, ERR_FATAL, errno, "base image");
	else {
		file.size = (uint64_t)st.st_size;
		ret = base_files_add(files, &file, &added, e);
	}
	file_clear(&file);
	if (ret == 0)
		*out = find(files, name);
	return ret;
}

bool
base_files_has(struct base_files *files, const char *name)
{
	AUTO(own_freep) char *path = NULL;

	if (files->layout == NULL)
		return find(files, name) != NULL;
	if (asprintf(&path, "%s/%s", files->layout, name) < 0) {
		path = NULL;
		return false;
	}
	return access(path, F_OK) == 0;
}

int
base_files_get(struct base_files *files, const char *name,
    struct base_file **out, struct err *e)
{
	struct base_file *file = find(files, name);

	if (file == NULL && files->layout != NULL)
		return find_in_layout(files, name, out, e);
	for (int i = 0; file != NULL && file->link != NULL; i++) {
		if (i == BASE_LINKS_MAX)
			return err_set(e, ERR_USAGE, 0,
			    "member '%.200s' is a link to a link to a link",
			    name);
		file = find(files, file->link);
	}
	if (file == NULL)
		return err_set(e, ERR_USAGE, 0,
		    "'%.200s' is missing in it (is it cut short?)", name);
	*out = file;
	return 0;
}

int
base_files_hash(struct base_file *file, struct err *e)
{
	AUTO(sha256_freep) struct sha256 *h = NULL;
	AUTO(own_closep) int fd = -1;
	AUTO(own_freep) char *buf = NULL;
	uint64_t size = 0;
	ssize_t n;

	if (file->has_digest)
		return 0;
	if ((buf = malloc(HASH_BUF)) == NULL)
		return err_set(e, ERR_FATAL, errno, "base image");
	if (sha256_new(&h, e) < 0)
		return -1;
	if ((fd = open(file->file, O_RDONLY | O_CLOEXEC)) < 0)
		return err_set(e, ERR_USAGE, errno, "open %s", file->file);
	sha256_init(h);
	while ((n = read(fd, buf, HASH_BUF)) != 0) {
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return err_set(
			    e, ERR_USAGE, errno, "read %s", file->file);
		sha256_update(h, buf, (size_t)n);
		size += (uint64_t)n;
	}
	if (size != file->size)
		return err_set(e, ERR_USAGE, 0, "%s changed while it was read",
		    file->file);
	sha256_final(h, &file->digest);
	file->has_digest = true;
	return 0;
}

static int
read_whole(const struct base_file *file, char *buf, struct err *e)
{
	AUTO(own_closep) int fd = open(file->file, O_RDONLY | O_CLOEXEC);
	size_t done = 0;

	if (fd < 0)
		return err_set(e, ERR_USAGE, errno, "open %s", file->name);
	while (done < file->size) {
		ssize_t n = read(fd, buf + done, (size_t)file->size - done);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return err_set(e, ERR_USAGE, n < 0 ? errno : 0,
			    "read %s", file->name);
		done += (size_t)n;
	}
	return 0;
}

int
base_files_read(struct base_files *files, const char *name, char **out,
    size_t *len, struct err *e)
{
	AUTO(own_freep) char *buf = NULL;
	struct base_file *file;

	if (base_files_get(files, name, &file, e) < 0)
		return -1;
	if (file->size > files->limits->json)
		return err_set(e, ERR_USAGE, 0,
		    "%.200s is larger than %zu bytes", name,
		    files->limits->json);
	if ((buf = calloc(1, (size_t)file->size + 1)) == NULL)
		return err_set(e, ERR_FATAL, errno, "base image");
	if (read_whole(file, buf, e) < 0)
		return -1;
	*out = STEAL(&buf);
	*len = (size_t)file->size;
	return 0;
}

int
base_files_json(
    struct base_files *files, const char *name, json_t **out, struct err *e)
{
	AUTO(own_freep) char *buf = NULL;
	json_error_t why;
	size_t len;

	if (base_files_read(files, name, &buf, &len, e) < 0)
		return -1;
	if (json_file_too_deep(buf, len, files->limits->json_depth))
		return err_set(e, ERR_USAGE, 0, "%.200s nests deeper than %zu",
		    name, files->limits->json_depth);
	*out = json_loadb(buf, len, JSON_REJECT_DUPLICATES, &why);
	if (*out == NULL)
		return err_set(e, ERR_USAGE, 0,
		    "%.200s: line %d, column %d: %s", name, why.line,
		    why.column, why.text);
	return 0;
}
