#include "dispatch/dispatch_paths.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "digest.h"
#include "dispatch/dispatch.h"
#include "dispatch/dispatch_state.h"
#include "err.h"
#include "log.h"
#include "monotime.h"
#include "own.h"
#include "protocol.h"
#include "store_path.h"

/* So old an answer is asked for again: stores grow, and are collected. */
#define OLD_MS ((int64_t)5 * 60 * 1000)
/* Between two looks for what is old. */
#define LOOK_MS 1000

/* A page is sent in one part, and answered in one. */
_Static_assert(PATH_PAGE <= MSG_PATHS_MAX && PATH_PAGE <= 8 * MSG_BITS_MAX,
    "pages are too large");

static bool
same_list(const struct path_list *a, const struct path_list *b)
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

		if (at->users > 0 && peer_known_to(k, i, at) < at->n)
			return true;
	}
	return false;
}

/* What to ask next, if anything: first what is not known at all. */
static bool
next_list(const struct dispatch *d, const struct peer_paths *k, int64_t now,
    struct path_list *out)
{
	const struct path_table *t = d->paths->table;
	bool any = false;

	for (size_t i = 0; i < path_table_pages(t); i++) {
		const struct path_page *at = path_table_page(t, i);
		size_t known = peer_known_to(k, i, at);
		bool old = now - k->page[i].at >= OLD_MS;

		if (at->users == 0 || (known == at->n && (any || !old)))
			continue;
		*out = (struct path_list){i, at->era, old ? 0 : known, at->n};
		if (known < at->n)
			return true;
		any = true;
	}
	return any;
}

static const uint64_t *
keys_of(const struct dispatch *d, const struct path_list *list)
{
	return path_table_page(d->paths->table, list->page)->key + list->from;
}

/* Most are for many workers. */
static void
digest_list(
    struct dispatch *d, const struct path_list *list, struct digest *out)
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
	k->told = false;
	k->since = now;
	m.ask = (struct msg_ask){.ask = question_ask(&k->q),
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
	k->q.on = false;
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
		if (k->q.on && now - k->since >= OLD_MS)
			k->q.on = false;
		if (!k->q.on)
			ask_next(d, &d->peer[i]);
	}
}

const char *
dispatch_paths_want(
    struct dispatch *d, struct peer *p, const struct msg_want *m)
{
	const struct dispatch_from to = {p->via, p->link};
	struct peer_paths *k = p->paths;
	const struct path_list *list = &k->list;
	struct msg out = {.type = MSG_PATHS};
	uint64_t key[PATH_PAGE];

	switch (question_word(&k->q, m->ask)) {
	case QUESTION_IGNORED:
		return NULL;
	case QUESTION_WRONG:
		return QUESTION_NOT_OFFERED;
	case QUESTION_COUNTS:
		break;
	}
	if (m->first >= list->to - list->from)
		return QUESTION_NOT_ITS_TURN;
	if (path_table_page(d->paths->table, list->page)->era != list->era) {
		/* The page has other paths by now. */
		k->q.on = false;
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
	const struct path_list *list = &k->list;
	const struct path_page *at =
	    path_table_page(d->paths->table, list->page);
	const struct page_state *state = &d->paths->page[list->page];
	struct stock_page *before = peer_stock_of(k, list->page, at), *now;
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
	if (list->from == 0)
		k->page[list->page].at = monotime_ms();
	/* The scheduler knows already, or no job needs what is new. */
	return same || dispatch_locality_waits(p)
	    ? 0
	    : dispatch_needs_tell(d, p, list->page, e);
}

/* Nothing that is to be waited for: it has answered all, or cannot. */
static int
answered(struct dispatch *d, struct peer *p, struct err *e)
{
	struct peer_paths *k = p->paths;

	k->q.on = false;
	d->paths->version++;
	d->news = true; /* jobs that waited for it may go on */
	ask_next(d, p);
	if (k->q.on && lacks_answers(d, k))
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
		k->silent_to = monotime_ms() + OLD_MS;
		return answered(d, p, e);
	}
	if (m->first != 0 || !question_fits(m, n)) {
		*bad = QUESTION_OTHER_LENGTH;
		return 0;
	}
	if (take_answer(d, p, m, e) < 0)
		return -1;
	return answered(d, p, e);
}
