#include "shared_answer.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "digest.h"
#include "err.h"
#include "monotime.h"
#include "own.h"
#include "probe.h"
#include "protocol.h"
#include "quiet_thread.h"
#include "wake_fd.h"

/* A network's folder may show the file late. */
#define WAIT_MS 2000
#define AGAIN_MS 20

struct shared_answer {
	uint64_t probe;
	char *folder, *name;
	uint8_t key[PROBE_KEY_SIZE];
	pthread_t thread;
	atomic_bool stop, done;
	int done_fd;	/* readable when done */
	struct err err; /* read after done */
};

static void
answer_free(struct shared_answer *a)
{
	own_closep(&a->done_fd);
	free(a->folder);
	free(a->name);
	free(a);
}

/* The folder is opened anew each time: NFS then looks whether it changed. */
static int
read_probe(struct shared_answer *a, int *dir, uint8_t content[PROBE_SIZE],
    struct err *e)
{
	int64_t until = monotime_ms() + WAIT_MS;
	AUTO(own_closep) int fd = -1;

	for (;;) {
		*dir = open(a->folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		if (*dir < 0)
			return err_set(e, ERR_RETRY, errno, "%s", a->folder);
		fd = openat(*dir, a->name,
		    O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
		if (fd >= 0)
			break;
		if (errno != ENOENT || monotime_ms() >= until ||
		    atomic_load(&a->stop))
			return err_set(
			    e, ERR_RETRY, errno, "%s/%s", a->folder, a->name);
		own_closep(dir);
		usleep(AGAIN_MS * 1000);
	}
	if (read(fd, content, PROBE_SIZE) != PROBE_SIZE)
		return err_set(
		    e, ERR_RETRY, EIO, "read %s/%s", a->folder, a->name);
	return 0;
}

static int
answer(struct shared_answer *a, struct err *e)
{
	AUTO(own_closep) int dir = -1;
	AUTO(own_closep) int fd = -1;
	AUTO(own_freep) char *name = NULL;
	uint8_t content[PROBE_SIZE];
	struct digest digest;

	/* Nothing else is read, and nothing else written. */
	if (strncmp(a->name, PROBE_PREFIX, strlen(PROBE_PREFIX)) != 0)
		return err_set(
		    e, ERR_RETRY, EPERM, "%s is no probe's name", a->name);
	if (asprintf(&name, "%s" PROBE_SUFFIX, a->name) < 0) {
		name = NULL;
		return err_set(e, ERR_RETRY, errno, "probe");
	}
	if (read_probe(a, &dir, content, e) < 0)
		return -1;
	probe_answer(a->key, content, &digest);
	fd = openat(dir, name,
	    O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0644);
	/* fsync: so that it is at the folder's server. */
	if (fd < 0 || write(fd, digest.b, sizeof(digest.b)) != DIGEST_SIZE ||
	    fsync(fd) < 0)
		return err_set(
		    e, ERR_RETRY, errno, "write %s/%s", a->folder, name);
	return 0;
}

static void *
answer_thread(void *arg)
{
	struct shared_answer *a = arg;

	answer(a, &a->err);
	atomic_store(&a->done, true);
	wake_fd_set(a->done_fd);
	return NULL;
}

int
shared_answer_new(
    const struct msg_probe *m, struct shared_answer **out, struct err *e)
{
	struct shared_answer *a;
	int rc;

	if ((a = calloc(1, sizeof(*a))) == NULL)
		return err_set(e, ERR_RETRY, errno, "probe");
	a->probe = m->probe;
	memcpy(a->key, m->key, sizeof(a->key));
	a->folder = strdup(m->folder);
	a->name = strdup(m->name);
	a->done_fd = wake_fd_new();
	if (a->folder == NULL || a->name == NULL || a->done_fd < 0) {
		err_set(e, ERR_RETRY, errno, "probe");
		answer_free(a);
		return -1;
	}
	if ((rc = quiet_thread(&a->thread, answer_thread, a)) != 0) {
		answer_free(a);
		return err_set(e, ERR_RETRY, rc, "probe's thread");
	}
	*out = a;
	return 0;
}

bool
shared_answer_take(struct shared_answer *a, struct msg *out)
{
	if (!atomic_load(&a->done))
		return false;
	*out = (struct msg){.type = MSG_PROBED};
	out->probed.probe = a->probe;
	out->probed.text = a->err.text;
	if (a->err.kind != ERR_NONE)
		out->probed.sys = a->err.sys > 0 ? (uint64_t)a->err.sys : EIO;
	return true;
}

bool
shared_answer_stop(struct shared_answer *a, int timeout_ms)
{
	if (a == NULL)
		return true;
	atomic_store(&a->stop, true);
	if (!monotime_wait(a->done_fd, timeout_ms))
		return false;
	pthread_join(a->thread, NULL);
	answer_free(a);
	return true;
}
