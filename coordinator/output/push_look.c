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
	struct place *place;
	struct digest digest;
	uint64_t size;
	const char *from;
	uint64_t renew; /* the serial that is no good any more; 0: none is */
	struct push_looked answer;
	STAILQ_ENTRY(question) entry;
};

STAILQ_HEAD(questions, question);

/* Who asks one registry. */
struct asker {
	struct push_look *look;
	const char *base;
	pthread_cond_t work;
	struct questions asked;
	size_t idle, n_threads;
	pthread_t thread[PUSH_LOOK_THREADS];
};

struct place {
	struct push *push;
	struct asker *asker;
	/* For workers. */
	enum registry_lend how;
	char *token; /* or NULL: none */
	uint64_t serial;
};

struct push_look {
	int wake_fd;
	pthread_mutex_t lock;
	struct questions answered;
	bool stop;
	atomic_bool cancel;
	struct place **place;
	size_t n_places, room;
	struct asker **asker;
	size_t n_askers;
};

static bool
is_same(const char *a, const char *b)
{
	return strcmp(a != NULL ? a : "", b != NULL ? b : "") == 0;
}

/* What workers are to say from now on; renew: of one that is no good. */
static void
keep(struct push_look *l, struct question *q, enum registry_lend how,
    char **token)
{
	struct place *p = q->place;

	pthread_mutex_lock(&l->lock);
	p->how = how;
	if (!is_same(*token, p->token) || p->serial <= q->renew) {
		secret_wipep(&p->token);
		p->token = STEAL(token);
		p->serial++;
	}
	pthread_mutex_unlock(&l->lock);
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
			    "%s: its tokens end too soon",
			    push_base(q->place->push));
		if (look_once(r, q, e) < 0 ||
		    registry_lend(r, &how, &token, e) < 0)
			return -1;
		if (how != REGISTRY_LEND_ENDED)
			keep(l, q, how, &token);
	}
	return 0;
}

/* r, of the push in *of, serves for others that go the same way. */
static void
answer(struct push_look *l, struct registry **r, struct push **of,
    struct question *q)
{
	struct push *push = q->place->push;
	struct err e = ERR_INIT;

	if (*r != NULL && !push_resume(push, *of, *r, &e)) {
		registry_freep(r);
		err_clear(&e);
	}
	*of = push;
	if ((*r != NULL || push_session(push, &l->cancel, r, &e) == 0) &&
	    look(l, *r, q, &e) == 0)
		return;
	q->answer.failed = true;
	snprintf(q->answer.why, sizeof(q->answer.why), "%.500s", e.text);
}

static void *
look_thread(void *arg)
{
	struct asker *a = arg;
	struct push_look *l = a->look;
	AUTO(registry_freep) struct registry *r = NULL;
	struct push *of = NULL;
	struct question *q;

	pthread_mutex_lock(&l->lock);
	for (;;) {
		a->idle++;
		while (!l->stop && STAILQ_EMPTY(&a->asked))
			pthread_cond_wait(&a->work, &l->lock);
		a->idle--;
		if (l->stop)
			break;
		q = STAILQ_FIRST(&a->asked);
		STAILQ_REMOVE_HEAD(&a->asked, entry);
		pthread_mutex_unlock(&l->lock);
		answer(l, &r, &of, q);
		pthread_mutex_lock(&l->lock);
		STAILQ_INSERT_TAIL(&l->answered, q, entry);
		wake_fd_set(l->wake_fd);
	}
	pthread_mutex_unlock(&l->lock);
	return NULL;
}

int
push_look_new(int wake_fd, struct push_look **out, struct err *e)
{
	struct push_look *l = calloc(1, sizeof(*l));

	if (l == NULL)
		return err_set(e, ERR_FATAL, errno, "push");
	l->wake_fd = wake_fd;
	pthread_mutex_init(&l->lock, NULL);
	STAILQ_INIT(&l->answered);
	*out = l;
	return 0;
}

/* Places of one registry come together, often. */
static int
find_asker(
    struct push_look *l, const char *base, struct asker **out, struct err *e)
{
	struct asker *a, **grown;

	for (size_t i = l->n_askers; i-- > 0;)
		if (strcmp(l->asker[i]->base, base) == 0) {
			*out = l->asker[i];
			return 0;
		}
	grown = reallocarray(l->asker, l->n_askers + 1, sizeof(*grown));
	if (grown == NULL)
		return err_set(e, ERR_FATAL, errno, "push");
	l->asker = grown;
	if ((a = calloc(1, sizeof(*a))) == NULL)
		return err_set(e, ERR_FATAL, errno, "push");
	a->look = l;
	a->base = base;
	pthread_cond_init(&a->work, NULL);
	STAILQ_INIT(&a->asked);
	l->asker[l->n_askers++] = a;
	*out = a;
	return 0;
}

