#include "client/client_state.h"

#include <stdio.h>
#include <string.h>

#include "dispatch/dispatch.h"
#include "dispatch/pushes.h"
#include "dispatch/push_told.h"
#include "endpoint.h"
#include "err.h"
#include "log.h"
#include "output/push.h"
#include "own.h"
#include "registry/push_to.h"
#include "secret.h"

/* To the queue the server is the one worker. */
static const struct worker_id server = {0};

int
client_push_open(struct client *c, struct err *e)
{
	const struct client_config *config = &c->config;

	if (config->n_pushes == 0)
		return 0;
	if (pushes_new(config->pushes, config->n_pushes, config->progress,
		&c->pushes, e) < 0)
		return -1;
	c->pushing = true;
	c->only_pushed = config->only_pushed;
	/* Which would have to be told that it may. */
	for (size_t i = 0; i < c->pushes->n_places; i++)
		if (c->pushes->place[i].lent.insecure)
			pushes_bar(c->pushes, i, "--tls-verify=false");
	return 0;
}

void
client_push_close(struct client *c)
{
	pushes_freep(&c->pushes);
}

int
client_push_fd(const struct client *c)
{
	return c->pushes != NULL ? c->pushes->wake_fd : -1;
}

bool
client_push_busy(const struct client *c)
{
	return c->pushes != NULL && pushes_busy(c->pushes);
}

void
client_pull_all(struct client *c)
{
	c->pushing = false;
}

int
client_push_welcome(
    struct client *c, const struct msg_welcome *m, struct err *e)
{
	struct push_worker w = {.id = server, .most = MSG_PUSH_PLACES};
	struct endpoint where;

	if (c->pushes == NULL)
		return 0;
	if (endpoint_check(c->config.endpoint, false, &where, e) < 0)
		return -1;
	w.near = where.kind == ENDPOINT_IPC || where.loopback;
	w.safe = where.kind == ENDPOINT_IPC || c->config.keys != NULL;
	for (size_t i = 0; i < c->pushes->n_places; i++) {
		const char *base = push_base(c->pushes->place[i].push);
		char why[400];

		snprintf(
		    why, sizeof(why), "the server does not push to %s", base);
		if (!push_to_has(m->push_to, base) &&
		    !c->pushes->place[i].barred)
			pushes_bar_registry(c->pushes, i, why);
	}
	/* What it was told, and was to do, it has forgotten. */
	memset(&c->told, 0, sizeof(c->told));
	push_queue_worker_gone(c->pushes->queue, server);
	return push_queue_worker(c->pushes->queue, &w, e);
}

void
client_push_lost(struct client *c)
{
	if (c->pushes != NULL)
		push_queue_worker_gone(c->pushes->queue, server);
}

/* It is of the attempt that is the job's last, and was not over before. */
static struct want *
want_of(struct client *c, const struct pushes_item *item)
{
	struct want *w;

	if (item->job.v >= c->n_jobs)
		return NULL;
	w = &c->want[item->job.v];
	return w->attempt == item->attempt && w->pushing ? w : NULL;
}

int
client_push_made(struct client *c, size_t i, bool *alone, struct err *e)
{
	const struct dispatch_job *job = &c->job[i];
	struct want *w = &c->want[i];
	struct pushes_item item = {
	    .wire = c->base + i,
	    .attempt = w->attempt,
	    .maker = server,
	    .digest = w->result.digest,
	    .size = w->result.size,
	    .job = {i},
	};

	*alone = false;
	if (!c->pushing || c->pushes == NULL || job->spec->n_outputs == 0 ||
	    !push_queue_may(c->pushes->queue, server))
		return 0;
	*alone = item.alone =
	    job->home != NULL ? job->only_push : c->only_pushed;
	if (pushes_put(c->pushes, &item, job, &w->pushing, e) < 0)
		return -1;
	*alone &= w->pushing;
	return 0;
}

int
client_push_end(struct client *c, size_t i, struct err *e)
{
	const struct msg m = {
	    .type = MSG_CANCEL, .cancel = {c->base + i, c->want[i].attempt}};

	c->want[i].offered = false;
	return client_send(c, &m, e) < 0 ? -1 : 0;
}

