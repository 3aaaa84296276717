#include "cache/layer_cache_state.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "err.h"
#include "log.h"
#include "own.h"

/* Programs that make backups leave out folders with this file. */
#define TAG                                                                    \
	"Signature: 8a477f597d28d172789f06886806bc55\n"                        \
	"# Layers that quarry made; it may be removed as a whole.\n"

static int
no_memory(struct err *e)
{
	return err_set(e, ERR_FATAL, ENOMEM, "layer cache");
}

static int
default_folder(char **out, struct err *e)
{
	const char *cache = getenv("XDG_CACHE_HOME"), *home = getenv("HOME");
	int n;

	if (cache != NULL && cache[0] == '/')
		n = asprintf(out, "%s/quarry", cache);
	else if (home != NULL && home[0] == '/')
		n = asprintf(out, "%s/.cache/quarry", home);
	else
		return err_set(e, ERR_USAGE, 0,
		    "layer cache: neither XDG_CACHE_HOME nor HOME says where: "
		    "give --cache DIR, or --no-cache");
	if (n < 0) {
		*out = NULL;
		return no_memory(e);
	}
	return 0;
}

/* The folder and what is above it, as mkdir -p. */
static int
make_all(char *path, struct err *e)
{
	for (char *p = path + 1;; p++) {
		char c = *p;

		if (c != '/' && c != '\0')
			continue;
		*p = '\0';
		if (mkdir(path, 0777) < 0 && errno != EEXIST)
			return err_set(
			    e, ERR_USAGE, errno, "layer cache: make %s", path);
		*p = c;
		if (c == '\0')
			return 0;
	}
}

static int
make_folder(const char *folder, const char *name, int *fd, struct err *e)
{
	AUTO(own_freep) char *path = NULL;

	if (asprintf(&path, "%s/%s", folder, name) < 0) {
		path = NULL;
		return no_memory(e);
	}
	if (make_all(path, e) < 0)
		return -1;
	*fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (*fd < 0 || access(path, W_OK | X_OK) < 0)
		return err_set(e, ERR_USAGE, errno, "layer cache: %s", path);
	return 0;
}

static int
take_lock(struct layer_cache_folders *f, struct err *e)
{
	AUTO(own_freep) char *path = NULL;
	int rc;

	if (asprintf(&path, "%s/lock", f->folder) < 0) {
		path = NULL;
		return no_memory(e);
	}
	f->lock = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
	if (f->lock < 0)
		return err_set(e, ERR_USAGE, errno, "layer cache: %s", path);
	while ((rc = flock(f->lock, LOCK_SH)) < 0 && errno == EINTR)
		;
	return rc < 0
	    ? err_set(e, ERR_USAGE, errno, "layer cache: lock %s", path)
	    : 0;
}

static void
write_tag(const struct layer_cache_folders *c)
{
	AUTO(own_freep) char *path = NULL;
	AUTO(own_closep) int fd = -1;

	if (asprintf(&path, "%s/CACHEDIR.TAG", c->folder) < 0) {
		path = NULL;
		return;
	}
	fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
	/* Without it, backups are larger. */
	if (fd >= 0 && write(fd, TAG, strlen(TAG)) < 0)
		log_line(LOG_DEBUG, "%s: %s", path, strerror(errno));
}

int
layer_cache_folders_open(
    const char *folder, struct layer_cache_folders *out, struct err *e)
{
	AUTO(own_freep) char *given = NULL;

	*out = (struct layer_cache_folders){NULL, -1, -1, -1, -1, -1};
	if (folder == NULL && default_folder(&given, e) < 0)
		return -1;
	if (folder != NULL && (given = strdup(folder)) == NULL)
		return no_memory(e);
	if (make_all(given, e) < 0)
		return -1;
	if ((out->folder = realpath(given, NULL)) == NULL)
		return err_set(e, ERR_USAGE, errno, "layer cache: %s", given);
	if (take_lock(out, e) < 0 ||
	    make_folder(out->folder, "blobs/sha256", &out->blobs, e) < 0 ||
	    make_folder(out->folder, "layers", &out->layers, e) < 0 ||
	    make_folder(out->folder, "pins", &out->pins, e) < 0 ||
	    make_folder(out->folder, "trash", &out->trash, e) < 0) {
		layer_cache_folders_close(out);
		return -1;
	}
	write_tag(out);
	return 0;
}

void
layer_cache_folders_close(struct layer_cache_folders *f)
{
	own_closep(&f->blobs);
	own_closep(&f->layers);
	own_closep(&f->pins);
	own_closep(&f->trash);
	own_closep(&f->lock);
	own_freep(&f->folder);
}
