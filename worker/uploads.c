#include "uploads.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <sys/stat.h>
#include <unistd.h>

#include "digest.h"
#include "err.h"
#include "own.h"
#include "protocol.h"
#include "quiet_thread.h"
#include "registry.h"
#include "timed_cond.h"
#include "upload_place.h"
#include "wake_fd.h"

/* One that is known; uploads that go there hold it, too. */
struct listed {
	struct upload_place *place;
	TAILQ_ENTRY(listed) entry;
};

enum upload_state { UPLOAD_WAITS, UPLOAD_RUNS, UPLOAD_OVER };

struct upload {
	struct uploads *all;
	struct upload_place *place;
	uint64_t push;
	struct digest digest;
	uint64_t size;
	char *file; /* or fd */
	int fd;
	enum upload_state state;
	pthread_t thread;
	atomic_bool cancel;
	bool unwanted;

	/* What came of it. */
	bool uploaded;
	unsigned throttled;
	struct err err;
	TAILQ_ENTRY(upload) entry;
};

struct uploads {
	pthread_mutex_t lock;
	pthread_cond_t ended;
	int fd;
	TAILQ_HEAD(, listed) places;
	TAILQ_HEAD(, upload) list;
	size_t running;
	/* What uploads_next has given. */
	struct upload *answer;
	struct upload_place *expired;
};

int
uploads_new(struct uploads **out, struct err *e)
{
	struct uploads *u = calloc(1, sizeof(*u));

	if (u == NULL)
		return err_set(e, ERR_FATAL, errno, "uploads");
	if ((u->fd = wake_fd_new()) < 0) {
		free(u);
		return err_set(e, ERR_FATAL, errno, "uploads");
	}
	pthread_mutex_init(&u->lock, NULL);
	timed_cond_init(&u->ended);
	TAILQ_INIT(&u->places);
	TAILQ_INIT(&u->list);
	*out = u;
	return 0;
}

int
uploads_fd(const struct uploads *u)
{
	return u == NULL ? -1 : u->fd;
}

static void
upload_free(struct upload *up)
{
	upload_place_let_go(up->place);
	own_closep(&up->fd);
	free(up->file);
	free(up);
}

static struct listed *
find_place(const struct uploads *u, uint64_t id)
{
	struct listed *l;

	TAILQ_FOREACH(l, &u->places, entry)
	if (upload_place_id(l->place) == id)
		return l;
	return NULL;
}

/* Whoever uploads there goes on; the number is free. */
static void
unlist(struct uploads *u, struct listed *l)
{
	TAILQ_REMOVE(&u->places, l, entry);
	upload_place_let_go(l->place);
	free(l);
}

static size_t
count_places(const struct uploads *u)
{
	const struct listed *l;
	size_t n = 0;

	TAILQ_FOREACH(l, &u->places, entry)
	n++;
	return n;
}

int
uploads_place(struct uploads *u, const struct msg_token *m, struct err *e)
{
	struct listed *l = find_place(u, m->place);

	if (l != NULL && upload_place_is(l->place, m))
		return upload_place_renew(l->place, m, e);
	if (l != NULL)
		unlist(u, l);
	if (count_places(u) == UPLOADS_PLACES_MAX)
		return err_set(e, ERR_RETRY, 0, "too many registries");
	if ((l = calloc(1, sizeof(*l))) == NULL)
		return err_set(e, ERR_RETRY, errno, "upload");
	if (upload_place_new(m, u->fd, &l->place, e) < 0) {
		free(l);
		return -1;
	}
	TAILQ_INSERT_TAIL(&u->places, l, entry);
	return 0;
}

struct upload_place *
uploads_find(struct uploads *u, uint64_t place)
{
	const struct listed *l = u != NULL ? find_place(u, place) : NULL;

	return l != NULL ? upload_place_hold(l->place) : NULL;
}

/* In the upload's thread, from here to the next such line. */

