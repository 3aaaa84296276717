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

#define ACCEPT                                                                 \
	"Accept: application/vnd.oci.image.manifest.v1+json, "                 \
	"application/vnd.oci.image.index.v1+json, "                            \
	"application/vnd.docker.distribution.manifest.v2+json, "               \
	"application/vnd.docker.distribution.manifest.list.v2+json"
/* A connection that breaks after so many bytes was worth it. */
#define PROGRESS ((uint64_t)1 << 20)

void
registry_manifest_clear(struct registry_manifest *m)
{
	own_freep(&m->data);
	memset(m, 0, sizeof(*m));
}

/* The bytes are those that were named, or that the registry says they are. */
static int
check_manifest(const struct registry *r, const char *reference,
    const struct http_answer *a, const struct digest *is, struct err *e)
{
	const char *said = a->header[HTTP_DIGEST];
	const char *want = strchr(reference, ':') != NULL ? reference : said;
	char text[DIGEST_TEXT_SIZE];

	digest_text(is, text);
	/* Another algorithm says nothing about this one. */
	if (want == NULL || strncmp(want, "sha256:", 7) != 0 ||
	    strcmp(want, text) == 0)
		return 0;
	return err_set(e, ERR_FATAL, 0,
	    "%s: manifest %.140s: it has sent %s in place of %.80s", r->host,
	    reference, text, want);
}

int
registry_has_manifest(struct registry *r, const char *tag,
    const struct digest *digest, bool *there, struct err *e)
{
	AUTO(own_freep) char *url = NULL;
	AUTO(http_answer_clear) struct http_answer a = {.size = -1};
	struct registry_call c = REGISTRY_CALL;
	char rest[256], text[DIGEST_TEXT_SIZE];

	snprintf(rest, sizeof(rest), "manifests/%.160s", tag);
	if (registry_url(r, rest, &url, e) < 0)
		return -1;
	c.method = "HEAD";
	c.url = url;
	c.header[c.n_headers++] = ACCEPT;
	if (registry_call(r, &c, &a, e) < 0)
		return err_ctx(e, "manifest %.140s", tag);
	digest_text(digest, text);
	*there = a.status == 200 && a.header[HTTP_DIGEST] != NULL &&
	    strcmp(a.header[HTTP_DIGEST], text) == 0;
	return 0;
}

int
registry_get_manifest(struct registry *r, const char *reference,
    struct registry_manifest *out, struct err *e)
{
	AUTO(own_freep) char *url = NULL;
	AUTO(http_answer_clear) struct http_answer a = {.size = -1};
	struct registry_call c = REGISTRY_CALL;
	const char *type;
	char rest[256];

	memset(out, 0, sizeof(*out));
	snprintf(rest, sizeof(rest), "manifests/%.160s", reference);
	if (registry_url(r, rest, &url, e) < 0)
		return -1;
	c.method = "GET";
	c.url = url;
	c.header[c.n_headers++] = ACCEPT;
	c.answer_max = REGISTRY_MANIFEST_MAX;
	if (registry_call(r, &c, &a, e) < 0)
		return err_ctx(e, "manifest %.140s", reference);
	if (a.status == 404)
		return 0;
	if (a.status != 200) {
		snprintf(rest, sizeof(rest), "manifest %.140s", reference);
		return registry_refusal(r, rest, &a, e);
	}
	digest_of(a.body, a.len, &out->digest);
	if (check_manifest(r, reference, &a, &out->digest, e) < 0)
		return -1;
	if ((type = a.header[HTTP_CONTENT_TYPE]) != NULL)
		snprintf(out->media_type, sizeof(out->media_type), "%.*s",
		    (int)strcspn(type, "; \t\n"), type);
	out->len = a.len;
	out->data = STEAL(&a.body);
	return 0;
}

static bool
is_redirect(long status)
{
	return (status >= 301 && status <= 303) || status == 307 ||
	    status == 308;
}

/* A call for a blob, and where that leads to. */
static int
follow(struct registry *r, struct registry_call c, struct http_answer *a,
    struct err *e)
{
	AUTO(own_freep) char *at = NULL;

