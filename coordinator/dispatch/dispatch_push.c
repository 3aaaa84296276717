#include "dispatch/dispatch_state.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "digest.h"
#include "dispatch/dispatch.h"
#include "dispatch/dispatch_push_state.h"
#include "dispatch/push_queue.h"
#include "err.h"
#include "log.h"
#include "output/push.h"
#include "output/push_look.h"
#include "own.h"
#include "progress/progress.h"
#include "protocol.h"
#include "registry/registry_place.h"
#include "secret.h"
#include "wake_fd.h"

static void
item_let_go(struct item *item)
{
	if (item->open > 0)
		return;
	free(item->file);
	free(item);
}

static void
forget(struct dispatch_pushes *ps, struct dispatch_pushing *p)
{
	TAILQ_REMOVE(&ps->list, p, entry);
	p->item->open--;
	item_let_go(p->item);
	free(p);
}

void
dispatch_push_close(struct dispatch *d)
{
	struct dispatch_pushes *ps = d->pushes;
	struct dispatch_pushing *p;

	if (ps == NULL)
		return;
	push_look_free(ps->look);
	while ((p = TAILQ_FIRST(&ps->list)) != NULL)
		forget(ps, p);
	push_queue_free(ps->queue);
	dispatch_push_homes_free(ps);
	free(ps->registry);
	free(ps->place);
	if (ps->wake_fd >= 0)
		close(ps->wake_fd);
	free(ps);
	d->pushes = NULL;
}

int
dispatch_push_fd(const struct dispatch *d)
{
	return d->pushes != NULL ? d->pushes->wake_fd : -1;
}

bool
dispatch_push_busy(const struct dispatch *d)
{
	return d->pushes != NULL && push_queue_open(d->pushes->queue) > 0;
}

/* Workers. */

void
dispatch_push_worker(struct dispatch *d, const struct peer *p)
{
	const struct push_worker w = {
	    .id = p->worker,
	    .near = p->near,
	    .safe = p->via == d->link || d->zap != NULL,
	    .files = p->via == d->link || dispatch_shared_is(p),
	};
	struct err e = ERR_INIT;

	/* Out of memory: it is only not given any. */
	if (d->pushes != NULL &&
	    push_queue_worker(d->pushes->queue, &w, &e) < 0)
		log_line(LOG_DEBUG, "%s", e.text);
}

void
dispatch_push_gone(struct dispatch *d, const struct peer *p)
{
	if (d->pushes != NULL)
		push_queue_worker_gone(d->pushes->queue, p->worker);
}

void
dispatch_push_joined(struct dispatch *d, struct peer *p)
{
	if (d->pushes == NULL)
		return;
	/* It has forgotten what it was told. */
	memset(p->told, 0, sizeof(p->told));
	dispatch_push_gone(d, p);
	dispatch_push_worker(d, p);
}

bool
dispatch_push_keeps(const struct dispatch *d, const struct peer *p)
{
	return d->pushes != NULL && push_queue_may(d->pushes->queue, p->worker);
}

/* Layers. */

/* The file that holds the layer's blob here; NULL: there is none. */
static char *
file_of(const struct layer_spec *spec, const struct digest *digest)
{
	char hex[DIGEST_HEX_LEN + 1];
	char *path = NULL;

	digest_hex(digest, hex);
	for (size_t i = 0; i < spec->n_outputs; i++)
		if (spec->outputs[i].kind == LAYER_TO_BLOB &&
		    asprintf(&path, "%s/%s", spec->outputs[i].path, hex) >= 0)
			return path;
	return NULL;
}

int
dispatch_pushing_new(struct dispatch_pushes *ps, size_t place,
    struct item *item, struct dispatch_pushing **out, struct err *e)
{
	struct dispatch_pushing *p = calloc(1, sizeof(*p));

	if (p == NULL)
		return err_set(e, ERR_FATAL, errno, "pushes");
	TAILQ_INIT(&p->followers);
	p->place = place;
	p->item = item;
	item->open++;
	TAILQ_INSERT_TAIL(&ps->list, p, entry);
	ps->shown.layers++;
	ps->shown.bytes += item->size;
	*out = p;
	return 0;
}

