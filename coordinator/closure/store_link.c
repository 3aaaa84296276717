#include "closure/store_link.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "err.h"
#include "own.h"

#define LINK_PATH_MAX (3 * PATH_MAX)

struct resolver {
	const char *root, *store_dir;
	char done[LINK_PATH_MAX]; /* store_dir and what is resolved below it */
	char rest[LINK_PATH_MAX]; /* what follows */
	int links;
};

static int
leaves_store(const struct resolver *r, const char *path, struct err *e)
{
	return err_set(e, ERR_USAGE, 0,
	    "it is a link to '%s', which is not in the store %s", path,
	    r->store_dir);
}

/* The store directory itself is taken as it is: it may be a link or mount. */
static int
enter(struct resolver *r, const char *path, const char *rest, struct err *e)
{
	size_t len = strlen(r->store_dir);
	AUTO(own_freep) char *joined = NULL;

	if (strncmp(path, r->store_dir, len) != 0 || path[len] != '/')
		return leaves_store(r, path, e);
	if (asprintf(&joined, "%s/%s", path + len, rest) < 0) {
		joined = NULL;
		return err_set(e, ERR_FATAL, errno, "%s", path);
	}
	if (strlen(joined) >= sizeof(r->rest) || len >= sizeof(r->done))
		return err_set(e, ERR_USAGE, ENAMETOOLONG, "%s", path);
	strcpy(r->done, r->store_dir);
	strcpy(r->rest, joined);
	return 0;
}

/* If what is at done is a symlink, its target goes before the rest. */
static int
step_link(struct resolver *r, size_t parent, struct err *e)
{
	AUTO(own_freep) char *file = NULL;
	char target[PATH_MAX];
	struct stat st;
	ssize_t n;

	if (asprintf(&file, "%s%s", r->root, r->done) < 0) {
		file = NULL;
		return err_set(e, ERR_FATAL, errno, "%s", r->done);
	}
	if (lstat(file, &st) < 0)
		return err_set(e, ERR_USAGE, errno, "%s", file);
	if (!S_ISLNK(st.st_mode))
		return 0;
	if (++r->links > STORE_LINK_MAX)
		return err_set(e, ERR_USAGE, ELOOP, "%s", file);
	if ((n = readlink(file, target, sizeof(target) - 1)) < 0)
		return err_set(e, ERR_USAGE, errno, "read link %s", file);
	target[n] = '\0';
	if (target[0] == '/')
		return enter(r, target, r->rest, e);
	if ((size_t)n + strlen(r->rest) + 2 > sizeof(r->rest))
		return err_set(e, ERR_USAGE, ENAMETOOLONG, "%s", file);
	memmove(r->rest + n + 1, r->rest, strlen(r->rest) + 1);
	memcpy(r->rest, target, (size_t)n);
	r->rest[n] = '/';
	r->done[parent] = '\0';
	return 0;
}

/* Moves the first component of the rest over. */
static int
step(struct resolver *r, struct err *e)
{
	size_t skip = strspn(r->rest, "/");
	size_t len = strcspn(r->rest + skip, "/"), done = strlen(r->done);
	char *name = r->rest + skip, *next = name + len;

	if (len == 2 && name[0] == '.' && name[1] == '.') {
		if (done == strlen(r->store_dir))
			return leaves_store(r, "..", e);
		*strrchr(r->done, '/') = '\0';
		len = 0;
	} else if (len == 1 && name[0] == '.') {
		len = 0;
	}
	if (done + len + 2 > sizeof(r->done))
		return err_set(e, ERR_USAGE, ENAMETOOLONG, "%s", r->done);
	if (len > 0) {
		r->done[done] = '/';
		memcpy(r->done + done + 1, name, len);
		r->done[done + 1 + len] = '\0';
	}
	memmove(r->rest, next, strlen(next) + 1);
	return len > 0 ? step_link(r, done, e) : 0;
}

int
store_link_resolve(const char *store_root, const char *store_dir,
    const char *path, char **out, struct err *e)
{
	AUTO(own_freep) struct resolver *r = calloc(1, sizeof(*r));

	if (r == NULL)
		return err_set(e, ERR_FATAL, errno, "%s", path);
	r->root = store_root;
	r->store_dir = store_dir;
	if (enter(r, path, "", e) < 0)
		return -1;
	while (r->rest[0] != '\0')
		if (step(r, e) < 0)
			return -1;
	if (asprintf(out, "%s%s", store_root, r->done) < 0) {
		*out = NULL;
		return err_set(e, ERR_FATAL, errno, "%s", path);
	}
	return 0;
}
