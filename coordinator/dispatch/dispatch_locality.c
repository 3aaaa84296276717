#include "dispatch/dispatch_state.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "closure/closure.h"
#include "dispatch/dispatch.h"
#include "dispatch/question.h"
#include "dispatch/stock.h"
#include "err.h"
#include "log.h"
#include "monotime.h"
#include "own.h"
#include "protocol.h"
#include "store_path.h"

/* How long a new worker's first job waits for its answer: and 1 ms for each */
#define ANSWER_MS 1000
#define ANSWER_PATHS 256 /* paths that are asked for */
/* Keys that are hashed at a time. */
#define BATCH 1024

/* What is asked: the store paths of a closure, in its order. */
struct locality {
	bool off;      /* nobody is asked */
	bool on;       /* there is a list */
	size_t n;      /* of paths */
	size_t n_bits; /* bytes of bits */
	struct digest digest;
	const struct closure *closure; /* of this run */
	const char *store_dir, *store_root;
	struct stock *stocks;
	bool asking;	  /* workers were asked, new ones will be */
	size_t n_waiting; /* workers that are not the scheduler's yet */
	int64_t next;	  /* no wait is over earlier */
	bool begun;	  /* the run's work has, and waits no more */
	int64_t begin_at; /* at the latest; 0: not asked yet */
};

/* What is known of a worker. */
struct peer_stock {
	struct question q;
	bool wanted;	       /* the list, */
	size_t told;	       /* and so much of it was sent */
	uint8_t *coming;       /* the answer, */
	size_t came;	       /* so many bytes of it */
	struct stock *stock;   /* NULL: nobody knows */
	struct stock *told_of; /* what the scheduler knows of this run */
	int64_t waits_until;   /* not the scheduler's yet; 0: it is */
};

/* It is over. */
static void
end_question(struct peer_stock *k)
{
	k->q.on = k->wanted = false;
	k->told = k->came = 0;
	own_freep(&k->coming);
}

void
dispatch_locality_gone(struct dispatch *d, struct peer *p)
{
	dispatch_paths_gone(d, p);
	if (p->stock == NULL)
		return;
	end_question(p->stock);
	d->locality->n_waiting -= p->stock->waits_until != 0;
	stock_drop(&d->locality->stocks, &p->stock->told_of);
	stock_drop(&d->locality->stocks, &p->stock->stock);
	own_freep(&p->stock);
}

void
dispatch_locality_free(struct dispatch *d)
{
	for (size_t i = 0; i < d->n_peers; i++)
		dispatch_locality_gone(d, &d->peer[i]);
	dispatch_paths_close(d);
	own_freep(&d->locality);
}

int
dispatch_locality_open(
    struct dispatch *d, const struct dispatch_config *c, struct err *e)
{
	if ((d->locality = calloc(1, sizeof(*d->locality))) == NULL)
		return err_set(e, ERR_FATAL, errno, "locality");
	/* Of one machine all workers see the same store. */
	d->locality->off = c->no_locality || d->remote == NULL;
	return 0;
}

static void
keys_of(const struct closure *c, size_t first, size_t n, uint64_t *key)
{
	for (size_t i = 0; i < n; i++)
		key[i] = store_path_key(store_path_base(c->path[first + i]));
}

static int
digest_list(const struct closure *c, struct digest *out, struct err *e)
{
	AUTO(sha256_freep) struct sha256 *sha = NULL;
	uint8_t data[BATCH * STORE_PATH_KEY_SIZE];
	uint64_t key[BATCH];

	if (sha256_new(&sha, e) < 0)
		return -1;
	for (size_t i = 0; i < c->n; i += BATCH) {
		size_t n = c->n - i < BATCH ? c->n - i : BATCH;

		keys_of(c, i, n, key);
		store_path_keys_put(key, n, data);
		sha256_update(sha, data, n * STORE_PATH_KEY_SIZE);
	}
	sha256_final(sha, out);
	return 0;
}

