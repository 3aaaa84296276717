#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "digest.h"
#include "err.h"
#include "http.h"
#include "own.h"
#include "registry.h"
#include "registry_retry.h"
#include "registry_state.h"

#define BLOB_TYPE "Content-Type: application/octet-stream"
#define UPLOADS_MAX 4 /* of one blob, from their beginning */
/* A proxy that takes no large bodies mostly takes this. */
#define CHUNK ((uint64_t)4 << 20)
#define CHUNK_MAX ((uint64_t)512 << 20)

enum outcome {
	DONE,	 /* the registry says that it has it */
	OPEN,	 /* who knows: look whether it is there */
	LACKED,	 /* it is not there, and not here */
	IN_PARTS /* not in one piece */
};

/* How one blob is uploaded, over all tries. */
struct upload {
	bool mount;    /* from another repository, if it can be */
	bool parts;    /* by PATCH */
	bool no_parts; /* it does not take that */
	enum outcome outcome;
	/* Why it is OPEN: what was said, and for people. */
	struct http_answer answer;
	struct err why;
};

/* An upload that goes on. */
struct session {
	char *url;     /* where */
	uint64_t part; /* bytes of one PATCH */
};

static void
session_clear(struct session *s)
{
	own_freep(&s->url);
}

static void
upload_clear(struct upload *u)
{
	http_answer_clear(&u->answer);
}

/* The answer, or none, that leaves it open is kept; e becomes unset. */
static void
leave_open(
    struct registry *r, struct upload *u, struct http_answer *a, struct err *e)
{
	u->outcome = OPEN;
	if (e->kind == ERR_NONE)
		registry_refusal(r, "upload a blob", a, e);
	u->why = *e;
	err_clear(e);
	http_answer_clear(&u->answer);
	u->answer = *a;
	*a = (struct http_answer){.size = -1};
}

/* Nothing that the registry did, or that trying again would change. */
static bool
failed_here(const struct http_answer *a)
{
	return a->fault == HTTP_ANSWERED || !registry_retry_may(a);
}

int
registry_has_blob(struct registry *r, const struct digest *digest,
    uint64_t size, bool *there, struct err *e)
{
	AUTO(own_freep) char *url = NULL;
	AUTO(http_answer_clear) struct http_answer a = {.size = -1};
	struct registry_call c = REGISTRY_CALL;
	char rest[DIGEST_TEXT_SIZE + 8] = "blobs/";

	digest_text(digest, rest + strlen(rest));
	if (registry_url(r, rest, &url, e) < 0)
		return -1;
	c.method = "HEAD";
	c.url = url;
	if (registry_call(r, &c, &a, e) < 0)
		return -1;
	/* Elsewhere, by a redirect, is there. */
	*there = a.status == 200 || a.status == 307 || a.status == 302 ||
	    a.status == 303 || a.status == 308;
	if (!*there && a.status != 404)
		return registry_refusal(r, "look for a blob", &a, e);
	if (a.status == 200 && a.size >= 0 && (uint64_t)a.size != size)
		return err_set(e, ERR_FATAL, 0,
		    "%s: it has %s with %" PRId64 " bytes, not %" PRIu64,
		    r->host, rest + strlen("blobs/"), a.size, size);
	return *there
	    ? registry_check_digest(r, "look for a blob", &a, digest, e)
	    : 0;
}

int
registry_follow(struct registry *r, const char *base,
    const struct http_answer *a, char **session, struct err *e)
{
	char *next = NULL;

	if (a->header[HTTP_LOCATION] == NULL)
		return err_set(e, ERR_FATAL, 0,
		    "%s: start an upload: it does not say where", r->host);
	if (http_resolve(base, a->header[HTTP_LOCATION], &next, e) < 0)
		return err_ctx(e, "%s: start an upload", r->host);
	free(*session);
	*session = next;
	return 0;
}

/* What it says the least size of all parts but the last is. */
static uint64_t
part_size(const struct http_answer *a)
{
	const char *least = a->header[HTTP_CHUNK_MIN];
	unsigned long long n = least != NULL ? strtoull(least, NULL, 10) : 0;

	if (n > CHUNK_MAX)
		return CHUNK_MAX;
	return n > CHUNK ? n : CHUNK;
}

