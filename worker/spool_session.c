#include "spool_session.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "err.h"
#include "own.h"

#define LOCK "lock"
#define HOST_MAX 64
#define BOOT_LEN 36 /* of a UUID */
#define OPEN_TRIES 8

/* Reads a short file of /proc; "" if that cannot be. */
static void
read_proc(const char *path, char *out, size_t size)
{
	AUTO(own_closep) int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : read(fd, out, size - 1);

	out[n > 0 ? n : 0] = '\0';
}

/* What no other process of this boot had: 0 if the process is not there. */
static uint64_t
start_time(long pid)
{
	char path[40], stat[1024], *at;
	uint64_t ticks = 0;

	snprintf(path, sizeof(path), "/proc/%ld/stat", pid);
	read_proc(path, stat, sizeof(stat));
	/* The second field is a name in brackets, and may hold any byte. */
	if ((at = strrchr(stat, ')')) == NULL)
		return 0;
	/* The 22nd; the blank after the bracket comes before the third. */
	for (int field = 3; field <= 22 && at != NULL; field++)
		at = strchr(at + 1, ' ');
	if (at == NULL || sscanf(at, " %" SCNu64, &ticks) != 1)
		return 0;
	return ticks;
}

static void
host_name(char out[static HOST_MAX + 1])
{
	memset(out, 0, HOST_MAX + 1);
	if (gethostname(out, HOST_MAX) < 0)
		out[0] = '\0';
	for (char *c = out; *c != '\0'; c++)
		if (strchr("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXY"
			   "Z0123456789-.",
			*c) == NULL)
			*c = '_';
	if (out[0] == '\0')
		strcpy(out, "_");
	if (out[0] == '.')
		out[0] = '_';
}

static void
boot_id(char out[static BOOT_LEN + 1])
{
	read_proc("/proc/sys/kernel/random/boot_id", out, BOOT_LEN + 1);
	if (strlen(out) != BOOT_LEN)
		snprintf(out, BOOT_LEN + 1, "%036d", 0);
}

bool
spool_session_name(pid_t pid, char out[static SPOOL_SESSION_MAX])
{
	char host[HOST_MAX + 1], boot[BOOT_LEN + 1];
	uint64_t start = start_time(pid);

	host_name(host);
	boot_id(boot);
	snprintf(out, SPOOL_SESSION_MAX, "%s.%s.%ld.%" PRIu64, host, boot,
	    (long)pid, start);
	return start != 0;
}

/*
 * Whether name is that of a process of this host which is gone.  A process in
 * another PID namespace looks so, too: the lock tells.
 */
static bool
looks_dead(const char *name)
{
	char host[HOST_MAX + 1], boot[BOOT_LEN + 1], rest[SPOOL_SESSION_MAX];
	size_t len;
	uint64_t start;
	long pid;
	int end = 0;

	host_name(host);
	boot_id(boot);
	len = strlen(host);
	if (strncmp(name, host, len) != 0 || name[len] != '.' ||
	    strlen(name) >= sizeof(rest))
		return false;
	snprintf(rest, sizeof(rest), "%s", name + len + 1);
	if (strlen(rest) <= BOOT_LEN || rest[BOOT_LEN] != '.' ||
	    strspn(rest, "0123456789abcdef-") != BOOT_LEN)
		return false;
	if (sscanf(rest + BOOT_LEN, ".%ld.%" SCNu64 "%n", &pid, &start, &end) <
		2 ||
	    rest[BOOT_LEN + end] != '\0' || pid <= 0)
		return false;
	return strncmp(rest, boot, BOOT_LEN) != 0 || start_time(pid) != start;
}

/* "JOB-ATTEMPT.FORM", as a spool makes them. */
static bool
is_spooled(const char *name)
{
	size_t len = strspn(name, "0123456789");

	if (len == 0 || name[len] != '-')
		return false;
	name += len + 1;
	len = strspn(name, "0123456789");
	return len > 0 &&
	    (strcmp(name + len, ".tar") == 0 ||
		strcmp(name + len, ".blob") == 0);
}

