/* Inside of registry: what registry.c and registry_*.c share. */
#ifndef REGISTRY_STATE_H
#define REGISTRY_STATE_H

#include <stdbool.h>
#include <stdint.h>

#include "http.h"
#include "registry.h"

struct registry {
	struct http *http;
	struct registry_auth *auth;
	const atomic_bool *cancel;
	char *base, *repo;
	char host[300]; /* for people, with the port */
	bool near;	/* its own address is a private one */
	bool pull;	/* only */
	int64_t backoff_ms;
	int64_t pause_ms; /* the longest; longer ones are failures */
	unsigned tries, throttled;
};

#define REGISTRY_HEADERS_MAX 6

/* One request, with authorization and, if it may be repeated, retries. */
struct registry_call {
	const char *method;
	const char *url; /* absolute */
	const char *header[REGISTRY_HEADERS_MAX];
	size_t n_headers;
	const void *body;
	uint64_t size;
	int fd;
	uint64_t offset;
	const char *from;	/* a repository to mount from: its scope, too */
	bool once;		/* what came of it must be looked at first */
	struct http_file *file; /* as in http_request */
	size_t answer_max;
};

#define REGISTRY_CALL                                                          \
	{                                                                      \
		.fd = -1                                                       \
	}

/* 0 with any status that was not worth another try. */
int registry_call(struct registry *r, const struct registry_call *c,
    struct http_answer *out, struct err *e);

/* "BASE/v2/REPO/REST"; the caller's. */
int registry_url(
    const struct registry *r, const char *rest, char **out, struct err *e);

/* An answer that is no good: what was asked for, status, what it says. */
int registry_refusal(const struct registry *r, const char *what,
    const struct http_answer *a, struct err *e);
/* Whether its errors have this code ("MANIFEST_BLOB_UNKNOWN"). */
bool registry_says(const struct http_answer *a, const char *code);

/* Waits before try `tried` + 1. */
int registry_pause(struct registry *r, unsigned tried,
    const struct http_answer *a, struct err *e);

/* Where an upload to base goes on; *session is replaced. */
int registry_follow(struct registry *r, const char *base,
    const struct http_answer *a, char **session, struct err *e);

/* The digest that the registry says it has must be ours. */
int registry_check_digest(const struct registry *r, const char *what,
    const struct http_answer *a, const struct digest *digest, struct err *e);

#endif
