#include "dir_scout.h"

#include <dirent.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "err.h"
#include "layer_spec.h"
#include "store_path.h"

#define THREADS 4
/* No farther ahead of the walk than this many directories. */
#define AHEAD_MAX 1024
/* Directories that wait; what does not fit is not scouted. */
#define QUEUE_MAX 8192
#define DENTS_SIZE 16384
#define STACK_SIZE ((size_t)128 << 10)

struct dir_scout {
	int store_fd;
	const struct layer_item *items;
	const char *store_dir;
	size_t n_items;
	pthread_t thread[THREADS];
	size_t n_threads;

	pthread_mutex_t lock;
	pthread_cond_t go; /* the walk passed, or a directory waits, or stop */
	bool stop;
	size_t item;		/* the next to begin */
	char *queue[QUEUE_MAX]; /* a stack: the walk is depth first, too */
	size_t n_queue;
	size_t scouted, passed;
	size_t busy; /* threads that may still add to the queue */
};

static char *
next_item(struct dir_scout *s)
{
	const char *path = s->items[s->item++].path;
	struct err e = ERR_INIT;

	if (store_path_check(path, s->store_dir, &e) < 0)
		return NULL;
	return strdup(store_path_base(path));
}

/* The next directory to read, or NULL at the end.  Called with the lock. */
static char *
next_dir(struct dir_scout *s)
{
	for (;;) {
		if (s->stop)
			return NULL;
		if (s->scouted < s->passed + AHEAD_MAX) {
			if (s->n_queue > 0)
				break;
			if (s->item < s->n_items)
				return next_item(s);
			if (s->busy == 0)
				return NULL;
		}
		pthread_cond_wait(&s->go, &s->lock);
	}
	return s->queue[--s->n_queue];
}

static void
add_dir(struct dir_scout *s, const char *parent, const char *name)
{
	size_t parent_len = strlen(parent), len = strlen(name);
	char *path = malloc(parent_len + 1 + len + 1);

	if (path == NULL)
		return;
	memcpy(path, parent, parent_len);
	path[parent_len] = '/';
	memcpy(path + parent_len + 1, name, len + 1);
	pthread_mutex_lock(&s->lock);
	if (s->n_queue < QUEUE_MAX) {
		s->queue[s->n_queue++] = path;
		path = NULL;
		pthread_cond_signal(&s->go);
	}
	pthread_mutex_unlock(&s->lock);
	free(path);
}

/* What is wrong with a directory the walk will find out, and say. */
static void
read_dir(struct dir_scout *s, const char *path)
{
	_Alignas(struct dirent64) char dents[DENTS_SIZE];
	ssize_t n;
	int fd;

	fd = openat(
	    s->store_fd, path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		return;
	while ((n = getdents64(fd, dents, sizeof(dents))) > 0) {
		for (ssize_t at = 0; at < n;) {
			struct dirent64 *d = (void *)(dents + at);

			at += d->d_reclen;
			if (d->d_type == DT_DIR &&
			    strcmp(d->d_name, ".") != 0 &&
			    strcmp(d->d_name, "..") != 0)
				add_dir(s, path, d->d_name);
		}
	}
	close(fd);
}

static void *
scout(void *arg)
{
	struct dir_scout *s = arg;
	char *path;

	pthread_mutex_lock(&s->lock);
	while ((path = next_dir(s)) != NULL) {
		s->scouted++;
		s->busy++;
		pthread_mutex_unlock(&s->lock);
		read_dir(s, path);
		free(path);
		pthread_mutex_lock(&s->lock);
		s->busy--;
	}
	/* The others may wait for what this one could have found. */
	pthread_cond_broadcast(&s->go);
	pthread_mutex_unlock(&s->lock);
	return NULL;
}

/* Threads that no signal of the process goes to. */
static void
start_threads(struct dir_scout *s)
{
	pthread_attr_t attr;
	sigset_t all, old;

	if (pthread_attr_init(&attr) != 0)
		return;
	pthread_attr_setstacksize(&attr, STACK_SIZE);
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	while (s->n_threads < THREADS &&
	    pthread_create(&s->thread[s->n_threads], &attr, scout, s) == 0)
		s->n_threads++;
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	pthread_attr_destroy(&attr);
}

struct dir_scout *
dir_scout_new(int store_fd, const char *store_dir,
    const struct layer_item *items, size_t n, size_t passed)
{
	struct dir_scout *s = calloc(1, sizeof(*s));

	if (s == NULL)
		return NULL;
	s->store_fd = store_fd;
	s->items = items;
	s->n_items = n;
	s->store_dir = store_dir;
	s->passed = passed;
	pthread_mutex_init(&s->lock, NULL);
	pthread_cond_init(&s->go, NULL);
	start_threads(s);
	return s;
}

void
dir_scout_pass(struct dir_scout *s)
{
	if (s == NULL)
		return;
	pthread_mutex_lock(&s->lock);
	s->passed++;
	/* Those who wait for it need not come for every single one. */
	if (s->passed % 64 == 0)
		pthread_cond_broadcast(&s->go);
	pthread_mutex_unlock(&s->lock);
}

void
dir_scout_free(struct dir_scout *s)
{
	if (s == NULL)
		return;
	pthread_mutex_lock(&s->lock);
	s->stop = true;
	pthread_cond_broadcast(&s->go);
	pthread_mutex_unlock(&s->lock);
	for (size_t i = 0; i < s->n_threads; i++)
		pthread_join(s->thread[i], NULL);
	while (s->n_queue > 0)
		free(s->queue[--s->n_queue]);
	pthread_cond_destroy(&s->go);
	pthread_mutex_destroy(&s->lock);
	free(s);
}
