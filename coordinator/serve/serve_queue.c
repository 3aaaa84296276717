#include "serve/serve_queue.h"

#include <assert.h>
#include <errno.h>
#include <search.h>
#include <stdlib.h>
#include <string.h>

#include "err.h"
#include "closure/hash_index.h"

TAILQ_HEAD(serve_job_list, serve_job);
TAILQ_HEAD(serve_flow_list, serve_flow);

struct serve_queue {
	struct serve_limits limits;
	struct serve_job **job; /* by slot; NULL: free */
	uint32_t *free_slot;	/* those that are, the next one last */
	size_t n_free, room_slots;
	struct hash_index by_key;
	/* Full: of those nothing more may run now. */
	struct serve_flow_list active, full;
	size_t share;
	struct serve_job_list all, unwanted; /* these by when they end */
	struct serve_counts counts;
	size_t n_jobs, n_flows;
	uint64_t bytes;
};

int
serve_queue_new(
    const struct serve_limits *limits, struct serve_queue **out, struct err *e)
{
	struct serve_queue *q = calloc(1, sizeof(*q));

	if (q == NULL)
		return err_set(e, ERR_FATAL, errno, "clients' jobs");
	q->limits = *limits;
	TAILQ_INIT(&q->active);
	TAILQ_INIT(&q->full);
	q->share = SIZE_MAX;
	TAILQ_INIT(&q->all);
	TAILQ_INIT(&q->unwanted);
	*out = q;
	return 0;
}

void
serve_queue_free(struct serve_queue *q)
{
	if (q == NULL)
		return;
	assert(q->n_jobs == 0 && q->n_flows == 0);
	hash_index_free(&q->by_key);
	free(q->free_slot);
	free(q->job);
	free(q);
}

/* The heaps: the heaviest first, of equal ones the oldest, about. */

static bool
comes_before(const struct serve_want *a, const struct serve_want *b)
{
	return a->job->weight > b->job->weight;
}

static void
put_at(struct serve_flow *f, size_t i, struct serve_want *w)
{
	f->queue[i] = w;
	w->at = i;
	f->in->counts.looks++;
}

static void
sift_up(struct serve_flow *f, size_t i, struct serve_want *w)
{
	while (i > 0 && comes_before(w, f->queue[(i - 1) / 2])) {
		put_at(f, i, f->queue[(i - 1) / 2]);
		i = (i - 1) / 2;
	}
	put_at(f, i, w);
}

static void
sift_down(struct serve_flow *f, size_t i, struct serve_want *w)
{
	size_t child;

	while ((child = 2 * i + 1) < f->n_queue) {
		if (child + 1 < f->n_queue &&
		    comes_before(f->queue[child + 1], f->queue[child]))
			child++;
		if (!comes_before(f->queue[child], w))
			break;
		put_at(f, i, f->queue[child]);
		i = child;
	}
	put_at(f, i, w);
}

static void
deactivate(struct serve_queue *q, struct serve_flow *f)
{
	if (f->full)
		TAILQ_REMOVE(&q->full, f, entry);
	else
		TAILQ_REMOVE(&q->active, f, entry);
	f->active = f->turn = f->full = false;
	f->deficit = 0;
}

/* It waits until one of its jobs has ended. */
static void
become_full(struct serve_queue *q, struct serve_flow *f)
{
	TAILQ_REMOVE(&q->active, f, entry);
	TAILQ_INSERT_TAIL(&q->full, f, entry);
	f->full = true;
	f->turn = false;
	/* It has had enough: that is no credit for later. */
	if (f->deficit > SERVE_QUANTUM)
		f->deficit = SERVE_QUANTUM;
}

static void
go_on(struct serve_queue *q, struct serve_flow *f)
{
	if (!f->full || f->given >= q->share)
		return;
	TAILQ_REMOVE(&q->full, f, entry);
	TAILQ_INSERT_TAIL(&q->active, f, entry);
	f->full = false;
}

void
serve_queue_share(struct serve_queue *q, size_t jobs)
{
	struct serve_flow *f, *next;
	bool more = jobs > q->share;

	q->share = jobs;
	for (f = TAILQ_FIRST(&q->full); more && f != NULL; f = next) {
		next = TAILQ_NEXT(f, entry);
		go_on(q, f);
	}
}

