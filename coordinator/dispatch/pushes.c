#include "dispatch/pushes.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "dispatch/dispatch.h"
#include "err.h"
#include "log.h"
#include "output/push.h"
#include "output/push_look.h"
#include "own.h"
#include "progress/progress.h"
#include "progress/status.h"
#include "protocol.h"
#include "secret.h"
#include "wake_fd.h"

/* push_look's answers to push_look_renew, which belong to no push. */
#define RENEWED 0

bool
pushes_busy(const struct pushes *ps)
{
	return push_queue_open(ps->queue) > 0;
}

static void
item_let_go(struct pushes_item *item)
{
	if (item->open > 0)
		return;
	free(item->file);
	free(item);
}

static void
forget(struct pushes *ps, struct pushing *p)
{
	TAILQ_REMOVE(&ps->list, p, entry);
	p->item->open--;
	item_let_go(p->item);
	free(p);
}

void
pushes_freep(struct pushes **ps)
{
	pushes_free(*ps);
	*ps = NULL;
}

void
pushes_free(struct pushes *ps)
{
	struct pushing *p;

	if (ps == NULL)
		return;
	push_look_free(ps->look);
	while ((p = TAILQ_FIRST(&ps->list)) != NULL)
		forget(ps, p);
	push_queue_free(ps->queue);
	pushes_homes_free(ps);
	free(ps->registry);
	free(ps->place);
	own_closep(&ps->wake_fd);
	free(ps);
}

int
pushes_new(struct push *const *push, size_t n, struct progress *progress,
    struct pushes **out, struct err *e)
{
	AUTO(pushes_freep) struct pushes *ps = calloc(1, sizeof(*ps));

	if (ps == NULL)
		return err_set(e, ERR_FATAL, errno, "pushes");
	TAILQ_INIT(&ps->list);
	ps->progress = progress;
	if ((ps->wake_fd = wake_fd_new()) < 0)
		return err_set(e, ERR_FATAL, errno, "pushes");
	if (push_queue_new(&ps->queue, e) < 0 ||
	    push_look_new(ps->wake_fd, &ps->look, e) < 0)
		return -1;
	if ((ps->place = calloc(n, sizeof(*ps->place))) == NULL)
		return err_set(e, ERR_FATAL, errno, "pushes");
	for (size_t i = 0; i < n; i++)
		if (pushes_place(ps, push[i], e) < 0)
			return -1;
	*out = STEAL(&ps);
	return 0;
}

/* Layers. */

int
pushing_new(struct pushes *ps, size_t place, struct pushes_item *item,
    struct pushing **out, struct err *e)
{
	struct pushing *p = calloc(1, sizeof(*p));

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
pushing_begin(
    struct pushes *ps, struct pushing *p, const char *from, struct err *e)
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
add(struct pushes *ps, size_t place, struct pushes_item *item, const char *from,
    struct err *e)
{
	struct pushing *p;

	if (pushing_new(ps, place, item, &p, e) < 0)
		return -1;
	return pushing_begin(ps, p, from, e);
}

/* To where the job says; else to all registries. */
static int
put_at_places(struct pushes *ps, struct pushes_item *item,
    const struct dispatch_job *job, struct err *e)
{
	int rc = 0;

	if (job->home == NULL) {
		for (size_t i = 0; rc == 0 && i < ps->n_places; i++)
			if (ps->place[i].registry == i)
				rc = add(ps, i, item, NULL, e);
		return rc;
	}
	for (size_t i = 0; rc == 0 && i < job->n_homes; i++)
		if (job->home[i] != DISPATCH_NO_HOME)
			rc = pushes_home(ps, job->home[i], item, e);
	return rc;
}

int
pushes_put(struct pushes *ps, const struct pushes_item *like,
    const struct dispatch_job *job, bool *any, struct err *e)
{
	struct pushes_item *item = malloc(sizeof(*item));
	int rc;

	if (item == NULL) {
		free(like->file);
		return err_set(e, ERR_FATAL, errno, "pushes");
	}
	*item = *like;
	item->homes = job->home != NULL;
	rc = put_at_places(ps, item, job, e);
	*any = item->open > 0;
	item_let_go(item);
	return rc;
}

/* The registry's other repositories may have it from the first one. */
static int
push_on(
    struct pushes *ps, const struct pushing *p, const char *from, struct err *e)
{
	for (size_t i = p->place + 1; i < ps->n_places; i++)
		if (ps->place[i].registry == p->place && i != p->place &&
		    add(ps, i, p->item, from, e) < 0)
			return -1;
	return 0;
}

static void
count(struct pushes *ps, const struct pushing *p, enum push_end how)
{
	ps->shown.done++;
	ps->shown.uploaded += how == PUSH_UPLOADED;
	ps->shown.mounted += how == PUSH_THERE && p->mounted;
	ps->shown.left += how == PUSH_LEFT;
	if (how == PUSH_UPLOADED)
		ps->shown.uploaded_bytes += p->item->size;
}

/* 1: and so is all of its item. */
static int
over(struct pushes *ps, struct pushing *p, enum push_end how,
    struct pushes_step *out, struct err *e)
{
	struct pushes_item *item = p->item;
	struct push *push = ps->place[p->place].push;
	int rc;

