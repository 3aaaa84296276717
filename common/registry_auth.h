/*
 * How one registry is told who asks: a password (Basic), or tokens for scopes
 * (Bearer, distribution's token protocol), fetched when they are asked for and
 * again when they end.  A password goes only to the registry itself and to the
 * token server that belongs to it: https if the registry is, and of the same
 * host, or one that is known or was named.  Usable in any thread.
 */
#ifndef REGISTRY_AUTH_H
#define REGISTRY_AUTH_H

#include <stddef.h>

struct err;
struct http;
struct registry_auth;

#define REGISTRY_TOKEN_MAX ((size_t)64 << 10)
#define REGISTRY_SCOPES_MAX 8 /* of one request */
#define REGISTRY_TOKENS_MAX 4096

struct registry_auth_config {
	const char *base;	     /* "https://HOST[:PORT]" */
	const char *user, *password; /* or both NULL */
	const char *identity; /* a token that is good for tokens, or NULL */
	const char *token;    /* one that is there already, or NULL */
	const char *const *realms; /* further hosts of token servers */
	size_t n_realms;
};

/* All is copied.  ERR_FATAL: out of memory. */
int registry_auth_new(const struct registry_auth_config *config,
    struct registry_auth **out, struct err *e);
void registry_auth_free(struct registry_auth *a);
void registry_auth_freep(struct registry_auth **a);

/*
 * scope: "repository:NAME:pull,push", several with a space between; "": none.
 * *header: the line "Authorization: ..." to send, the caller's; NULL: nothing
 * is known that would help.
 */
int registry_auth_header(
    struct registry_auth *a, const char *scope, char **header, struct err *e);

enum registry_lend {
	REGISTRY_LEND_NOTHING, /* it has asked for nothing yet */
	REGISTRY_LEND_TOKEN,
	REGISTRY_LEND_ENDED, /* there was a token: ask the registry first */
	REGISTRY_LEND_NOTHING_BUT_SECRETS /* a password, or what was given us */
};

/*
 * What another machine may have that is to ask in our place: a token for this
 * scope and no other (*token, the caller's, secret), NULL with all the others.
 */
int registry_auth_lend(struct registry_auth *a, const char *scope,
    enum registry_lend *how, char **token, struct err *e);

/*
 * The registry has answered 401 with this challenge (may be NULL) to a request
 * that had the header `refused` (NULL: none): gets a new one.  ERR_FATAL says
 * why there is none; ERR_RETRY: the token server does not answer.
 */
int registry_auth_renew(struct registry_auth *a, struct http *http,
    const char *scope, const char *challenge, const char *refused,
    struct err *e);

#endif
