#include "serve/serve_state.h"

#include <errno.h>
#include <poll.h>
#include <search.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <zmq.h>

#include "transfer/blob_offer.h"
#include "data_endpoint.h"
#include "dispatch/dispatch.h"
#include "endpoint.h"
#include "err.h"
#include "dispatch/key_list.h"
#include "log.h"
#include "monotime.h"
#include "options/options.h"
#include "own.h"
#include "supervisor.h"
#include "dispatch/zap.h"

#define BEAT_MS 1000
#define SILENT_MS 10000
/* A client that was lost comes back within, as a rule. */
#define GRACE_MS 30000
#define PART_MS 500
#define PART_STEP_MS 20

int64_t
serve_grace(const struct serve *s)
{
	return serve_now(s) + GRACE_MS;
}

/* The sockets. */

static int
read_keys(const struct serve *s, struct key_list **out, struct err *e)
{
	if (key_list_read(s->options->clients_keys, out, e) < 0)
		return err_ctx(e, "--clients-keys");
	if (key_list_count(*out) == 0)
		log_line(LOG_WARNING,
		    "--clients-keys %s: no key is in it yet, so nobody can "
		    "come",
		    s->options->clients_keys);
	return 0;
}

int
serve_clients_open(struct serve *s, struct err *e)
{
	const struct options *o = s->options;
	const struct link_keys keys = {
	    .own = o->clients_keys != NULL ? s->key : NULL,
	    .plain = o->clients_plain};
	AUTO(key_list_freep) struct key_list *list = NULL;
	char data[ENDPOINT_MAX + 8];

	if (getentropy(&s->session, sizeof(s->session)) < 0)
		return err_set(e, ERR_FATAL, errno, "random number");
	s->session |= 1;
	if ((s->ctx = link_context(e)) == NULL)
		return -1;
	if (o->clients_keys != NULL) {
		if (read_keys(s, &list, e) < 0 ||
		    zap_start(s->ctx, &list, &s->zap, e) < 0)
			return -1;
		zap_call(s->zap, "client");
	}
	if (data_endpoint_beside(o->clients, data, sizeof(data), e) < 0 ||
	    link_listen_clients(s->ctx, o->clients, &keys, &s->link, e) < 0 ||
	    blob_offer_new(s->ctx, data, &keys, &s->offer, e) < 0)
		return err_ctx(e, "--clients");
	log_line(LOG_INFO, "clients may come to %s (and %s)",
	    link_endpoint(s->link), blob_offer_endpoint(s->offer));
	return 0;
}

void
serve_clients_close(struct serve *s)
{
	while (!TAILQ_EMPTY(&s->clients))
		serve_client_gone(s, TAILQ_FIRST(&s->clients), NULL, INT64_MIN);
	blob_offer_freep(&s->offer);
	link_close(s->link, PART_MS); /* BYE has to get there */
	s->link = NULL;
	zap_stop(s->zap);
	s->zap = NULL;
	if (s->ctx != NULL)
		zmq_ctx_term(s->ctx);
	s->ctx = NULL;
}

static void
reload(struct serve *s)
{
	AUTO(key_list_freep) struct key_list *list = NULL;
	struct serve_client *c;
	struct err e = ERR_INIT;

	if (s->zap == NULL)
		return;
	if (read_keys(s, &list, &e) < 0) {
		log_line(LOG_WARNING, "the keys stay as they were: %s", e.text);
		return;
	}
	log_line(
	    LOG_INFO, "%zu keys of clients are listed", key_list_count(list));
	zap_replace(s->zap, &list);
	TAILQ_FOREACH(c, &s->clients, entry)
	if (!zap_allows(s->zap, c->link.key, NULL, 0)) {
		log_line(LOG_WARNING,
		    "client %s: its key is not listed any more", c->name);
		c->lost = true;
	}
}

/* Workers' keys were read before it. */
void
serve_clients_reload(void *serve)
{
	supervisor_reloading();
	reload(serve);
	supervisor_ready(NULL);
}

/* The clients. */

static int
compare_links(const void *a, const void *b)
{
	const struct serve_client *x = a, *y = b;

	if (x->link.len != y->link.len)
		return x->link.len < y->link.len ? -1 : 1;
	return memcmp(x->link.id, y->link.id, x->link.len);
}

static int
compare_tokens(const void *a, const void *b)
{
	const struct serve_client *x = a, *y = b;

	return memcmp(x->token, y->token, sizeof(x->token));
}

/* Nobody is somebody whose key is another one. */
static int
compare_instances(const void *a, const void *b)
{
	const struct serve_client *x = a, *y = b;
	int order = memcmp(x->instance, y->instance, sizeof(x->instance));

	return order != 0 ? order : strcmp(x->link.key, y->link.key);
}

static struct serve_client *
find(void *const *tree, const struct serve_client *like,
    int (*compare)(const void *, const void *))
{
	struct serve_client **at = tfind(like, tree, compare);

	return at == NULL ? NULL : *at;
}

struct serve_client *
serve_client_by_link(struct serve *s, const struct link_peer *from)
{
	const struct serve_client like = {.link = *from};

	return find(&s->by_link, &like, compare_links);
}