int
dispatch_pushing_begin(struct dispatch_pushes *ps, struct dispatch_pushing *p,
    const char *from, struct err *e)
{
	const struct push_blob_at at = {
	    .place = p->place,
	    .maker = p->item->maker,
	    .alone = p->item->alone,
	    .gone = p->item->streamed,
	    .said = p->item->streamed && from == NULL,
	    .uploaded = p->item->uploaded && from == NULL,
	    .what = p,
	};

	p->from = from;
	return push_queue_add(ps->queue, &at, &p->push, e);
}

static int
add_pushing(struct dispatch_pushes *ps, size_t place, struct item *item,
    const char *from, struct err *e)
{
	struct dispatch_pushing *p;

	if (dispatch_pushing_new(ps, place, item, &p, e) < 0)
		return -1;
	return dispatch_pushing_begin(ps, p, from, e);
}

/* To where the job says; else to all registries. */
static int
push_to_places(struct dispatch_pushes *ps, struct item *item,
    const struct dispatch_job *job, struct err *e)
{
	int rc = 0;

	if (job->home == NULL) {
		for (size_t i = 0; rc == 0 && i < ps->n_places; i++)
			if (ps->place[i].registry == i)
				rc = add_pushing(ps, i, item, NULL, e);
		return rc;
	}
	for (size_t i = 0; rc == 0 && i < job->n_homes; i++)
		if (job->home[i] != DISPATCH_NO_HOME)
			rc = dispatch_push_home(ps, job->home[i], item, e);
	return rc;
}

/* What like owns is taken over.  *any: it goes anywhere. */
static int
push_item(struct dispatch_pushes *ps, const struct item *like,
    const struct dispatch_job *job, bool *any, struct err *e)
{
	struct item *item = malloc(sizeof(*item));
	int rc;

	if (item == NULL) {
		free(like->file);
		return err_set(e, ERR_FATAL, errno, "pushes");
	}
	*item = *like;
	item->homes = job->home != NULL;
	rc = push_to_places(ps, item, job, e);
	*any = item->open > 0;
	item_let_go(item);
	return rc;
}

int
dispatch_push_layer(struct dispatch *d, const struct task *t, struct err *e)
{
	const struct layer_result *r = &t->job->result;
	struct item item = {
	    .wire = d->base + t->id.v,
	    .attempt = t->made,
	    .maker = t->maker,
	    .digest = r->digest,
	    .size = r->size,
	    .kept = dispatch_blobs_kept(t, t->made),
	    .told = d->hooks.pushed != NULL ? t->job : NULL,
	};
	bool any = false;
	int rc;

	if (d->pushes == NULL || t->job->spec->measure || t->job->only_pushed ||
	    (item.file = file_of(t->job->spec, &r->digest)) == NULL)
		return 0;
	rc = push_item(d->pushes, &item, t->job, &any, e);
	t->job->pushing = any && item.told != NULL;
	return rc;
}

void
dispatch_pull_all(struct dispatch *d)
{
	if (d->pushes != NULL)
		d->pushes->only = d->pushes->stream = false;
}

bool
dispatch_push_instead(
    const struct dispatch *d, const struct task *t, const struct peer *p)
{
	const struct dispatch_job *job = t->job;

	return d->pushes != NULL &&
	    (job->home != NULL ? job->only_push : d->pushes->only) &&
	    !dispatch_shared_is(p) && dispatch_push_keeps(d, p);
}

int
dispatch_push_spooled(struct dispatch *d, const struct task *t,
    const struct peer *p, uint64_t attempt, const struct layer_result *r,
    struct err *e)
{
	const struct item item = {
	    .wire = d->base + t->id.v,
	    .job = t->id,
	    .attempt = attempt,
	    .maker = p->worker,
	    .digest = r->digest,
	    .size = r->size,
	    .alone = true,
	    .streamed = dispatch_stream_is(t, attempt),
	    .uploaded = dispatch_stream_uploaded(t, attempt),
	    .kept = !dispatch_stream_is(t, attempt),
	};
	bool any;