/* The job counts for nobody's share any more. */
static void
end_turn(struct serve_queue *q, struct serve_job *job)
{
	struct serve_flow *f = job->turn;

	if (f == NULL)
		return;
	job->turn = NULL;
	f->given--;
	go_on(q, f);
}

/* There is room: it was made with the want. */
static void
enqueue(struct serve_queue *q, struct serve_want *w)
{
	struct serve_flow *f = w->flow;

	assert(f->n_queue < f->room_queue);
	sift_up(f, f->n_queue++, w);
	if (!f->active)
		TAILQ_INSERT_TAIL(&q->active, f, entry);
	f->active = true;
}

static void
dequeue(struct serve_queue *q, struct serve_want *w)
{
	struct serve_flow *f = w->flow;
	size_t at = w->at;
	struct serve_want *last = f->queue[--f->n_queue];

	if (last != w && at > 0 && comes_before(last, f->queue[(at - 1) / 2]))
		sift_up(f, at, last);
	else if (last != w)
		sift_down(f, at, last);
	if (f->n_queue == 0)
		deactivate(q, f);
}

/* Clients. */

int
serve_queue_join(
    struct serve_queue *q, void *client, struct serve_flow **out, struct err *e)
{
	struct serve_flow *f = calloc(1, sizeof(*f));

	if (f == NULL)
		return err_set(e, ERR_FATAL, errno, "client");
	f->client = client;
	f->in = q;
	TAILQ_INIT(&f->wants);
	q->n_flows++;
	*out = f;
	return 0;
}

void
serve_queue_forget(struct serve_queue *q, struct serve_flow *f, int64_t until)
{
	struct serve_want *w;

	while ((w = TAILQ_FIRST(&f->wants)) != NULL)
		serve_queue_unwant(q, w, until);
}

void
serve_queue_leave(struct serve_queue *q, struct serve_flow *f)
{
	if (f == NULL)
		return;
	assert(f->n_wants == 0);
	q->n_flows--;
	free(f->queue);
	free(f);
}

const char *
serve_queue_refusal(const struct serve_queue *q, const struct serve_flow *f,
    size_t coming, uint64_t bytes)
{
	if (f->n_wants + coming >= q->limits.jobs)
		return "this client has as many layers queued as it may";
	/* One that is larger than all goes alone. */
	if (f->n_wants + coming > 0 && f->bytes + bytes > q->limits.bytes)
		return "this client's lists of store paths are as long as they "
		       "may be";
	if (q->n_jobs >= q->limits.all_jobs ||
	    (q->n_jobs > 0 && q->bytes + bytes > q->limits.all_bytes))
		return "the server has as much queued as it may";
	return NULL;
}

/* Jobs. */

static uint64_t
hash_of(const struct digest *key)
{
	uint64_t h;

	/* A SHA-256 already. */
	memcpy(&h, key->b, sizeof(h));
	return h;
}

struct serve_job *
serve_queue_find(struct serve_queue *q, const struct digest *key)
{
	uint64_t hash = hash_of(key);
	uint32_t slot;
	size_t at;

	slot = hash_index_first(&q->by_key, hash, &at);
	while (
	    slot != HASH_INDEX_NONE && !digest_equal(&q->job[slot]->key, key))
		slot = hash_index_next(&q->by_key, hash, &at);
	return slot == HASH_INDEX_NONE ? NULL : q->job[slot];
}

static int
more_slots(struct serve_queue *q, struct err *e)
{
	size_t room = q->room_slots == 0 ? 64 : 2 * q->room_slots;
	struct serve_job **job = reallocarray(q->job, room, sizeof(*job));
	uint32_t *slot;

	if (job != NULL)
		q->job = job;
	slot = reallocarray(q->free_slot, room, sizeof(*slot));
	if (slot != NULL)
		q->free_slot = slot;
	if (job == NULL || slot == NULL ||
	    hash_index_reserve(&q->by_key, room) < 0)
		return err_set(e, ERR_FATAL, errno, "clients' jobs");
	for (size_t i = room; i-- > q->room_slots;) {
		job[i] = NULL;
		slot[q->n_free++] = (uint32_t)i;
	}
	q->room_slots = room;
	return 0;
}

