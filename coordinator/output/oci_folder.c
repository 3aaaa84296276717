#include "output/oci_folder.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "digest.h"
#include "err.h"
#include "process/file_copy.h"
#include "process/file_place.h"
#include "output/oci_blobs.h"
#include "own.h"
#include "process/scratch.h"

#define PLACE_TRIES 8

struct oci_folder {
	struct scratch *scratch;
	char *place, *parent;
	char *staging; /* the whole layout, beside its place */
	char *blobs;
	bool replaces; /* a layout is there already */
	char *old;     /* where it is until the new one is durable */
	mode_t mode;
};

static bool
folder_is_empty(const char *path)
{
	struct dirent *entry;
	bool empty = true;
	DIR *d = opendir(path);

	if (d == NULL)
		return false;
	while (empty && (entry = readdir(d)) != NULL)
		empty = strcmp(entry->d_name, ".") == 0 ||
		    strcmp(entry->d_name, "..") == 0;
	closedir(d);
	return empty;
}

/* Only an OCI layout, or nothing, is ever replaced. */
static int
check_place(struct oci_folder *f, struct err *e)
{
	AUTO(own_freep) char *mark = NULL;
	struct stat st;

	if (lstat(f->place, &st) < 0)
		return errno == ENOENT
		    ? 0
		    : err_set(e, ERR_USAGE, errno, "%s", f->place);
	if (!S_ISDIR(st.st_mode))
		return err_set(e, ERR_USAGE, 0, "%s is not a folder", f->place);
	if (file_place_mounted(f->place))
		return err_set(e, ERR_USAGE, 0,
		    "%s is a mount point and cannot be replaced as a whole: "
		    "name a folder in it",
		    f->place);
	if (asprintf(&mark, "%s/oci-layout", f->place) < 0) {
		mark = NULL;
		return err_set(e, ERR_FATAL, errno, "oci");
	}
	f->replaces = access(mark, F_OK) == 0;
	if (!f->replaces && !folder_is_empty(f->place))
		return err_set(e, ERR_USAGE, 0,
		    "%s is a folder with other things in it: name a new one",
		    f->place);
	return 0;
}

int
oci_folder_open(const char *place, struct scratch *scratch,
    struct oci_folder **out, struct err *e)
{
	AUTO(oci_folder_freep) struct oci_folder *f = calloc(1, sizeof(*f));

	if (f == NULL)
		return err_set(e, ERR_FATAL, errno, "oci");
	f->scratch = scratch;
	if (file_place(place, &f->place, &f->parent, e) < 0 ||
	    check_place(f, e) < 0)
		return -1;
	f->mode = file_place_mode(f->place, 0777);
	if (scratch_folder(scratch, f->parent, &f->staging, e) < 0 ||
	    oci_blobs_make(f->staging, &f->blobs, e) < 0)
		return -1;
	*out = STEAL(&f);
	return 0;
}

void
oci_folder_free(struct oci_folder *f)
{
	if (f == NULL)
		return;
	if (f->staging != NULL)
		scratch_remove(f->scratch, f->staging);
	if (f->old != NULL)
		scratch_remove(f->scratch, f->old);
	free(f->staging);
	free(f->old);
	free(f->place);
	free(f->parent);
	free(f->blobs);
	free(f);
}

void
oci_folder_freep(struct oci_folder **f)
{
	oci_folder_free(*f);
	*f = NULL;
}

const char *
oci_folder_blobs(const struct oci_folder *f)
{
	return f->blobs;
}

/* A file of the layout, durable.  Replaces one of that name. */
static int
put_file(const char *folder, const char *name, const void *data, size_t len,
    struct err *e)
{
	AUTO(own_freep) char *path = NULL;
	AUTO(own_closep) int fd = -1;

	if (asprintf(&path, "%s/%s", folder, name) < 0) {
		path = NULL;
		return err_set(e, ERR_FATAL, errno, "%s", name);
	}
	fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
	if (fd < 0)
		return err_set(e, ERR_FATAL, errno, "make %s", path);
	if (file_write(fd, path, data, len, e) < 0)
		return -1;
	if (fsync(fd) < 0)
		return err_set(e, ERR_FATAL, errno, "sync %s", path);
	return 0;
}

int
oci_folder_put(struct oci_folder *f, const struct digest *digest,
    const void *data, size_t len, struct err *e)
{
	char hex[DIGEST_HEX_LEN + 1];

	digest_hex(digest, hex);
	return put_file(f->blobs, hex, data, len, e);
}

int
oci_folder_copy(struct oci_folder *f, const char *file,
    const struct digest *digest, uint64_t size, struct err *e)
{
	AUTO(own_freep) char *path = NULL;
	AUTO(own_closep) int fd = -1;

	if (oci_blobs_path(f->blobs, digest, &path, e) < 0)
		return -1;
	fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
	if (fd < 0 && errno == EEXIST) /* the same layer again */
		return 0;
	if (fd < 0)
		return err_set(e, ERR_FATAL, errno, "make %s", path);
	if (file_copy(file, size, fd, path, e) < 0)
		return -1;
	if (fsync(fd) < 0)
		return err_set(e, ERR_FATAL, errno, "sync %s", path);
	return 0;
}

