#include "dispatch/dispatch_state.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "digest.h"
#include "dispatch/dispatch.h"
#include "dispatch/path_table.h"
#include "dispatch/stock_page.h"
#include "err.h"
#include "log.h"
#include "monotime.h"
#include "own.h"
#include "protocol.h"
#include "store_path.h"

/* Who has not answered by then is not waited for. */
#define ANSWER_MS 1000
/* So old an answer is asked for again: stores grow, and are collected. */
#define OLD_MS ((int64_t)5 * 60 * 1000)
/* Between two looks for what is old, and for who is silent. */
#define LOOK_MS 1000
#define SILENT_LOOK_MS 50
/* Lists of a page whose digests are kept: all of it, and what is new. */
#define LISTS 2

/* A page is sent in one part, and answered in one. */
_Static_assert(PATH_PAGE <= MSG_PATHS_MAX && PATH_PAGE <= 8 * MSG_BITS_MAX,
    "pages are too large");

/* Paths of a page, as workers are asked for them. */
struct list {
	size_t page;
	uint64_t era;
	size_t from, to;
};

struct paths {
	struct path_table *table;
	char *store_dir, *store_root; /* of all jobs; NULL: none came yet */
	void *stocks;
	uint64_t mark; /* of the last job that was looked at */
	uint64_t seen; /* changes of the table after which all were asked */
	int64_t look_at;
	uint64_t version; /* of what is known */
	int64_t version_at;
	struct page_state {
		/* Of so many all know whether they have them. */
		uint64_t era, version;
		size_t known;
		/* Jobs that run, or could, need none beyond. */
		uint64_t sent_era;
		size_t sent;
		struct kept {
			struct list list; /* to 0: none */
			struct digest digest;
		} kept[LISTS];
	} page[PATH_PAGES];
};

struct peer_paths {
	uint64_t asked; /* so many questions; the last one is */
	bool on;	/* unless it was answered */
	bool told;	/* the list itself was sent */
	struct list list;
	int64_t since;	   /* it was asked */
	int64_t silent_to; /* it is not asked earlier */
	struct {
		int64_t at; /* when it was said */
		struct stock_page *stock;
	} page[PATH_PAGES];
};

static bool
same_list(const struct list *a, const struct list *b)
{
	return a->page == b->page && a->era == b->era && a->from == b->from &&
	    a->to == b->to;
}

int
dispatch_paths_open(struct dispatch *d, struct err *e)
{
	struct paths *s;

	if (d->paths != NULL)
		return 0;
	if ((s = calloc(1, sizeof(*s))) == NULL)
		return err_set(e, ERR_FATAL, errno, "store paths");
	d->paths = s;
	return path_table_new(PATH_PAGES, &s->table, e);
}

void
dispatch_paths_close(struct dispatch *d)
{
	if (d->paths == NULL)
		return;
	path_table_free(d->paths->table);
	free(d->paths->store_dir);
	free(d->paths->store_root);
	own_freep(&d->paths);
}

void
dispatch_paths_gone(struct dispatch *d, struct peer *p)
{
	if (p->paths == NULL)
		return;
	for (size_t i = 0; i < PATH_PAGES; i++)
		stock_page_drop(&d->paths->stocks, &p->paths->page[i].stock);
	own_freep(&p->paths);
	d->paths->version++;
}

/* Not of a page as it was before. */
static struct stock_page *
stock_of(const struct peer_paths *k, size_t page, const struct path_page *at)
{
	struct stock_page *s = k->page[page].stock;

	return s != NULL && s->era == at->era ? s : NULL;
}

static size_t
known_to(const struct peer_paths *k, size_t page, const struct path_page *at)
{
	const struct stock_page *s = stock_of(k, page, at);

	return s == NULL ? 0 : s->n;
}

size_t
dispatch_paths_count(const struct dispatch *d)
{
	const struct path_table *t = d->paths->table;
	size_t n = 0;

	for (size_t i = 0; i < path_table_pages(t); i++)
		if (path_table_page(t, i)->users > 0)
			n += path_table_page(t, i)->n;
	return n;
}

/* Something is to be asked that was never answered. */
static bool
lacks_answers(const struct dispatch *d, const struct peer_paths *k)
{
	const struct path_table *t = d->paths->table;

	for (size_t i = 0; i < path_table_pages(t); i++) {
		const struct path_page *at = path_table_page(t, i);

		if (at->users > 0 && known_to(k, i, at) < at->n)
			return true;
	}
	return false;
}

/* What to ask next, if anything: first what is not known at all. */
static bool
next_list(const struct dispatch *d, const struct peer_paths *k, int64_t now,
    struct list *out)
{
	const struct path_table *t = d->paths->table;
	bool any = false;

