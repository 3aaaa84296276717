#include "dispatch/key_list.h"

#include <dirent.h>
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "curve_key.h"
#include "err.h"
#include "own.h"

struct listed {
	char key[CURVE_KEY_LEN + 1];
	char name[CURVE_KEY_NAME_MAX + 1];
};

struct key_list {
	struct listed *listed; /* sorted by key */
	size_t n, room;
};

int
key_list_new(struct key_list **out, struct err *e)
{
	struct key_list *l = calloc(1, sizeof(*l));

	if (l == NULL)
		return err_set(e, ERR_FATAL, errno, "keys");
	*out = l;
	return 0;
}

void
key_list_free(struct key_list *l)
{
	if (l == NULL)
		return;
	free(l->listed);
	free(l);
}

void
key_list_freep(struct key_list **l)
{
	key_list_free(*l);
	*l = NULL;
}

static int
compare(const void *a, const void *b)
{
	const struct listed *x = a, *y = b;

	return strcmp(x->key, y->key);
}

static int
append(struct key_list *l, const struct listed *new, struct err *e)
{
	if (l->n == KEY_LIST_MAX)
		return err_set(
		    e, ERR_USAGE, 0, "more than %d keys", KEY_LIST_MAX);
	if (l->n == l->room) {
		size_t room = l->room == 0 ? 16 : 2 * l->room;
		struct listed *more = realloc(l->listed, room * sizeof(*more));

		if (more == NULL)
			return err_set(e, ERR_FATAL, errno, "keys");
		l->listed = more;
		l->room = room;
	}
	l->listed[l->n++] = *new;
	return 0;
}

static int
read_file(struct key_list *l, const char *path, struct err *e)
{
	AUTO(own_fclosep) FILE *f = NULL;
	AUTO(own_freep) char *line = NULL;
	size_t room = 0;

	if ((f = fopen(path, "re")) == NULL)
		return err_set(e, ERR_USAGE, errno, "keys %.200s", path);
	for (size_t number = 1; getline(&line, &room, f) >= 0; number++) {
		struct listed new = {{0}, {0}};
		int rc = curve_key_line(line, new.key, new.name);

		if (rc < 0)
			return err_set(e, ERR_USAGE, 0,
			    "keys %.200s:%zu: a public key of %d characters, "
			    "and perhaps a name, is wanted",
			    path, number, CURVE_KEY_LEN);
		if (rc > 0 && append(l, &new, e) < 0)
			return err_ctx(e, "keys %.200s:%zu", path, number);
	}
	if (ferror(f))
		return err_set(e, ERR_USAGE, errno, "read keys %.200s", path);
	return 0;
}

static bool
is_public_file(const char *name)
{
	size_t len = strlen(name);

	return name[0] != '.' && len > 4 && strcmp(name + len - 4, ".pub") == 0;
}

static int
read_folder(struct key_list *l, const char *path, struct err *e)
{
	struct dirent *d;
	DIR *dir = opendir(path);
	int rc = 0;

	if (dir == NULL)
		return err_set(e, ERR_USAGE, errno, "keys %.200s", path);
	while (rc == 0 && (d = readdir(dir)) != NULL) {
		AUTO(own_freep) char *file = NULL;

		if (!is_public_file(d->d_name))
			continue;
		if (asprintf(&file, "%s/%s", path, d->d_name) < 0) {
			file = NULL;
			rc = err_set(e, ERR_FATAL, ENOMEM, "keys");
		} else {
			rc = read_file(l, file, e);
		}
	}
	closedir(dir);
	return rc;
}

int
key_list_read(const char *path, struct key_list **out, struct err *e)
{
	AUTO(key_list_freep) struct key_list *l = NULL;
	struct stat st;
	int rc;

	if (key_list_new(&l, e) < 0)
		return -1;
	if (stat(path, &st) < 0)
		return err_set(e, ERR_USAGE, errno, "keys %.200s", path);
	rc = S_ISDIR(st.st_mode) ? read_folder(l, path, e)
				 : read_file(l, path, e);
	if (rc < 0)
		return -1;
	if (l->n > 0)
		qsort(l->listed, l->n, sizeof(*l->listed), compare);
	for (size_t i = 1; i < l->n; i++)
		if (compare(&l->listed[i - 1], &l->listed[i]) == 0)
			return err_set(e, ERR_USAGE, 0,
			    "keys %.200s: %s is listed twice, as '%s' and '%s'",
			    path, l->listed[i].key, l->listed[i - 1].name,
			    l->listed[i].name);
	*out = STEAL(&l);
	return 0;
}

int
key_list_add(
    struct key_list *l, const char *key, const char *name, struct err *e)
{
	struct listed new = {{0}, {0}};

	snprintf(new.key, sizeof(new.key), "%s", key);
	snprintf(new.name, sizeof(new.name), "%s", name);
	if (append(l, &new, e) < 0)
		return -1;
	qsort(l->listed, l->n, sizeof(*l->listed), compare);
	return 0;
}

size_t
key_list_count(const struct key_list *l)
{
	return l->n;
}

const char *
key_list_find(const struct key_list *l, const char *key)
{
	struct listed want = {{0}, {0}};
	const struct listed *found;

	snprintf(want.key, sizeof(want.key), "%s", key);
	if (l->n == 0)
		return NULL;
	found = bsearch(&want, l->listed, l->n, sizeof(want), compare);
	return found == NULL ? NULL : found->name;
}