struct serve_client *
serve_client_by_token(struct serve *s, const uint8_t *token)
{
	struct serve_client like;

	memcpy(like.token, token, sizeof(like.token));
	return find(&s->by_token, &like, compare_tokens);
}

/* From another connection; whose key must be the same. */
static struct serve_client *
by_instance(
    struct serve *s, const struct link_peer *from, const uint8_t *instance)
{
	struct serve_client like = {.link = *from};

	memcpy(like.instance, instance, sizeof(like.instance));
	return find(&s->by_instance, &like, compare_instances);
}

static void
unlist(struct serve *s, struct serve_client *c)
{
	tdelete(c, &s->by_link, compare_links);
	tdelete(c, &s->by_token, compare_tokens);
	tdelete(c, &s->by_instance, compare_instances);
	TAILQ_REMOVE(&s->clients, c, entry);
	s->n_clients--;
}

/* After an error it is listed as well, or not. */
static int
list(struct serve *s, struct serve_client *c, struct err *e)
{
	TAILQ_INSERT_TAIL(&s->clients, c, entry);
	s->n_clients++;
	if (tsearch(c, &s->by_link, compare_links) == NULL ||
	    tsearch(c, &s->by_token, compare_tokens) == NULL ||
	    tsearch(c, &s->by_instance, compare_instances) == NULL)
		return err_set(e, ERR_FATAL, errno, "client");
	return 0;
}

/* It comes from there now. */
static int
relink(struct serve *s, struct serve_client *c, const struct link_peer *from,
    struct err *e)
{
	tdelete(c, &s->by_link, compare_links);
	c->link = *from;
	if (tsearch(c, &s->by_link, compare_links) == NULL)
		return err_set(e, ERR_FATAL, errno, "client");
	return 0;
}

void
serve_client_gone(
    struct serve *s, struct serve_client *c, const char *why, int64_t until)
{
	struct err e = ERR_INIT;

	if (why != NULL)
		log_line(
		    LOG_INFO, "client %s (%s): %s", c->name, c->image, why);
	unlist(s, c);
	serve_intakes_clear(c);
	serve_pushes_clear(s, c);
	serve_offers_clear(s, c);
	serve_queue_forget(s->queue, c->flow, until);
	serve_queue_leave(s->queue, c->flow);
	/* Out of memory: it may go on pulling what it was offered. */
	if (blob_offer_client_gone(s->offer, c->token, &e) < 0)
		log_line(LOG_DEBUG, "%s", e.text);
	free(c);
}

void
serve_client_say(struct serve *s, struct serve_client *c, const struct msg *m)
{
	struct err e = ERR_INIT;

	if (c->lost || link_send(s->link, &c->link, m, &e) == 0)
		return;
	log_line(LOG_DEBUG, "client=%s: %s", c->name, e.text);
	c->lost = true;
}

static void
say_refuse(struct serve *s, const struct link_peer *from,
    const struct msg_client *m, const char *why)
{
	const struct msg out = {.type = MSG_REFUSE, .refuse = {.text = why}};
	struct err e = ERR_INIT;

	log_line(LOG_WARNING, "client %.40s/%llu was refused: %s", m->host,
	    (unsigned long long)m->pid, why);
	if (link_send(s->link, from, &out, &e) < 0)
		log_line(LOG_DEBUG, "%s", e.text);
}

static int
client_new(struct serve *s, const struct link_peer *from,
    const struct msg_client *m, struct serve_client **out, struct err *e)
{
	struct serve_client *c;

	if ((c = calloc(1, sizeof(*c))) == NULL)
		return err_set(e, ERR_FATAL, errno, "client");
	c->serve = s;
	c->link = *from;
	TAILQ_INIT(&c->intakes);
	TAILQ_INIT(&c->offers);
	TAILQ_INIT(&c->pushes);
	memcpy(c->instance, m->instance, sizeof(c->instance));
	snprintf(c->name, sizeof(c->name), "%.40s/%llu", m->host,
	    (unsigned long long)m->pid);
	snprintf(c->image, sizeof(c->image), "%s", m->image);
	snprintf(
	    c->encoder[ENCODING_GZIP], sizeof(c->encoder[0]), "%s", m->gzip);
	snprintf(
	    c->encoder[ENCODING_ZSTD], sizeof(c->encoder[0]), "%s", m->zstd);
	if (serve_queue_join(s->queue, c, &c->flow, e) < 0) {
		free(c);
		return -1;
	}
	if (blob_offer_client(s->offer, c->name, from->key, c->token, e) < 0) {
		serve_queue_leave(s->queue, c->flow);
		free(c);
		return -1;
	}
	log_line(LOG_INFO, "client %s builds %s", c->name, c->image);
	*out = c;
	return list(s, c, e);
}

