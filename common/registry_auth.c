#include "registry_auth.h"

#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include <jansson.h>
#include <openssl/evp.h>

#include "err.h"
#include "http.h"
#include "monotime.h"
#include "own.h"
#include "registry_challenge.h"
#include "registry_retry.h"
#include "secret.h"

/* Who does not say how long his token is good means so long. */
#define TOKEN_S 60
#define TOKEN_S_MAX 86400
#define SECRET_MAX ((size_t)8 << 10)
#define BEARER "Authorization: Bearer "

/* Token servers that are not the registry's own host. */
static const struct {
	const char *registry, *realm;
} known[] = {
    {"registry-1.docker.io", "auth.docker.io"},
    {"registry.gitlab.com", "gitlab.com"},
};

struct token {
	char *scope;
	char *header;
	int64_t until; /* ms */
};

struct registry_auth {
	pthread_mutex_t lock;
	char *base;
	char *user, *password, *identity;
	char *given; /* the header of the token that was there */
	bool basic;  /* it was asked for */
	char **realm;
	size_t n_realms;
	struct token *token;
	size_t n_tokens;
};

static int
no_memory(struct err *e)
{
	return err_set(e, ERR_FATAL, ENOMEM, "registry");
}

static int
copy(const char *text, char **out, struct err *e)
{
	if (text != NULL && (*out = strdup(text)) == NULL)
		return no_memory(e);
	return 0;
}

static int
copy_realms(struct registry_auth *a, const struct registry_auth_config *c,
    struct err *e)
{
	if ((a->realm = calloc(c->n_realms + 1, sizeof(*a->realm))) == NULL)
		return no_memory(e);
	for (; a->n_realms < c->n_realms; a->n_realms++)
		if (copy(c->realms[a->n_realms], &a->realm[a->n_realms], e) < 0)
			return -1;
	return 0;
}

int
registry_auth_new(const struct registry_auth_config *c,
    struct registry_auth **out, struct err *e)
{
	AUTO(registry_auth_freep)
	struct registry_auth *a = calloc(1, sizeof(*a));

	if (a == NULL)
		return no_memory(e);
	pthread_mutex_init(&a->lock, NULL);
	if (copy(c->base, &a->base, e) < 0 || copy(c->user, &a->user, e) < 0 ||
	    copy(c->password, &a->password, e) < 0 ||
	    copy(c->identity, &a->identity, e) < 0 || copy_realms(a, c, e) < 0)
		return -1;
	if (c->token != NULL &&
	    asprintf(&a->given, BEARER "%s", c->token) < 0) {
		a->given = NULL;
		return no_memory(e);
	}
	*out = STEAL(&a);
	return 0;
}

void
registry_auth_free(struct registry_auth *a)
{
	if (a == NULL)
		return;
	for (size_t i = 0; i < a->n_tokens; i++) {
		free(a->token[i].scope);
		secret_wipep(&a->token[i].header);
	}
	free(a->token);
	for (size_t i = 0; i < a->n_realms; i++)
		free(a->realm[i]);
	free(a->realm);
	secret_wipep(&a->user);
	secret_wipep(&a->password);
	secret_wipep(&a->identity);
	secret_wipep(&a->given);
	free(a->base);
	pthread_mutex_destroy(&a->lock);
	free(a);
}

void
registry_auth_freep(struct registry_auth **a)
{
	registry_auth_free(*a);
	*a = NULL;
}

static int
basic_header(const struct registry_auth *a, char **out, struct err *e)
{
	AUTO(secret_wipep) char *plain = NULL;
	AUTO(secret_wipep) char *coded = NULL;
	int len;

	if (a->user == NULL || a->password == NULL)
		return 0;
	if (strlen(a->user) + strlen(a->password) > SECRET_MAX)
		return err_set(e, ERR_FATAL, 0, "the password is too long");
	if ((len = asprintf(&plain, "%s:%s", a->user, a->password)) < 0) {
		plain = NULL;
		return no_memory(e);
	}
	if ((coded = malloc((size_t)len * 4 / 3 + 8)) == NULL)
		return no_memory(e);
	EVP_EncodeBlock((unsigned char *)coded, (unsigned char *)plain, len);
	if (asprintf(out, "Authorization: Basic %s", coded) < 0) {
		*out = NULL;
		return no_memory(e);
	}
	return 0;
}

static struct token *
find_token(struct registry_auth *a, const char *scope)
{
	for (size_t i = 0; i < a->n_tokens; i++)
		if (strcmp(a->token[i].scope, scope) == 0)
			return &a->token[i];
	return NULL;
}

/* With the lock. */
static int
current_header(
    struct registry_auth *a, const char *scope, char **out, struct err *e)
{
	const struct token *t = find_token(a, scope);

	*out = NULL;
	if (a->basic)
		return basic_header(a, out, e);
	if (t != NULL && monotime_ms() < t->until)
		return copy(t->header, out, e);
	return copy(a->given, out, e);
}

int
registry_auth_header(
    struct registry_auth *a, const char *scope, char **header, struct err *e)
{
	int rc;

