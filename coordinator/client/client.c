#include "client/client.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <zmq.h>

#include "transfer/blob_fetch.h"
#include "client/client_state.h"
#include "encoder_version.h"
#include "err.h"
#include "link.h"
#include "log.h"
#include "monotime.h"
#include "own.h"
#include "progress/progress.h"
#include "protocol.h"

#define HELLO_MS 1000
#define SILENT_MS 10000
#define POSTPONE_MS 1000
#define POSTPONE_MAX_MS 16000
/* Between attempts to send what could not be sent. */
#define RETRY_MS 100
/* A connection that breaks and is back by then is not worth a word. */
#define AWAY_MS 2000
/* The loop comes round each second at least: more, and it was stopped. */
#define STOOD_MS 3000
/* How long BYE may take to leave. */
#define LINGER_MS 500

void
client_defaults(struct client_config *config)
{
	*config = (struct client_config){
	    .pace = {.hello_ms = HELLO_MS,
		.silent_ms = SILENT_MS,
		.postpone_ms = POSTPONE_MS,
		.postpone_max_ms = POSTPONE_MAX_MS,
		.pull_silent_ms = BLOB_FETCH_SILENT_MS},
	};
}

static int
connect_to(struct client *c, struct err *e)
{
	link_close(c->link, 0);
	c->link = NULL;
	c->connect_at = monotime_ms() + c->config.pace.silent_ms;
	return link_connect(
	    c->ctx, c->config.endpoint, c->config.keys, &c->link, e);
}

int
client_new(
    const struct client_config *config, struct client **out, struct err *e)
{
	AUTO(client_freep) struct client *c = NULL;

	if ((c = calloc(1, sizeof(*c))) == NULL)
		return err_set(e, ERR_FATAL, errno, "client");
	c->config = *config;
	c->lost = monotime_ms();
	snprintf(c->image, sizeof(c->image), "%s", config->image);
	if (gethostname(c->host, sizeof(c->host) - 1) < 0)
		c->host[0] = '\0';
	if (getentropy(c->instance, sizeof(c->instance)) < 0)
		return err_set(e, ERR_FATAL, errno, "random number");
	if ((c->ctx = link_context(e)) == NULL)
		return -1;
	if (client_push_open(c, e) < 0 || connect_to(c, e) < 0)
		return -1;
	*out = STEAL(&c);
	return 0;
}

/*
 * What is unread goes first: a socket that is closed with it takes what it has
 * sent along.  A server that does not hear it finds out by the silence.
 */
static void
take_leave(struct client *c)
{
	const struct msg bye = {.type = MSG_BYE, .bye = {MSG_BYE_LEFT}};
	struct err e = ERR_INIT;
	struct msg m;
	int rc;

	while ((rc = link_recv(c->link, NULL, &m, &e)) != 0) {
		if (rc > 0)
			msg_clear(&m);
		else if (e.kind != ERR_PEER)
			return;
		err_clear(&e);
	}
	if (link_send(c->link, NULL, &bye, &e) < 0)
		log_line(LOG_DEBUG, "%s", e.text);
}

void
client_free(struct client *c)
{
	if (c == NULL)
		return;
	client_jobs_end(c);
	client_push_close(c);
	client_blobs_close(c);
	if (c->step != CLIENT_NEW && c->link != NULL)
		take_leave(c);
	link_close(c->link, LINGER_MS);
	if (c->ctx != NULL)
		zmq_ctx_term(c->ctx);
	free(c->worker);
	free(c);
}

void
client_freep(struct client **c)
{
	client_free(*c);
	*c = NULL;
}

/* The connection. */

int
client_send(struct client *c, const struct msg *m, struct err *e)
{
	if (link_send(c->link, NULL, m, e) == 0)
		return 0;
	if (e->kind != ERR_PEER)
		return -1;
	err_clear(e);
	client_lost(c);
	return 1;
}

void
client_lost(struct client *c)
{
	if (c->step == CLIENT_READY) {
		c->lost = monotime_ms();
		c->connect_at = c->lost + c->config.pace.silent_ms;
		progress_worker_gone(c->config.progress, 0, true);
	}
	c->step = CLIENT_NEW;
}

void
client_away(struct client *c, const char *why)
{
	client_lost(c);
	if (!c->away)
		log_line(LOG_WARNING, "server %s: %s; waiting for it",
		    c->config.endpoint, why);
	c->away = true;
}

static int
say_client(struct client *c, struct err *e)
{
	struct msg m = {.type = MSG_CLIENT};
	int rc;

	m.client = (struct msg_client){
	    .protocol = PROTOCOL_VERSION,
	    .program = QUARRY_VERSION,
	    .host = c->host,
	    .pid = (uint64_t)getpid(),
	    .image = c->image,
	    .gzip = encoder_version(ENCODING_GZIP),
	    .zstd = encoder_version(ENCODING_ZSTD),
	    .session = c->session,
	};
	memcpy(m.client.instance, c->instance, sizeof(c->instance));
	if ((rc = client_send(c, &m, e)) == 0) {
		c->step = CLIENT_GREETED;
		c->hello_at = monotime_ms() + c->config.pace.hello_ms;
	}
	return rc < 0 ? -1 : 0;
}

