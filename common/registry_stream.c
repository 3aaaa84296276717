#include "registry_stream.h"

#include <ctype.h>
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

static size_t
least_of(const struct http_answer *a)
{
	const char *least = a->header[HTTP_CHUNK_MIN];
	unsigned long long n = least != NULL ? strtoull(least, NULL, 10) : 0;

	return n < SIZE_MAX ? (size_t)n : SIZE_MAX;
}

int
registry_stream_begin(
    struct registry *r, struct registry_stream *s, struct err *e)
{
	AUTO(own_freep) char *url = NULL;
	AUTO(http_answer_clear) struct http_answer a = {.size = -1};
	struct registry_call c = REGISTRY_CALL;

	if (registry_url(r, "blobs/uploads/", &url, e) < 0)
		return -1;
	c.method = "POST";
	c.url = url;
	if (registry_call(r, &c, &a, e) < 0)
		return -1;
	if (a.status != 202)
		return registry_refusal(r, "start an upload", &a, e);
	if (s->most == 0)
		s->most = REGISTRY_STREAM_PART;
	s->least = least_of(&a);
	if (s->least > REGISTRY_STREAM_PART_MAX) {
		s->refused = true;
		return err_set(e, ERR_FATAL, 0,
		    "%s: it wants parts of %zu bytes and more", r->host,
		    s->least);
	}
	if (s->most < s->least)
		s->most = s->least;
	return registry_follow(r, url, &a, &s->url, e);
}

/* "0-N", as some say it "bytes=0-N": N + 1 bytes; of none "0-0". */
static bool
range_of(const struct http_answer *a, uint64_t *have)
{
	const char *text = a->header[HTTP_RANGE];
	unsigned long long last;
	char *end;

	if (text == NULL)
		return false;
	if (strncmp(text, "bytes=", 6) == 0)
		text += 6;
	if (strncmp(text, "0-", 2) != 0 || !isdigit((unsigned char)text[2]))
		return false;
	errno = 0;
	last = strtoull(text + 2, &end, 10);
	if (*end != '\0' || errno != 0 || last > INT64_MAX)
		return false;
	*have = last == 0 ? 0 : (uint64_t)last + 1;
	return true;
}

/* How much of it is there? */
static int
ask(struct registry *r, struct registry_stream *s, struct err *e)
{
	AUTO(http_answer_clear) struct http_answer a = {.size = -1};
	struct registry_call c = REGISTRY_CALL;

	c.method = "GET";
	c.url = s->url;
	if (registry_call(r, &c, &a, e) < 0)
		return -1;
	if (a.status / 100 != 2)
		return registry_refusal(r, "go on with an upload", &a, e);
	if (!range_of(&a, &s->have))
		return err_set(e, ERR_RETRY, 0,
		    "%s: go on with an upload: it does not say where", r->host);
	return a.header[HTTP_LOCATION] != NULL
	    ? registry_follow(r, s->url, &a, &s->url, e)
	    : 0;
}

/* It was asked why nothing came of a request, and still has what it had. */
static int
ask_for(struct registry *r, struct registry_stream *s, uint64_t from,
    uint64_t to, struct err *e)
{
	if (ask(r, s, e) < 0)
		return -1;
	if (s->have >= from && s->have <= to)
		return 0;
	return err_set(e, ERR_RETRY, 0,
	    "%s: it has %" PRIu64 " bytes of an upload, not %" PRIu64, r->host,
	    s->have, from);
}

/* Products that know no PATCH. */
static bool
refuses_parts(const struct http_answer *a)
{
	static const int statuses[] = {400, 404, 405, 411, 415, 501};

	for (size_t i = 0; i < sizeof(statuses) / sizeof(statuses[0]); i++)
		if (a->status == statuses[i])
			return !registry_says(a, "BLOB_UPLOAD_UNKNOWN");
	return false;
}

static int
patch(struct registry *r, const struct registry_stream *s, const void *data,
    size_t len, struct http_answer *a, struct err *e)
{
	struct registry_call c = REGISTRY_CALL;
	char range[80];

	snprintf(range, sizeof(range), "Content-Range: %" PRIu64 "-%" PRIu64,
	    s->have, s->have + len - 1);
	c.method = "PATCH";
	c.url = s->url;
	c.once = true;
	c.body = data;
	c.size = len;
	c.header[c.n_headers++] = BLOB_TYPE;
	c.header[c.n_headers++] = range;
	return registry_call(r, &c, a, e);
}

/* The same part, cut smaller, may do. */
static bool
cut_smaller(struct registry_stream *s, size_t len)
{
	size_t half = len / 2;

	if (half < REGISTRY_STREAM_PART_MIN || half < s->least)
		return false;
	s->most = half;
	return true;
}

/*
 * What follows from an answer, or none: 1: taken; 0: it is to be asked how much
 * it has; -1: that was it.
 */
static int
judge(struct registry *r, struct registry_stream *s, bool answered,
    const struct http_answer *a, struct err *e)
{
	if (!answered) {
		/* Nothing that the registry did. */
		if (a->fault == HTTP_ANSWERED || !registry_retry_may(a))
			return -1;
		return 0;
	}
	if (a->status / 100 == 2)
		return 1;
	/* 429 was tried again by then, as often as may be. */
	if ((registry_retry_may(a) && a->status != 429) || a->status == 413 ||
	    a->status == 416)
		return 0;
	s->refused = !s->any && refuses_parts(a);
	/* A part that was sent twice, since a kept connection was closed. */
	if (!s->refused && (a->status == 404 || a->status == 410))
		return 0;
	return registry_refusal(r, "upload in parts", a, e);
}