	return push_item(d->pushes, &item, t->job, &any, e);
}

/* What is left to do is to let its maker's disk have it. */
static int
drop_kept(struct dispatch *d, struct item *item, struct err *e)
{
	const struct peer *p = peer_by_worker(d, item->maker);

	if (item->alone)
		return dispatch_blobs_pushed(
		    d, item->job, item->maker, item->attempt, !item->left, e);
	if (!item->kept || p == NULL)
		return 0;
	return dispatch_blobs_drop(d, p, item->wire, item->attempt, e);
}

/* The registry's other repositories may have it from the first one. */
static int
push_on(struct dispatch_pushes *ps, const struct dispatch_pushing *p,
    const char *from, struct err *e)
{
	for (size_t i = p->place + 1; i < ps->n_places; i++)
		if (ps->place[i].registry == p->place && i != p->place &&
		    add_pushing(ps, i, p->item, from, e) < 0)
			return -1;
	return 0;
}

static void
count(struct dispatch_pushes *ps, const struct dispatch_pushing *p,
    enum push_end how)
{
	ps->shown.done++;
	ps->shown.uploaded += how == PUSH_UPLOADED;
	ps->shown.mounted += how == PUSH_THERE && p->mounted;
	ps->shown.left += how == PUSH_LEFT;
	if (how == PUSH_UPLOADED)
		ps->shown.uploaded_bytes += p->item->size;
}

/* All of it is over: what is left to do for it. */
static int
item_over(struct dispatch *d, struct item *item, struct err *e)
{
	const struct dispatch_job *told = item->told;

	if (item->open > 1)
		return 0;
	if (drop_kept(d, item, e) < 0)
		return -1;
	return told != NULL ? d->hooks.pushed(d->hooks.arg, told, e) : 0;
}

static int
push_over(struct dispatch *d, struct dispatch_pushing *p, enum push_end how,
    struct err *e)
{
	struct dispatch_pushes *ps = d->pushes;
	const struct item *item = p->item;
	struct push *push = ps->place[p->place].push;
	int rc = 0;

	if (how != PUSH_LEFT)
		push_note(push, &item->digest,
		    how == PUSH_UPLOADED ? REGISTRY_UPLOADED
			: p->mounted	 ? REGISTRY_MOUNTED
					 : REGISTRY_THERE);
	count(ps, p, how);
	p->item->left |= how == PUSH_LEFT;
	if (item->homes)
		rc = dispatch_push_home_over(ps, p, how != PUSH_LEFT, e);
	else
		rc = push_on(
		    ps, p, how == PUSH_LEFT ? NULL : push_repo(push), e);
	progress_pushed(d->progress, &ps->shown);
	if (rc == 0)
		rc = item_over(d, p->item, e);
	forget(ps, p);
	return rc;
}

/* What workers are told. */

static int
give(struct dispatch *d, const struct dispatch_pushing *pushing,
    struct worker_id worker, struct err *e)
{
	struct peer *p = peer_by_worker(d, worker);
	const struct item *item = pushing->item;
	bool spooled = item->kept && item->maker.v == worker.v;
	struct peer_told *told;
	struct msg m = {.type = MSG_PUSH,
	    .push = {.push = pushing->push,
		.file = spooled ? "" : item->file,
		.job = item->wire,
		.attempt = item->attempt,
		.digest = item->digest,
		.size = item->size}};
	struct err bad = ERR_INIT;
	char text[DIGEST_TEXT_SIZE];
	int rc;