/* That nobody wants ends in the order of time; as a rule that is this one's. */
static void
list_unwanted(struct serve_queue *q, struct serve_job *job, int64_t until)
{
	struct serve_job *before = TAILQ_LAST(&q->unwanted, serve_job_list);

	job->until = until;
	/* Those that end at once are at the head, whatever is behind them. */
	if (until == INT64_MIN)
		before = NULL;
	for (; before != NULL && before->until > until;
	     before = TAILQ_PREV(before, serve_job_list, entry))
		q->counts.looks++;
	if (before == NULL)
		TAILQ_INSERT_HEAD(&q->unwanted, job, entry);
	else
		TAILQ_INSERT_AFTER(&q->unwanted, before, job, entry);
}

int
serve_queue_add(struct serve_queue *q, const struct digest *key,
    uint64_t weight, uint64_t bytes, struct serve_job **out, struct err *e)
{
	struct serve_job *job;

	if (q->n_free == 0 && more_slots(q, e) < 0)
		return -1;
	if ((job = calloc(1, sizeof(*job))) == NULL)
		return err_set(e, ERR_FATAL, errno, "job");
	job->state = SERVE_HELD;
	job->weight = weight;
	job->bytes = bytes;
	job->slot = q->free_slot[--q->n_free];
	TAILQ_INIT(&job->wants);
	if (key != NULL) {
		job->has_key = true;
		job->key = *key;
		hash_index_put(&q->by_key, hash_of(key), job->slot);
	}
	q->job[job->slot] = job;
	TAILQ_INSERT_TAIL(&q->all, job, of_all);
	q->n_jobs++;
	q->bytes += bytes;
	q->counts.held++;
	/* Until the want follows. */
	list_unwanted(q, job, INT64_MAX);
	*out = job;
	return 0;
}

static size_t *
count_of(struct serve_queue *q, enum serve_job_state state)
{
	switch (state) {
	case SERVE_HELD:
		return &q->counts.held;
	case SERVE_QUEUED:
		return &q->counts.queued;
	case SERVE_RUNNING:
		break;
	}
	return &q->counts.running;
}

static void
become(struct serve_queue *q, struct serve_job *job, enum serve_job_state state)
{
	--*count_of(q, job->state);
	++*count_of(q, state);
	job->state = state;
}

static int
reserve_queue(struct serve_flow *f, struct err *e)
{
	size_t room = f->room_queue == 0 ? 16 : 2 * f->room_queue;
	struct serve_want **queue;

	if (f->n_wants < f->room_queue)
		return 0;
	if ((queue = reallocarray(f->queue, room, sizeof(*queue))) == NULL)
		return err_set(e, ERR_FATAL, errno, "client's jobs");
	f->queue = queue;
	f->room_queue = room;
	return 0;
}

static int
compare_wants(const void *a, const void *b)
{
	const struct serve_want *x = a, *y = b;

	if (x->id.job != y->id.job)
		return x->id.job < y->id.job ? -1 : 1;
	return x->id.attempt == y->id.attempt ? 0
	    : x->id.attempt < y->id.attempt   ? -1
					      : 1;
}

int
serve_queue_want(struct serve_queue *q, struct serve_flow *f,
    struct serve_job *job, const struct data_id *id, uint64_t bytes,
    struct err *e)
{
	struct serve_want *w;

	if (reserve_queue(f, e) < 0)
		return -1;
	if ((w = calloc(1, sizeof(*w))) == NULL)
		return err_set(e, ERR_FATAL, errno, "client's job");
	w->job = job;
	w->flow = f;
	w->id = *id;
	w->bytes = bytes;
	if (tsearch(w, &f->by_id, compare_wants) == NULL) {
		free(w);
		return err_set(e, ERR_FATAL, errno, "client's job");
	}
	if (job->n_wants++ == 0)
		TAILQ_REMOVE(&q->unwanted, job, entry);
	TAILQ_INSERT_TAIL(&job->wants, w, of_job);
	TAILQ_INSERT_TAIL(&f->wants, w, of_flow);
	f->n_wants++;
	f->bytes += bytes;
	q->counts.wants++;
	if (job->state == SERVE_QUEUED)
		enqueue(q, w);
	return 0;
}

