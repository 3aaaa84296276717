#include "process/scratch.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "err.h"
#include "process/interrupt.h"
#include "own.h"
#include "process/process_group.h"

#define SCRATCH_PREFIX ".quarry-"
#define SCRATCH_RANDOM 6
#define SCRATCH_TRIES 100
#define SCRATCH_DEPTH_MAX 64
/* Workers may still write into a tree for a moment: 10 seconds of tries. */
#define SCRATCH_REMOVE_TRIES 200
#define SCRATCH_REMOVE_NS 50000000L

struct scratch_list {
	char **path;
	size_t n, size;
};

struct scratch {
	pid_t owner; /* a forked child must not remove what is not its own */
	pid_t reaper;
	pthread_mutex_t lock;
	int fd; /* to the reaper: "+path\0", "-path\0" and "&group\0" */
	struct scratch_list list;
};

static int
list_add(struct scratch_list *list, const char *path)
{
	char **grown, *copy;

	if (list->n == list->size) {
		size_t size = list->size > 0 ? 2 * list->size : 16;

		grown = reallocarray(list->path, size, sizeof(*grown));
		if (grown == NULL)
			return -1;
		list->path = grown;
		list->size = size;
	}
	if ((copy = strdup(path)) == NULL)
		return -1;
	list->path[list->n++] = copy;
	return 0;
}

static void
list_drop(struct scratch_list *list, const char *path)
{
	for (size_t i = 0; i < list->n; i++) {
		if (strcmp(list->path[i], path) != 0)
			continue;
		free(list->path[i]);
		list->path[i] = list->path[--list->n];
		return;
	}
}

static void
list_clear(struct scratch_list *list)
{
	for (size_t i = 0; i < list->n; i++)
		free(list->path[i]);
	free(list->path);
	memset(list, 0, sizeof(*list));
}

static bool
name_is_ours(const char *path)
{
	const char *name = strrchr(path, '/');

	name = name != NULL ? name + 1 : path;
	return strncmp(name, SCRATCH_PREFIX, strlen(SCRATCH_PREFIX)) == 0 &&
	    strlen(name) == strlen(SCRATCH_PREFIX) + SCRATCH_RANDOM;
}

