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
#include <time.h>
#include <unistd.h>

#include "digest.h"
#include "err.h"
#include "http.h"
#include "own.h"
#include "protocol.h"
#include "quiet_thread.h"
#include "registry.h"
#include "registry_auth.h"
#include "secret.h"
#include "wake_fd.h"

/* Where blobs go.  All but token, serial and what follows stays. */
struct place {
	uint64_t id;
	char *base, *repo;
	struct http_tls *tls;
	long stall_s;
	char *token; /* "": none */
	uint64_t serial;
	bool asked; /* for the next token, */
	bool said;  /* and that was said */
	bool listed;
	size_t users; /* uploads */
	TAILQ_ENTRY(place) entry;
};

enum upload_state { UPLOAD_WAITS, UPLOAD_RUNS, UPLOAD_OVER };

struct upload {
	struct uploads *all;
	struct place *place;
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
	pthread_cond_t renewed; /* a place has another token, or cancel */
	pthread_cond_t ended;
	int fd;
	TAILQ_HEAD(, place) places;
	TAILQ_HEAD(, upload) list;
	size_t running;
	/* What uploads_next has given. */
	struct upload *answer;
	struct place *expired;
};

int
uploads_new(struct uploads **out, struct err *e)
{
	struct uploads *u = calloc(1, sizeof(*u));
	pthread_condattr_t attr;

	if (u == NULL)
		return err_set(e, ERR_FATAL, errno, "uploads");
	if ((u->fd = wake_fd_new()) < 0) {
		free(u);
		return err_set(e, ERR_FATAL, errno, "uploads");
	}
	pthread_mutex_init(&u->lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&u->renewed, &attr);
	pthread_cond_init(&u->ended, &attr);
	pthread_condattr_destroy(&attr);
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
place_free(struct place *p)
{
	free(p->base);
	free(p->repo);
	http_tls_free(p->tls);
	secret_wipep(&p->token);
	free(p);
}

/* Once nobody uses it, and nobody will. */
static void
place_let_go(struct place *p)
{
	if (!p->listed && p->users == 0)
		place_free(p);
}

static void
upload_free(struct upload *up)
{
	up->place->users--;
	place_let_go(up->place);
	own_closep(&up->fd);
	free(up->file);
	free(up);
}

static struct place *
find_place(struct uploads *u, uint64_t id)
{
	struct place *p;

	TAILQ_FOREACH(p, &u->places, entry)
	if (p->id == id)
		return p;
	return NULL;
}

static int
place_new(const struct msg_token *m, struct place **out, struct err *e)
{
	struct place *p = calloc(1, sizeof(*p));

	if (p == NULL || (p->base = strdup(m->base)) == NULL ||
	    (p->repo = strdup(m->repo)) == NULL) {
		if (p != NULL)
			place_free(p);
		return err_set(e, ERR_RETRY, ENOMEM, "upload");
	}
	p->id = m->place;
	p->stall_s = (long)m->stall_s;
	if (http_tls_new_pem(m->authorities, !m->insecure, &p->tls, e) < 0) {
		place_free(p);
		return -1;
	}
	*out = p;
	return 0;
}

/* Whoever uploads there goes on; the number is free. */
static void
unlist(struct uploads *u, struct place *p)
{
	TAILQ_REMOVE(&u->places, p, entry);
	p->listed = false;
	place_let_go(p);
}

static size_t
count_places(const struct uploads *u)
{
	const struct place *p;
	size_t n = 0;

	TAILQ_FOREACH(p, &u->places, entry)
	n++;
	return n;
}

int
uploads_place(struct uploads *u, const struct msg_token *m, struct err *e)
{
	struct place *p = find_place(u, m->place);
	char *token;

	if (p != NULL &&
	    (strcmp(p->base, m->base) != 0 || strcmp(p->repo, m->repo) != 0)) {
		pthread_mutex_lock(&u->lock);
		unlist(u, p);
		pthread_mutex_unlock(&u->lock);
		p = NULL;
	}
	if (p == NULL && count_places(u) == UPLOADS_PLACES_MAX)
		return err_set(e, ERR_RETRY, 0, "too many registries");
	if ((token = strdup(m->token)) == NULL)
		return err_set(e, ERR_RETRY, errno, "upload");
	if (p == NULL) {
		if (place_new(m, &p, e) < 0) {
			secret_wipep(&token);
			return -1;
		}
		p->listed = true;
		TAILQ_INSERT_TAIL(&u->places, p, entry);
	}
	pthread_mutex_lock(&u->lock);
	if (p->token == NULL || m->serial > p->serial) {
		secret_wipep(&p->token);
		p->token = STEAL(&token);
		p->serial = m->serial;
		p->asked = p->said = false;
		pthread_cond_broadcast(&u->renewed);
	}
	pthread_mutex_unlock(&u->lock);
	secret_wipep(&token);
	return 0;
}

/* In the upload's thread, from here to the next such line. */

/* Who asks, with the token that there is now. */
static int
open_session(struct upload *up, uint64_t *serial, struct registry_auth **auth,
    struct registry **r, struct err *e)
{
	const struct place *p = up->place;
	AUTO(secret_wipep) char *token = NULL;
	struct registry_auth_config who = {.base = p->base};
	struct registry_config config = {
	    .base = p->base,
	    .repo = p->repo,
	    .tls = p->tls,
	    .cancel = &up->cancel,
	    .stall_s = p->stall_s,
	};

	pthread_mutex_lock(&up->all->lock);
	token = strdup(p->token);
	*serial = p->serial;
	pthread_mutex_unlock(&up->all->lock);
	if (token == NULL)
		return err_set(e, ERR_RETRY, ENOMEM, "upload");
	if (*token != '\0')
		who.token = token;
	if (registry_auth_new(&who, auth, e) < 0)
		return -1;
	config.auth = *auth;
	return registry_new(&config, r, e);
}

/* Whether there is another one than that now. */
static bool
await_token(struct upload *up, uint64_t serial)
{
	struct uploads *u = up->all;
	struct place *p = up->place;
	struct timespec until;
	bool renewed;
	int rc = 0;

	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_sec += UPLOADS_TOKEN_MS / 1000;
	pthread_mutex_lock(&u->lock);
	if (p->serial == serial && !p->asked) {
		p->asked = true;
		p->said = false;
		wake_fd_set(u->fd);
	}
	while (p->serial == serial && !atomic_load(&up->cancel) && rc == 0)
		rc = pthread_cond_timedwait(&u->renewed, &u->lock, &until);
	renewed = p->serial != serial;
	pthread_mutex_unlock(&u->lock);
	return renewed;
}

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

/* *ended: by the registry's word the token is good no more. */
static int
push_once(struct upload *up, uint64_t *serial, bool *ended, struct err *e)
{
	AUTO(registry_auth_freep) struct registry_auth *auth = NULL;
	AUTO(registry_freep) struct registry *r = NULL;
	struct registry_blob blob = {
	    .digest = &up->digest, .size = up->size, .fd = up->fd};
	enum registry_way way = REGISTRY_THERE;
	int rc;

	*ended = false;
	if (open_session(up, serial, &auth, &r, e) < 0)
		return -1;
	rc = registry_push_blob(r, &blob, &way, e);
	up->throttled += registry_throttled(r);
	up->uploaded = rc == 0 && way == REGISTRY_UPLOADED;
	*ended = rc < 0 && e->kind == ERR_RETRY && e->sys == EACCES;
	return rc;
}

static void
push(struct upload *up, struct err *e)
{
	uint64_t serial;
	bool ended;

	if (open_blob(up, e) < 0)
		return;
	for (int renewals = 0;; renewals++) {
		if (push_once(up, &serial, &ended, e) == 0 || !ended ||
		    renewals == UPLOADS_RENEWALS_MAX ||
		    !await_token(up, serial))
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
	struct place *p = find_place(u, m->place);
	struct upload *up;

	if (p == NULL)
		return err_set(e, ERR_RETRY, 0, "no registry was named");
	if ((up = calloc(1, sizeof(*up))) == NULL ||
	    (up->file = strdup(m->file)) == NULL) {
		free(up);
		return err_set(e, ERR_RETRY, errno, "upload");
	}
	up->all = u;
	up->place = p;
	p->users++;
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
	struct upload *up;
	struct place *p;

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
	TAILQ_FOREACH(p, &u->places, entry)
	{
		if (!p->asked || p->said)
			continue;
		*out = (struct msg){.type = MSG_EXPIRED};
		out->expired = (struct msg_expired){p->id, p->serial};
		u->expired = p;
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
		u->expired->said = true;
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
	struct place *p;

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
	pthread_cond_broadcast(&u->renewed);
	reap_unwanted(u);
	while ((p = TAILQ_FIRST(&u->places)) != NULL)
		unlist(u, p);
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
	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_sec += timeout_ms / 1000;
	until.tv_nsec += timeout_ms % 1000 * 1000000L;
	if (until.tv_nsec >= 1000000000L) {
		until.tv_sec++;
		until.tv_nsec -= 1000000000L;
	}
	pthread_mutex_lock(&u->lock);
	while (u->running > 0 && rc == 0)
		rc = pthread_cond_timedwait(&u->ended, &u->lock, &until);
	ended = u->running == 0;
	if (ended)
		reap_unwanted(u);
	pthread_mutex_unlock(&u->lock);
	if (!ended)
		return false;
	pthread_cond_destroy(&u->renewed);
	pthread_cond_destroy(&u->ended);
	pthread_mutex_destroy(&u->lock);
	close(u->fd);
	free(u);
	return true;
}
