#include "client/client_state.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "dispatch/dispatch.h"
#include "err.h"
#include "link.h"
#include "log.h"
#include "monotime.h"
#include "progress/progress.h"

/* It is the one that is known already, and so is where layers come from. */
static bool
is_known(const struct client *c, const struct msg_welcome *m)
{
	return c->fetch != NULL && m->session == c->session &&
	    strcmp(m->data, c->data) == 0 &&
	    memcmp(m->token, c->token, sizeof(c->token)) == 0;
}

static void
tell(const struct client *c, const struct msg_welcome *m)
{
	if (c->met && m->session != c->session)
		log_line(LOG_INFO,
		    "server %s: it was started again, and is asked again for "
		    "%zu layers",
		    c->config.endpoint, c->n_jobs - c->n_done);
	else if (c->away && c->met)
		log_line(LOG_INFO, "server %s: it is back", c->config.endpoint);
	else if (!c->met)
		log_line(LOG_INFO, "server %s makes %zu layers",
		    c->config.endpoint, c->n_jobs - c->n_done);
}

static int
on_welcome(struct client *c, const struct msg_welcome *m, struct err *e)
{
	bool known = is_known(c, m);

	/* Of a connection that is gone; or once more, as CLIENT was said. */
	if (c->step == CLIENT_NEW || (c->step == CLIENT_READY && known))
		return 0;
	if (m->protocol != PROTOCOL_VERSION)
		return err_set(e, ERR_FATAL, 0,
		    "server %s speaks protocol %" PRIu64 ", this quarry %d: "
		    "install the same version of both",
		    c->config.endpoint, m->protocol, PROTOCOL_VERSION);
	tell(c, m);
	if (!known && client_blobs_open(c, m, e) < 0)
		return -1;
	/* What it was asked for is forgotten with the connection. */
	client_jobs_reopen(c, !known);
	progress_worker_up(c->config.progress, 0, c->config.endpoint);
	c->session = m->session;
	c->beat_ms = (int64_t)m->beat_ms;
	c->next_beat = monotime_ms() + c->beat_ms;
	c->step = CLIENT_READY;
	c->met = true;
	c->away = false;
	return client_push_welcome(c, m, e);
}

static void
on_beat(struct client *c, const struct msg_beat *m)
{
	for (size_t k = 0; k < m->n; k++) {
		const struct msg_progress *at = &m->progress[k];
		size_t i;

		/* Without a byte it only waits its turn. */
		if (at->bytes > 0 &&
		    client_job_of(c, at->job, at->attempt, WANT_ASKED, &i))
			progress_job(c->config.progress, 0, i, c->job[i].label,
			    at->bytes, c->job[i].weight);
	}
}

/* The name goes into JSON, which takes no halves of characters. */
static void
on_made(struct client *c, const struct msg_made *m)
{
	struct want *w;
	size_t i;

	if (!client_job_of(c, m->job, m->attempt, WANT_ASKED, &i))
		return;
	w = &c->want[i];
	snprintf(w->worker, sizeof(w->worker), "%s", m->worker);
	for (char *at = w->worker; *at != '\0'; at++)
		if (*at < 0x20 || *at > 0x7e)
			*at = '?';
	w->seconds = (double)m->ms / 1000;
}

/* Whether it can be true. */
static bool
holds(const struct layer_spec *spec, const struct layer_result *r)
{
	if (r->tar_size == 0 || r->tar_size % TAR_BLOCK != 0)
		return false;
	return spec->encoding.kind != ENCODING_NONE ||
	    (r->size == r->tar_size && digest_equal(&r->digest, &r->diff_id));
}

static int
on_done(struct client *c, const struct msg_done *m, struct err *e)
{
	struct want *w;
	bool alone;
	size_t i;

	if (!client_job_of(c, m->job, m->attempt, WANT_ASKED, &i))
		return 0;
	if (!holds(c->job[i].spec, &m->result))
		return client_blobs_refuse(
		    c, i, "what the server says of it cannot be", e);
	w = &c->want[i];
	w->result = m->result;
	w->offered = true;
	if (w->worker[0] == '\0')
		w->seconds = (double)(monotime_ms() - w->asked) / 1000;
	if (client_push_made(c, i, &alone, e) < 0)
		return -1;
	if (!alone)
		return client_blobs_pull(c, i, e);
	w->step = WANT_MADE;
	return 0;
}