/* Removes name and all below it; never follows a symlink. */
static int
remove_at(int dir, const char *name, int depth)
{
	struct dirent *entry;
	int fd, ret = 0;
	DIR *d;

	if (unlinkat(dir, name, 0) == 0 || errno == ENOENT)
		return 0;
	if ((errno != EISDIR && errno != EPERM) || depth > SCRATCH_DEPTH_MAX)
		return -1;
	fd = openat(dir, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		return -1;
	/* Whoever set a folder to read-only, it is ours. */
	fchmod(fd, 0700);
	if ((d = fdopendir(fd)) == NULL) {
		close(fd);
		return -1;
	}
	while ((entry = readdir(d)) != NULL) {
		if (strcmp(entry->d_name, ".") == 0 ||
		    strcmp(entry->d_name, "..") == 0)
			continue;
		if (remove_at(fd, entry->d_name, depth + 1) < 0)
			ret = -1;
	}
	closedir(d);
	if (unlinkat(dir, name, AT_REMOVEDIR) < 0 && errno != ENOENT)
		ret = -1;
	return ret;
}

static int
remove_ours(const char *path)
{
	return name_is_ours(path) ? remove_at(AT_FDCWD, path, 0) : 0;
}

/* What is left of the list when the owner has gone. */
static void
reaper_finish(struct scratch_list *list)
{
	struct timespec pause = {.tv_nsec = SCRATCH_REMOVE_NS};

	for (int try = 0; try < SCRATCH_REMOVE_TRIES; try++) {
		bool left = false;

		for (size_t i = 0; i < list->n; i++)
			left |= remove_ours(list->path[i]) < 0;
		if (!left)
			return;
		nanosleep(&pause, NULL);
	}
}

static void
reaper_note(struct scratch_list *list, pid_t *group, const char *line)
{
	if (line[0] == '+')
		list_add(list, line + 1);
	else if (line[0] == '-')
		list_drop(list, line + 1);
	else if (line[0] == '&')
		*group = (pid_t)strtol(line + 1, NULL, 10);
}

/* Keeps the list until the other end closes, then removes what is on it. */
static void
reaper_run(int fd)
{
	struct scratch_list list = {0};
	pid_t group = 0;
	char buf[16384];
	size_t len = 0;

	for (;;) {
		ssize_t n = read(fd, buf + len, sizeof(buf) - len);
		char *start = buf, *end;

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			break;
		len += (size_t)n;
		while ((end = memchr(start, '\0', len)) != NULL) {
			reaper_note(&list, &group, start);
			len -= (size_t)(end + 1 - start);
			start = end + 1;
		}
		memmove(buf, start, len);
		if (len == sizeof(buf)) /* no path is that long */
			len = 0;
	}
	reaper_finish(&list); /* keys are among it, so it goes first */
	list_clear(&list);
	if (group > 0)
		process_group_end(group);
}

/*
 * The child (all signals blocked): holds no descriptor, terminal or pipe of
 * anybody but fd.
 */
static void
reaper_main(int fd)
{
	static const int ignored[] = {
	    SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGPIPE, SIGTSTP};
	sigset_t none;
	int null;

	prctl(PR_SET_NAME, "quarry-reaper");
	setsid(); /* who kills the group of processes does not kill this one */
	for (size_t i = 0; i < sizeof(ignored) / sizeof(ignored[0]); i++)
		signal(ignored[i], SIG_IGN);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	if (dup2(fd, 3) < 0)
		_exit(1);
	close_range(4, ~0U, 0);
	if ((null = open("/dev/null", O_RDWR)) >= 0) {
		for (int i = 0; i < 3; i++)
			dup2(null, i);
		if (null > 3)
			close(null);
	}
	reaper_run(3);
	_exit(0);
}

int
scratch_new(struct scratch **out, struct err *e)
{
	AUTO(own_freep) struct scratch *s = NULL;
	sigset_t all, old;
	int fd[2], sys;

	if ((s = calloc(1, sizeof(*s))) == NULL)
		return err_set(e, ERR_FATAL, errno, "scratch list");
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fd) < 0)
		return err_set(e, ERR_FATAL, errno, "socket pair");
	s->owner = getpid();
	pthread_mutex_init(&s->lock, NULL);
	/* A ^C must not reach the reaper before it ignores it. */
	sigfillset(&all);
	sigprocmask(SIG_SETMASK, &all, &old);
	if ((s->reaper = fork()) == 0) {
		own_freep(&s);
		close(fd[0]);
		reaper_main(fd[1]);
	}
	sys = errno;
	sigprocmask(SIG_SETMASK, &old, NULL);
	if (s->reaper < 0) {
		close(fd[0]);
		close(fd[1]);
		return err_set(e, ERR_FATAL, sys, "start the reaper");
	}
	close(fd[1]);
	s->fd = fd[0];
	interrupt_reaper(s->reaper, s->fd);
	*out = STEAL(&s);
	return 0;
}

/* A reaper that somebody killed is no reason to fail the build. */
static void
tell_reaper(struct scratch *s, char sign, const char *path)
{
	const char *part[] = {&sign, path};
	size_t len[] = {1, strlen(path) + 1};

	for (int i = 0; i < 2; i++) {
		for (size_t done = 0; done < len[i];) {
			ssize_t n = send(
			    s->fd, part[i] + done, len[i] - done, MSG_NOSIGNAL);

			if (n < 0 && errno == EINTR)
				continue;
			if (n < 0)
				return;
			done += (size_t)n;
		}
	}
}

static int
random_name(char out[static SCRATCH_RANDOM + 1])
{
	static const char digit[] = "0123456789abcdefghijklmnopqrstuvwxyz"
				    "ABCDEFGHIJKLMNOPQRSTUVWXYZ";
	uint64_t r;

	if (getrandom(&r, sizeof(r), 0) != (ssize_t)sizeof(r))
		return -1;
	for (int i = 0; i < SCRATCH_RANDOM; i++) {
		out[i] = digit[r % (sizeof(digit) - 1)];
		r /= sizeof(digit) - 1;
	}
	out[SCRATCH_RANDOM] = '\0';
	return 0;
}