int
push_look_place(struct push_look *l, struct push *push, struct err *e)
{
	size_t room = l->room == 0 ? 16 : 2 * l->room;
	struct place *p, **grown;
	struct asker *asker = NULL;

	if (find_asker(l, push_base(push), &asker, e) < 0)
		return -1;
	if (l->n_places == l->room) {
		grown = reallocarray(l->place, room, sizeof(*grown));
		if (grown == NULL)
			return err_set(e, ERR_FATAL, errno, "push");
		l->place = grown;
		l->room = room;
	}
	if ((p = calloc(1, sizeof(*p))) == NULL)
		return err_set(e, ERR_FATAL, errno, "push");
	*p = (struct place){.push = push, .asker = asker, .serial = 1};
	l->place[l->n_places++] = p;
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

static void
stop_all(struct push_look *l)
{
	atomic_store(&l->cancel, true);
	pthread_mutex_lock(&l->lock);
	l->stop = true;
	for (size_t i = 0; i < l->n_askers; i++)
		pthread_cond_broadcast(&l->asker[i]->work);
	pthread_mutex_unlock(&l->lock);
	for (size_t i = 0; i < l->n_askers; i++)
		for (size_t k = 0; k < l->asker[i]->n_threads; k++)
			pthread_join(l->asker[i]->thread[k], NULL);
}

void
push_look_free(struct push_look *l)
{
	if (l == NULL)
		return;
	stop_all(l);
	for (size_t i = 0; i < l->n_askers; i++) {
		drop_all(&l->asker[i]->asked);
		pthread_cond_destroy(&l->asker[i]->work);
		free(l->asker[i]);
	}
	drop_all(&l->answered);
	for (size_t i = 0; i < l->n_places; i++) {
		secret_wipep(&l->place[i]->token);
		free(l->place[i]);
	}
	free(l->place);
	free(l->asker);
	pthread_mutex_destroy(&l->lock);
	free(l);
}

/* One more thread, if none has nothing to do. */
static int
put(struct push_look *l, struct question *q, struct err *e)
{
	struct asker *a = q->place->asker;
	int rc = 0;

	pthread_mutex_lock(&l->lock);
	if (a->idle == 0 && a->n_threads < PUSH_LOOK_THREADS &&
	    (rc = quiet_thread(&a->thread[a->n_threads], look_thread, a)) == 0)
		a->n_threads++;
	if (a->n_threads > 0) {
		STAILQ_INSERT_TAIL(&a->asked, q, entry);
		pthread_cond_signal(&a->work);
	}
	pthread_mutex_unlock(&l->lock);
	if (a->n_threads > 0)
		return 0;
	free(q);
	return err_set(e, ERR_FATAL, rc, "push's thread");
}

static struct question *
question_new(struct push_look *l, size_t place, uint64_t id, struct err *e)
{
	struct question *q = calloc(1, sizeof(*q));

	if (q == NULL) {
		err_set(e, ERR_FATAL, errno, "push");
		return NULL;
	}
	q->place = l->place[place];
	q->answer.place = place;
	q->answer.id = id;
	return q;
}

int
push_look_ask(struct push_look *l, size_t place, uint64_t id,
    const struct digest *digest, uint64_t size, const char *from, struct err *e)
{
	struct question *q = question_new(l, place, id, e);

	if (q == NULL)
		return -1;
	q->digest = *digest;
	q->size = size;
	q->from = from;
	return put(l, q, e);
}

int
push_look_renew(struct push_look *l, size_t place, uint64_t id, uint64_t serial,
    struct err *e)
{
	struct question *q = question_new(l, place, id, e);

	if (q == NULL)
		return -1;
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
push_look_lend(
    struct push_look *l, size_t place, struct push_lent *out, struct err *e)
{
	const struct place *p = l->place[place];

	pthread_mutex_lock(&l->lock);
	out->how = p->how;
	out->serial = p->serial;
	out->token = strdup(p->token != NULL ? p->token : "");
	pthread_mutex_unlock(&l->lock);
	if (out->token == NULL)
		return err_set(e, ERR_FATAL, errno, "push");
	return 0;
}