	pthread_mutex_lock(&a->lock);
	rc = current_header(a, scope, header, e);
	pthread_mutex_unlock(&a->lock);
	return rc;
}

int
registry_auth_lend(struct registry_auth *a, const char *scope,
    enum registry_lend *how, char **token, struct err *e)
{
	const struct token *t;
	int rc = 0;

	*token = NULL;
	pthread_mutex_lock(&a->lock);
	t = find_token(a, scope);
	if (a->basic || a->given != NULL) {
		*how = REGISTRY_LEND_NOTHING_BUT_SECRETS;
	} else if (t == NULL || t->header == NULL) {
		*how = REGISTRY_LEND_NOTHING;
	} else if (monotime_ms() >= t->until) {
		*how = REGISTRY_LEND_ENDED;
	} else {
		*how = REGISTRY_LEND_TOKEN;
		rc = copy(t->header + strlen(BEARER), token, e);
	}
	pthread_mutex_unlock(&a->lock);
	return rc;
}

/* Whether the password may go to where the registry says. */
static int
check_realm(const struct registry_auth *a, const char *realm, struct err *e)
{
	char host[300], own[300], shown[300];
	bool fine;

	http_shown(realm, shown, sizeof(shown));
	if (!http_host(realm, host, sizeof(host)) ||
	    !http_host(a->base, own, sizeof(own)))
		return err_set(e, ERR_FATAL, 0,
		    "the registry names a token server that is no URL");
	if (strncasecmp(realm, "https://", 8) != 0 &&
	    (strncasecmp(realm, "http://", 7) != 0 ||
		strncmp(a->base, "http://", 7) != 0))
		return err_set(e, ERR_FATAL, 0,
		    "the registry names the token server %s, which is not "
		    "https: nothing is sent there",
		    shown);
	fine = strcmp(host, own) == 0;
	for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++)
		fine |= strcmp(own, known[i].registry) == 0 &&
		    strcmp(host, known[i].realm) == 0;
	for (size_t i = 0; i < a->n_realms; i++)
		fine |= strcasecmp(host, a->realm[i]) == 0;
	if (!fine)
		return err_set(e, ERR_FATAL, 0,
		    "the registry names the token server %s, another host: "
		    "nothing is sent there (--token-server %s allows it)",
		    shown, host);
	return 0;
}

/* "service=S&scope=A&scope=B", escaped. */
static int
token_query(const struct registry_challenge *c, const char *scope, char **out,
    struct err *e)
{
	AUTO(own_freep) char *query = NULL;
	AUTO(own_freep) char *service = NULL;
	const char *p = scope;

	if (http_escape(c->service, &service, e) < 0)
		return -1;
	if (asprintf(&query, "service=%s", service) < 0) {
		query = NULL;
		return no_memory(e);
	}
	for (size_t n = 0; *p != '\0' && n < REGISTRY_SCOPES_MAX; n++) {
		AUTO(own_freep) char *one = strndup(p, strcspn(p, " "));
		AUTO(own_freep) char *escaped = NULL;
		char *longer = NULL;

		if (one == NULL)
			return no_memory(e);
		if (http_escape(one, &escaped, e) < 0)
			return -1;
		if (asprintf(&longer, "%s&scope=%s", query, escaped) < 0)
			return no_memory(e);
		free(query);
		query = longer;
		p += strcspn(p, " ");
		p += strspn(p, " ");
	}
	*out = STEAL(&query);
	return 0;
}

/* A token's text goes into a header. */
static bool
is_token(const char *text)
{
	size_t len = strlen(text);

	if (len == 0 || len > REGISTRY_TOKEN_MAX)
		return false;
	for (size_t i = 0; i < len; i++)
		if (text[i] <= ' ' || text[i] > '~')
			return false;
	return true;
}

/*
 * A place for one more; where there are too many, of the one that ends first.
 */
static struct token *
new_token(struct registry_auth *a)
{
	struct token *t, *more;

	if (a->n_tokens == REGISTRY_TOKENS_MAX) {
		t = &a->token[0];
		for (size_t i = 1; i < a->n_tokens; i++)
			if (a->token[i].until < t->until)
				t = &a->token[i];
		own_freep(&t->scope);
		secret_wipep(&t->header);
		return t;
	}
	more = realloc(a->token, (a->n_tokens + 1) * sizeof(*more));
	if (more == NULL)
		return NULL;
	a->token = more;
	t = &more[a->n_tokens++];
	memset(t, 0, sizeof(*t));
	return t;
}

static int
keep_token(struct registry_auth *a, const char *scope, const char *token,
    int64_t seconds, struct err *e)
{
	struct token *t = find_token(a, scope);

	if (t == NULL) {
		AUTO(own_freep) char *own = NULL;

		if (copy(scope, &own, e) < 0)
			return -1;
		if ((t = new_token(a)) == NULL)
			return no_memory(e);
		t->scope = STEAL(&own);
	}
	secret_wipep(&t->header);
	if (asprintf(&t->header, BEARER "%s", token) < 0) {
		t->header = NULL;
		t->until = 0;
		return no_memory(e);
	}
	if (seconds < 1 || seconds > TOKEN_S_MAX)
		seconds = seconds < 1 ? TOKEN_S : TOKEN_S_MAX;
	/* It must still be good when it arrives. */
	t->until = monotime_ms() + seconds * 900;
	return 0;
}

