#include "output/push_look.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

#include "err.h"
#include "output/push.h"
#include "own.h"
#include "quiet_thread.h"
#include "registry.h"
#include "secret.h"
#include "wake_fd.h"

/* A token may end between two questions. */
#define ASKS_MAX 3

struct question {
	struct digest digest;
	uint64_t size;
	const char *from;
	uint64_t renew; /* the serial that is no good any more; 0: none is */
	struct push_looked answer;
	STAILQ_ENTRY(question) entry;
};

STAILQ_HEAD(questions, question);

struct push_look {
	struct push *push;
	int wake_fd;
	pthread_mutex_t lock;
	pthread_cond_t work;
	struct questions asked, answered;
	bool stop;
	atomic_bool cancel;
	size_t idle, n_threads;
	pthread_t thread[PUSH_LOOK_THREADS];
	/* For workers. */
	enum registry_lend how;
	char *token; /* "": none */
	uint64_t serial;
};

/* What workers are to say from now on; serial: of one that is no good. */
static int
keep(struct push_look *l, enum registry_lend how, char **token, uint64_t renew,
    struct err *e)
{
	if (*token == NULL && (*token = strdup("")) == NULL)
		return err_set(e, ERR_FATAL, errno, "push");
	pthread_mutex_lock(&l->lock);
	l->how = how;
	if (strcmp(*token, l->token) != 0 || l->serial <= renew) {
		secret_wipep(&l->token);
		l->token = STEAL(token);
		l->serial++;
	}
	pthread_mutex_unlock(&l->lock);
	return 0;
}

static int
look_once(struct registry *r, struct question *q, struct err *e)
{
	const struct registry_blob blob = {
	    .digest = &q->digest,
	    .size = q->size,
	    .fd = -1,
	    .from = q->from,
	    .absent = true,
	};
	enum registry_way way;

	if (q->from == NULL)
		return registry_has_blob(
		    r, &q->digest, q->size, &q->answer.there, e);
	if (registry_push_blob(r, &blob, &way, e) < 0)
		return -1;
	q->answer.there = way != REGISTRY_LACKED;
	q->answer.mounted |= way == REGISTRY_MOUNTED;
	return 0;
}

/* By asking there it becomes known how that is done. */
static int
look(struct push_look *l, struct registry *r, struct question *q, struct err *e)
{
	enum registry_lend how = REGISTRY_LEND_ENDED;

	for (int asks = 0; how == REGISTRY_LEND_ENDED; asks++) {
		AUTO(secret_wipep) char *token = NULL;

		if (asks == ASKS_MAX)
			return err_set(e, ERR_RETRY, 0,
			    "%s: its tokens end too soon", push_base(l->push));
		if (look_once(r, q, e) < 0 ||
		    registry_lend(r, &how, &token, e) < 0)
			return -1;
		if (how != REGISTRY_LEND_ENDED &&
		    keep(l, how, &token, q->renew, e) < 0)
			return -1;
	}
	return 0;
}

static void
answer(struct push_look *l, struct registry **r, struct question *q)
{
	struct err e = ERR_INIT;

	if ((*r != NULL || push_session(l->push, &l->cancel, r, &e) == 0) &&
	    look(l, *r, q, &e) == 0)
		return;
	q->answer.failed = true;
	snprintf(q->answer.why, sizeof(q->answer.why), "%.500s", e.text);
}

static void *
look_thread(void *arg)
{
	struct push_look *l = arg;
	AUTO(registry_freep) struct registry *r = NULL;
	struct question *q;

	pthread_mutex_lock(&l->lock);
	for (;;) {
		l->idle++;
		while (!l->stop && STAILQ_EMPTY(&l->asked))
			pthread_cond_wait(&l->work, &l->lock);
		l->idle--;
		if (l->stop)
			break;
		q = STAILQ_FIRST(&l->asked);
		STAILQ_REMOVE_HEAD(&l->asked, entry);
		pthread_mutex_unlock(&l->lock);
		answer(l, &r, q);
		pthread_mutex_lock(&l->lock);
		STAILQ_INSERT_TAIL(&l->answered, q, entry);
		wake_fd_set(l->wake_fd);
	}
	pthread_mutex_unlock(&l->lock);
	return NULL;
}

