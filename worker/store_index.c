#include "store_index.h"

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "err.h"
#include "own.h"
#include "store_path.h"

/* So old its last change must be, in s, for the next one to show in mtime. */
#define SETTLED 2

struct store_index {
	char *folder;
	struct stat st; /* before it was read */
	bool settled;
	uint64_t *key; /* ascending */
	size_t n, room;
};

void
store_index_free(struct store_index *index)
{
	if (index == NULL)
		return;
	free(index->folder);
	free(index->key);
	free(index);
}

static void
index_freep(struct store_index **index)
{
	store_index_free(*index);
}

static bool
is_current(const struct store_index *index, const char *folder)
{
	struct stat st;

	return index != NULL && index->settled &&
	    strcmp(index->folder, folder) == 0 && stat(folder, &st) == 0 &&
	    st.st_dev == index->st.st_dev && st.st_ino == index->st.st_ino &&
	    st.st_mtim.tv_sec == index->st.st_mtim.tv_sec &&
	    st.st_mtim.tv_nsec == index->st.st_mtim.tv_nsec;
}

static int
add(struct store_index *index, const char *name, struct err *e)
{
	if (index->n == index->room) {
		size_t room = index->room == 0 ? 1024 : 2 * index->room;
		uint64_t *key;

		if (index->n == STORE_INDEX_MAX)
			return err_set(e, ERR_RETRY, EOVERFLOW, "store");
		key = reallocarray(index->key, room, sizeof(*key));
		if (key == NULL)
			return err_set(e, ERR_RETRY, errno, "store");
		index->key = key;
		index->room = room;
	}
	index->key[index->n++] = store_path_key(name);
	return 0;
}

static int
read_names(
    struct store_index *index, DIR *dir, const atomic_bool *stop, struct err *e)
{
	struct dirent *entry;

	while (errno = 0, (entry = readdir(dir)) != NULL) {
		if (atomic_load_explicit(stop, memory_order_relaxed))
			return err_set(e, ERR_RETRY, ECANCELED, "store");
		if (entry->d_name[0] != '.' && add(index, entry->d_name, e) < 0)
			return -1;
	}
	if (errno != 0)
		return err_set(e, ERR_RETRY, errno, "read %s", index->folder);
	return 0;
}

static int
compare(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

int
store_index_read(struct store_index **index, const char *folder,
    const atomic_bool *stop, struct err *e)
{
	AUTO(index_freep) struct store_index *made = NULL;
	AUTO(own_closedirp) DIR *dir = NULL;

	if (is_current(*index, folder))
		return 0;
	if ((made = calloc(1, sizeof(*made))) == NULL ||
	    (made->folder = strdup(folder)) == NULL)
		return err_set(e, ERR_RETRY, errno, "store");
	dir = opendir(folder);
	if (dir == NULL && errno != ENOENT && errno != ENOTDIR)
		return err_set(e, ERR_RETRY, errno, "%s", folder);
	if (dir != NULL) {
		if (fstat(dirfd(dir), &made->st) < 0)
			return err_set(e, ERR_RETRY, errno, "%s", folder);
		made->settled = made->st.st_mtim.tv_sec + SETTLED < time(NULL);
		if (read_names(made, dir, stop, e) < 0)
			return -1;
		if (made->n > 0)
			qsort(made->key, made->n, sizeof(*made->key), compare);
	}
	store_index_free(*index);
	*index = STEAL(&made);
	return 0;
}

void
store_index_match(const struct store_index *index, const uint64_t *key,
    size_t n, uint8_t *bits)
{
	for (size_t i = 0; i < n; i++)
		if (index->n > 0 &&
		    bsearch(&key[i], index->key, index->n, sizeof(*key),
			compare) != NULL)
			bits[i / 8] |= (uint8_t)(1u << (i % 8));
}