static void
decref(json_t **value)
{
	json_decref(*value);
	*value = NULL;
}

static int
read_token(struct registry_auth *a, const char *scope,
    const struct http_answer *answer, struct err *e)
{
	AUTO(decref) json_t *root = NULL;
	const char *token;

	if (answer->len <= REGISTRY_TOKEN_MAX * 2)
		root = json_loadb(answer->body, answer->len, 0, NULL);
	token = json_string_value(json_object_get(root, "token"));
	if (token == NULL)
		token =
		    json_string_value(json_object_get(root, "access_token"));
	if (token == NULL || !is_token(token))
		return err_set(
		    e, ERR_FATAL, 0, "the token server's answer has no token");
	return keep_token(a, scope, token,
	    json_integer_value(json_object_get(root, "expires_in")), e);
}

static int
refused(const struct registry_auth *a, const struct http_answer *answer,
    struct err *e)
{
	if (answer->status == 401 || answer->status == 403)
		return err_set(e, ERR_FATAL, 0,
		    a->user != NULL || a->identity != NULL
			? "the token server refuses the user or password"
			: "the token server wants a user and password: log in, "
			  "or give --authfile");
	return err_set(e, registry_retry_may(answer) ? ERR_RETRY : ERR_FATAL, 0,
	    "the token server answers %ld", answer->status);
}

/* An identity token is given away by POST, as OAuth 2 has it. */
static int
oauth_body(
    const struct registry_auth *a, const char *query, char **out, struct err *e)
{
	AUTO(secret_wipep) char *escaped = NULL;

	if (http_escape(a->identity, &escaped, e) < 0)
		return -1;
	if (asprintf(out,
		"grant_type=refresh_token&client_id=quarry&refresh_token=%s&%s",
		escaped, query) < 0) {
		*out = NULL;
		return no_memory(e);
	}
	return 0;
}

static int
fetch_token(struct registry_auth *a, struct http *http, const char *scope,
    const struct registry_challenge *c, struct err *e)
{
	AUTO(own_freep) char *query = NULL;
	AUTO(own_freep) char *url = NULL;
	AUTO(secret_wipep) char *basic = NULL;
	AUTO(secret_wipep) char *body = NULL;
	AUTO(http_answer_clear) struct http_answer answer = {.size = -1};
	const char *header[2] = {"Accept: application/json"};
	struct http_request r = {
	    .method = "GET", .header = header, .n_headers = 1, .fd = -1};

	if (check_realm(a, c->realm, e) < 0 ||
	    token_query(c, *scope != '\0' ? scope : c->scope, &query, e) < 0)
		return -1;
	if (a->identity != NULL) {
		if (oauth_body(a, query, &body, e) < 0)
			return -1;
		r.method = "POST";
		r.body = body;
		r.size = strlen(body);
		header[r.n_headers++] =
		    "Content-Type: application/x-www-form-urlencoded";
		r.url = c->realm;
	} else {
		if (http_add_query(c->realm, query, &url, e) < 0 ||
		    basic_header(a, &basic, e) < 0)
			return -1;
		if (basic != NULL)
			header[r.n_headers++] = basic;
		r.url = url;
	}
	if (http_do(http, &r, &answer, e) < 0)
		return err_ctx(e, "token server");
	if (answer.status != 200)
		return refused(a, &answer, e);
	return read_token(a, scope, &answer, e);
}

/* With the lock, so that many who were refused fetch one token. */
static int
renew(struct registry_auth *a, struct http *http, const char *scope,
    const char *challenge, const char *had, struct err *e)
{
	AUTO(secret_wipep) char *now = NULL;
	struct registry_challenge c;

	if (current_header(a, scope, &now, e) < 0)
		return -1;
	if (now != NULL && (had == NULL || strcmp(now, had) != 0))
		return 0; /* another thread was faster */
	registry_challenge_parse(challenge != NULL ? challenge : "", &c);
	if (c.bearer && c.realm[0] != '\0' && a->given == NULL)
		return fetch_token(a, http, scope, &c, e);
	if (a->given != NULL)
		return err_set(
		    e, ERR_RETRY, EACCES, "the token for uploads has ended");
	if (!c.basic)
		return err_set(e, ERR_FATAL, 0,
		    "the registry refuses us and does not say what it wants");
	if (a->user == NULL || a->password == NULL)
		return err_set(e, ERR_FATAL, 0,
		    "the registry wants a user and password: log in, or give "
		    "--authfile");
	if (a->basic)
		return err_set(e, ERR_FATAL, 0,
		    "the registry refuses the user or password");
	a->basic = true;
	return 0;
}

int
registry_auth_renew(struct registry_auth *a, struct http *http,
    const char *scope, const char *challenge, const char *had, struct err *e)
{
	int rc;

	pthread_mutex_lock(&a->lock);
	rc = renew(a, http, scope, challenge, had, e);
	pthread_mutex_unlock(&a->lock);
	return rc;
}
