#include "store_answer.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "digest.h"
#include "err.h"
#include "monotime.h"
#include "own.h"
#include "protocol.h"
#include "quiet_thread.h"
#include "store_index.h"
#include "store_path.h"

/* Keys that are hashed at a time. */
#define BATCH 1024
/* What a list costs besides its paths, in paths: all are gone through. */
#define LIST_WEIGHT (STORE_ANSWER_KEPT / STORE_ANSWER_LISTS)

struct path_list {
	struct digest digest;
	uint64_t *key;
	size_t n, got, room;
	bool sound; /* its digest was compared */
	struct path_list *next;
};

enum answer_state {
	ANSWER_NONE,	   /* nothing was asked, or all is said */
	ANSWER_ASSEMBLING, /* the list is incomplete */
	ANSWER_LOOKING,	   /* at the store, or waiting for the thread */
	ANSWER_READY	   /* bits, or err, are to be said */
};

struct store_answer {
	enum answer_state state;
	uint64_t ask;
	char *folder; /* the store's */
	struct path_list *list;
	bool wanted; /* WANT was said, and not heard yet */
	size_t at;   /* bytes of bits that were said */
	uint8_t *bits;
	struct err err; /* or why there are none */

	struct path_list *lists; /* last asked for first */

	/* The thread's, while it runs; it is for thread_ask. */
	bool running;
	uint64_t thread_ask;
	char *thread_folder;
	struct path_list *thread_list;
	uint8_t *thread_bits;
	struct err thread_err;
	struct store_index *index;
	pthread_t thread;
	atomic_bool stop;
	int done_fd;
};

int
store_answer_new(struct store_answer **out, struct err *e)
{
	struct store_answer *a;

	if ((a = calloc(1, sizeof(*a))) == NULL)
		return err_set(e, ERR_FATAL, errno, "store");
	a->done_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (a->done_fd < 0) {
		free(a);
		return err_set(e, ERR_FATAL, errno, "eventfd");
	}
	*out = a;
	return 0;
}

static void
list_free(struct path_list *list)
{
	free(list->key);
	free(list);
}

static void
remove_list(struct store_answer *a, struct path_list *list)
{
	struct path_list **at = &a->lists;

	while (*at != list)
		at = &(*at)->next;
	*at = list->next;
	list_free(list);
}

/* Of those that are not in use, what is more than is kept. */
static void
forget_lists(struct store_answer *a)
{
	struct path_list *list, *next;
	size_t kept = 0;

	for (list = a->lists; list != NULL; list = next) {
		next = list->next;
		kept += list->room + LIST_WEIGHT;
		if (kept <= STORE_ANSWER_KEPT || list == a->list ||
		    (a->running && list == a->thread_list))
			continue;
		kept -= list->room + LIST_WEIGHT;
		remove_list(a, list);
	}
}

/* The list of that digest, first of all; NULL: out of memory. */
static struct path_list *
take_list(struct store_answer *a, const struct msg_ask *m)
{
	struct path_list **at = &a->lists, *list;

	while (*at != NULL &&
	    (!digest_equal(&(*at)->digest, &m->list) || (*at)->n != m->n))
		at = &(*at)->next;
	if ((list = *at) != NULL) {
		*at = list->next;
	} else {
		if ((list = calloc(1, sizeof(*list))) == NULL)
			return NULL;
		list->digest = m->list;
		list->n = (size_t)m->n;
	}
	list->next = a->lists;
	a->lists = list;
	return list;
}

void
store_answer_forget(struct store_answer *a)
{
	a->state = ANSWER_NONE;
	a->list = NULL;
	a->at = 0;
	own_freep(&a->folder);
	own_freep(&a->bits);
	if (a->running)
		atomic_store(&a->stop, true);
	err_clear(&a->err);
	forget_lists(a);
}

/* Nobody knows what is in the store. */
static void
fail(struct store_answer *a, int sys)
{
	err_clear(&a->err);
	err_set(&a->err, ERR_RETRY, sys, "store");
	a->state = ANSWER_READY;
}

void
store_answer_ask(struct store_answer *a, const struct msg_ask *m)
{
	store_answer_forget(a);
	a->ask = m->ask;
	a->wanted = false;
	a->state = ANSWER_ASSEMBLING;
	if (asprintf(&a->folder, "%s%s", m->store_root, m->store_dir) < 0)
		a->folder = NULL;
	a->list = take_list(a, m);
	if (a->folder != NULL && a->list != NULL && a->list->got == a->list->n)
		a->state = ANSWER_LOOKING;
}

void
store_answer_paths(struct store_answer *a, const struct msg_paths *m)
{
	struct path_list *list = a->list;

	if (a->state != ANSWER_ASSEMBLING || list == NULL || m->ask != a->ask ||
	    m->first != list->got || m->n > list->n - list->got)
		return;
	if (list->room < list->got + m->n) {
		size_t room = list->room == 0 ? m->n : 2 * list->room;
		uint64_t *key;

		if (room > list->n)
			room = list->n;
		if (room < list->got + m->n)
			room = list->got + m->n;
		key = reallocarray(list->key, room, sizeof(*key));
		if (key == NULL) {
			fail(a, ENOMEM);
			return;
		}
		list->key = key;
		list->room = room;
	}
	memcpy(list->key + list->got, m->key, m->n * sizeof(*m->key));
	list->got += m->n;
	a->wanted = false;
	if (list->got == list->n)
		a->state = ANSWER_LOOKING;
}

