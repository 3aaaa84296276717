#include "registry.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

#include <jansson.h>

#include "digest.h"
#include "err.h"
#include "monotime.h"
#include "own.h"
#include "registry_auth.h"
#include "registry_retry.h"
#include "registry_state.h"
#include "secret.h"

#define STEP_MS 100 /* how soon a cancelled pause ends */
#define RENEWALS_MAX 2
#define SAID_MAX 300 /* bytes of what a registry says that are repeated */

int
registry_new(
    const struct registry_config *c, struct registry **out, struct err *e)
{
	AUTO(registry_freep) struct registry *r = calloc(1, sizeof(*r));
	const struct http_options options = {
	    .tls = c->tls, .cancel = c->cancel, .stall_s = c->stall_s};
	const char *host = strstr(c->base, "://");

	if (r == NULL || (r->base = strdup(c->base)) == NULL ||
	    (r->repo = strdup(c->repo)) == NULL)
		return err_set(e, ERR_FATAL, ENOMEM, "registry");
	r->auth = c->auth;
	r->cancel = c->cancel;
	r->pull = c->pull;
	registry_set_patience(r, REGISTRY_TRIES, INT64_MAX);
	r->backoff_ms = c->backoff_ms > 0 ? c->backoff_ms : REGISTRY_BACKOFF_MS;
	snprintf(
	    r->host, sizeof(r->host), "%s", host != NULL ? host + 3 : c->base);
	if (http_new(&options, &r->http, e) < 0)
		return -1;
	*out = STEAL(&r);
	return 0;
}

void
registry_free(struct registry *r)
{
	if (r == NULL)
		return;
	http_free(r->http);
	free(r->base);
	free(r->repo);
	free(r);
}

void
registry_freep(struct registry **r)
{
	registry_free(*r);
	*r = NULL;
}

int
registry_go_to(struct registry *r, const char *repo, struct err *e)
{
	char *name = strdup(repo);

	if (name == NULL)
		return err_set(e, ERR_FATAL, errno, "registry");
	free(r->repo);
	r->repo = name;
	return 0;
}

void
registry_set_patience(struct registry *r, unsigned tries, int64_t pause_ms)
{
	r->tries = tries;
	r->pause_ms = pause_ms;
}

unsigned
registry_throttled(struct registry *r)
{
	unsigned n = r->throttled;

	r->throttled = 0;
	return n;
}

int
registry_url(
    const struct registry *r, const char *rest, char **out, struct err *e)
{
	if (asprintf(out, "%s/v2/%s/%s", r->base, r->repo, rest) < 0) {
		*out = NULL;
		return err_set(e, ERR_FATAL, ENOMEM, "registry");
	}
	return 0;
}

static void
decref(json_t **value)
{
	json_decref(*value);
	*value = NULL;
}

/* {"errors":[{"code":...,"message":...}]} */
static json_t *
load_errors(const struct http_answer *a)
{
	if (a->body == NULL || a->len == 0 || a->len > HTTP_REFUSAL_MAX)
		return NULL;
	return json_loadb(a->body, a->len, 0, NULL);
}

bool
registry_says(const struct http_answer *a, const char *code)
{
	AUTO(decref) json_t *root = load_errors(a);
	json_t *errors = json_object_get(root, "errors"), *one;
	size_t i;

	json_array_foreach(errors, i, one)
	{
		const char *is =
		    json_string_value(json_object_get(one, "code"));

		if (is != NULL && strcmp(is, code) == 0)
			return true;
	}
	return false;
}

int
registry_refusal(const struct registry *r, const char *what,
    const struct http_answer *a, struct err *e)
{
	AUTO(decref) json_t *root = load_errors(a);
	const json_t *one = json_array_get(json_object_get(root, "errors"), 0);
	const char *code = json_string_value(json_object_get(one, "code"));
	const char *text = json_string_value(json_object_get(one, "message"));
	struct http_answer no_body = *a;
	enum err_kind kind;

	no_body.fault = HTTP_ANSWERED;
	kind = registry_retry_may(&no_body) ? ERR_RETRY : ERR_FATAL;
	if (code != NULL || text != NULL)
		return err_set(e, kind, 0, "%s: %s: %ld %.60s%s%.*s", r->host,
		    what, a->status, code != NULL ? code : "",
		    code != NULL && text != NULL ? ": " : "", SAID_MAX,
		    text != NULL ? text : "");
	return err_set(e, kind, 0, "%s: %s: status %ld%s", r->host, what,
	    a->status,
	    a->status == 401 || a->status == 403 ? ", not allowed" : "");
}

int
registry_check_digest(const struct registry *r, const char *what,
    const struct http_answer *a, const struct digest *digest, struct err *e)
{
	const char *said = a->header[HTTP_DIGEST];
	char text[DIGEST_TEXT_SIZE];

	digest_text(digest, text);
	/* Another algorithm says nothing about this one. */
	if (said == NULL || strncmp(said, "sha256:", 7) != 0 ||
	    strcmp(said, text) == 0)
		return 0;
	return err_set(e, ERR_FATAL, 0,
	    "%s: %s: it has stored %.80s in place of %s", r->host, what, said,
	    text);
}

int
registry_pause(struct registry *r, unsigned tried, const struct http_answer *a,
    struct err *e)
{
	uint32_t chance = 0;
	int64_t pause, until;

