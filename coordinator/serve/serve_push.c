#include "serve/serve_state.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "digest.h"
#include "dispatch/dispatch.h"
#include "err.h"
#include "http.h"
#include "log.h"
#include "options/options.h"
#include "own.h"
#include "protocol.h"
#include "registry.h"
#include "registry/push_to.h"
#include "serve/serve_cache.h"

/* Of a client; it has fewer by itself. */
#define PUSHES_MAX 64

/* A layer on its way; the client may be gone. */
struct serve_push {
	struct serve_client *client; /* NULL: nobody is told */
	uint64_t push;
	struct digest digest;
	TAILQ_ENTRY(serve_push) entry; /* of the client's, or of all such */
};

int
serve_push_open(struct serve *s, struct err *e)
{
	const struct options *o = s->options;

	if (o->push_to == NULL)
		return 0;
	if (http_tls_new(o->registry.cert_dir, true, &s->tls, e) < 0)
		return err_ctx(e, "--cert-dir");
	if (http_tls_shows(s->tls))
		return err_set(e, ERR_USAGE, 0,
		    "--cert-dir %.200s: it has a certificate of a client's, "
		    "which workers are not given",
		    o->registry.cert_dir);
	if (strlen(http_tls_added(s->tls)) > MSG_AUTHORITIES_MAX)
		return err_set(e, ERR_USAGE, 0,
		    "--cert-dir %.200s: it has more than a message holds",
		    o->registry.cert_dir);
	return 0;
}

void
serve_push_close(struct serve *s)
{
	struct serve_push *p;

	while ((p = TAILQ_FIRST(&s->pushes)) != NULL) {
		TAILQ_REMOVE(&s->pushes, p, entry);
		free(p);
	}
	http_tls_freep(&s->tls);
}

/* Places. */

static void
place_clear(struct serve *s, struct serve_place *p)
{
	if (p->base != NULL)
		dispatch_relay_close(s->dispatch, p->relay);
	free(p->base);
	free(p->repo);
	*p = (struct serve_place){.base = NULL};
}

void
serve_pushes_clear(struct serve *s, struct serve_client *c)
{
	struct serve_push *p;

	for (size_t i = 0; i < MSG_PUSH_PLACES; i++)
		place_clear(s, &c->place[i]);
	while ((p = TAILQ_FIRST(&c->pushes)) != NULL) {
		TAILQ_REMOVE(&c->pushes, p, entry);
		TAILQ_INSERT_TAIL(&s->pushes, p, entry);
		p->client = NULL;
	}
	c->n_pushes = 0;
}

static int
place_new(struct serve *s, struct serve_client *c, struct serve_place *p,
    const struct msg_token *m, struct err *e)
{
	const struct dispatch_relay_to to = {
	    .base = m->base,
	    .repo = m->repo,
	    .token = m->token,
	    .near = registry_is_loopback(strstr(m->base, "://") + 3),
	    .stall_s = m->stall_s < REGISTRY_STALL_S_MAX ? (long)m->stall_s
							 : REGISTRY_STALL_S_MAX,
	    .whose = c,
	};

	if (dispatch_relay_open(s->dispatch, &to, &p->relay, e) < 0)
		return -1;
	p->serial = m->serial;
	if ((p->base = strdup(m->base)) == NULL ||
	    (p->repo = strdup(m->repo)) == NULL)
		return err_set(e, ERR_FATAL, errno, "pushes");
	log_line(LOG_INFO, "client %s (%s): layers are pushed to %s/%s",
	    c->name, c->image, p->base, p->repo);
	return 0;
}