	for (size_t i = 0; i < path_table_pages(t); i++) {
		const struct path_page *at = path_table_page(t, i);
		size_t known = known_to(k, i, at);

		if (at->users == 0)
			continue;
		if (known < at->n) {
			*out = (struct list){i, at->era, known, at->n};
			return true;
		}
		if (!any && at->n > 0 && now - k->page[i].at >= OLD_MS) {
			*out = (struct list){i, at->era, 0, at->n};
			any = true;
		}
	}
	return any;
}

static const uint64_t *
keys_of(const struct dispatch *d, const struct list *list)
{
	return path_table_page(d->paths->table, list->page)->key + list->from;
}

/* Most are for many workers. */
static void
digest_list(struct dispatch *d, const struct list *list, struct digest *out)
{
	struct kept *kept =
	    &d->paths->page[list->page].kept[list->from == 0 ? 0 : 1];
	uint8_t data[PATH_PAGE * STORE_PATH_KEY_SIZE];
	size_t n = list->to - list->from;

	if (kept->list.to == 0 || !same_list(&kept->list, list)) {
		store_path_keys_put(keys_of(d, list), n, data);
		digest_of(data, n * STORE_PATH_KEY_SIZE, &kept->digest);
		kept->list = *list;
	}
	*out = kept->digest;
}

static void
ask_next(struct dispatch *d, struct peer *p)
{
	const struct dispatch_from to = {p->via, p->link};
	struct peer_paths *k = p->paths;
	struct msg m = {.type = MSG_ASK};
	int64_t now = monotime_ms();

	if (!d->joined || now < k->silent_to || !next_list(d, k, now, &k->list))
		return;
	k->on = true;
	k->told = false;
	k->since = now;
	m.ask = (struct msg_ask){.ask = ++k->asked,
	    .n = k->list.to - k->list.from,
	    .store_dir = d->paths->store_dir,
	    .store_root = d->paths->store_root};
	digest_list(d, &k->list, &m.ask.list);
	log_line(LOG_DEBUG, "worker=%s is asked for %llu store paths", p->name,
	    (unsigned long long)m.ask.n);
	dispatch_say(&to, &m);
}

int
dispatch_paths_joined(struct dispatch *d, struct peer *p, struct err *e)
{
	if (d->paths == NULL || p->paths != NULL)
		return 0;
	if ((p->paths = calloc(1, sizeof(*p->paths))) == NULL)
		return err_set(e, ERR_FATAL, errno, "worker");
	d->paths->version++;
	return 0;
}

bool
dispatch_paths_waits(const struct dispatch *d, const struct peer *p)
{
	return d->paths != NULL && p->via == d->remote &&
	    lacks_answers(d, p->paths);
}

void
dispatch_paths_ask(struct dispatch *d, struct peer *p)
{
	struct peer_paths *k = p->paths;

	/* What was asked over another connection is not answered any more. */
	k->on = false;
	k->silent_to = 0;
	d->paths->version++;
	ask_next(d, p);
	/* Those of this machine are asked once there are others. */
	d->paths->look_at = 0;
}

void
dispatch_paths_tick(struct dispatch *d)
{
	struct paths *s = d->paths;
	int64_t now = monotime_ms();

	if (s == NULL || !d->joined ||
	    (now < s->look_at && path_table_changes(s->table) == s->seen))
		return;
	s->seen = path_table_changes(s->table);
	s->look_at = now + LOOK_MS;
	for (size_t i = 0; i < d->n_peers; i++) {
		struct peer_paths *k = d->peer[i].paths;

		/* Lost on the way, or the store is stuck. */
		if (k->on && now - k->since >= OLD_MS)
			k->on = false;
		if (!k->on)
			ask_next(d, &d->peer[i]);
	}
}

/* Whether jobs wait for what it says. */
static bool
counts(const struct peer *p, int64_t now)
{
	const struct peer_paths *k = p->paths;

	return p->room > 0 && !dispatch_locality_waits(p) &&
	    now >= k->silent_to && !(k->on && now - k->since >= ANSWER_MS);
}

static size_t
known_to_all(struct dispatch *d, size_t page)
{
	struct page_state *s = &d->paths->page[page];
	const struct path_page *at = path_table_page(d->paths->table, page);
	int64_t now = monotime_ms();

	if (now - d->paths->version_at >= SILENT_LOOK_MS) {
		d->paths->version_at = now;
		d->paths->version++;
	}
	if (s->era == at->era && s->version == d->paths->version)
		return s->known;
	s->era = at->era;
	s->version = d->paths->version;
	s->known = PATH_PAGE;
	for (size_t i = 0; i < d->n_peers; i++) {
		size_t known = known_to(d->peer[i].paths, page, at);

		if (known < s->known && counts(&d->peer[i], now))
			s->known = known;
	}
	return s->known;
}

