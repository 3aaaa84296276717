#include "serve/serve_state.h"

#include <stdlib.h>

#include "err.h"
#include "log.h"
#include "own.h"
#include "protocol.h"
#include "dispatch/zap.h"

/* Messages between two looks at everything else. */
#define BATCH 256

static void
say(struct serve *s, const struct link_peer *to, const struct msg *m)
{
	struct err e = ERR_INIT;

	/* What does not get there is asked for again. */
	if (link_send(s->link, to, m, &e) < 0)
		log_line(LOG_DEBUG, "%s", e.text);
}

static int
on_status(struct serve *s, const struct link_peer *from,
    const struct msg_status *m, struct err *e)
{
	struct msg out = {.type = MSG_STATE, .state = {.request = m->request}};
	AUTO(own_freep) char *text = NULL;

	if (s->zap != NULL && !zap_allows(s->zap, from->key, NULL, 0))
		return 0;
	/* Whoever gets none asks again. */
	if (!serve_turns_take(&s->states, serve_now(s), from))
		return 0;
	if (serve_status(s, &text, e) < 0)
		return -1;
	out.state.text = text;
	say(s, from, &out);
	return 0;
}

static int
on_cancel(struct serve *s, struct serve_client *c, const struct msg_cancel *m,
    struct err *e)
{
	const struct data_id id = {m->job, m->attempt};

	if (serve_intake_cancel(c, &id)) {
		serve_refuse(s, c, &id, ERR_RETRY, "cancelled");
		return 0;
	}
	return serve_job_cancel(s, c, &id, e);
}

static void
break_off(struct serve_client *c, const char *what)
{
	log_line(LOG_WARNING,
	    "client %s (%s) sent %s, which no client sends: dropped", c->name,
	    c->image, what);
	c->lost = true;
}

static int
on_client_message(
    struct serve *s, struct serve_client *c, const struct msg *m, struct err *e)
{
	switch (m->type) {
	case MSG_JOB:
		return serve_intake_job(s, c, &m->job, e);
	case MSG_ITEMS:
		return serve_intake_items(s, c, &m->items, e);
	case MSG_CANCEL:
		return on_cancel(s, c, &m->cancel, e);
	case MSG_TOKEN:
		return serve_push_token(s, c, &m->token, e);
	case MSG_PUSH:
		return serve_push_put(s, c, &m->push, e);
	case MSG_BEAT:
		return 0;
	case MSG_BYE:
		serve_client_gone(s, c, "has left", INT64_MIN);
		return 0;
	case MSG_HELLO:
	case MSG_WELCOME:
	case MSG_REFUSE:
	case MSG_ENTRIES:
	case MSG_SIZED:
	case MSG_DONE:
	case MSG_FAIL:
	case MSG_POSTPONE:
	case MSG_PROBE:
	case MSG_PROBED:
	case MSG_WHO:
	case MSG_ASK:
	case MSG_WANT:
	case MSG_PATHS:
	case MSG_HAVE:
	case MSG_CLIENT:
	case MSG_MADE:
	case MSG_STATUS:
	case MSG_STATE:
	case MSG_PUSHED:
	case MSG_EXPIRED:
		break;
	}
	break_off(c, msg_name(m->type));
	return 0;
}

static int
on_message(struct serve *s, const struct link_peer *from, const struct msg *m,
    struct err *e)
{
	const struct msg who = {.type = MSG_WHO};
	struct serve_client *c = serve_client_by_link(s, from);

	if (c != NULL)
		c->heard = serve_now(s);
	if (m->type == MSG_CLIENT)
		return serve_client_hello(s, from, &m->client, e);
	if (m->type == MSG_STATUS)
		return on_status(s, from, &m->status, e);
	/* It goes with the next tick. */
	if (c != NULL && c->lost)
		return 0;
	if (c != NULL)
		return on_client_message(s, c, m, e);
	/* It leaves, and need not be known for that. */
	if (m->type != MSG_BYE)
		say(s, from, &who);
	return 0;
}

int
serve_receive(struct serve *s, struct err *e)
{
	for (int i = 0; i < BATCH; i++) {
		struct err bad = ERR_INIT;
		struct serve_client *c;
		struct link_peer from;
		struct msg m;
		int rc = link_recv(s->link, &from, &m, &bad);

		if (rc == 0)
			return 0;
		if (rc < 0 && bad.kind != ERR_PEER) {
			*e = bad;
			return -1;
		}
		if (rc < 0) {
			log_line(LOG_WARNING, "message refused: %s", bad.text);
			if ((c = serve_client_by_link(s, &from)) != NULL)
				c->lost = true;
			continue;
		}
		rc = on_message(s, &from, &m, e);
		msg_clear(&m);
		if (rc < 0)
			return -1;
	}
	return 1;
}