/* Begins an upload, or mounts (s->url NULL then). */
static int
begin(struct registry *r, const struct registry_blob *b, const char *from,
    struct session *s, struct err *e)
{
	AUTO(own_freep) char *url = NULL;
	AUTO(own_freep) char *rest = NULL;
	AUTO(http_answer_clear) struct http_answer a = {.size = -1};
	struct registry_call c = REGISTRY_CALL;
	char digest[DIGEST_TEXT_SIZE];
	int n;

	session_clear(s);
	digest_text(b->digest, digest);
	n = from != NULL
	    ? asprintf(&rest, "blobs/uploads/?mount=%s&from=%s", digest, from)
	    : asprintf(&rest, "blobs/uploads/");
	if (n < 0) {
		rest = NULL;
		return err_set(e, ERR_FATAL, ENOMEM, "registry");
	}
	if (registry_url(r, rest, &url, e) < 0)
		return -1;
	c.method = "POST";
	c.url = url;
	c.from = from;
	if (registry_call(r, &c, &a, e) < 0) {
		/* Who may not read there has no token for it. */
		if (from == NULL || e->kind != ERR_FATAL)
			return -1;
		err_clear(e);
		return begin(r, b, NULL, s, e);
	}
	if (from != NULL && a.status == 201)
		return registry_check_digest(
		    r, "mount a blob", &a, b->digest, e);
	s->part = part_size(&a);
	if (a.status == 202)
		return registry_follow(r, url, &a, &s->url, e);
	/* Some refuse what they cannot mount: then without. */
	if (from != NULL)
		return begin(r, b, NULL, s, e);
	return registry_refusal(r, "start an upload", &a, e);
}

/* An upload that nobody goes on with; that it stays open does no harm. */
static void
give_up(struct registry *r, struct session *s)
{
	AUTO(http_answer_clear) struct http_answer a = {.size = -1};
	struct registry_call c = REGISTRY_CALL;
	struct err e = ERR_INIT;

	c.method = "DELETE";
	c.url = s->url;
	c.once = true;
	registry_call(r, &c, &a, &e);
	session_clear(s);
}

/* What an answer to the last PUT means. */
static int
judge(struct registry *r, const struct registry_blob *b, struct upload *u,
    struct http_answer *a, struct err *e)
{
	if (registry_retry_may(a) || a->status == 404 || a->status == 410) {
		leave_open(r, u, a, e);
		return 0;
	}
	if (!u->parts && !u->no_parts &&
	    (a->status == 413 || a->status == 416 || a->status == 405)) {
		u->outcome = IN_PARTS;
		return 0;
	}
	if (a->status / 100 != 2)
		return registry_refusal(r, "upload a blob", a, e);
	u->outcome = DONE;
	return registry_check_digest(r, "upload a blob", a, b->digest, e);
}

/* PUT: the whole blob, or nothing more, closes the upload. */
static int
put(struct registry *r, const struct registry_blob *b, const char *session,
    bool whole, struct upload *u, struct err *e)
{
	AUTO(own_freep) char *url = NULL;
	AUTO(http_answer_clear) struct http_answer a = {.size = -1};
	struct registry_call c = REGISTRY_CALL;
	char query[DIGEST_TEXT_SIZE + 8] = "digest=";

	digest_text(b->digest, query + strlen(query));
	if (http_add_query(session, query, &url, e) < 0)
		return err_ctx(e, "%s: upload a blob", r->host);
	c.method = "PUT";
	c.url = url;
	c.once = true;
	c.header[c.n_headers++] = BLOB_TYPE;
	if (whole) {
		c.fd = b->fd;
		c.body = b->data;
		c.size = b->size;
	}
	if (registry_call(r, &c, &a, e) < 0 && failed_here(&a))
		return -1;
	return judge(r, b, u, &a, e);
}

/* As Google's does: "must use monolithic". */
static bool
refuses_parts(const struct http_answer *a)
{
	return a->status == 400 || a->status == 405 || a->status == 501;
}