static int
on_fail(struct client *c, const struct msg_fail *m, struct err *e)
{
	struct err why = ERR_INIT;
	size_t i;

	if (!client_job_of(c, m->job, m->attempt, WANT_ASKED, &i))
		return 0;
	/* The server has tried all that it can. */
	err_set(&why, m->kind == ERR_JOB ? ERR_JOB : ERR_FATAL, 0, "%s: %s",
	    c->job[i].label, m->text);
	return client_job_failed(c, i, &why, e);
}

static void
on_postpone(struct client *c, const struct msg_postpone *m)
{
	size_t i;

	if (!client_job_of(c, m->job, m->attempt, WANT_ASKED, &i))
		return;
	/* Each reason once: people shall know what it waits for. */
	log_line(strcmp(c->postponed, m->text) == 0 ? LOG_DEBUG : LOG_INFO,
	    "server %s: %s is for later: %s", c->config.endpoint,
	    c->job[i].label, m->text);
	snprintf(c->postponed, sizeof(c->postponed), "%s", m->text);
	client_job_postpone(c, i);
}

/* The answer tells the server that its end was heard. */
static int
on_bye(struct client *c, struct err *e)
{
	const struct msg m = {.type = MSG_BYE, .bye = {MSG_BYE_LEFT}};

	if (client_send(c, &m, e) < 0)
		return -1;
	client_away(c, "it ends");
	return 0;
}

static int
handle(struct client *c, const struct msg *m, struct err *e)
{
	switch (m->type) {
	case MSG_WELCOME:
		return on_welcome(c, &m->welcome, e);
	case MSG_REFUSE:
		return err_set(e, ERR_FATAL, 0,
		    "server %s refuses this client: %s", c->config.endpoint,
		    m->refuse.text);
	case MSG_BEAT:
		on_beat(c, &m->beat);
		return 0;
	case MSG_MADE:
		on_made(c, &m->made);
		return 0;
	case MSG_DONE:
		return on_done(c, &m->done, e);
	case MSG_FAIL:
		return on_fail(c, &m->fail, e);
	case MSG_POSTPONE:
		on_postpone(c, &m->postpone);
		return 0;
	case MSG_BYE:
		return on_bye(c, e);
	case MSG_PUSHED:
		client_push_said(c, &m->pushed);
		return 0;
	case MSG_EXPIRED:
		return client_push_expired(c, &m->expired, e);
	case MSG_WHO:
		/*
		 * While CLIENT is on its way it answers what was said before.
		 */
		if (c->step == CLIENT_READY)
			client_lost(c);
		return 0;
	case MSG_HELLO:
	case MSG_JOB:
	case MSG_ITEMS:
	case MSG_ENTRIES:
	case MSG_CANCEL:
	case MSG_SIZED:
	case MSG_PROBE:
	case MSG_PROBED:
	case MSG_ASK:
	case MSG_WANT:
	case MSG_PATHS:
	case MSG_HAVE:
	case MSG_CLIENT:
	case MSG_STATUS:
	case MSG_STATE:
	case MSG_PUSH:
	case MSG_TOKEN:
		break;
	}
	log_line(LOG_DEBUG, "server %s: %s is out of place", c->config.endpoint,
	    msg_name(m->type));
	return 0;
}

int
client_receive(struct client *c, struct err *e)
{
	int any = 0;

	for (;; any = 1) {
		struct err why = ERR_INIT;
		struct msg m;
		int rc = link_recv(c->link, NULL, &m, &why);

		if (rc == 0)
			return any;
		c->heard = monotime_ms();
		if (rc < 0 && why.kind != ERR_PEER) {
			*e = why;
			return -1;
		}
		if (rc < 0) {
			log_line(LOG_WARNING,
			    "server %s: a message is "
			    "ignored: %s",
			    c->config.endpoint, why.text);
			continue;
		}
		rc = handle(c, &m, e);
		msg_clear(&m);
		if (rc < 0 || client_beat(c, e) < 0)
			return -1;
	}
}
