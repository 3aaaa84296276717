#include "dispatch/dispatch_state.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "dispatch/dispatch.h"
#include "dispatch/dispatch_paths.h"
#include "err.h"
#include "monotime.h"
#include "schedule/scheduler.h"

/*
 * Who has not answered by then is not waited for; how often that is looked at.
 */
#define ANSWER_MS 1000
#define SILENT_LOOK_MS 50

/* Whether jobs wait for what it says. */
static bool
counts(const struct peer *p, int64_t now)
{
	const struct peer_paths *k = p->paths;

	return p->room > 0 && !dispatch_locality_waits(p) &&
	    now >= k->silent_to && !(k->q.on && now - k->since >= ANSWER_MS);
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
		size_t known = peer_known_to(d->peer[i].paths, page, at);

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
		struct stock_page *s = peer_stock_of(p->paths, run->page,
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

/* What p said of these is asked for anew, soon. */
static void
doubt(struct dispatch *d, struct peer *p, const struct path_needs *needs)
{
	for (size_t i = 0; i < needs->n_runs; i++)
		p->paths->page[needs->run[i].page].at = INT64_MIN / 2;
	d->paths->look_at = 0;
}

int
dispatch_needs_added(struct dispatch *d, const struct task *t, struct err *e)
{
	const struct path_needs *needs = t->job->needs;
	bool can = false;
	uint64_t mark;

	if (needs == NULL)
		return 0;
	note_sent(d, needs);
	mark = ++d->paths->mark;
	for (size_t i = 0; i < d->n_peers; i++) {
		const struct peer *p = &d->peer[i];
		uint64_t bytes;

		if (dispatch_locality_waits(p))
			continue;
		bytes = missing(d, p, needs, mark);
		can |= bytes != SCHED_UNABLE;
		if (bytes > 0 &&
		    sched_set_missing(d->sched, p->worker, t->id, bytes, e) < 0)
			return -1;
	}
	/* By now somebody may have what nobody had. */
	for (size_t i = 0; !can && i < d->n_peers; i++)
		doubt(d, &d->peer[i], needs);
	return 0;
}

/* The first path of the job that p lacks; NULL: none, or it can fetch it. */
static const char *
lacking(const struct dispatch *d, const struct peer *p,
    const struct dispatch_job *job)
{
	for (size_t i = 0; !p->fetches && i < job->n; i++) {
		uint32_t number =
		    path_table_find(d->paths->table, job->item[i].path);
		const struct stock_page *s = number == PATH_NONE
		    ? NULL
		    : peer_stock_of(p->paths, number / PATH_PAGE,
			  path_table_page(d->paths->table, number / PATH_PAGE));

		if (s != NULL && number % PATH_PAGE < s->n &&
		    !stock_page_has(s, number % PATH_PAGE))
			return job->item[i].path;
	}
	return NULL;
}

int
dispatch_needs_reason(
    const struct dispatch *d, const struct dispatch_job *job, struct err *e)
{
	const char *path = NULL;
	const struct peer *p = NULL;
	bool all = true;

	for (size_t i = 0; d->paths != NULL && i < d->n_peers; i++) {
		const char *at = lacking(d, &d->peer[i], job);

		if (at == NULL)
			continue;
		all &= path == NULL || strcmp(at, path) == 0;
		path = at;
		p = &d->peer[i];
	}
	if (path == NULL)
		return err_set(
		    e, ERR_FATAL, 0, "%s: no worker can make it", job->label);
	if (all)
		return err_set(e, ERR_FATAL, 0,
		    "%s: no worker has %.300s, or can fetch it", job->label,
		    path);
	return err_set(e, ERR_FATAL, 0,
	    "%s: no worker has all its store paths, or can fetch them: "
	    "%s, for one, lacks %.200s",
	    job->label, p->name, path);
}

static bool
needs_page(const struct path_needs *needs, size_t page)
{
	for (size_t i = 0; needs != NULL && i < needs->n_runs; i++)
		if (needs->run[i].page == page)
			return true;
	return false;
}

int
dispatch_needs_tell(
    struct dispatch *d, const struct peer *p, size_t page, struct err *e)
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
dispatch_needs_up(struct dispatch *d, struct peer *p, struct err *e)
{
	if (d->paths == NULL)
		return 0;
	d->paths->version++;
	return dispatch_needs_tell(d, p, PATH_PAGES, e);
}

void
dispatch_needs_failed(
    struct dispatch *d, struct peer *p, const struct dispatch_job *job)
{
	if (job->needs != NULL)
		doubt(d, p, job->needs);
}
