#include "dispatch/dispatch_state.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "digest.h"
#include "dispatch/dispatch.h"
#include "dispatch/dispatch_push_state.h"
#include "dispatch/push_queue.h"
#include "dispatch/push_told.h"
#include "dispatch/pushes.h"
#include "err.h"
#include "log.h"
#include "output/push.h"
#include "protocol.h"

int
dispatch_push_open(
    struct dispatch *d, const struct dispatch_config *c, struct err *e)
{
	struct dispatch_pushes *pushes;

	if (c->n_pushes == 0)
		return 0;
	if ((pushes = d->pushes = calloc(1, sizeof(*pushes))) == NULL)
		return err_set(e, ERR_FATAL, errno, "pushes");
	pushes->only = c->only_pushed;
	if (pushes_new(c->pushes, c->n_pushes, d->progress, &pushes->ps, e) < 0)
		return -1;
	return c->stream ? dispatch_stream_open(d, e) : 0;
}

void
dispatch_push_close(struct dispatch *d)
{
	if (d->pushes != NULL)
		pushes_free(d->pushes->ps);
	free(d->pushes);
	d->pushes = NULL;
}

int
dispatch_push_fd(const struct dispatch *d)
{
	return d->pushes != NULL ? d->pushes->ps->wake_fd : -1;
}

bool
dispatch_push_busy(const struct dispatch *d)
{
	return d->pushes != NULL && pushes_busy(d->pushes->ps);
}

/* Workers. */

static struct push_queue *
queue_of(const struct dispatch *d)
{
	return d->pushes != NULL ? d->pushes->ps->queue
				 : dispatch_relay_queue(d);
}

bool
dispatch_push_safe(const struct dispatch *d, const struct peer *p)
{
	return p->via == d->link || d->zap != NULL;
}

void
dispatch_push_worker(struct dispatch *d, const struct peer *p)
{
	struct push_queue *queue = queue_of(d);
	const struct push_worker w = {
	    .id = p->worker,
	    .near = p->near,
	    .safe = dispatch_push_safe(d, p),
	    .files = p->via == d->link || dispatch_shared_is(p),
	};
	struct err e = ERR_INIT;

	/* Out of memory: it is only not given any. */
	if (queue != NULL && push_queue_worker(queue, &w, &e) < 0)
		log_line(LOG_DEBUG, "%s", e.text);
}

void
dispatch_push_gone(struct dispatch *d, const struct peer *p)
{
	struct push_queue *queue = queue_of(d);

	if (queue != NULL)
		push_queue_worker_gone(queue, p->worker);
}

void
dispatch_push_joined(struct dispatch *d, struct peer *p)
{
	if (queue_of(d) == NULL)
		return;
	/* It has forgotten what it was told. */
	memset(&p->told, 0, sizeof(p->told));
	dispatch_push_gone(d, p);
	dispatch_push_worker(d, p);
}

bool
dispatch_push_keeps(const struct dispatch *d, const struct peer *p)
{
	return d->pushes != NULL &&
	    push_queue_may(d->pushes->ps->queue, p->worker);
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
dispatch_push_layer(struct dispatch *d, const struct task *t, struct err *e)
{
	struct dispatch_made *made = t->job->made;
	struct pushes_item item = {
	    .wire = d->base + t->id.v,
	    .attempt = t->made,
	    .maker = t->maker,
	    .kept = dispatch_blobs_kept(t, t->made),
	    .told = d->hooks.pushed != NULL ? t->job : NULL,
	};
	bool any = false;
	int rc;

	if (d->pushes == NULL || t->job->spec->measure || t->only_pushed)
		return 0;
	item.digest = made->result.digest;
	item.size = made->result.size;
	if ((item.file = file_of(t->job->spec, &item.digest)) == NULL)
		return 0;
	rc = pushes_put(d->pushes->ps, &item, t->job, &any, e);
	made->pushing = any && item.told != NULL;
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
	const struct pushes_item item = {
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

	return pushes_put(d->pushes->ps, &item, t->job, &any, e);
}

/* What is left to do is to let its maker's disk have it. */
static int
drop_kept(struct dispatch *d, const struct pushes_item *item, struct err *e)
{
	const struct peer *p = peer_by_worker(d, item->maker);

	if (item->alone)
		return dispatch_blobs_pushed(
		    d, item->job, item->maker, item->attempt, !item->left, e);
	if (!item->kept || p == NULL)
		return 0;
	return dispatch_blobs_drop(d, p, item->wire, item->attempt, e);
}

/* All of it is over: what is left to do for it. */
static int
item_over(struct dispatch *d, const struct pushes_item *item, struct err *e)
{
	if (drop_kept(d, item, e) < 0)
		return -1;
	return item->told != NULL ? d->hooks.pushed(d->hooks.arg, item->told, e)
				  : 0;
}

/* What workers are told. */

static int
give(struct dispatch *d, const struct pushing *pushing, struct worker_id worker,
    struct err *e)
{
	struct peer *p = peer_by_worker(d, worker);
	const struct pushes_item *item = pushing->item;
	const struct push *push = d->pushes->ps->place[pushing->place].push;
	bool spooled = item->kept && item->maker.v == worker.v;
	struct push_told *told;
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
	    push_base(push), push_repo(push));
	told = push_told_take(&p->told, pushing->place);
	told->open++;
	told->used = ++p->told.now;
	m.push.place = (uint64_t)(told - p->told.at);
	if ((rc = dispatch_push_tell(d, p, told, e)) < 0)
		return -1;
	if (rc > 0 || link_send(p->via, &p->link, &m, &bad) < 0)
		peer_gone(d, p, "cannot be reached");
	return 0;
}

static int
obey(struct dispatch *d, const struct pushes_step *step, struct err *e)
{
	switch (step->act) {
	case PUSHES_GIVE:
		return give(d, step->pushing, step->worker, e);
	case PUSHES_OVER:
		return item_over(d, &step->item, e);
	case PUSHES_ASKED:
		if (dispatch_stream_asked(d, step->place, step->failed, e) < 0)
			return -1;
		return dispatch_push_renewed(d, step->place, e);
	}
	return 0;
}

int
dispatch_push_turn(struct dispatch *d, struct err *e)
{
	struct pushes_step step;
	int rc;

	if (d->pushes == NULL)
		return 0;
	while ((rc = pushes_next(d->pushes->ps, &step, e)) > 0)
		if (obey(d, &step, e) < 0)
			return -1;
	return rc;
}

/* What workers say. */

void
dispatch_push_pushed(
    struct dispatch *d, struct peer *p, const struct msg_pushed *m)
{
	char who[sizeof(p->name) + 8];
	size_t place;

	if (d->relay != NULL)
		dispatch_relay_pushed(d, p, m);
	if (d->pushes == NULL)
		return;
	snprintf(who, sizeof(who), "worker %s", p->name);
	if (!pushes_said(d->pushes->ps, p->worker, who, m, &place))
		return;
	push_told_take(&p->told, place)->open--;
	if (*m->text == '\0')
		log_line(LOG_DEBUG, "worker=%s: upload %llu: %s", p->name,
		    (unsigned long long)m->push,
		    m->uploaded ? "done" : "it was there");
}

void
dispatch_push_status(const struct dispatch *d, struct status_pushes *out)
{
	if (d->pushes != NULL)
		pushes_count(d->pushes->ps, out);
	dispatch_relay_status(d, out);
}