static int
open_blob(struct upload *up, struct err *e)
{
	struct stat st;

	if (up->fd < 0 && (up->fd = open(up->file, O_RDONLY | O_CLOEXEC)) < 0)
		return err_set(e, ERR_RETRY, errno, "%s", up->file);
	if (fstat(up->fd, &st) < 0)
		return err_set(e, ERR_RETRY, errno, "blob");
	if (!S_ISREG(st.st_mode) || (uint64_t)st.st_size != up->size)
		return err_set(e, ERR_RETRY, 0,
		    "the blob here has %lld bytes, not %llu",
		    (long long)st.st_size, (unsigned long long)up->size);
	return 0;
}

static int
push_once(struct upload *up, struct upload_session *s, struct err *e)
{
	struct registry_blob blob = {
	    .digest = &up->digest, .size = up->size, .fd = up->fd};
	enum registry_way way = REGISTRY_THERE;
	int rc;

	if (upload_session_open(up->place, &up->cancel, s, e) < 0)
		return -1;
	rc = registry_push_blob(s->registry, &blob, &way, e);
	up->throttled += registry_throttled(s->registry);
	up->uploaded = rc == 0 && way == REGISTRY_UPLOADED;
	return rc;
}

static void
push(struct upload *up, struct err *e)
{
	if (open_blob(up, e) < 0)
		return;
	for (int renewals = 0;; renewals++) {
		AUTO(upload_session_clear)
		struct upload_session s = {.registry = NULL};

		if (push_once(up, &s, e) == 0 || !upload_session_ended(e) ||
		    renewals == UPLOAD_RENEWALS_MAX ||
		    !upload_session_await(up->place, s.serial, &up->cancel))
			return;
		err_clear(e);
	}
}

static void *
upload_thread(void *arg)
{
	struct upload *up = arg;
	struct uploads *u = up->all;

	push(up, &up->err);
	pthread_mutex_lock(&u->lock);
	up->state = UPLOAD_OVER;
	u->running--;
	wake_fd_set(u->fd);
	pthread_cond_broadcast(&u->ended);
	pthread_mutex_unlock(&u->lock);
	return NULL;
}

/* The agent's thread again. */

/* With the lock. */
static void
start_waiting(struct uploads *u)
{
	struct upload *up;
	int rc;

	TAILQ_FOREACH(up, &u->list, entry)
	{
		if (u->running >= UPLOADS_MAX)
			return;
		if (up->state != UPLOAD_WAITS)
			continue;
		if ((rc = quiet_thread(&up->thread, upload_thread, up)) != 0) {
			/* One that runs will end, and then it may do. */
			if (u->running > 0)
				return;
			err_set(&up->err, ERR_RETRY, rc, "upload's thread");
			up->state = UPLOAD_OVER;
			up->thread = pthread_self();
			wake_fd_set(u->fd);
			continue;
		}
		up->state = UPLOAD_RUNS;
		u->running++;
	}
}

int
uploads_put(struct uploads *u, const struct msg_push *m, int *fd, struct err *e)
{
	const struct listed *l = find_place(u, m->place);
	struct upload *up;

	if (l == NULL)
		return err_set(e, ERR_RETRY, 0, "no registry was named");
	if ((up = calloc(1, sizeof(*up))) == NULL ||
	    (up->file = strdup(m->file)) == NULL) {
		free(up);
		return err_set(e, ERR_RETRY, errno, "upload");
	}
	up->all = u;
	up->place = upload_place_hold(l->place);
	up->push = m->push;
	up->digest = m->digest;
	up->size = m->size;
	up->fd = *fd;
	*fd = -1;
	pthread_mutex_lock(&u->lock);
	TAILQ_INSERT_TAIL(&u->list, up, entry);
	start_waiting(u);
	pthread_mutex_unlock(&u->lock);
	return 0;
}