	if (how != PUSH_LEFT)
		push_note(push, &item->digest,
		    how == PUSH_UPLOADED ? REGISTRY_UPLOADED
			: p->mounted	 ? REGISTRY_MOUNTED
					 : REGISTRY_THERE);
	count(ps, p, how);
	item->left |= how == PUSH_LEFT;
	if (item->homes)
		rc = pushes_home_over(ps, p, how != PUSH_LEFT, e);
	else
		rc = push_on(
		    ps, p, how == PUSH_LEFT ? NULL : push_repo(push), e);
	progress_pushed(ps->progress, &ps->shown);
	if (rc == 0 && item->open == 1) {
		*out = (struct pushes_step){.act = PUSHES_OVER, .item = *item};
		out->item.file = NULL;
		rc = 1;
	}
	forget(ps, p);
	return rc;
}

/* What is to be done. */

/* 1: the owner has to do it. */
static int
obey(struct pushes *ps, const struct push_order *o, struct pushes_step *out,
    struct err *e)
{
	struct pushing *p = o->what;
	const char *from = p->from;

	switch (o->act) {
	case PUSH_LOOK:
		/* It may have been made, and pushed, by a run before. */
		if (from == NULL && !p->item->streamed)
			from = push_hint(
			    ps->place[p->place].push, &p->item->digest);
		return push_look_ask(ps->look, p->place, p->push,
		    &p->item->digest, p->item->size, from, e);
	case PUSH_GIVE:
		*out = (struct pushes_step){
		    .act = PUSHES_GIVE, .pushing = p, .worker = o->worker};
		return 1;
	case PUSH_OVER:
		return over(ps, p, o->end, out, e);
	}
	return 0;
}

static int
take_looked(struct pushes *ps, const struct push_looked *a,
    struct pushes_step *out, struct err *e)
{
	struct pushing *p;
	size_t i = a->place;
	bool token;

	if (a->failed)
		log_line(LOG_DEBUG, "%s", a->why);
	if (a->id == RENEWED) {
		ps->place[i].renewing = 0;
		*out = (struct pushes_step){
		    .act = PUSHES_ASKED, .place = i, .failed = a->failed};
		return 1;
	}
	if (a->mounted && (p = push_queue_what(ps->queue, a->id)) != NULL)
		p->mounted = true;
	if (pushes_lendable(ps, i, &token, e) < 0)
		return -1;
	push_queue_looked(ps->queue, a->id,
	    a->failed	   ? PUSH_UNSURE
		: a->there ? PUSH_SEEN
			   : PUSH_NOT_SEEN,
	    token);
	return 0;
}

int
pushes_next(struct pushes *ps, struct pushes_step *out, struct err *e)
{
	struct push_looked answer;
	struct push_order order;
	int rc = 0;

	wake_fd_clear(ps->wake_fd);
	while (rc == 0 && push_look_take(ps->look, &answer))
		rc = take_looked(ps, &answer, out, e);
	while (rc == 0 && push_queue_next(ps->queue, &order))
		rc = obey(ps, &order, out, e);
	return rc;
}

int
pushes_ask(struct pushes *ps, size_t place, struct err *e)
{
	return push_look_renew(ps->look, place, RENEWED, 0, e);
}

int
pushes_expired(struct pushes *ps, size_t i, uint64_t serial, struct err *e)
{
	struct pushes_place *place = &ps->place[i];
	struct push_lent lent;

	if (push_look_lend(ps->look, i, &lent, e) < 0)
		return -1;
	secret_wipep(&lent.token);
	/* Another worker was faster; or it is on its way. */
	if (lent.serial > serial)
		return 1;
	if (place->renewing != 0)
		return 0;
	place->renewing = lent.serial;
	return push_look_renew(ps->look, i, RENEWED, lent.serial, e);
}

bool
pushes_said(struct pushes *ps, struct worker_id worker, const char *who,
    const struct msg_pushed *m, size_t *place)
{
	const struct pushing *p = push_queue_what(ps->queue, m->push);
	bool well = *m->text == '\0';

	if (p == NULL ||
	    !push_queue_pushed(ps->queue, worker, m->push, well, m->uploaded,
		m->throttled > 0))
		return false;
	*place = p->place;
	if (well)
		return true;
	ps->shown.failed++;
	log_line(LOG_WARNING,
	    "%s: upload failed: %s: that layer is pushed from here", who,
	    m->text);
	if (push_queue_barred(ps->queue, p->place))
		pushes_bar(ps, p->place, "uploads have failed again and again");
	return true;
}

void
pushes_count(const struct pushes *ps, struct status_pushes *out)
{
	const struct progress_pushes *n = &ps->shown;

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