static int
tell_of(struct dispatch *d, const struct peer *p, const struct stock *s,
    bool lacks, bool *any, struct err *e)
{
	struct miss m;

	*any = false;
	for (size_t i = 0; stock_next_miss(s, d, d->locality->closure, &i, &m);
	     *any = true) {
		uint64_t bytes = !lacks ? 0
		    : p->fetches	? m.bytes
					: SCHED_UNABLE;

		if (sched_set_missing(d->sched, p->worker, m.job, bytes, e) < 0)
			return -1;
	}
	return 0;
}

/* Tells the scheduler, which knows the worker. */
static int
tell(struct dispatch *d, struct peer *p, struct err *e)
{
	struct peer_stock *k = p->stock;
	bool any;

	if (k->stock == NULL || k->stock == k->told_of)
		return 0;
	if (k->told_of != NULL && tell_of(d, p, k->told_of, false, &any, e) < 0)
		return -1;
	stock_drop(&d->locality->stocks, &k->told_of);
	if (k->stock->refs > 1 && !k->stock->found &&
	    stock_find(k->stock, d, d->locality->closure, e) < 0)
		return -1;
	if (tell_of(d, p, k->stock, true, &any, e) < 0)
		return -1;
	k->told_of = k->stock;
	k->stock->refs++;
	if (any)
		log_line(LOG_DEBUG, "worker=%s lacks store paths%s", p->name,
		    p->fetches ? "" : ", and fetches none");
	return 0;
}

bool
dispatch_locality_waits(const struct peer *p)
{
	return p->stock->waits_until != 0;
}

int
dispatch_locality_up(struct dispatch *d, struct peer *p, struct err *e)
{
	if (p->stock->waits_until == 0)
		return 0;
	p->stock->waits_until = 0;
	d->locality->n_waiting--;
	if (sched_worker_up(
		d->sched, dispatch_now(d), p->worker, p->slots, p->name, e) < 0)
		return -1;
	if (p->rate > 0)
		sched_measured(d->sched, p->worker, p->rate, 1000);
	if (dispatch_needs_up(d, p, e) < 0)
		return -1;
	return tell(d, p, e);
}

static void
ask(struct dispatch *d, struct peer *p)
{
	const struct locality *l = d->locality;
	const struct dispatch_from to = {p->via, p->link};
	struct msg m = {.type = MSG_ASK,
	    .ask = {.list = l->digest,
		.n = l->n,
		.store_dir = l->store_dir,
		.store_root = l->store_root}};

	end_question(p->stock);
	m.ask.ask = question_ask(&p->stock->q);
	/* What is lost is asked when the worker is back. */
	dispatch_say(&to, &m);
}

/* Those of this machine are asked once there are others. */
static void
ask_all(struct dispatch *d)
{
	if (!d->joined || d->locality->closure == NULL || d->sched == NULL)
		return;
	d->locality->asking = true;
	for (size_t i = 0; i < d->n_peers; i++)
		if (!d->peer[i].stock->q.on && d->peer[i].stock->stock == NULL)
			ask(d, &d->peer[i]);
}

void
dispatch_locality_ask(struct dispatch *d, struct peer *p)
{
	if (d->paths != NULL)
		dispatch_paths_ask(d, p);
	else if (d->locality->asking)
		ask(d, p);
	else
		ask_all(d);
}

static int64_t
patience(const struct dispatch *d)
{
	size_t n = d->paths != NULL ? dispatch_paths_count(d) : d->locality->n;

	return ANSWER_MS + (int64_t)(n / ANSWER_PATHS);
}

bool
dispatch_locality_hold(struct dispatch *d)
{
	struct locality *l = d->locality;

	if (l->begin_at == 0)
		l->begin_at = monotime_ms() + patience(d);
	l->begun |= l->n_waiting == 0 || monotime_ms() >= l->begin_at;
	return !l->begun;
}

