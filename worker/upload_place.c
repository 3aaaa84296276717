#include "upload_place.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "err.h"
#include "http.h"
#include "monotime.h"
#include "own.h"
#include "protocol.h"
#include "registry.h"
#include "registry_auth.h"
#include "secret.h"
#include "timed_cond.h"
#include "wake_fd.h"

#define STEP_MS 100 /* how soon a cancelled wait ends */

/* All but token, serial and what follows stays. */
struct upload_place {
	uint64_t id;
	char *base, *repo;
	struct http_tls *tls;
	long stall_s;
	int wake_fd;
	pthread_mutex_t lock;
	pthread_cond_t renewed;
	char *token; /* "": none */
	uint64_t serial;
	bool asked; /* for the next token, */
	bool said;  /* and that was said */
	size_t holders;
	atomic_bool refuses;
};

static void
place_free(struct upload_place *p)
{
	pthread_cond_destroy(&p->renewed);
	pthread_mutex_destroy(&p->lock);
	free(p->base);
	free(p->repo);
	http_tls_free(p->tls);
	secret_wipep(&p->token);
	free(p);
}

int
upload_place_new(const struct msg_token *m, int wake_fd,
    struct upload_place **out, struct err *e)
{
	AUTO(upload_place_let_gop)
	struct upload_place *p = calloc(1, sizeof(*p));

	if (p == NULL)
		return err_set(e, ERR_RETRY, ENOMEM, "upload");
	pthread_mutex_init(&p->lock, NULL);
	timed_cond_init(&p->renewed);
	p->holders = 1;
	p->wake_fd = wake_fd;
	p->id = m->place;
	p->stall_s = (long)m->stall_s;
	p->serial = m->serial;
	if ((p->base = strdup(m->base)) == NULL ||
	    (p->repo = strdup(m->repo)) == NULL ||
	    (p->token = strdup(m->token)) == NULL)
		return err_set(e, ERR_RETRY, ENOMEM, "upload");
	if (http_tls_new_pem(m->authorities, !m->insecure, &p->tls, e) < 0)
		return -1;
	*out = STEAL(&p);
	return 0;
}

struct upload_place *
upload_place_hold(struct upload_place *p)
{
	pthread_mutex_lock(&p->lock);
	p->holders++;
	pthread_mutex_unlock(&p->lock);
	return p;
}

void
upload_place_let_go(struct upload_place *p)
{
	bool last;

	if (p == NULL)
		return;
	pthread_mutex_lock(&p->lock);
	last = --p->holders == 0;
	pthread_mutex_unlock(&p->lock);
	if (last)
		place_free(p);
}

void
upload_place_let_gop(struct upload_place **p)
{
	upload_place_let_go(*p);
	*p = NULL;
}

bool
upload_place_is(const struct upload_place *p, const struct msg_token *m)
{
	return p->id == m->place && strcmp(p->base, m->base) == 0 &&
	    strcmp(p->repo, m->repo) == 0;
}

uint64_t
upload_place_id(const struct upload_place *p)
{
	return p->id;
}

void
upload_place_refuse(struct upload_place *p)
{
	atomic_store(&p->refuses, true);
}

bool
upload_place_refuses(struct upload_place *p)
{
	return atomic_load(&p->refuses);
}

int
upload_place_renew(
    struct upload_place *p, const struct msg_token *m, struct err *e)
{
	AUTO(secret_wipep) char *token = strdup(m->token);

	if (token == NULL)
		return err_set(e, ERR_RETRY, errno, "upload");
	pthread_mutex_lock(&p->lock);
	if (m->serial > p->serial) {
		secret_wipep(&p->token);
		p->token = STEAL(&token);
		p->serial = m->serial;
		p->asked = p->said = false;
		pthread_cond_broadcast(&p->renewed);
	}
	pthread_mutex_unlock(&p->lock);
	return 0;
}

bool
upload_place_asks(struct upload_place *p, uint64_t *serial)
{
	bool asks;

	pthread_mutex_lock(&p->lock);
	asks = p->asked && !p->said;
	*serial = p->serial;
	pthread_mutex_unlock(&p->lock);
	return asks;
}

void
upload_place_said(struct upload_place *p)
{
	pthread_mutex_lock(&p->lock);
	p->said = true;
	pthread_mutex_unlock(&p->lock);
}

int
upload_session_open(struct upload_place *p, const atomic_bool *cancel,
    struct upload_session *out, struct err *e)
{
	AUTO(upload_session_clear) struct upload_session s = {.registry = NULL};
	AUTO(secret_wipep) char *token = NULL;
	struct registry_auth_config who = {.base = p->base};
	struct registry_config config = {
	    .base = p->base,
	    .repo = p->repo,
	    .tls = p->tls,
	    .cancel = cancel,
	    .stall_s = p->stall_s,
	};

	pthread_mutex_lock(&p->lock);
	token = strdup(p->token);
	s.serial = p->serial;
	pthread_mutex_unlock(&p->lock);
	if (token == NULL)
		return err_set(e, ERR_RETRY, ENOMEM, "upload");
	if (*token != '\0')
		who.token = token;
	if (registry_auth_new(&who, &s.auth, e) < 0)
		return -1;
	config.auth = s.auth;
	if (registry_new(&config, &s.registry, e) < 0)
		return -1;
	*out = s;
	s = (struct upload_session){.registry = NULL};
	return 0;
}

void
upload_session_clear(struct upload_session *s)
{
	registry_freep(&s->registry);
	registry_auth_freep(&s->auth);
}

bool
upload_session_ended(const struct err *e)
{
	return e->kind == ERR_RETRY && e->sys == EACCES;
}

static void
ask(struct upload_place *p, uint64_t serial)
{
	if (p->serial != serial || p->asked)
		return;
	p->asked = true;
	p->said = false;
	wake_fd_set(p->wake_fd);
}

bool
upload_session_await(
    struct upload_place *p, uint64_t serial, const atomic_bool *cancel)
{
	int64_t until = monotime_ms() + UPLOAD_TOKEN_MS;
	bool renewed;

	pthread_mutex_lock(&p->lock);
	ask(p, serial);
	while (p->serial == serial && !atomic_load(cancel) &&
	    monotime_ms() < until) {
		struct timespec step = timed_cond_after(STEP_MS);

		pthread_cond_timedwait(&p->renewed, &p->lock, &step);
	}
	renewed = p->serial != serial;
	pthread_mutex_unlock(&p->lock);
	return renewed;
}