int
dispatch_learn(struct dispatch *d, struct dispatch_job *job, struct err *e)
{
	struct paths *s = d->paths;

	if (s == NULL || job->spec->source != LAYER_FROM_STORE)
		return 0;
	if (s->store_dir == NULL &&
	    ((s->store_dir = strdup(job->spec->store_dir)) == NULL ||
		(s->store_root = strdup(job->spec->store_root)) == NULL))
		return err_set(e, ERR_FATAL, errno, "store paths");
	return path_table_take(s->table, job->item, job->n, &job->needs, e);
}

void
dispatch_unlearn(struct dispatch *d, struct dispatch_job *job)
{
	if (job->needs != NULL)
		path_table_drop(d->paths->table, &job->needs);
}

bool
dispatch_knows(struct dispatch *d, const struct dispatch_job *job)
{
	const struct path_needs *needs = job->needs;
	size_t end = 0;

	if (needs == NULL || !d->joined)
		return true;
	for (size_t i = 0; i < needs->n_runs; i++) {
		end += needs->run[i].n;
		if (known_to_all(d, needs->run[i].page) <=
		    needs->at[end - 1].number % PATH_PAGE)
			return false;
	}
	return true;
}

/* What the job lacks there, as far as it is known; mark: the job's. */
static uint64_t
missing(const struct dispatch *d, const struct peer *p,
    const struct path_needs *needs, uint64_t mark)
{
	const struct path_need *at = needs->at;
	uint64_t bytes = 0;
	bool lacks = false;

	for (size_t i = 0; i < needs->n_runs; i++) {
		const struct path_run *run = &needs->run[i];
		struct stock_page *s = stock_of(p->paths, run->page,
		    path_table_page(d->paths->table, run->page));

		lacks |=
		    s != NULL && stock_page_lacks(s, at, run->n, mark, &bytes);
		at += run->n;
	}
	if (!lacks)
		return 0;
	if (!p->fetches || bytes == SCHED_UNABLE)
		return SCHED_UNABLE;
	return bytes == 0 ? 1 : bytes;
}

/* From now on answers change what the scheduler knows of it. */
static void
note_sent(struct dispatch *d, const struct path_needs *needs)
{
	size_t end = 0;

	for (size_t i = 0; i < needs->n_runs; i++) {
		size_t page = needs->run[i].page, last;
		struct page_state *s = &d->paths->page[page];
		uint64_t era = path_table_page(d->paths->table, page)->era;

		end += needs->run[i].n;
		last = needs->at[end - 1].number % PATH_PAGE;
		if (s->sent_era != era)
			s->sent = 0;
		s->sent_era = era;
		if (last >= s->sent)
			s->sent = last + 1;
	}
}

int
dispatch_paths_added(struct dispatch *d, const struct task *t, struct err *e)
{
	const struct path_needs *needs = t->job->needs;
	uint64_t mark, bytes;

	if (needs == NULL)
		return 0;
	note_sent(d, needs);
	mark = ++d->paths->mark;
	for (size_t i = 0; i < d->n_peers; i++) {
		const struct peer *p = &d->peer[i];

		if (dispatch_locality_waits(p) ||
		    (bytes = missing(d, p, needs, mark)) == 0)
			continue;
		if (sched_set_missing(d->sched, p->worker, t->id, bytes, e) < 0)
			return -1;
	}
	return 0;
}

static bool
needs_page(const struct path_needs *needs, size_t page)
{
	for (size_t i = 0; needs != NULL && i < needs->n_runs; i++)
		if (needs->run[i].page == page)
			return true;
	return false;
}

/* Of the jobs that need that page; PATH_PAGES: any. */
static int
tell(struct dispatch *d, const struct peer *p, size_t page, struct err *e)
{
	for (size_t i = 0; i < d->n_tasks; i++) {
		const struct task *t = &d->task[i];
		uint64_t bytes;

		if (t->job == NULL || t->job->needs == NULL ||
		    (page < PATH_PAGES && !needs_page(t->job->needs, page)))
			continue;
		bytes = missing(d, p, t->job->needs, ++d->paths->mark);
		if (sched_set_missing(d->sched, p->worker, t->id, bytes, e) < 0)
			return -1;
	}
	return 0;
}

int
dispatch_paths_tell(struct dispatch *d, struct peer *p, struct err *e)
{
	if (d->paths == NULL)
		return 0;
	d->paths->version++;
	return tell(d, p, PATH_PAGES, e);
}