int
dispatch_locality_joined(struct dispatch *d, struct peer *p, struct err *e)
{
	struct locality *l = d->locality;
	struct peer_stock *k = p->stock;

	if (k == NULL && (k = p->stock = calloc(1, sizeof(*k))) == NULL)
		return err_set(e, ERR_FATAL, errno, "worker");
	if (d->sched == NULL)
		return 0;
	if (dispatch_paths_joined(d, p, e) < 0)
		return -1;
	k->waits_until = monotime_ms() + patience(d);
	l->n_waiting++;
	if (p->via != d->remote || k->stock != NULL ||
	    (l->closure == NULL && !dispatch_paths_waits(d, p)))
		return dispatch_locality_up(d, p, e);
	if (k->waits_until < l->next)
		l->next = k->waits_until;
	return 0;
}

int
dispatch_locality_tick(struct dispatch *d, int64_t *next, struct err *e)
{
	struct locality *l = d->locality;

	dispatch_paths_tick(d);
	*next = l->n_waiting == 0 ? INT64_MAX : l->next;
	if (monotime_ms() < *next)
		return 0;
	l->next = INT64_MAX;
	for (size_t i = 0; i < d->n_peers; i++) {
		struct peer *p = &d->peer[i];
		int64_t until = p->stock->waits_until;

		if (until != 0 && monotime_ms() >= until) {
			if (dispatch_locality_up(d, p, e) < 0)
				return -1;
		} else if (until != 0 && until < l->next) {
			l->next = until;
		}
	}
	*next = l->next;
	return 0;
}

/* Takes the run's list, the one before may be the same. */
static int
take_list(struct dispatch *d, const struct dispatch_job *job, struct err *e)
{
	struct locality *l = d->locality;
	struct digest digest;

	if (digest_list(job->closure, &digest, e) < 0)
		return -1;
	l->closure = job->closure;
	l->store_dir = job->spec->store_dir;
	l->store_root = job->spec->store_root;
	if (l->on && digest_equal(&digest, &l->digest))
		return 0;
	for (size_t i = 0; i < d->n_peers; i++) {
		end_question(d->peer[i].stock);
		d->peer[i].stock->q.number++; /* an answer is an old one's */
		stock_drop(&l->stocks, &d->peer[i].stock->stock);
	}
	l->on = true;
	l->digest = digest;
	l->n = job->closure->n;
	l->n_bits = (l->n + 7) / 8;
	return 0;
}

/* What was found and told is of the run before. */
static void
forget_run(struct dispatch *d)
{
	for (size_t i = 0; i < d->n_peers; i++)
		stock_drop(&d->locality->stocks, &d->peer[i].stock->told_of);
	for (struct stock *s = d->locality->stocks; s != NULL; s = s->next)
		stock_forget(s);
}

int
dispatch_locality_start(struct dispatch *d, struct err *e)
{
	const struct dispatch_job *job = NULL;
	struct locality *l = d->locality;

	forget_run(d);
	if (d->open && !l->off && dispatch_paths_open(d, e) < 0)
		return -1;
	/* Of jobs that come one by one there is no list. */
	for (size_t i = 0; !l->off && !d->open && i < d->n_tasks; i++) {
		const struct dispatch_job *at = d->task[i].job;

		if (at->spec->source == LAYER_FROM_STORE && at->n > 0 &&
		    at->closure->n <= MSG_LIST_MAX) {
			job = at;
			break;
		}
	}
	if (job != NULL && take_list(d, job, e) < 0)
		return -1;
	if (job == NULL)
		l->closure = NULL;
	l->asking = l->begun = false;
	l->begin_at = 0;
	l->n_waiting = 0;
	l->next = INT64_MAX;
	for (size_t i = 0; i < d->n_peers; i++) {
		if (dispatch_locality_joined(d, &d->peer[i], e) < 0)
			return -1;
	}
	ask_all(d);
	return 0;
}

