#include "cache/layer_cache_state.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "err.h"
#include "own.h"

#define YOUNG_S 60

void
layer_cache_unpin(int pins, const char *name)
{
	int fd = openat(pins, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *d = fd >= 0 ? fdopendir(fd) : NULL;
	char lock[LAYER_CACHE_NAME_MAX + 8];
	struct dirent *entry;

	while (d != NULL && (entry = readdir(d)) != NULL)
		if (entry->d_name[0] != '.')
			unlinkat(fd, entry->d_name, 0);
	if (d != NULL)
		closedir(d);
	else if (fd >= 0)
		close(fd);
	unlinkat(pins, name, AT_REMOVEDIR);
	snprintf(lock, sizeof(lock), "%.*s%s", LAYER_CACHE_NAME_MAX - 1, name,
	    LAYER_CACHE_LOCK);
	unlinkat(pins, lock, 0);
}

/*
 * Whoever can take the lock may remove the pins: their build is no more.  So
 * it gets its name only when it is locked.
 */
int
layer_cache_pin_new(const struct layer_cache_folders *f,
    char name[LAYER_CACHE_NAME_MAX], int *folder, int *lock, struct err *e)
{
	char temp[LAYER_CACHE_NAME_MAX + 8], last[LAYER_CACHE_NAME_MAX + 8];
	uint64_t id;

	if (getentropy(&id, sizeof(id)) < 0)
		return err_set(e, ERR_FATAL, errno, "random number");
	snprintf(name, LAYER_CACHE_NAME_MAX, "%016" PRIx64, id);
	snprintf(temp, sizeof(temp), ".%s", name);
	snprintf(last, sizeof(last), "%s%s", name, LAYER_CACHE_LOCK);
	*lock =
	    openat(f->pins, temp, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
	if (*lock < 0 || flock(*lock, LOCK_EX | LOCK_NB) < 0 ||
	    renameat(f->pins, temp, f->pins, last) < 0 ||
	    mkdirat(f->pins, name, 0777) < 0 ||
	    (*folder = openat(
		 f->pins, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC)) < 0)
		return err_set(
		    e, ERR_USAGE, errno, "layer cache: %s/pins", f->folder);
	/* Pins are second names of blobs: known before there is one to pin. */
	if (linkat(f->pins, last, *folder, last, 0) < 0)
		return err_set(e, ERR_USAGE, errno,
		    "layer cache: %s: no file can have a second name there "
		    "(hard link)",
		    f->folder);
	unlinkat(*folder, last, 0);
	return 0;
}

/* The length of the name without ".lock", or 0. */
static size_t
stem(const char *name)
{
	size_t len = strlen(name), end = strlen(LAYER_CACHE_LOCK);

	if (len <= end || len - end >= LAYER_CACHE_NAME_MAX ||
	    strcmp(name + len - end, LAYER_CACHE_LOCK) != 0)
		return 0;
	return len - end;
}

/* A lock that has not got its name is old when its maker is gone. */
static void
sweep_one(int pins, const char *entry)
{
	AUTO(own_closep) int fd = -1;
	char name[LAYER_CACHE_NAME_MAX];
	struct stat st;

	if (entry[0] == '.') {
		if (fstatat(pins, entry, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
		    S_ISREG(st.st_mode) && time(NULL) - st.st_mtime > YOUNG_S)
			unlinkat(pins, entry, 0);
		return;
	}
	if (stem(entry) == 0)
		return;
	fd = openat(pins, entry, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
	if (fd < 0 || flock(fd, LOCK_EX | LOCK_NB) < 0)
		return;
	snprintf(name, sizeof(name), "%.*s", (int)stem(entry), entry);
	layer_cache_unpin(pins, name);
}

void
layer_cache_sweep(const struct layer_cache_folders *f)
{
	int fd = openat(f->pins, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *d = fd >= 0 ? fdopendir(fd) : NULL;
	struct dirent *entry;

	while (d != NULL && (entry = readdir(d)) != NULL)
		sweep_one(f->pins, entry->d_name);
	if (d != NULL)
		closedir(d);
	else if (fd >= 0)
		close(fd);
}

void
layer_cache_sweep_temps(int folder)
{
	int fd = openat(folder, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *d = fd >= 0 ? fdopendir(fd) : NULL;
	struct dirent *entry;

	while (d != NULL && (entry = readdir(d)) != NULL)
		if (entry->d_name[0] == '.')
			sweep_one(folder, entry->d_name);
	if (d != NULL)
		closedir(d);
	else if (fd >= 0)
		close(fd);
}