void
dispatch_paths_failed(
    struct dispatch *d, struct peer *p, const struct dispatch_job *job)
{
	const struct path_needs *needs = job->needs;

	for (size_t i = 0; needs != NULL && i < needs->n_runs; i++)
		p->paths->page[needs->run[i].page].at = INT64_MIN / 2;
	if (needs != NULL)
		d->paths->look_at = 0;
}

/* Of another connection, or one that was answered: messages may be doubled. */
static bool
is_over(const struct peer_paths *k, uint64_t number)
{
	return number > 0 &&
	    (number < k->asked || (number == k->asked && !k->on));
}

const char *
dispatch_paths_want(
    struct dispatch *d, struct peer *p, const struct msg_want *m)
{
	const struct dispatch_from to = {p->via, p->link};
	struct peer_paths *k = p->paths;
	const struct list *list = &k->list;
	struct msg out = {.type = MSG_PATHS};
	uint64_t key[PATH_PAGE];

	if (is_over(k, m->ask))
		return NULL;
	if (m->ask != k->asked)
		return "wants a list of store paths that nobody offered";
	if (m->first >= list->to - list->from)
		return "wants a part of a list that is not its turn, or of "
		       "none";
	if (path_table_page(d->paths->table, list->page)->era != list->era) {
		/* The page has other paths by now. */
		k->on = false;
		ask_next(d, p);
		return NULL;
	}
	if (k->told)
		return NULL; /* doubled */
	out.paths = (struct msg_paths){.ask = m->ask,
	    .first = m->first,
	    .key = key,
	    .n = list->to - list->from - (size_t)m->first};
	memcpy(key, keys_of(d, list) + m->first, out.paths.n * sizeof(*key));
	dispatch_say(&to, &out);
	k->told = true;
	return NULL;
}

static int
take_answer(
    struct dispatch *d, struct peer *p, const struct msg_have *m, struct err *e)
{
	struct peer_paths *k = p->paths;
	const struct list *list = &k->list;
	const struct path_page *at =
	    path_table_page(d->paths->table, list->page);
	const struct page_state *state = &d->paths->page[list->page];
	struct stock_page *before = stock_of(k, list->page, at), *now;
	struct stock_page like = {
	    .page = list->page, .era = list->era, .n = list->to};
	bool same;

	/* The page has other paths by now. */
	if (at->era != list->era)
		return 0;
	for (size_t i = 0; i < list->to; i++) {
		size_t bit = i - list->from;

		if (i < list->from ? before != NULL && stock_page_has(before, i)
				   : (m->bits[bit / 8] >> (bit % 8) & 1) != 0)
			stock_page_set(&like, i);
	}
	if ((now = stock_page_take(&d->paths->stocks, &like)) == NULL)
		return err_set(e, ERR_FATAL, errno, "store paths of workers");
	same = now == before ||
	    (list->from > 0 &&
		(state->sent_era != at->era || state->sent <= list->from));
	stock_page_drop(&d->paths->stocks, &k->page[list->page].stock);
	k->page[list->page].stock = now;
	k->page[list->page].at = monotime_ms();
	/* The scheduler knows already, or no job needs what is new. */
	return same || dispatch_locality_waits(p) ? 0
						  : tell(d, p, list->page, e);
}

/* Nothing that is to be waited for: it has answered all, or cannot. */
static int
answered(struct dispatch *d, struct peer *p, struct err *e)
{
	struct peer_paths *k = p->paths;

	k->on = false;
	d->paths->version++;
	d->news = true; /* jobs that waited for it may go on */
	ask_next(d, p);
	if (k->on && lacks_answers(d, k))
		return 0;
	return dispatch_locality_up(d, p, e);
}

int
dispatch_paths_have(struct dispatch *d, struct peer *p,
    const struct msg_have *m, const char **bad, struct err *e)
{
	struct peer_paths *k = p->paths;
	size_t n = k->list.to - k->list.from;

	*bad = NULL;
	if (is_over(k, m->ask))
		return 0;
	if (m->ask != k->asked) {
		*bad = "tells of store paths that nobody asked for";
		return 0;
	}
	if (m->sys != 0) {
		log_line(LOG_DEBUG, "worker=%s cannot look at its store: %s",
		    p->name, strerror((int)m->sys));
		k->silent_to = monotime_ms() + OLD_MS;
		return answered(d, p, e);
	}
	if (m->first != 0 || m->n != (n + 7) / 8 ||
	    (n % 8 != 0 && m->bits[m->n - 1] >> (n % 8) != 0)) {
		*bad = "tells of more or fewer store paths than were asked for";
		return 0;
	}
	if (take_answer(d, p, m, e) < 0)
		return -1;
	return answered(d, p, e);
}