/* Once; *tried of those that came to nothing. */
static int
put_once(struct registry *r, struct registry_stream *s, const void *data,
    size_t len, unsigned *tried, struct err *e)
{
	AUTO(http_answer_clear) struct http_answer a = {.size = -1};
	bool answered = patch(r, s, data, len, &a, e) == 0;
	uint64_t before = s->have;
	struct err why;
	bool too_much;
	int taken = judge(r, s, answered, &a, e);

	if (taken < 0)
		return -1;
	if (taken > 0) {
		s->any = true;
		s->have += len;
		*tried = 0;
		/* How much it has, some say wrong; the digest will tell. */
		return a.header[HTTP_LOCATION] != NULL
		    ? registry_follow(r, s->url, &a, &s->url, e)
		    : 0;
	}
	if (e->kind == ERR_NONE)
		registry_refusal(r, "upload in parts", &a, e);
	if (++*tried >= r->tries)
		return -1;
	why = *e;
	err_clear(e);
	if (registry_retry_may(&a) && registry_pause(r, *tried - 1, &a, e) < 0)
		return -1;
	if (ask_for(r, s, before, before + len, e) < 0)
		return -1;
	if (s->have != before) {
		*tried = 0;
		return 0;
	}
	/* Some break off, and do not say that it was too much. */
	too_much = a.status == 413 || a.status == 416;
	if ((too_much || *tried > 1) && cut_smaller(s, len))
		return 0;
	if (!too_much)
		return 0;
	s->refused = !s->any && *tried == 1;
	*e = why;
	return -1;
}

int
registry_stream_put(struct registry *r, struct registry_stream *s,
    const void *data, size_t len, uint64_t at, struct err *e)
{
	unsigned tried = 0;

	while (s->have < at + len) {
		size_t left = (size_t)(at + len - s->have);
		size_t n = left < s->most ? left : s->most;

		/* No part but the last of all is smaller than it may be. */
		if (left - n < s->least)
			n = left;
		if (put_once(r, s, (const char *)data + (s->have - at), n,
			&tried, e) < 0)
			return -1;
	}
	return 0;
}

static int
close_upload(struct registry *r, const struct registry_stream *s,
    const struct digest *digest, struct http_answer *a, struct err *e)
{
	AUTO(own_freep) char *url = NULL;
	struct registry_call c = REGISTRY_CALL;
	char query[DIGEST_TEXT_SIZE + 8] = "digest=";

	digest_text(digest, query + strlen(query));
	if (http_add_query(s->url, query, &url, e) < 0) {
		a->fault = HTTP_REFUSED;
		return err_ctx(e, "%s: upload a blob", r->host);
	}
	c.method = "PUT";
	c.url = url;
	c.once = true;
	c.header[c.n_headers++] = BLOB_TYPE;
	return registry_call(r, &c, a, e);
}

/* 1: it is there; 0: perhaps; -1. */
static int
end_once(struct registry *r, const struct registry_stream *s,
    const struct digest *digest, struct http_answer *a, struct err *e)
{
	bool answered = close_upload(r, s, digest, a, e) == 0;

	if (!answered && (a->fault == HTTP_ANSWERED || !registry_retry_may(a)))
		return -1;
	if (answered && a->status / 100 == 2)
		return registry_check_digest(r, "upload a blob", a, digest, e) <
			0
		    ? -1
		    : 1;
	if (answered)
		registry_refusal(r, "upload a blob", a, e);
	if (!answered || a->status == 404 || a->status == 410)
		return 0;
	return registry_retry_may(a) && a->status != 429 ? 0 : -1;
}

int
registry_stream_end(struct registry *r, struct registry_stream *s,
    const struct digest *digest, uint64_t size, struct err *e)
{
	for (unsigned tried = 0;; tried++) {
		AUTO(http_answer_clear) struct http_answer a = {.size = -1};
		int rc = end_once(r, s, digest, &a, e);
		bool there;

		if (rc != 0)
			return rc < 0 ? -1 : 0;
		if (tried + 1 >= r->tries)
			return -1;
		err_clear(e);
		if (registry_retry_may(&a) &&
		    registry_pause(r, tried, &a, e) < 0)
			return -1;
		if (registry_has_blob(r, digest, size, &there, e) < 0)
			return -1;
		if (there)
			return 0;
		if (ask_for(r, s, size, size, e) < 0)
			return -1;
	}
}

void
registry_stream_give_up(struct registry *r, struct registry_stream *s)
{
	AUTO(http_answer_clear) struct http_answer a = {.size = -1};
	struct registry_call c = REGISTRY_CALL;
	struct err e = ERR_INIT;

	if (s->url == NULL)
		return;
	c.method = "DELETE";
	c.url = s->url;
	c.once = true;
	registry_call(r, &c, &a, &e);
	registry_stream_clear(s);
}

void
registry_stream_clear(struct registry_stream *s)
{
	own_freep(&s->url);
}