/* What it may not be is said of the layers that are to go there. */
int
serve_push_token(struct serve *s, struct serve_client *c,
    const struct msg_token *m, struct err *e)
{
	struct serve_place *p;

	if (m->place >= MSG_PUSH_PLACES)
		return 0;
	p = &c->place[m->place];
	if (p->base != NULL && strcmp(p->base, m->base) == 0 &&
	    strcmp(p->repo, m->repo) == 0) {
		if (m->serial <= p->serial)
			return 0;
		p->serial = m->serial;
		return dispatch_relay_token(s->dispatch, p->relay, m->token, e);
	}
	place_clear(s, p);
	if (s->options->push_to != NULL && !m->insecure &&
	    push_to_has(s->options->push_to, m->base))
		return place_new(s, c, p, m, e);
	log_line(LOG_WARNING,
	    "client %s (%s): it wants layers pushed to %.300s, which --push-to "
	    "does not name: refused",
	    c->name, c->image, m->base);
	return 0;
}

int
serve_push_expired(void *serve, void *client, size_t relay, struct err *e)
{
	struct serve_client *c = client;
	struct msg m = {.type = MSG_EXPIRED};

	(void)e;
	for (size_t i = 0; i < MSG_PUSH_PLACES; i++)
		if (c->place[i].base != NULL && c->place[i].relay == relay) {
			m.expired = (struct msg_expired){i, c->place[i].serial};
			serve_client_say(serve, c, &m);
		}
	return 0;
}

/* Layers. */

static void
say(struct serve *s, struct serve_client *c, uint64_t push, const char *why)
{
	const struct msg m = {
	    .type = MSG_PUSHED, .pushed = {.push = push, .text = why}};

	serve_client_say(s, c, &m);
}

/* NULL: it may be. */
static const char *
refusal(const struct serve_client *c, const struct msg_push *m)
{
	const struct data_id id = {m->job, m->attempt};
	const struct serve_offer *offer = serve_offer_of(c, &id);

	if (m->place >= MSG_PUSH_PLACES || c->place[m->place].base == NULL)
		return "this server does not push there";
	if (*m->file != '\0' || offer == NULL || offer->size != m->size ||
	    !digest_equal(&offer->digest, &m->digest))
		return "the server has no such layer for this client";
	if (c->n_pushes == PUSHES_MAX)
		return "too many layers are pushed at once";
	return NULL;
}

int
serve_push_put(struct serve *s, struct serve_client *c,
    const struct msg_push *m, struct err *e)
{
	AUTO(own_freep) char *file = NULL;
	char hex[DIGEST_HEX_LEN + 1];
	struct dispatch_relay_blob blob = {
	    .digest = m->digest, .size = m->size};
	const char *why = refusal(c, m);
	struct serve_push *p;

	if (why != NULL) {
		say(s, c, m->push, why);
		return 0;
	}
	digest_hex(&m->digest, hex);
	if (asprintf(&file, "%s/%s", serve_cache_pins(s->cache), hex) < 0) {
		file = NULL;
		return err_set(e, ERR_FATAL, errno, "push");
	}
	if ((p = calloc(1, sizeof(*p))) == NULL)
		return err_set(e, ERR_FATAL, errno, "push");
	*p = (struct serve_push){
	    .client = c, .push = m->push, .digest = m->digest};
	TAILQ_INSERT_TAIL(&c->pushes, p, entry);
	c->n_pushes++;
	serve_cache_refer(s->cache, &p->digest);
	blob.place = c->place[m->place].relay;
	blob.file = file;
	blob.what = p;
	return dispatch_relay_put(s->dispatch, &blob, e);
}

int
serve_push_relayed(
    void *serve, const struct dispatch_relayed *what, struct err *e)
{
	struct serve_push *p = what->what;
	struct serve_client *c = p->client;
	struct serve *s = serve;
	const struct msg m = {.type = MSG_PUSHED,
	    .pushed = {.push = p->push,
		.uploaded = what->uploaded,
		.throttled = what->throttled,
		.text = what->why}};

	(void)e;
	if (c != NULL) {
		TAILQ_REMOVE(&c->pushes, p, entry);
		c->n_pushes--;
		serve_client_say(s, c, &m);
	} else {
		TAILQ_REMOVE(&s->pushes, p, entry);
	}
	serve_cache_drop(s->cache, &p->digest);
	free(p);
	return 0;
}