/* One that is over. */
static void
reap(struct uploads *u, struct upload *up)
{
	TAILQ_REMOVE(&u->list, up, entry);
	if (!pthread_equal(up->thread, pthread_self()))
		pthread_join(up->thread, NULL);
	upload_free(up);
}

static void
reap_unwanted(struct uploads *u)
{
	struct upload *up = TAILQ_FIRST(&u->list), *next;

	for (; up != NULL; up = next) {
		next = TAILQ_NEXT(up, entry);
		if (up->unwanted && up->state == UPLOAD_OVER)
			reap(u, up);
	}
}

static bool
next_with_lock(struct uploads *u, struct msg *out)
{
	const struct listed *l;
	struct upload *up;
	uint64_t serial;

	TAILQ_FOREACH(up, &u->list, entry)
	{
		if (up->state != UPLOAD_OVER)
			continue;
		*out = (struct msg){.type = MSG_PUSHED};
		out->pushed = (struct msg_pushed){
		    .push = up->push,
		    .uploaded = up->uploaded,
		    .throttled = up->throttled,
		    .text = up->err.text,
		};
		u->answer = up;
		return true;
	}
	TAILQ_FOREACH(l, &u->places, entry)
	{
		if (!upload_place_asks(l->place, &serial))
			continue;
		*out = (struct msg){.type = MSG_EXPIRED};
		out->expired =
		    (struct msg_expired){upload_place_id(l->place), serial};
		u->expired = l->place;
		return true;
	}
	return false;
}

bool
uploads_next(struct uploads *u, struct msg *out)
{
	bool any;

	if (u == NULL)
		return false;
	u->answer = NULL;
	u->expired = NULL;
	pthread_mutex_lock(&u->lock);
	wake_fd_clear(u->fd);
	reap_unwanted(u);
	start_waiting(u);
	any = next_with_lock(u, out);
	pthread_mutex_unlock(&u->lock);
	return any;
}

void
uploads_said(struct uploads *u)
{
	pthread_mutex_lock(&u->lock);
	if (u->answer != NULL)
		reap(u, u->answer);
	if (u->expired != NULL)
		upload_place_said(u->expired);
	u->answer = NULL;
	u->expired = NULL;
	pthread_mutex_unlock(&u->lock);
}

bool
uploads_busy(const struct uploads *u)
{
	const struct upload *up;

	if (u == NULL)
		return false;
	TAILQ_FOREACH(up, &u->list, entry)
	if (!up->unwanted)
		return true;
	return false;
}

void
uploads_forget(struct uploads *u)
{
	struct upload *up, *next;
	struct listed *l;

	if (u == NULL)
		return;
	pthread_mutex_lock(&u->lock);
	for (up = TAILQ_FIRST(&u->list); up != NULL; up = next) {
		next = TAILQ_NEXT(up, entry);
		up->unwanted = true;
		atomic_store(&up->cancel, true);
		if (up->state == UPLOAD_WAITS) {
			TAILQ_REMOVE(&u->list, up, entry);
			upload_free(up);
		}
	}
	reap_unwanted(u);
	while ((l = TAILQ_FIRST(&u->places)) != NULL)
		unlist(u, l);
	pthread_mutex_unlock(&u->lock);
}

bool
uploads_stop(struct uploads *u, int timeout_ms)
{
	struct timespec until;
	bool ended;
	int rc = 0;

	if (u == NULL)
		return true;
	uploads_forget(u);
	until = timed_cond_after(timeout_ms);
	pthread_mutex_lock(&u->lock);
	while (u->running > 0 && rc == 0)
		rc = pthread_cond_timedwait(&u->ended, &u->lock, &until);
	ended = u->running == 0;
	if (ended)
		reap_unwanted(u);
	pthread_mutex_unlock(&u->lock);
	if (!ended)
		return false;
	pthread_cond_destroy(&u->ended);
	pthread_mutex_destroy(&u->lock);
	close(u->fd);
	free(u);
	return true;
}