static int
check_list(struct path_list *list, struct err *e)
{
	uint8_t data[BATCH * STORE_PATH_KEY_SIZE];
	AUTO(sha256_freep) struct sha256 *sha = NULL;
	struct digest digest;

	if (list->sound)
		return 0;
	if (sha256_new(&sha, e) < 0)
		return -1;
	for (size_t i = 0; i < list->n; i += BATCH) {
		size_t n = list->n - i < BATCH ? list->n - i : BATCH;

		store_path_keys_put(list->key + i, n, data);
		sha256_update(sha, data, n * STORE_PATH_KEY_SIZE);
	}
	sha256_final(sha, &digest);
	list->sound = digest_equal(&digest, &list->digest);
	return list->sound
	    ? 0
	    : err_set(e, ERR_RETRY, EBADMSG, "another list than was named");
}

static int
look(struct store_answer *a, struct err *e)
{
	if (check_list(a->thread_list, e) < 0 ||
	    store_index_read(&a->index, a->thread_folder, &a->stop, e) < 0)
		return -1;
	a->thread_bits = calloc(1, (a->thread_list->n + 7) / 8);
	if (a->thread_bits == NULL)
		return err_set(e, ERR_RETRY, errno, "store");
	store_index_match(
	    a->index, a->thread_list->key, a->thread_list->n, a->thread_bits);
	return 0;
}

static void *
look_thread(void *arg)
{
	struct store_answer *a = arg;
	const uint64_t one = 1;

	look(a, &a->thread_err);
	/* Fails only where 2^64 - 1 wake-ups are unread. */
	if (write(a->done_fd, &one, sizeof(one)) < 0)
		return NULL;
	return NULL;
}

static void
start(struct store_answer *a)
{
	int rc;

	err_clear(&a->thread_err);
	a->thread_ask = a->ask;
	a->thread_list = a->list;
	a->thread_folder = a->folder;
	a->folder = NULL;
	atomic_store(&a->stop, false);
	if ((rc = quiet_thread(&a->thread, look_thread, a)) != 0) {
		own_freep(&a->thread_folder);
		fail(a, rc);
		return;
	}
	a->running = true;
}

/* If the thread is through. */
static void
collect(struct store_answer *a)
{
	uint64_t n;

	if (!a->running || read(a->done_fd, &n, sizeof(n)) != sizeof(n))
		return;
	pthread_join(a->thread, NULL);
	a->running = false;
	own_freep(&a->thread_folder);
	if (a->state == ANSWER_LOOKING && a->thread_ask == a->ask) {
		a->state = ANSWER_READY;
		a->bits = STEAL(&a->thread_bits);
		a->err = a->thread_err;
	}
	own_freep(&a->thread_bits);
}

static void
say_have(struct store_answer *a, struct msg *out)
{
	size_t left;

	*out = (struct msg){.type = MSG_HAVE, .have = {.ask = a->ask}};
	if (a->err.kind != ERR_NONE) {
		out->have.sys = a->err.sys > 0 ? (uint64_t)a->err.sys : EIO;
		return;
	}
	left = (a->list->n + 7) / 8 - a->at;
	out->have.first = 8 * a->at;
	out->have.bits = a->bits + a->at;
	out->have.n = left < MSG_BITS_MAX ? left : MSG_BITS_MAX;
}

bool
store_answer_next(struct store_answer *a, struct msg *out)
{
	collect(a);
	if (a->state == ANSWER_ASSEMBLING &&
	    (a->folder == NULL || a->list == NULL))
		fail(a, ENOMEM);
	if (a->state == ANSWER_LOOKING && !a->running)
		start(a);
	if (a->state == ANSWER_ASSEMBLING && !a->wanted) {
		*out = (struct msg){
		    .type = MSG_WANT, .want = {a->ask, a->list->got}};
		return true;
	}
	if (a->state != ANSWER_READY)
		return false;
	say_have(a, out);
	return true;
}

void
store_answer_said(struct store_answer *a)
{
	size_t all;

	if (a->state == ANSWER_ASSEMBLING) {
		a->wanted = true;
		return;
	}
	if (a->err.kind == ERR_NONE) {
		all = (a->list->n + 7) / 8;
		a->at +=
		    all - a->at < MSG_BITS_MAX ? all - a->at : MSG_BITS_MAX;
		if (a->at < all)
			return;
	} else if (a->err.sys == EBADMSG) {
		/* It may come again, and be another. */
		remove_list(a, a->list);
		a->list = NULL;
	}
	store_answer_forget(a);
}

int
store_answer_fd(const struct store_answer *a)
{
	return a->done_fd;
}

bool
store_answer_stop(struct store_answer *a, int timeout_ms)
{
	if (a == NULL)
		return true;
	store_answer_forget(a);
	if (a->running && !monotime_wait(a->done_fd, timeout_ms))
		return false;
	collect(a);
	while (a->lists != NULL)
		remove_list(a, a->lists);
	store_index_free(a->index);
	own_closep(&a->done_fd);
	free(a);
	return true;
}
