#include "batch/batch_state.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>

#include "cache/shared_cache.h"
#include "log.h"
#include "options/options.h"
#include "output/blob_places.h"
#include "own.h"
#include "quiet_thread.h"

/* Layers for the shared cache: there is room for all that are made. */
struct batch_sharer {
	struct batch *batch;
	pthread_t thread;
	pthread_mutex_t lock;
	pthread_cond_t added;
	uint32_t *ready;
	size_t n;
	bool finish; /* nothing comes any more, */
	bool stop;   /* and nothing is wanted */
	/* The thread's, until that has ended. */
	bool *there; /* by now, of those that are ready */
	struct err err;
};

/* As many as there are; false: the end. */
static bool
take(struct batch_sharer *s, size_t done, size_t *n)
{
	pthread_mutex_lock(&s->lock);
	while (s->n == done && !s->finish)
		pthread_cond_wait(&s->added, &s->lock);
	*n = s->stop ? 0 : s->n - done;
	pthread_mutex_unlock(&s->lock);
	return *n > 0;
}

static void *
share(void *arg)
{
	struct batch_sharer *s = arg;
	size_t done = 0, n;

	for (; take(s, done, &n); done += n)
		if (batch_shared_put_these(s->batch, &s->ready[done], n,
			&s->there[done], &s->err) < 0)
			break;
	return NULL;
}

int
batch_sharer_new(struct batch *b, struct batch_sharer **out, struct err *e)
{
	struct batch_sharer *s;
	int rc;

	/* What is audited may still turn out wrong. */
	if (b->shared == NULL || b->options->audit > 0)
		return 0;
	if ((s = calloc(1, sizeof(*s))) == NULL)
		return err_set(e, ERR_FATAL, errno, "shared cache");
	s->batch = b;
	s->err = (struct err)ERR_INIT;
	s->ready = calloc(b->n_jobs + 1, sizeof(*s->ready));
	s->there = calloc(b->n_jobs + 1, sizeof(*s->there));
	pthread_mutex_init(&s->lock, NULL);
	pthread_cond_init(&s->added, NULL);
	rc = s->ready == NULL || s->there == NULL
	    ? ENOMEM
	    : quiet_thread(&s->thread, share, s);
	if (rc == 0) {
		*out = s;
		return 0;
	}
	pthread_cond_destroy(&s->added);
	pthread_mutex_destroy(&s->lock);
	free(s->ready);
	free(s->there);
	free(s);
	return err_set(e, ERR_FATAL, rc, "shared cache");
}

/* One that is still to be uploaded to that registry waits for it. */
static bool
can_go(const struct batch *b, uint32_t layer)
{
	const struct batch_layer *l = &b->layers.layer[layer];
	const char *base = shared_cache_base(b->shared);

	return l->has_key && !l->remote &&
	    (!batch_homes_may_be_at(b, layer, base) ||
		blob_places_find(b->places, base, &l->made.result.digest) !=
		    NULL);
}

void
batch_sharer_add(struct batch_sharer *s, uint32_t layer)
{
	if (s == NULL || !can_go(s->batch, layer))
		return;
	pthread_mutex_lock(&s->lock);
	s->ready[s->n++] = layer;
	pthread_cond_signal(&s->added);
	pthread_mutex_unlock(&s->lock);
}

static void
end(struct batch_sharer *s, bool stop)
{
	pthread_mutex_lock(&s->lock);
	s->finish = true;
	s->stop = stop;
	pthread_cond_signal(&s->added);
	pthread_mutex_unlock(&s->lock);
	pthread_join(s->thread, NULL);
}

static void
release(struct batch_sharer **s)
{
	pthread_cond_destroy(&(*s)->added);
	pthread_mutex_destroy(&(*s)->lock);
	free((*s)->ready);
	free((*s)->there);
	free(*s);
	*s = NULL;
}

int
batch_sharer_finish(struct batch_sharer **sharer, struct err *e)
{
	struct batch_sharer *s = *sharer;
	int rc = 0;

	if (s == NULL)
		return 0;
	end(s, false);
	for (size_t i = 0; i < s->n; i++) {
		if (!s->there[i])
			continue;
		s->batch->layers.layer[s->ready[i]].shared = true;
		s->batch->shared_put++;
	}
	if (s->err.kind != ERR_NONE) {
		*e = s->err;
		rc = -1;
	}
	release(sharer);
	return rc;
}

void
batch_sharer_free(struct batch_sharer *s)
{
	if (s == NULL)
		return;
	end(s, true);
	release(&s);
}