const char *
dispatch_locality_want(
    struct dispatch *d, struct peer *p, const struct msg_want *m)
{
	const struct locality *l = d->locality;
	const struct dispatch_from to = {p->via, p->link};
	struct peer_stock *k = p->stock;
	struct msg out = {.type = MSG_PATHS};
	uint64_t key[MSG_PATHS_MAX];

	if (d->paths != NULL)
		return dispatch_paths_want(d, p, m);
	switch (question_word(&k->q, m->ask)) {
	case QUESTION_IGNORED:
		return NULL;
	case QUESTION_WRONG:
		return QUESTION_NOT_OFFERED;
	case QUESTION_COUNTS:
		break;
	}
	/* A part of it may be there from before; then one follows the other. */
	if (m->first >= l->n || (k->wanted && m->first > k->told))
		return QUESTION_NOT_ITS_TURN;
	/* Doubled; or the list was of another run. */
	if ((k->wanted && m->first < k->told) || l->closure == NULL)
		return NULL;
	out.paths = (struct msg_paths){
	    .ask = m->ask, .first = m->first, .key = key, .n = MSG_PATHS_MAX};
	if (out.paths.n > l->n - m->first)
		out.paths.n = l->n - (size_t)m->first;
	keys_of(l->closure, (size_t)m->first, out.paths.n, key);
	dispatch_say(&to, &out);
	k->wanted = true;
	k->told = (size_t)m->first + out.paths.n;
	return NULL;
}

/* How many paths the next part is about. */
static size_t
next_part(const struct locality *l, const struct peer_stock *k)
{
	size_t left = l->n - 8 * k->came, most = 8 * (size_t)MSG_BITS_MAX;

	return left < most ? left : most;
}

static int
take_answer(struct dispatch *d, struct peer *p, struct err *e)
{
	struct locality *l = d->locality;
	struct peer_stock *k = p->stock;
	struct stock *stock = stock_take(&l->stocks, k->coming, l->n);

	if (stock == NULL)
		return err_set(e, ERR_FATAL, errno, "store paths of workers");
	stock_drop(&l->stocks, &k->stock);
	k->stock = stock;
	end_question(k);
	if (k->waits_until != 0)
		return dispatch_locality_up(d, p, e);
	return tell(d, p, e);
}

int
dispatch_locality_have(struct dispatch *d, struct peer *p,
    const struct msg_have *m, const char **bad, struct err *e)
{
	const struct locality *l = d->locality;
	struct peer_stock *k = p->stock;

	*bad = NULL;
	if (d->paths != NULL)
		return dispatch_paths_have(d, p, m, bad, e);
	switch (question_word(&k->q, m->ask)) {
	case QUESTION_IGNORED:
		return 0;
	case QUESTION_WRONG:
		*bad = QUESTION_NOT_ASKED;
		return 0;
	case QUESTION_COUNTS:
		break;
	}
	if (m->sys != 0) {
		log_line(LOG_DEBUG, "worker=%s cannot look at its store: %s",
		    p->name, strerror((int)m->sys));
		end_question(k);
		return dispatch_locality_up(d, p, e);
	}
	/* Doubled; or a part is lost, and with it the answer. */
	if (m->first < 8 * (uint64_t)k->came)
		return 0;
	if (m->first > 8 * (uint64_t)k->came) {
		end_question(k);
		return dispatch_locality_up(d, p, e);
	}
	if (!question_fits(m, next_part(l, k))) {
		*bad = QUESTION_OTHER_LENGTH;
		return 0;
	}
	if (k->coming == NULL && (k->coming = malloc(l->n_bits)) == NULL)
		return err_set(e, ERR_FATAL, errno, "store paths of workers");
	memcpy(k->coming + k->came, m->bits, m->n);
	k->came += m->n;
	return k->came < l->n_bits ? 0 : take_answer(d, p, e);
}