/* Files of ours in the folder; fd is taken. */
static void
empty_folder(int fd)
{
	struct dirent *entry;
	DIR *dir = fdopendir(fd);

	if (dir == NULL) {
		close(fd);
		return;
	}
	while ((entry = readdir(dir)) != NULL)
		if (is_spooled(entry->d_name))
			unlinkat(dirfd(dir), entry->d_name, 0);
	closedir(dir);
}

static void
remove_dead(int parent, const char *name)
{
	AUTO(own_closep) int dir = -1;
	AUTO(own_closep) int lock = -1;

	dir = openat(
	    parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (dir < 0)
		return;
	lock = openat(dir, LOCK, O_RDWR | O_NOFOLLOW | O_CLOEXEC);
	/* Where nothing can be locked, nothing is known. */
	if (lock >= 0 && flock(lock, LOCK_EX | LOCK_NB) < 0)
		return;
	/* Without a lock there are no files yet, or no more. */
	if (lock >= 0) {
		empty_folder(fcntl(dir, F_DUPFD_CLOEXEC, 0));
		unlinkat(dir, LOCK, 0);
	}
	unlinkat(parent, name, AT_REMOVEDIR);
}

void
spool_session_clean(int parent)
{
	int fd = openat(parent, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	struct dirent *entry;
	DIR *dir;

	if (fd < 0)
		return;
	if ((dir = fdopendir(fd)) == NULL) {
		close(fd);
		return;
	}
	while ((entry = readdir(dir)) != NULL)
		if (looks_dead(entry->d_name))
			remove_dead(parent, entry->d_name);
	closedir(dir);
}

/* 1: done; 0: another one's cleaning came in between. */
static int
try_open(struct spool_session *s, struct err *e)
{
	if (mkdirat(s->parent, s->name, 0700) < 0 && errno != EEXIST)
		return err_set(e, ERR_FATAL, errno, "make %s", s->path);
	s->fd = openat(s->parent, s->name,
	    O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (s->fd < 0 && errno == ENOENT)
		return 0;
	if (s->fd < 0)
		return err_set(e, ERR_FATAL, errno, "open %s", s->path);
	s->lock = openat(
	    s->fd, LOCK, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (s->lock < 0 && errno == ENOENT) {
		own_closep(&s->fd);
		return 0;
	}
	if (s->lock < 0)
		return err_set(e, ERR_FATAL, errno, "make %s/" LOCK, s->path);
	/* Where files cannot be locked nobody removes what was left. */
	if (flock(s->lock, LOCK_EX | LOCK_NB) == 0 ||
	    (errno != EWOULDBLOCK && errno != EINTR)) {
		if (faccessat(s->fd, LOCK, F_OK, 0) == 0)
			return 1;
	}
	own_closep(&s->lock);
	own_closep(&s->fd);
	return 0;
}

int
spool_session_open(
    int parent, const char *path, struct spool_session *out, struct err *e)
{
	int rc = 0;

	if (!spool_session_name(getpid(), out->name))
		return err_set(
		    e, ERR_FATAL, 0, "/proc does not show this process");
	if (asprintf(&out->path, "%s/%s", path, out->name) < 0) {
		out->path = NULL;
		return err_set(e, ERR_FATAL, errno, "spool");
	}
	if ((out->parent = fcntl(parent, F_DUPFD_CLOEXEC, 0)) < 0)
		return err_set(e, ERR_FATAL, errno, "open %s", path);
	for (int try = 0; rc == 0 && try < OPEN_TRIES; try++)
		rc = try_open(out, e);
	if (rc == 0)
		return err_set(
		    e, ERR_FATAL, 0, "%s is in use by another", out->path);
	return rc < 0 ? -1 : 0;
}

void
spool_session_close(struct spool_session *s)
{
	if (s->fd >= 0 && s->lock >= 0) {
		empty_folder(fcntl(s->fd, F_DUPFD_CLOEXEC, 0));
		unlinkat(s->fd, LOCK, 0);
		unlinkat(s->parent, s->name, AT_REMOVEDIR);
	}
	own_closep(&s->lock);
	own_closep(&s->fd);
	own_closep(&s->parent);
	own_freep(&s->path);
}