static int
make_error(int sys, const char *what, const char *parent, struct err *e)
{
	switch (sys) {
	case ENOENT:
	case ENOTDIR:
	case EACCES:
	case EPERM:
	case EROFS:
	case ELOOP:
	case ENAMETOOLONG:
		return err_set(
		    e, ERR_USAGE, sys, "cannot make a %s in %s", what, parent);
	default:
		return err_set(
		    e, ERR_FATAL, sys, "cannot make a %s in %s", what, parent);
	}
}

/* The reaper learns of a name before it exists, so none is ever missed. */
static int
note(struct scratch *s, const char *path)
{
	int rc;

	pthread_mutex_lock(&s->lock);
	if ((rc = list_add(&s->list, path)) == 0)
		tell_reaper(s, '+', path);
	pthread_mutex_unlock(&s->lock);
	return rc;
}

static int
make(struct scratch *s, const char *parent, bool folder, char **path, int *fd,
    struct err *e)
{
	const char *what = folder ? "temporary folder" : "temporary file";
	char name[SCRATCH_RANDOM + 1];
	int got = -1, sys = EEXIST;

	for (int try = 0; try < SCRATCH_TRIES && sys == EEXIST; try++) {
		AUTO(own_freep) char *cwd = NULL, *full = NULL;

		if (parent[0] != '/' && (cwd = getcwd(NULL, 0)) == NULL)
			return make_error(errno, what, parent, e);
		if (random_name(name) < 0 ||
		    asprintf(&full, "%s%s%s/" SCRATCH_PREFIX "%s",
			cwd != NULL ? cwd : "", cwd != NULL ? "/" : "", parent,
			name) < 0 ||
		    note(s, full) < 0)
			return make_error(errno, what, parent, e);
		if (folder)
			got = mkdir(full, 0700);
		else
			got = open(
			    full, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
		if (got >= 0) {
			*path = STEAL(&full);
			*fd = got;
			return 0;
		}
		sys = errno;
		scratch_keep(s, full);
	}
	return make_error(sys, what, parent, e);
}

int
scratch_folder(
    struct scratch *s, const char *parent, char **path, struct err *e)
{
	int unused;

	return make(s, parent, true, path, &unused, e);
}

int
scratch_file(
    struct scratch *s, const char *parent, char **path, int *fd, struct err *e)
{
	return make(s, parent, false, path, fd, e);
}

const char *
scratch_temp(void)
{
	const char *dir = getenv("TMPDIR");

	return dir != NULL && dir[0] == '/' ? dir : "/var/tmp";
}

void
scratch_remove(struct scratch *s, const char *path)
{
	/* What does not go now stays listed: the end tries again. */
	if (remove_ours(path) == 0)
		scratch_keep(s, path);
}

void
scratch_group(struct scratch *s, pid_t group)
{
	char text[24];

	snprintf(text, sizeof(text), "%d", (int)group);
	pthread_mutex_lock(&s->lock);
	tell_reaper(s, '&', text);
	pthread_mutex_unlock(&s->lock);
}

void
scratch_keep(struct scratch *s, const char *path)
{
	pthread_mutex_lock(&s->lock);
	tell_reaper(s, '-', path);
	list_drop(&s->list, path); /* path may be the list's own */
	pthread_mutex_unlock(&s->lock);
}

void
scratch_free(struct scratch *s)
{
	if (s == NULL)
		return;
	if (s->owner == getpid()) {
		for (size_t i = s->list.n; i > 0; i--)
			scratch_remove(s, s->list.path[i - 1]);
		interrupt_reaper(-1, -1);
		close(s->fd);
		while (waitpid(s->reaper, NULL, 0) < 0 && errno == EINTR)
			;
	} else {
		close(s->fd);
	}
	list_clear(&s->list);
	pthread_mutex_destroy(&s->lock);
	free(s);
}

void
scratch_freep(struct scratch **s)
{
	scratch_free(*s);
	*s = NULL;
}