bool
oci_folder_link(
    struct oci_folder *f, const char *file, const struct digest *digest)
{
	AUTO(own_freep) char *path = NULL;
	struct err e = ERR_INIT;

	return oci_blobs_path(f->blobs, digest, &path, &e) == 0 &&
	    (link(file, path) == 0 || errno == EEXIST);
}

/* Workers' temp files are private; a layout is as public as other files. */
int
oci_folder_open_up(
    struct oci_folder *f, const struct digest *digest, struct err *e)
{
	AUTO(own_freep) char *path = NULL;

	if (oci_blobs_path(f->blobs, digest, &path, e) < 0)
		return -1;
	if (chmod(path, f->mode & 0666) < 0)
		return err_set(e, ERR_FATAL, errno, "chmod %s", path);
	return 0;
}

/* Makes the names in the staging folder durable, innermost first. */
static int
sync_folders(const struct oci_folder *f, struct err *e)
{
	AUTO(own_freep) char *parent = NULL;

	if (asprintf(&parent, "%s/blobs", f->staging) < 0) {
		parent = NULL;
		return err_set(e, ERR_FATAL, errno, "oci");
	}
	if (file_place_sync(f->blobs, e) < 0 || file_place_sync(parent, e) < 0)
		return -1;
	return file_place_sync(f->staging, e);
}

/*
 * Where names cannot be exchanged.  The old layout is not on the list of
 * things to remove until the new one is in its place.
 */
static int
replace_in_steps(struct oci_folder *f, struct err *e)
{
	AUTO(own_freep) char *old = NULL;

	if (scratch_folder(f->scratch, f->parent, &old, e) < 0)
		return -1;
	scratch_keep(f->scratch, old);
	if (rename(f->place, old) < 0) {
		int sys = errno;

		rmdir(old);
		return err_set(e, ERR_FATAL, sys, "rename %s", f->place);
	}
	if (rename(f->staging, f->place) < 0) {
		int sys = errno;

		if (rename(old, f->place) < 0)
			return err_set(e, ERR_FATAL, sys,
			    "rename %s to %s (what was there is now %s)",
			    f->staging, f->place, old);
		return err_set(
		    e, ERR_FATAL, sys, "rename %s to %s", f->staging, f->place);
	}
	scratch_keep(f->scratch, f->staging);
	f->old = STEAL(&old);
	return 0;
}

/* 1: what is at the place is not any more what was found there. */
static int
try_in_place(struct oci_folder *f, struct err *e)
{
	if (!f->replaces) {
		if (rename(f->staging, f->place) == 0) {
			scratch_keep(f->scratch, f->staging);
			return 0;
		}
		return errno == ENOTEMPTY || errno == EEXIST
		    ? 1
		    : err_set(e, ERR_FATAL, errno, "rename %s to %s",
			  f->staging, f->place);
	}
	if (renameat2(AT_FDCWD, f->staging, AT_FDCWD, f->place,
		RENAME_EXCHANGE) == 0) {
		f->old = STEAL(&f->staging);
		return 0;
	}
	if (errno == ENOENT)
		return 1;
	if (errno != EINVAL && errno != ENOSYS && errno != EOPNOTSUPP)
		return err_set(e, ERR_FATAL, errno, "exchange %s and %s",
		    f->staging, f->place);
	return replace_in_steps(f, e);
}

/* Another build may have put a layout there meanwhile, or taken it away. */
static int
put_in_place(struct oci_folder *f, struct err *e)
{
	int rc;

	for (int try = 0; (rc = try_in_place(f, e)) > 0; try++) {
		if (try == PLACE_TRIES)
			return err_set(e, ERR_FATAL, 0,
			    "%s: others put things there, too", f->place);
		f->replaces = false;
		if (check_place(f, e) < 0)
			return -1;
	}
	if (rc < 0)
		return -1;
	own_freep(&f->staging);
	if (file_place_settle(f->place, f->parent, e) < 0)
		return -1;
	if (f->old != NULL)
		scratch_remove(f->scratch, f->old);
	own_freep(&f->old);
	return 0;
}

int
oci_folder_commit(
    struct oci_folder *f, const char *index, size_t len, struct err *e)
{
	AUTO(own_freep) char *blobs = NULL;

	/* Nothing but the disk may fail once it is in its place. */
	if (asprintf(&blobs, "%s/blobs/sha256", f->place) < 0) {
		blobs = NULL;
		return err_set(e, ERR_FATAL, errno, "oci");
	}
	if (put_file(f->staging, "oci-layout", OCI_LAYOUT_JSON,
		strlen(OCI_LAYOUT_JSON), e) < 0 ||
	    put_file(f->staging, "index.json", index, len, e) < 0 ||
	    sync_folders(f, e) < 0)
		return -1;
	if (chmod(f->staging, f->mode) < 0)
		return err_set(e, ERR_FATAL, errno, "chmod %s", f->staging);
	if (put_in_place(f, e) < 0)
		return -1;
	free(f->blobs);
	f->blobs = STEAL(&blobs);
	return 0;
}