	if (p == NULL)
		return 0;
	digest_text(&item->digest, text);
	log_line(LOG_DEBUG, "worker=%s uploads %s to %s/%s", p->name, text,
	    push_base(d->pushes->place[pushing->place].push),
	    push_repo(d->pushes->place[pushing->place].push));
	told = dispatch_push_told(p, pushing->place);
	told->open++;
	told->used = ++p->told_now;
	m.push.place = (uint64_t)(told - p->told);
	if ((rc = dispatch_push_tell(d, p, told, e)) < 0)
		return -1;
	if (rc > 0 || link_send(p->via, &p->link, &m, &bad) < 0)
		peer_gone(d, p, "cannot be reached");
	return 0;
}

static int
obey(struct dispatch *d, const struct push_order *o, struct err *e)
{
	struct dispatch_pushing *p = o->what;

	switch (o->act) {
	case PUSH_LOOK:
		return push_look_ask(d->pushes->look, p->place, p->push,
		    &p->item->digest, p->item->size, p->from, e);
	case PUSH_GIVE:
		return give(d, p, o->worker, e);
	case PUSH_OVER:
		return push_over(d, p, o->end, e);
	}
	return 0;
}

static int
take_looked(struct dispatch *d, const struct push_looked *a, struct err *e)
{
	struct dispatch_pushes *ps = d->pushes;
	struct dispatch_pushing *p;
	size_t i = a->place;
	bool token;

	if (a->failed)
		log_line(LOG_DEBUG, "%s", a->why);
	if (a->id == RENEWED) {
		if (dispatch_stream_asked(d, i, a->failed, e) < 0)
			return -1;
		return dispatch_push_renewed(d, i, e);
	}
	if (a->mounted && (p = push_queue_what(ps->queue, a->id)) != NULL)
		p->mounted = true;
	if (dispatch_push_lendable(ps, i, &token, e) < 0)
		return -1;
	push_queue_looked(ps->queue, a->id,
	    a->failed	   ? PUSH_UNSURE
		: a->there ? PUSH_SEEN
			   : PUSH_NOT_SEEN,
	    token);
	return 0;
}

int
dispatch_push_turn(struct dispatch *d, struct err *e)
{
	struct dispatch_pushes *ps = d->pushes;
	struct push_looked answer;
	struct push_order order;

	if (ps == NULL)
		return 0;
	wake_fd_clear(ps->wake_fd);
	while (push_look_take(ps->look, &answer))
		if (take_looked(d, &answer, e) < 0)
			return -1;
	while (push_queue_next(ps->queue, &order))
		if (obey(d, &order, e) < 0)
			return -1;
	return 0;
}

/* What workers say. */

void
dispatch_push_pushed(
    struct dispatch *d, struct peer *p, const struct msg_pushed *m)
{
	struct dispatch_pushes *ps = d->pushes;
	const struct dispatch_pushing *pushing =
	    ps != NULL ? push_queue_what(ps->queue, m->push) : NULL;
	bool well = *m->text == '\0';

	if (pushing == NULL ||
	    !push_queue_pushed(ps->queue, p->worker, m->push, well, m->uploaded,
		m->throttled > 0))
		return;
	dispatch_push_told(p, pushing->place)->open--;
	if (well) {
		log_line(LOG_DEBUG, "worker=%s: upload %llu: %s", p->name,
		    (unsigned long long)m->push,
		    m->uploaded ? "done" : "it was there");
		return;
	}
	ps->shown.failed++;
	log_line(LOG_WARNING,
	    "worker %s: upload failed: %s: that layer is pushed from here",
	    p->name, m->text);
	if (push_queue_barred(ps->queue, pushing->place))
		dispatch_push_bar(
		    ps, pushing->place, "uploads have failed again and again");
}

void
dispatch_push_status(const struct dispatch *d, struct status_pushes *out)
{
	const struct progress_pushes *n;

	if (d->pushes == NULL)
		return;
	n = &d->pushes->shown;
	*out = (struct status_pushes){
	    .open = n->layers - n->done,
	    .there = n->done - n->uploaded - n->mounted - n->left,
	    .mounted = n->mounted,
	    .uploaded = n->uploaded,
	    .left = n->left,
	    .failed = n->failed,
	    .uploaded_bytes = n->uploaded_bytes,
	};
}
