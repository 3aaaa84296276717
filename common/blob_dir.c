#include "blob_dir.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "err.h"
#include "own.h"
#include "write_behind.h"

#define TEMP_NAME_MAX 80

/*
 * The temp file has no name (O_TMPFILE) where the file system can do that:
 * whatever kills the process, the kernel takes the file away.  Elsewhere (NFS,
 * some overlays) it is named; the name's random part keeps machines that
 * share the folder apart.
 */
struct blob_writer {
	char *folder;
	int dir, fd;
	char temp[TEMP_NAME_MAX]; /* "" where the file has no name */
	uint64_t size;		  /* bytes written */
	struct write_cursor behind;
	bool done; /* committed, or an error left it in doubt */
};

static void
drop(struct blob_writer *w)
{
	if (w->temp[0] != '\0' && w->dir >= 0)
		unlinkat(w->dir, w->temp, 0);
	w->temp[0] = '\0';
	write_cursor_forget(&w->behind);
	own_closep(&w->fd);
}

/* Sets the error of a failed call and throws the file away. */
static int
broke(struct blob_writer *w, int sys, const char *what, struct err *e)
{
	drop(w);
	w->done = true;
	return err_set(e, ERR_RETRY, sys, "%s a blob in %s", what, w->folder);
}

static int
open_named(struct blob_writer *w, struct err *e)
{
	for (int try = 0; try < 100; try++) {
		uint64_t id;

		if (getentropy(&id, sizeof(id)) < 0)
			break;
		snprintf(w->temp, sizeof(w->temp), ".blob-%ld-%016" PRIx64,
		    (long)getpid(), id);
		w->fd = openat(w->dir, w->temp,
		    O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
		if (w->fd >= 0)
			return 0;
		if (errno != EEXIST)
			break;
	}
	w->temp[0] = '\0';
	return err_set(e, ERR_RETRY, errno, "create a file in %s", w->folder);
}

int
blob_writer_new(const char *folder, struct write_behind *behind,
    struct blob_writer **out, struct err *e)
{
	AUTO(blob_writer_freep) struct blob_writer *w = NULL;

	if ((w = malloc(sizeof(*w))) == NULL)
		return err_set(e, ERR_RETRY, errno, "blob writer");
	*w = (struct blob_writer){.dir = -1, .fd = -1};
	write_cursor_init(&w->behind, behind, 0);
	if ((w->folder = strdup(folder)) == NULL)
		return err_set(e, ERR_RETRY, errno, "blob writer");
	w->dir = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (w->dir < 0)
		return err_set(e, ERR_RETRY, errno, "blob folder %s", folder);
	w->fd = openat(w->dir, ".", O_TMPFILE | O_WRONLY | O_CLOEXEC, 0644);
	if (w->fd < 0 &&
	    (errno == EOPNOTSUPP || errno == EISDIR || errno == EINVAL ||
		errno == ENOENT)) {
		if (open_named(w, e) < 0)
			return -1;
	} else if (w->fd < 0) {
		return err_set(
		    e, ERR_RETRY, errno, "create a file in %s", folder);
	}
	*out = STEAL(&w);
	return 0;
}

int
blob_write(struct blob_writer *w, const void *data, size_t len, struct err *e)
{
	const char *at = data;

	if (w->done)
		return err_set(e, ERR_RETRY, 0,
		    "write a blob in %s: it is closed", w->folder);
	while (len > 0) {
		ssize_t n = write(w->fd, at, len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return broke(w, errno, "write", e);
		at += n;
		len -= (size_t)n;
		w->size += (uint64_t)n;
	}
	if (write_cursor_advance(&w->behind, w->fd, w->size) < 0)
		return broke(w, errno, "write", e);
	return 0;
}

int
blob_writer_file(const struct blob_writer *w)
{
	return w->fd;
}

void
blob_writer_wrote(struct blob_writer *w, uint64_t size)
{
	w->size = size;
}

/* A blob of this name was there before: is it whole? */
static int
check_present(struct blob_writer *w, const char *name, struct err *e)
{
	struct stat st;

	if (fstatat(w->dir, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return broke(w, errno, "look at", e);
	if (S_ISREG(st.st_mode) && (uint64_t)st.st_size == w->size)
		return 0;
	drop(w);
	w->done = true;
	return err_set(e, ERR_RETRY, 0,
	    "%s/%s is damaged (%" PRIu64 " bytes are wanted, it has %jd): "
	    "remove it",
	    w->folder, name, w->size, (intmax_t)st.st_size);
}

/* Gives the file its name, unless that is taken.  -1 with errno. */
static int
name_file(struct blob_writer *w, const char *name)
{
	char self[40];

	if (w->temp[0] == '\0') {
		snprintf(self, sizeof(self), "/proc/self/fd/%d", w->fd);
		return linkat(AT_FDCWD, self, w->dir, name, AT_SYMLINK_FOLLOW);
	}
	if (renameat2(w->dir, w->temp, w->dir, name, RENAME_NOREPLACE) == 0) {
		w->temp[0] = '\0';
		return 0;
	}
	if (errno != EINVAL && errno != ENOSYS)
		return -1;
	/* The file system cannot refuse: an equal blob takes the place. */
	if (renameat(w->dir, w->temp, w->dir, name) < 0)
		return -1;
	w->temp[0] = '\0';
	return 0;
}

int
blob_commit(struct blob_writer *w, const struct digest *digest, struct err *e)
{
	char name[DIGEST_HEX_LEN + 1];

	if (w->done)
		return err_set(e, ERR_RETRY, 0,
		    "commit a blob in %s: it is closed", w->folder);
	digest_hex(digest, name);
	/*
	 * After a failed fsync the kernel forgets which pages did not get to
	 * the disk, and the next fsync succeeds: so there is no second try.
	 */
	if (fsync(w->fd) < 0)
		return broke(w, errno, "fsync", e);
	if (name_file(w, name) < 0) {
		if (errno != EEXIST)
			return broke(w, errno, "name", e);
		if (check_present(w, name, e) < 0)
			return -1;
	}
	w->done = true;
	write_cursor_end(&w->behind, w->fd, w->size);
	drop(w); /* fsync was the last that could tell of a lost byte */
	/* Also where the name was there: its writer may not be so far yet. */
	if (fsync(w->dir) < 0)
		return err_set(
		    e, ERR_RETRY, errno, "fsync the folder %s", w->folder);
	return 0;
}

void
blob_writer_free(struct blob_writer *w)
{
	if (w == NULL)
		return;
	drop(w);
	own_closep(&w->dir);
	free(w->folder);
	free(w);
}

void
blob_writer_freep(struct blob_writer **w)
{
	blob_writer_free(*w);
	*w = NULL;
}