/* NULL: it may come in. */
static const char *
refusal(struct serve *s, const struct link_peer *from,
    const struct msg_client *m, char *text, size_t size)
{
	if (m->protocol != PROTOCOL_VERSION ||
	    strcmp(m->program, QUARRY_VERSION) != 0) {
		snprintf(text, size,
		    "it is version %.40s with protocol %llu; this server is "
		    "version %s with protocol %d",
		    m->program, (unsigned long long)m->protocol, QUARRY_VERSION,
		    PROTOCOL_VERSION);
		return text;
	}
	if (s->zap != NULL && !zap_allows(s->zap, from->key, NULL, 0))
		return "its key is not listed any more";
	return NULL;
}

/* NULL: there is room for one more. */
static const char *
full(const struct serve *s, const struct link_peer *from)
{
	const struct serve_client *c;
	size_t n = 0;

	if (s->n_clients == SERVE_CLIENTS_MAX)
		return "there are too many clients";
	if (s->zap == NULL || s->n_clients < SERVE_CLIENTS_OF_KEY)
		return NULL;
	TAILQ_FOREACH(c, &s->clients, entry)
	n += strcmp(c->link.key, from->key) == 0;
	return n < SERVE_CLIENTS_OF_KEY ? NULL
					: "too many clients have its key";
}

int
serve_client_hello(struct serve *s, const struct link_peer *from,
    const struct msg_client *m, struct err *e)
{
	struct msg out = {.type = MSG_WELCOME,
	    .welcome = {.protocol = PROTOCOL_VERSION,
		.beat_ms = BEAT_MS,
		.session = s->session,
		.push_to =
		    s->options->push_to != NULL ? s->options->push_to : ""}};
	struct serve_client *c = serve_client_by_link(s, from);
	const char *why;
	char text[256];

	if (c == NULL)
		c = by_instance(s, from, m->instance);
	why = refusal(s, from, m, text, sizeof(text));
	if (why == NULL && c == NULL)
		why = full(s, from);
	if (why != NULL) {
		say_refuse(s, from, m, why);
		return 0;
	}
	if (c == NULL && client_new(s, from, m, &c, e) < 0)
		return -1;
	/* What it asked for is forgotten, what it pulls it goes on with. */
	serve_intakes_clear(c);
	serve_pushes_clear(s, c);
	serve_queue_forget(s->queue, c->flow, serve_grace(s));
	if (relink(s, c, from, e) < 0)
		return -1;
	c->lost = false;
	c->heard = serve_now(s);
	c->greeted++;
	out.welcome.data = blob_offer_welcome(s->offer);
	memcpy(out.welcome.token, c->token, sizeof(c->token));
	serve_client_say(s, c, &out);
	return 0;
}

/* What is being made of what it wants: as much as a BEAT holds. */
static void
beat(struct serve *s, struct serve_client *c)
{
	AUTO(own_freep) struct msg_progress *at = NULL;
	struct msg m = {.type = MSG_BEAT};
	const struct serve_want *w;
	size_t n = 0;

	at = calloc(MSG_SLOTS_MAX, sizeof(*at));
	TAILQ_FOREACH(w, &c->flow->wants, of_flow)
	{
		if (at == NULL || n == MSG_SLOTS_MAX)
			break;
		if (w->job->state != SERVE_RUNNING)
			continue;
		at[n].job = w->id.job;
		at[n].attempt = w->id.attempt;
		at[n].bytes = dispatch_bytes(s->dispatch, w->job->id);
		n += at[n].bytes > 0;
	}
	m.beat = (struct msg_beat){at, n};
	serve_client_say(s, c, &m);
}

void
serve_clients_tick(struct serve *s)
{
	int64_t now = serve_now(s);
	bool beats = now >= s->beat_at;
	struct serve_client *c, *next;

	if (beats)
		s->beat_at = now + BEAT_MS;
	for (c = TAILQ_FIRST(&s->clients); c != NULL; c = next) {
		next = TAILQ_NEXT(c, entry);
		if (beats) {
			beat(s, c);
			serve_intakes_tick(s, c);
		}
		if (c->lost)
			serve_client_gone(s, c, "is lost", serve_grace(s));
		else if (now - c->heard >= SILENT_MS)
			serve_client_gone(s, c, "is silent", serve_grace(s));
	}
}

void
serve_clients_part(struct serve *s)
{
	const struct msg bye = {.type = MSG_BYE};
	int64_t until = monotime_ms() + PART_MS;
	struct pollfd fd = {.events = POLLIN};
	struct serve_client *c;

	if (s->link == NULL)
		return;
	TAILQ_FOREACH(c, &s->clients, entry)
	serve_client_say(s, c, &bye);
	fd.fd = link_fd(s->link);
	while (!TAILQ_EMPTY(&s->clients) && monotime_ms() < until) {
		struct err e = ERR_INIT;
		struct link_peer from;
		struct msg m;
		int rc = link_recv(s->link, &from, &m, &e);

		if (rc > 0 && m.type == MSG_BYE &&
		    (c = serve_client_by_link(s, &from)) != NULL)
			serve_client_gone(s, c, NULL, INT64_MIN);
		if (rc > 0)
			msg_clear(&m);
		else if (rc < 0 && e.kind != ERR_PEER)
			return;
		else if (rc == 0)
			poll(&fd, 1, PART_STEP_MS);
	}
}