	for (int hops = 0; hops <= REGISTRY_REDIRECTS_MAX; hops++) {
		char *next = NULL;

		http_answer_clear(a);
		if (registry_call(r, &c, a, e) < 0)
			return -1;
		if (!is_redirect(a->status))
			return 0;
		if (a->header[HTTP_LOCATION] == NULL)
			return err_set(e, ERR_FATAL, 0,
			    "%s: it does not say where the blob is", r->host);
		if (http_resolve(c.url, a->header[HTTP_LOCATION], &next, e) <
		    0) {
			e->kind = ERR_FATAL;
			return err_ctx(e, "%s: sends us elsewhere", r->host);
		}
		free(at);
		c.url = at = next;
	}
	return err_set(e, ERR_FATAL, 0,
	    "%s: it sends us elsewhere, more than %d times", r->host,
	    REGISTRY_REDIRECTS_MAX);
}

int
registry_find_blob(struct registry *r, const struct digest *digest,
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
	if (follow(r, c, &a, e) < 0)
		return -1;
	*there = a.status == 200 && a.size >= 0 && (uint64_t)a.size == size;
	if (a.status != 200 && a.status != 404)
		return registry_refusal(r, "look for a blob", &a, e);
	return 0;
}

/* Sets e.  0: trying again may help; -1: it will not. */
static int
judge(struct registry *r, const struct http_file *file,
    const struct http_answer *a, struct err *e)
{
	bool came = a->status == 200 || a->status == 206;

	if (e->kind != ERR_NONE)
		return registry_retry_may(a) ? 0 : -1;
	if (!came) {
		registry_refusal(r, "get a blob", a, e);
		return registry_retry_may(a) ? 0 : -1;
	}
	if (a->status == 200 && a->size >= 0 && (uint64_t)a->size != file->size)
		return err_set(e, ERR_FATAL, 0,
		    "%s: its blob has %" PRId64 " bytes, not %" PRIu64, r->host,
		    a->size, file->size);
	err_set(e, ERR_FATAL, 0,
	    "%s: its blob ends after %" PRIu64 " of %" PRIu64 " bytes", r->host,
	    file->got, file->size);
	/* Some give less than the rest that they were asked for. */
	return a->status == 206 ? 0 : -1;
}

static int
get(struct registry *r, const char *url, struct http_file *file, struct err *e)
{
	AUTO(http_answer_clear) struct http_answer a = {.size = -1};
	struct registry_call c = REGISTRY_CALL;
	uint64_t before = 0;

	c.method = "GET";
	c.url = url;
	c.file = file;
	c.once = true; /* a link that was given may have ended: from the top */

	for (unsigned tried = 0; file->got < file->size;) {
		err_clear(e);
		if (follow(r, c, &a, e) == 0 &&
		    (a.status == 200 || a.status == 206) &&
		    file->got == file->size)
			return 0;
		if (judge(r, file, &a, e) < 0)
			return -1;
		tried = file->got >= before + PROGRESS ? 1 : tried + 1;
		if (file->got > before)
			before = file->got;
		if (tried >= r->tries)
			return -1;
		err_clear(e);
		if (registry_pause(r, tried - 1, &a, e) < 0)
			return -1;
	}
	return 0;
}

int
registry_get_blob(struct registry *r, const struct digest *digest,
    uint64_t size, int fd, struct err *e)
{
	AUTO(own_freep) char *url = NULL;
	AUTO(sha256_freep) struct sha256 *hash = NULL;
	struct http_file file = {.fd = fd, .size = size};
	char rest[DIGEST_TEXT_SIZE + 8] = "blobs/", is[DIGEST_TEXT_SIZE];
	struct digest found;

	digest_text(digest, rest + strlen(rest));
	if (registry_url(r, rest, &url, e) < 0 || sha256_new(&hash, e) < 0)
		return -1;
	sha256_init(hash);
	file.hash = hash;
	if (get(r, url, &file, e) < 0)
		return err_ctx(e, "%s", rest + strlen("blobs/"));
	sha256_final(hash, &found);
	if (digest_equal(&found, digest))
		return 0;
	digest_text(&found, is);
	return err_set(e, ERR_FATAL, 0,
	    "%s: it has sent a blob of %s in place of %s", r->host, is,
	    rest + strlen("blobs/"));
}
