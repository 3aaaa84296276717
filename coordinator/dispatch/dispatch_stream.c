#include "dispatch/dispatch_state.h"

#include "dispatch/dispatch.h"
#include "dispatch/dispatch_push_state.h"
#include "dispatch/push_queue.h"
#include "dispatch/push_told.h"
#include "dispatch/pushes.h"
#include "err.h"
#include "log.h"
#include "output/push.h"
#include "progress/progress.h"
#include "protocol.h"

/* Layers go to the first place; others mount them from there. */
#define PLACE 0

int
dispatch_stream_open(struct dispatch *d, struct err *e)
{
	struct dispatch_pushes *all = d->pushes;

	if (all->ps->place[PLACE].barred)
		return 0;
	/* A token is known once anything was asked there. */
	all->stream = all->unasked = true;
	return pushes_ask(all->ps, PLACE, e);
}

int
dispatch_stream_asked(struct dispatch *d, size_t i, bool failed, struct err *e)
{
	struct dispatch_pushes *all = d->pushes;
	bool token;

	if (i != PLACE || !all->unasked)
		return 0;
	all->unasked = false;
	if (failed) {
		all->stream = false;
		log_line(LOG_WARNING,
		    "%s does not answer: layers are not streamed",
		    push_base(all->ps->place[PLACE].push));
		return 0;
	}
	if (pushes_lendable(all->ps, PLACE, &token, e) < 0)
		return -1;
	push_queue_token(all->ps->queue, PLACE, token);
	return 0;
}

bool
dispatch_stream_hold(const struct dispatch *d)
{
	return d->pushes != NULL && d->pushes->unasked;
}

/* Whether p may be asked for it at all. */
static bool
may(struct dispatch *d, const struct peer *p, const struct task *t)
{
	struct dispatch_pushes *all = d->pushes;

	if (all == NULL || !all->stream || t->no_stream || t->done ||
	    t->job->spec->measure || all->ps->place[PLACE].barred)
		return false;
	if (push_queue_may_at(all->ps->queue, PLACE, p->worker))
		return true;
	if (!all->unfit)
		log_line(LOG_INFO,
		    "worker %s is told no token for %s, or does not see it: "
		    "its layers are not streamed",
		    p->name, push_base(all->ps->place[PLACE].push));
	all->unfit = true;
	return false;
}

int
dispatch_stream_order(struct dispatch *d, struct peer *p, struct task *t,
    uint64_t attempt, uint64_t *stream, struct err *e)
{
	unsigned char *known =
	    &t->attempt[attempt % SCHED_ATTEMPTS_KNOWN].stream;
	struct push_told *told;
	int rc;

	*known = TASK_STREAM_NONE;
	*stream = 0;
	if (!may(d, p, t))
		return 0;
	/* Which no other one takes the number of: there are few. */
	told = push_told_take(&p->told, PLACE);
	if ((rc = dispatch_push_tell(d, p, told, e)) < 0)
		return -1;
	if (rc > 0)
		return 0; /* nor will it get the job */
	*known = TASK_STREAM_ASKED;
	*stream = (uint64_t)(told - p->told.at) + 1;
	return 0;
}

void
dispatch_stream_goes_on(
    struct dispatch *d, const struct peer *p, struct task *t, uint64_t attempt)
{
	unsigned char *known =
	    &t->attempt[attempt % SCHED_ATTEMPTS_KNOWN].stream;

	if (*known != TASK_STREAM_ASKED)
		return;
	*known = TASK_STREAM_BEGUN;
	sched_verifying(d->sched, dispatch_now(d), p->worker, t->id, attempt);
}

/* The worker has made it for its outputs. */
static void
came_to_nothing(struct dispatch *d, const struct peer *p, enum layer_stream how)
{
	struct dispatch_pushes *all = d->pushes;
	const char *base = push_base(all->ps->place[PLACE].push);

	if (!all->stream)
		return;
	if (how == LAYER_STREAM_REFUSED) {
		all->stream = false;
		log_line(LOG_INFO,
		    "%s takes no layers in parts: they are sent as a whole",
		    base);
		return;
	}
	log_line(LOG_DEBUG, "worker=%s: a layer's way to %s broke off", p->name,
	    base);
	if (++all->broken < PUSH_FAILURES_MAX)
		return;
	all->stream = false;
	log_line(LOG_WARNING,
	    "%s: layers' way there has broken off again and again: they are "
	    "sent as a whole",
	    base);
}

bool
dispatch_stream_told(struct dispatch *d, const struct peer *p, struct task *t,
    const struct msg_done *m)
{
	unsigned char *known =
	    &t->attempt[m->attempt % SCHED_ATTEMPTS_KNOWN].stream;

	switch (m->stream) {
	case LAYER_STREAM_UPLOADED:
	case LAYER_STREAM_THERE:
		if (*known == TASK_STREAM_NONE)
			return false;
		d->pushes->broken = 0;
		*known = m->stream == LAYER_STREAM_UPLOADED
		    ? TASK_STREAM_UPLOADED
		    : TASK_STREAM_THERE;
		return true;
	case LAYER_STREAM_REFUSED:
	case LAYER_STREAM_BROKEN:
		if (*known == TASK_STREAM_ASKED || *known == TASK_STREAM_BEGUN)
			came_to_nothing(d, p, m->stream);
		break;
	case LAYER_STREAM_NONE:
		break;
	}
	*known = TASK_STREAM_NONE;
	return true;
}

bool
dispatch_stream_is(const struct task *t, uint64_t attempt)
{
	unsigned char known = t->attempt[attempt % SCHED_ATTEMPTS_KNOWN].stream;

	return known == TASK_STREAM_UPLOADED || known == TASK_STREAM_THERE;
}

bool
dispatch_stream_uploaded(const struct task *t, uint64_t attempt)
{
	return t->attempt[attempt % SCHED_ATTEMPTS_KNOWN].stream ==
	    TASK_STREAM_UPLOADED;
}

void
dispatch_stream_lost(
    struct dispatch *d, const struct peer *p, struct task *t, uint64_t attempt)
{
	log_line(LOG_WARNING,
	    "%s: %s does not have it, or cannot be asked: it is made again",
	    t->job->label, push_base(d->pushes->ps->place[PLACE].push));
	t->no_stream = true;
	progress_job_end(d->progress, dispatch_worker_index(p->worker),
	    (size_t)t->id.v, t->job->label, 0, 0, false);
	sched_lost(d->sched, dispatch_now(d), p->worker, t->id, attempt);
}