int
push_look_new(
    struct push *p, int wake_fd, struct push_look **out, struct err *e)
{
	struct push_look *l = calloc(1, sizeof(*l));

	if (l == NULL || (l->token = strdup("")) == NULL) {
		free(l);
		return err_set(e, ERR_FATAL, errno, "push");
	}
	l->push = p;
	l->wake_fd = wake_fd;
	pthread_mutex_init(&l->lock, NULL);
	pthread_cond_init(&l->work, NULL);
	STAILQ_INIT(&l->asked);
	STAILQ_INIT(&l->answered);
	l->serial = 1;
	*out = l;
	return 0;
}

static void
drop_all(struct questions *list)
{
	struct question *q;

	while ((q = STAILQ_FIRST(list)) != NULL) {
		STAILQ_REMOVE_HEAD(list, entry);
		free(q);
	}
}

void
push_look_free(struct push_look *l)
{
	if (l == NULL)
		return;
	atomic_store(&l->cancel, true);
	pthread_mutex_lock(&l->lock);
	l->stop = true;
	pthread_cond_broadcast(&l->work);
	pthread_mutex_unlock(&l->lock);
	for (size_t i = 0; i < l->n_threads; i++)
		pthread_join(l->thread[i], NULL);
	drop_all(&l->asked);
	drop_all(&l->answered);
	pthread_cond_destroy(&l->work);
	pthread_mutex_destroy(&l->lock);
	secret_wipep(&l->token);
	free(l);
}

/* One more thread, if none has nothing to do. */
static int
put(struct push_look *l, struct question *q, struct err *e)
{
	int rc = 0;

	pthread_mutex_lock(&l->lock);
	if (l->idle == 0 && l->n_threads < PUSH_LOOK_THREADS &&
	    (rc = quiet_thread(&l->thread[l->n_threads], look_thread, l)) == 0)
		l->n_threads++;
	if (l->n_threads > 0) {
		STAILQ_INSERT_TAIL(&l->asked, q, entry);
		pthread_cond_signal(&l->work);
	}
	pthread_mutex_unlock(&l->lock);
	if (l->n_threads > 0)
		return 0;
	free(q);
	return err_set(e, ERR_FATAL, rc, "push's thread");
}

int
push_look_ask(struct push_look *l, uint64_t id, const struct digest *digest,
    uint64_t size, const char *from, struct err *e)
{
	struct question *q = calloc(1, sizeof(*q));

	if (q == NULL)
		return err_set(e, ERR_FATAL, errno, "push");
	q->answer.id = id;
	q->digest = *digest;
	q->size = size;
	q->from = from;
	return put(l, q, e);
}

int
push_look_renew(
    struct push_look *l, uint64_t id, uint64_t serial, struct err *e)
{
	struct question *q = calloc(1, sizeof(*q));

	if (q == NULL)
		return err_set(e, ERR_FATAL, errno, "push");
	q->answer.id = id;
	digest_of("", 0, &q->digest);
	q->renew = serial;
	return put(l, q, e);
}

bool
push_look_take(struct push_look *l, struct push_looked *out)
{
	struct question *q;

	pthread_mutex_lock(&l->lock);
	if ((q = STAILQ_FIRST(&l->answered)) != NULL)
		STAILQ_REMOVE_HEAD(&l->answered, entry);
	pthread_mutex_unlock(&l->lock);
	if (q == NULL)
		return false;
	*out = q->answer;
	free(q);
	return true;
}

int
push_look_lend(struct push_look *l, struct push_lent *out, struct err *e)
{
	pthread_mutex_lock(&l->lock);
	out->how = l->how;
	out->serial = l->serial;
	out->token = strdup(l->token);
	pthread_mutex_unlock(&l->lock);
	if (out->token == NULL)
		return err_set(e, ERR_FATAL, errno, "push");
	return 0;
}