/*
 * Asks to be taken in, again and again; now and then on a new socket, since an
 * old one may still believe in a connection to a machine that is gone.
 */
static int
join(struct client *c, struct err *e)
{
	int64_t now = monotime_ms();

	if (c->step == CLIENT_READY &&
	    now - c->heard >= c->config.pace.silent_ms) {
		client_away(c, "says nothing any more");
		c->connect_at = now;
	}
	if (c->step == CLIENT_READY)
		return 0;
	if (!c->away && now - c->lost >= AWAY_MS)
		client_away(c,
		    c->met ? "cannot be reached"
			: c->config.keys != NULL
			? "does not answer yet (or it has another key, or does "
			  "not list this client's)"
			: "does not answer yet");
	if (now >= c->connect_at) {
		c->step = CLIENT_NEW;
		if (connect_to(c, e) < 0)
			return -1;
	}
	if (c->step == CLIENT_GREETED && now >= c->hello_at)
		c->step = CLIENT_NEW;
	return c->step == CLIENT_NEW ? say_client(c, e) : 0;
}

int
client_beat(struct client *c, struct err *e)
{
	const struct msg m = {.type = MSG_BEAT};
	int64_t now = monotime_ms();

	if (c->step != CLIENT_READY || now < c->next_beat)
		return 0;
	c->next_beat = now + c->beat_ms;
	return client_send(c, &m, e) < 0 ? -1 : 0;
}

/* The loop. */

/* While this process stood still nobody was silent. */
static void
come_round(struct client *c)
{
	int64_t now = monotime_ms();

	if (now - c->looked >= STOOD_MS) {
		c->heard += now - c->looked;
		c->lost += now - c->looked;
	}
	c->looked = now;
}

static void
sooner(int64_t *until, int64_t than)
{
	if (*until > than)
		*until = than;
}

/* Milliseconds until there is something to do that no fd tells. */
static int
patience(const struct client *c, int tick)
{
	int64_t now = monotime_ms(), until = now + 1000;

	switch (c->step) {
	case CLIENT_NEW:
		sooner(&until, now + RETRY_MS);
		break;
	case CLIENT_GREETED:
		sooner(&until, c->hello_at);
		break;
	case CLIENT_READY:
		sooner(&until, c->next_beat);
		sooner(&until, c->heard + c->config.pace.silent_ms);
		if (c->room < CLIENT_ASKED_MAX)
			sooner(&until, c->room_at);
		break;
	}
	if (tick >= 0)
		sooner(&until, now + tick);
	return until > now ? (int)(until - now) : 0;
}

/* What is still to be pushed does not wait for a server that is away. */
static bool
is_over(struct client *c)
{
	if (c->n_done < c->n_jobs)
		return false;
	if (c->away)
		client_push_lost(c);
	return !client_push_busy(c);
}

/*
 * Takes what came and asks for more, until nothing comes: the last call on the
 * socket is then a receive that found nothing, as link_fd wants.
 */
static int
settle(struct client *c, struct err *e)
{
	int rc;

	do {
		if (join(c, e) < 0 || client_beat(c, e) < 0 ||
		    client_blobs_collect(c, e) < 0 ||
		    client_push_turn(c, e) < 0 || client_jobs_ask(c, e) < 0)
			return -1;
		rc = client_receive(c, e);
	} while (rc > 0 && !is_over(c));
	return rc < 0 ? -1 : 0;
}

static int
loop(struct client *c, struct err *e)
{
	for (;;) {
		int tick = progress_tick(c->config.progress, monotime_ms());
		struct pollfd fds[3] = {{.fd = -1, .events = POLLIN},
		    {.fd = -1, .events = POLLIN},
		    {.fd = client_push_fd(c), .events = POLLIN}};

		come_round(c);
		if (settle(c, e) < 0)
			return -1;
		if (is_over(c))
			return 0;
		fds[0].fd = link_fd(c->link);
		if (c->fetch != NULL)
			fds[1].fd = blob_fetch_fd(c->fetch);
		if (poll(fds, 3, patience(c, tick)) < 0 && errno != EINTR)
			return err_set(e, ERR_FATAL, errno, "poll");
	}
}

int
client_run(struct client *c, struct dispatch_job *job, size_t n, struct err *e)
{
	int64_t now = monotime_ms();

	/*
	 * What was said while nobody listened is not read yet; a server that
	 * is not there yet is waited for from now on.
	 */
	c->looked = c->heard = c->lost = now;
	c->connect_at = now + c->config.pace.silent_ms;
	if (client_jobs_start(c, job, n, e) < 0 || loop(c, e) < 0)
		return -1;
	client_jobs_end(c);
	return 0;
}