	if (getrandom(&chance, sizeof(chance), GRND_NONBLOCK) < 0)
		chance = (uint32_t)monotime_ms();
	pause = registry_retry_pause(
	    tried, a, (int64_t)time(NULL), r->backoff_ms, chance);
	if (pause > r->pause_ms)
		return err_set(e, ERR_RETRY, 0,
		    "%s: it asks for a pause of %" PRId64 " s", r->host,
		    pause / 1000);
	until = monotime_ms() + pause;
	while (monotime_ms() < until) {
		int64_t left = until - monotime_ms();

		if (r->cancel != NULL &&
		    atomic_load_explicit(r->cancel, memory_order_relaxed))
			return err_set(e, ERR_RETRY, ECANCELED, "%s", r->host);
		usleep((useconds_t)(left < STEP_MS ? left : STEP_MS) * 1000);
	}
	return 0;
}

static int
scope_of(const struct registry *r, const char *from, char **out, struct err *e)
{
	int n = from != NULL
	    ? asprintf(out, "repository:%s:pull,push repository:%s:pull",
		  r->repo, from)
	    : asprintf(
		  out, "repository:%s:pull%s", r->repo, r->pull ? "" : ",push");

	if (n < 0) {
		*out = NULL;
		return err_set(e, ERR_FATAL, ENOMEM, "registry");
	}
	return 0;
}

int
registry_lend(
    struct registry *r, enum registry_lend *how, char **token, struct err *e)
{
	AUTO(own_freep) char *scope = NULL;

	if (scope_of(r, NULL, &scope, e) < 0)
		return -1;
	return registry_auth_lend(r->auth, scope, how, token, e);
}

/* One exchange; *refused: the header that a 401 was for, the caller's. */
static int
exchange(struct registry *r, const struct registry_call *c, const char *scope,
    struct http_answer *out, char **refused, struct err *e)
{
	const char *header[REGISTRY_HEADERS_MAX + 1];
	bool own = http_same_origin(c->url, r->base);
	struct http_request request = {
	    .method = c->method,
	    .url = c->url,
	    .header = header,
	    .n_headers = c->n_headers,
	    .body = c->body,
	    .size = c->size,
	    .fd = c->fd,
	    .offset = c->offset,
	    .public_only = !own && !r->near,
	    .file = c->file,
	    .answer_max = c->answer_max,
	};
	int rc;

	memcpy(header, c->header, c->n_headers * sizeof(*header));
	secret_wipep(refused);
	/* What is ours is for the registry, not for where it sends us. */
	if (own && registry_auth_header(r->auth, scope, refused, e) < 0)
		return -1;
	if (*refused != NULL)
		header[request.n_headers++] = *refused;
	rc = http_do(r->http, &request, out, e);
	if (own && rc == 0)
		r->near = out->private_peer;
	r->throttled += rc == 0 && out->status == 429;
	return rc;
}

int
registry_call(struct registry *r, const struct registry_call *c,
    struct http_answer *out, struct err *e)
{
	AUTO(own_freep) char *scope = NULL;
	AUTO(secret_wipep) char *header = NULL;
	unsigned renewals = 0;

	*out = (struct http_answer){.size = -1};
	if (scope_of(r, c->from, &scope, e) < 0)
		return -1;
	for (unsigned tried = 0;;) {
		int rc;

		http_answer_clear(out);
		err_clear(e);
		rc = exchange(r, c, scope, out, &header, e);
		if (rc == 0 && out->status == 401 && renewals < RENEWALS_MAX &&
		    http_same_origin(c->url, r->base)) {
			renewals++;
			if (registry_auth_renew(r->auth, r->http, scope,
				out->header[HTTP_CHALLENGE], header, e) == 0)
				continue;
			/* A token server that is away may be back soon. */
			if (e->kind != ERR_RETRY || e->sys == EACCES ||
			    tried + 1 >= r->tries)
				return err_ctx(e, "%s", r->host);
			renewals--;
			err_clear(e);
			if (registry_pause(r, tried++, out, e) < 0)
				return -1;
			continue;
		}
		/* 429 says that nothing was done. */
		if ((c->once && !(rc == 0 && out->status == 429)) ||
		    !registry_retry_may(out) || tried + 1 >= r->tries)
			return rc;
		err_clear(e);
		if (registry_pause(r, tried++, out, e) < 0)
			return -1;
	}
}

bool
registry_is_loopback(const char *server)
{
	char url[600];

	snprintf(url, sizeof(url), "http://%.500s/", server);
	return http_is_loopback(url);
}

static int
knock(struct http *http, const char *scheme, const char *server, char **base,
    enum http_fault *fault, struct err *e)
{
	AUTO(own_freep) char *own = NULL;
	AUTO(own_freep) char *url = NULL;
	AUTO(http_answer_clear) struct http_answer a = {.size = -1};
	struct http_request r = {.method = "GET", .fd = -1};
	int rc;

	if (asprintf(&own, "%s://%s", scheme, server) < 0) {
		own = NULL;
		return err_set(e, ERR_FATAL, ENOMEM, "registry");
	}
	if (asprintf(&url, "%s/v2/", own) < 0) {
		url = NULL;
		return err_set(e, ERR_FATAL, ENOMEM, "registry");
	}
	r.url = url;
	rc = http_do(http, &r, &a, e);
	*fault = a.fault;
	if (rc < 0)
		return -1;
	*base = STEAL(&own);
	return 0;
}

int
registry_find(const char *server, bool plain, const struct http_tls *tls,
    long stall_s, char **base, struct err *e)
{
	AUTO(http_freep) struct http *http = NULL;
	const struct http_options options = {.tls = tls, .stall_s = stall_s};
	enum http_fault fault;

	if (http_new(&options, &http, e) < 0)
		return -1;
	if (knock(http, "https", server, base, &fault, e) == 0)
		return 0;
	if (fault != HTTP_NO_TLS)
		return err_ctx(e, "registry");
	if (!plain)
		return err_ctx(e,
		    "registry: it speaks no TLS (--tls-verify=false lets it)");
	err_clear(e);
	if (knock(http, "http", server, base, &fault, e) < 0)
		return err_ctx(e, "registry");
	return 0;
}