/* 0, or 1: it cannot be said now. */
static int
tell(struct client *c, struct push_told *told, struct err *e)
{
	AUTO(secret_wipep) char *token = NULL;
	struct msg m = {.type = MSG_TOKEN};
	int rc = pushes_token(c->pushes, told, &m.token, &token, e);

	if (rc <= 0)
		return rc;
	m.token.place = (uint64_t)(told - c->told.at);
	/* By whom registries are trusted is the server's to say. */
	m.token.authorities = "";
	if ((rc = client_send(c, &m, e)) == 0)
		told->serial = m.token.serial;
	return rc;
}

static int
give(struct client *c, const struct pushing *p, struct err *e)
{
	const struct pushes_item *item = p->item;
	const struct want *w = want_of(c, item);
	struct msg m = {.type = MSG_PUSH,
	    .push = {.push = p->push,
		.file = "",
		.job = item->wire,
		.attempt = item->attempt,
		.digest = item->digest,
		.size = item->size}};
	struct push_told *told;
	int rc;

	/* The server does not have it for us any more. */
	if (w == NULL || !w->offered) {
		push_queue_drop(c->pushes->queue, p->push);
		return 0;
	}
	log_line(LOG_DEBUG, "server %s pushes %s to %s/%s", c->config.endpoint,
	    c->job[item->job.v].label,
	    push_base(c->pushes->place[p->place].push),
	    push_repo(c->pushes->place[p->place].push));
	told = push_told_take(&c->told, p->place);
	told->open++;
	told->used = ++c->told.now;
	m.push.place = (uint64_t)(told - c->told.at);
	if ((rc = tell(c, told, e)) == 0)
		rc = client_send(c, &m, e);
	return rc < 0 ? -1 : 0;
}

/* All of it: the job goes on. */
static int
over(struct client *c, const struct pushes_item *item, struct err *e)
{
	size_t i = item->job.v;
	struct want *w = want_of(c, item);

	if (w == NULL)
		return 0;
	w->pushing = false;
	if (item->alone && item->left)
		return client_blobs_pull(c, i, e);
	/* What is being pulled ends with that. */
	if (!item->alone && w->step != WANT_DONE)
		return 0;
	if (w->offered && client_push_end(c, i, e) < 0)
		return -1;
	if (!item->alone)
		return c->config.pushed != NULL
		    ? c->config.pushed(c->config.arg, &c->job[i], e)
		    : 0;
	w->only_pushed = true;
	return client_job_done(c, i, e);
}

static int
obey(struct client *c, const struct pushes_step *step, struct err *e)
{
	struct push_told *told;

	switch (step->act) {
	case PUSHES_GIVE:
		return give(c, step->pushing, e);
	case PUSHES_OVER:
		return over(c, &step->item, e);
	case PUSHES_ASKED:
		told = push_told_find(&c->told, step->place);
		return told != NULL && tell(c, told, e) < 0 ? -1 : 0;
	}
	return 0;
}

int
client_push_turn(struct client *c, struct err *e)
{
	struct pushes_step step;
	int rc;

	if (c->pushes == NULL)
		return 0;
	while ((rc = pushes_next(c->pushes, &step, e)) > 0)
		if (obey(c, &step, e) < 0)
			return -1;
	return rc;
}

void
client_push_said(struct client *c, const struct msg_pushed *m)
{
	char who[ENDPOINT_MAX + 16];
	size_t place;

	if (c->pushes == NULL)
		return;
	snprintf(who, sizeof(who), "server %s", c->config.endpoint);
	if (!pushes_said(c->pushes, server, who, m, &place))
		return;
	push_told_take(&c->told, place)->open--;
	if (*m->text == '\0')
		log_line(LOG_DEBUG, "%s: upload %llu: %s", who,
		    (unsigned long long)m->push,
		    m->uploaded ? "done" : "it was there");
}

int
client_push_expired(
    struct client *c, const struct msg_expired *m, struct err *e)
{
	struct push_told *told;
	int rc;

	if (c->pushes == NULL || m->place >= MSG_PUSH_PLACES ||
	    c->told.at[m->place].serial == 0)
		return 0;
	told = &c->told.at[m->place];
	rc = pushes_expired(c->pushes, told->place, m->serial, e);
	if (rc > 0)
		return tell(c, told, e) < 0 ? -1 : 0;
	return rc;
}