/* PATCH, one after the other; s->url is where the next one goes. */
static int
patch(struct registry *r, const struct registry_blob *b, struct session *s,
    struct upload *u, struct err *e)
{
	for (uint64_t at = 0; at < b->size;) {
		AUTO(http_answer_clear) struct http_answer a = {.size = -1};
		struct registry_call c = REGISTRY_CALL;
		char range[80];

		c.method = "PATCH";
		c.url = s->url;
		c.once = true;
		c.fd = b->fd;
		c.offset = at;
		c.size = b->size - at < s->part ? b->size - at : s->part;
		if (b->data != NULL)
			c.body = (const char *)b->data + at;
		snprintf(range, sizeof(range),
		    "Content-Range: %" PRIu64 "-%" PRIu64, at, at + c.size - 1);
		c.header[c.n_headers++] = BLOB_TYPE;
		c.header[c.n_headers++] = range;
		if (registry_call(r, &c, &a, e) < 0 && failed_here(&a))
			return -1;
		if (at == 0 && e->kind == ERR_NONE && refuses_parts(&a)) {
			u->parts = false;
			u->no_parts = true;
			leave_open(r, u, &a, e);
			return 0;
		}
		if (registry_retry_may(&a) || a.status == 404 ||
		    a.status == 410 || a.status == 416) {
			leave_open(r, u, &a, e);
			return 0;
		}
		if (a.status / 100 != 2)
			return registry_refusal(r, "upload in parts", &a, e);
		if (registry_follow(r, s->url, &a, &s->url, e) < 0)
			return -1;
		at += c.size;
	}
	return put(r, b, s->url, false, u, e);
}

/* From POST to the last answer, once. */
static int
upload(struct registry *r, const struct registry_blob *b, struct upload *u,
    struct err *e)
{
	AUTO(session_clear) struct session s = {.url = NULL};

	if (begin(r, b, u->mount ? b->from : NULL, &s, e) < 0)
		return -1;
	u->outcome = DONE;
	if (s.url == NULL)
		return 0;
	u->mount = false;
	if (b->absent) {
		give_up(r, &s);
		u->outcome = LACKED;
		return 0;
	}
	if (u->parts)
		return patch(r, b, &s, u, e);
	if (put(r, b, s.url, true, u, e) < 0)
		return -1;
	if (u->outcome != IN_PARTS)
		return 0;
	u->parts = true;
	give_up(r, &s);
	if (begin(r, b, NULL, &s, e) < 0)
		return -1;
	return patch(r, b, &s, u, e);
}

int
registry_push_blob(struct registry *r, const struct registry_blob *b,
    enum registry_way *way, struct err *e)
{
	AUTO(upload_clear)
	struct upload u = {.mount = b->from != NULL, .answer = {.size = -1}};
	bool there;

	for (unsigned tried = 0;; tried++) {
		if (registry_has_blob(r, b->digest, b->size, &there, e) < 0)
			return -1;
		if (there) {
			*way = tried == 0 ? REGISTRY_THERE : REGISTRY_UPLOADED;
			return 0;
		}
		if (tried == UPLOADS_MAX)
			return err_set(e, ERR_RETRY, 0,
			    "an upload of %" PRIu64
			    " bytes broke off %u times: %.500s",
			    b->size, tried, u.why.text);
		if (tried > 0 && registry_pause(r, tried - 1, &u.answer, e) < 0)
			return -1;
		if (upload(r, b, &u, e) < 0)
			return -1;
		/* Some fail, and do not say that they want it in parts. */
		u.parts |= tried > 0 && !u.no_parts;
		if (u.outcome == LACKED) {
			*way = REGISTRY_LACKED;
			return 0;
		}
		if (u.outcome == DONE) {
			*way = u.mount ? REGISTRY_MOUNTED : REGISTRY_UPLOADED;
			return 0;
		}
	}
}

int
registry_put_manifest(struct registry *r, const char *reference,
    const char *media_type, const void *data, size_t len,
    const struct digest *digest, bool *unknown, struct err *e)
{
	AUTO(own_freep) char *url = NULL;
	AUTO(http_answer_clear) struct http_answer a = {.size = -1};
	struct registry_call c = REGISTRY_CALL;
	char rest[256], type[200];

	*unknown = false;
	snprintf(rest, sizeof(rest), "manifests/%.160s", reference);
	snprintf(type, sizeof(type), "Content-Type: %.150s", media_type);
	if (registry_url(r, rest, &url, e) < 0)
		return -1;
	c.method = "PUT";
	c.url = url;
	c.header[c.n_headers++] = type;
	c.body = data;
	c.size = len;
	/* The same again changes nothing. */
	if (registry_call(r, &c, &a, e) < 0)
		return -1;
	if (registry_says(&a, "MANIFEST_BLOB_UNKNOWN") ||
	    registry_says(&a, "BLOB_UNKNOWN")) {
		*unknown = true;
		return 0;
	}
	if (a.status / 100 != 2)
		return registry_refusal(r, "put the manifest", &a, e);
	return registry_check_digest(r, "put the manifest", &a, digest, e);
}
