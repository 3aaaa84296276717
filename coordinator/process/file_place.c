#include "process/file_place.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "err.h"
#include "own.h"

/* "a/b/" is "a/b", "/" stays. */
static void
trim_slashes(char *path)
{
	size_t len = strlen(path);

	while (len > 1 && path[len - 1] == '/')
		path[--len] = '\0';
}

int
file_place(const char *path, char **place, char **folder, struct err *e)
{
	AUTO(own_freep) char *whole = realpath(path, NULL);
	AUTO(own_freep) char *parent = NULL;
	char *slash, *name;

	if (whole == NULL && (whole = strdup(path)) == NULL)
		return err_set(e, ERR_FATAL, errno, "%s", path);
	trim_slashes(whole);
	slash = strrchr(whole, '/');
	name = slash != NULL ? slash + 1 : whole;
	if (name[0] == '\0' || strcmp(name, ".") == 0 ||
	    strcmp(name, "..") == 0)
		return err_set(
		    e, ERR_USAGE, 0, "'%s' is no place to write to", path);
	if (slash == NULL)
		parent = strdup(".");
	else if (slash == whole)
		parent = strdup("/");
	else
		parent = strndup(whole, (size_t)(slash - whole));
	if (parent == NULL)
		return err_set(e, ERR_FATAL, errno, "%s", path);
	*place = STEAL(&whole);
	*folder = STEAL(&parent);
	return 0;
}

/*
 * out, which has room, gets one more name, or one less for "..".  What is not
 * there yet is no symlink.
 */
static void
descend(char *out, const char *name, size_t len)
{
	size_t at = strlen(out);
	char *last = strrchr(out, '/');

	if (len == 0 || (len == 1 && *name == '.'))
		return;
	if (len == 2 && strncmp(name, "..", 2) == 0) {
		if (last != NULL)
			*last = '\0';
		return;
	}
	out[at] = '/';
	memcpy(out + at + 1, name, len);
	out[at + 1 + len] = '\0';
}

/* The longest beginning of path that is there, without symlinks. */
static char *
existing_part(const char *path, size_t *len)
{
	for (*len = strlen(path); *len > 0; (*len)--) {
		AUTO(own_freep) char *part = NULL;
		char *real;

		if (path[*len] != '\0' && path[*len] != '/')
			continue;
		if ((part = strndup(path, *len)) == NULL)
			return NULL;
		if ((real = realpath(part, NULL)) != NULL)
			return real;
	}
	return realpath(*path == '/' ? "/" : ".", NULL);
}

char *
file_place_real(const char *path)
{
	AUTO(own_freep) char *real = NULL;
	size_t there, len;
	char *out;

	if (*path == '\0' || (real = existing_part(path, &there)) == NULL ||
	    (out = malloc(strlen(real) + strlen(path + there) + 2)) == NULL)
		return NULL;
	strcpy(out, strcmp(real, "/") == 0 ? "" : real);
	for (const char *at = path + there; *at != '\0'; at += len) {
		at += *at == '/';
		len = strcspn(at, "/");
		descend(out, at, len);
	}
	if (*out == '\0')
		strcpy(out, "/");
	return out;
}

bool
file_place_same(const char *a, const char *b)
{
	AUTO(own_freep) char *place_a = NULL;
	AUTO(own_freep) char *place_b = NULL;

	if (strcmp(a, b) == 0)
		return true;
	place_a = file_place_real(a);
	place_b = file_place_real(b);
	return place_a != NULL && place_b != NULL &&
	    strcmp(place_a, place_b) == 0;
}

bool
file_place_below(const char *path, const char *folder)
{
	AUTO(own_freep) char *place = file_place_real(path);
	AUTO(own_freep) char *real = file_place_real(folder);
	size_t len;

	if (place == NULL || real == NULL)
		return false;
	len = strlen(real);
	if (len == 1) /* the root directory */
		return true;
	return strncmp(place, real, len) == 0 && place[len] == '/';
}

bool
file_place_mounted(const char *path)
{
	struct statx st;

	return statx(AT_FDCWD, path, AT_SYMLINK_NOFOLLOW, STATX_TYPE, &st) ==
	    0 &&
	    (st.stx_attributes & STATX_ATTR_MOUNT_ROOT) != 0;
}

/* umask(2) tells only by setting, which other threads would notice. */
static mode_t
current_umask(void)
{
	AUTO(own_fclosep) FILE *f = fopen("/proc/self/status", "re");
	unsigned mask = 022;
	char line[256];

	while (f != NULL && fgets(line, sizeof(line), f) != NULL)
		if (sscanf(line, "Umask: %o", &mask) == 1)
			break;
	return (mode_t)mask;
}

mode_t
file_place_mode(const char *path, mode_t wanted)
{
	struct stat st;

	if (stat(path, &st) == 0)
		return st.st_mode & 0777;
	return wanted & ~current_umask();
}

int
file_place_sync(const char *folder, struct err *e)
{
	AUTO(own_closep)
	int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (fd < 0 || fsync(fd) < 0)
		return err_set(e, ERR_FATAL, errno, "sync folder %s", folder);
	return 0;
}

int
file_place_settle(const char *place, const char *folder, struct err *e)
{
	if (file_place_sync(folder, e) < 0)
		return err_ctx(e,
		    "%.200s is whole and in its place, but a crash of the "
		    "machine may undo that",
		    place);
	return 0;
}