struct serve_want *
serve_queue_want_of(const struct serve_flow *f, const struct data_id *id)
{
	const struct serve_want key = {.id = *id};
	struct serve_want **at = tfind(&key, &f->by_id, compare_wants);

	return at == NULL ? NULL : *at;
}

static void
remove_want(struct serve_queue *q, struct serve_want *w)
{
	struct serve_flow *f = w->flow;

	if (w->job->state == SERVE_QUEUED)
		dequeue(q, w);
	if (w->job->turn == f)
		end_turn(q, w->job);
	TAILQ_REMOVE(&w->job->wants, w, of_job);
	TAILQ_REMOVE(&f->wants, w, of_flow);
	tdelete(w, &f->by_id, compare_wants);
	w->job->n_wants--;
	f->n_wants--;
	f->bytes -= w->bytes;
	q->counts.wants--;
	free(w);
}

void
serve_queue_unwant(
    struct serve_queue *q, struct serve_want *want, int64_t until)
{
	struct serve_job *job = want->job;

	remove_want(q, want);
	if (job->n_wants > 0)
		return;
	/* Nothing is lost with one that has not begun. */
	list_unwanted(q, job,
	    job->state == SERVE_RUNNING && job->has_key ? until : INT64_MIN);
}

void
serve_queue_release(struct serve_queue *q, struct serve_job *job)
{
	struct serve_want *w;

	assert(job->state == SERVE_HELD);
	become(q, job, SERVE_QUEUED);
	TAILQ_FOREACH(w, &job->wants, of_job)
	enqueue(q, w);
}

static uint64_t
cost_of(const struct serve_job *job)
{
	return SERVE_COST_MIN +
	    (job->weight < SERVE_COST_MAX ? job->weight : SERVE_COST_MAX);
}

/* From now on nobody's turn can be spent on it. */
static void
start(struct serve_queue *q, struct serve_job *job)
{
	struct serve_want *w;

	TAILQ_FOREACH(w, &job->wants, of_job)
	dequeue(q, w);
	become(q, job, SERVE_RUNNING);
}

struct serve_job *
serve_queue_next(struct serve_queue *q)
{
	struct serve_flow *f;

	while ((f = TAILQ_FIRST(&q->active)) != NULL) {
		struct serve_job *job = f->queue[0]->job;

		q->counts.looks++;
		if (f->given >= q->share) {
			become_full(q, f);
			continue;
		}
		if (!f->turn)
			f->deficit += SERVE_QUANTUM;
		f->turn = true;
		if (cost_of(job) <= f->deficit) {
			f->deficit -= cost_of(job);
			f->given++;
			job->turn = f;
			start(q, job);
			return job;
		}
		f->turn = false;
		TAILQ_REMOVE(&q->active, f, entry);
		TAILQ_INSERT_TAIL(&q->active, f, entry);
	}
	return NULL;
}

void
serve_queue_end(struct serve_queue *q, struct serve_job *job)
{
	if (job->n_wants == 0)
		TAILQ_REMOVE(&q->unwanted, job, entry);
	while (job->n_wants > 0)
		remove_want(q, TAILQ_FIRST(&job->wants));
	--*count_of(q, job->state);
	q->counts.dropped += job->state != SERVE_RUNNING && !job->known;
	if (job->has_key)
		hash_index_remove(&q->by_key, hash_of(&job->key), job->slot);
	q->job[job->slot] = NULL;
	q->free_slot[q->n_free++] = job->slot;
	TAILQ_REMOVE(&q->all, job, of_all);
	q->n_jobs--;
	q->bytes -= job->bytes;
	free(job);
}

struct serve_job *
serve_queue_expired(struct serve_queue *q, int64_t now)
{
	struct serve_job *job = TAILQ_FIRST(&q->unwanted);

	return job != NULL && job->until <= now ? job : NULL;
}

int64_t
serve_queue_deadline(const struct serve_queue *q)
{
	const struct serve_job *job = TAILQ_FIRST(&q->unwanted);

	return job == NULL ? INT64_MAX : job->until;
}

struct serve_job *
serve_queue_any(struct serve_queue *q)
{
	return TAILQ_FIRST(&q->all);
}

void
serve_queue_count(const struct serve_queue *q, struct serve_counts *out)
{
	*out = q->counts;
}
