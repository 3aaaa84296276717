#include "http.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include <curl/curl.h>

#include "digest.h"
#include "err.h"
#include "http_tls.h"
#include "own.h"

struct http {
	struct http_options options;
	CURL *easy;
	char why[CURL_ERROR_SIZE];

	/* Of the exchange that is on. */
	const struct http_request *request;
	struct http_answer *answer;
	uint64_t sent;	/* of the body */
	int sys;	/* what failed here: errno */
	size_t headers; /* bytes of its headers, and what follows its body */
	bool too_large, no_memory, refused, cancelled;
	bool enough;	/* of a refusal's body */
	bool begun;	/* to write into the request's file */
	bool misplaced; /* another part of it came than was asked for */
};

static const char *const names[HTTP_HEADERS] = {
    [HTTP_LOCATION] = "location",
    [HTTP_RANGE] = "range",
    [HTTP_CONTENT_RANGE] = "content-range",
    [HTTP_DIGEST] = "docker-content-digest",
    [HTTP_CONTENT_TYPE] = "content-type",
    [HTTP_CHALLENGE] = "www-authenticate",
    [HTTP_CHUNK_MIN] = "oci-chunk-min-length",
    [HTTP_RETRY_AFTER] = "retry-after",
};

static void
forget_headers(struct http_answer *a)
{
	for (size_t i = 0; i < HTTP_HEADERS; i++)
		own_freep(&a->header[i]);
}

/* A value once more makes another line of the same. */
static void
keep_header(struct http *h, size_t which, const char *value, size_t len)
{
	char **slot = &h->answer->header[which];
	char *joined = NULL;
	bool more = *slot != NULL;

	if (len > HTTP_HEADER_MAX ||
	    (more && strlen(*slot) + len > HTTP_HEADER_MAX)) {
		h->too_large = true;
		return;
	}
	if (asprintf(&joined, "%s%s%.*s", more ? *slot : "", more ? "\n" : "",
		(int)len, value) < 0) {
		h->no_memory = true;
		return;
	}
	free(*slot);
	*slot = joined;
}

static size_t
take_header(char *data, size_t one, size_t len, void *arg)
{
	struct http *h = arg;
	const char *colon;

	(void)one;
	/* libcurl keeps them all, and what follows a body need not end. */
	if ((h->headers += len) > HTTP_HEADERS_MAX) {
		h->too_large = true;
		return 0;
	}
	/* The answer that counts is the last one, after 100 or a proxy's. */
	if (len > 5 && strncasecmp(data, "HTTP/", 5) == 0) {
		forget_headers(h->answer);
		return len;
	}
	if ((colon = memchr(data, ':', len)) == NULL)
		return len;
	for (size_t i = 0; i < HTTP_HEADERS; i++) {
		const char *value = colon + 1, *end = data + len;

		if (strlen(names[i]) != (size_t)(colon - data) ||
		    strncasecmp(names[i], data, strlen(names[i])) != 0)
			continue;
		while (value < end && isspace((unsigned char)*value))
			value++;
		while (end > value && isspace((unsigned char)end[-1]))
			end--;
		if (memchr(value, '\0', (size_t)(end - value)) == NULL)
			keep_header(h, i, value, (size_t)(end - value));
	}
	return h->too_large || h->no_memory ? 0 : len;
}

/* "bytes FROM-..." is where the file goes on. */
static bool
goes_on(const struct http *h)
{
	const char *said = h->answer->header[HTTP_CONTENT_RANGE];
	char want[40];

	snprintf(
	    want, sizeof(want), "bytes %" PRIu64 "-", h->request->file->got);
	return said != NULL && strncasecmp(said, want, strlen(want)) == 0;
}

static size_t
take_file(struct http *h, long status, const char *data, size_t len)
{
	struct http_file *f = h->request->file;

	if (!h->begun && status == 200) {
		f->got = 0;
		sha256_init(f->hash);
	} else if (!h->begun && !goes_on(h)) {
		h->misplaced = true;
		return 0;
	}
	h->begun = true;
	if (len > f->size - f->got) {
		h->too_large = true;
		return 0;
	}
	for (size_t done = 0; done < len;) {
		ssize_t n = pwrite(
		    f->fd, data + done, len - done, (off_t)(f->got + done));

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0) {
			h->sys = n < 0 ? errno : EIO;
			return 0;
		}
		done += (size_t)n;
	}
	sha256_update(f->hash, data, len);
	f->got += len;
	return len;
}

/* Of a refusal only the beginning is of interest. */
static size_t
take_body(char *data, size_t one, size_t len, void *arg)
{
	struct http *h = arg;
	struct http_answer *a = h->answer;
	size_t room, take = len;
	long status = 0;
	char *more;

	(void)one;
	curl_easy_getinfo(h->easy, CURLINFO_RESPONSE_CODE, &status);
	if (h->request->file != NULL && (status == 200 || status == 206))
		return take_file(h, status, data, len);
	room = status >= 300		  ? HTTP_REFUSAL_MAX
	    : h->request->answer_max != 0 ? h->request->answer_max
					  : HTTP_ANSWER_MAX;
	room -= a->len;
	if (len > room && status < 300) {
		h->too_large = true;
		return 0;
	}
	if (take > room)
		take = room;
	if (room == 0) {
		h->enough = true; /* it may have no end */
		return 0;
	}
	if ((more = realloc(a->body, a->len + take + 1)) == NULL) {
		h->no_memory = true;
		return 0;
	}
	a->body = more;
	memcpy(a->body + a->len, data, take);
	a->len += take;
	a->body[a->len] = '\0';
	return len;
}

static size_t
give_body(char *out, size_t one, size_t room, void *arg)
{
	struct http *h = arg;
	const struct http_request *r = h->request;
	size_t n = room * one;
	ssize_t got;

	if (n > r->size - h->sent)
		n = (size_t)(r->size - h->sent);
	if (r->fd < 0) {
		memcpy(out, (const char *)r->body + h->sent, n);
	} else if (n > 0) {
		got = pread(r->fd, out, n, (off_t)(r->offset + h->sent));
		if (got <= 0) {
			h->sys = got < 0 ? errno : ENODATA;
			return CURL_READFUNC_ABORT;
		}
		n = (size_t)got;
	}
	h->sent += n;
	return n;
}

/* libcurl sends it again, where a kept connection turns out to be closed. */
static int
rewind_body(void *arg, curl_off_t offset, int origin)
{
	struct http *h = arg;

	if (origin != SEEK_SET || offset < 0 ||
	    (uint64_t)offset > h->request->size)
		return CURL_SEEKFUNC_FAIL;
	h->sent = (uint64_t)offset;
	return CURL_SEEKFUNC_OK;
}

static int
look_around(void *arg, curl_off_t a, curl_off_t b, curl_off_t c, curl_off_t d)
{
	struct http *h = arg;

	(void)a, (void)b, (void)c, (void)d;
	h->cancelled = h->options.cancel != NULL &&
	    atomic_load_explicit(h->options.cancel, memory_order_relaxed);
	return h->cancelled;
}

/* Connected, and nothing is sent yet. */
static int
check_peer(void *arg, char *peer, char *own, int peer_port, int own_port)
{
	struct http *h = arg;

	(void)own, (void)peer_port, (void)own_port;
	h->answer->private_peer = http_is_private(peer);
	h->refused = h->request->public_only && h->answer->private_peer;
	return h->refused ? CURL_PREREQFUNC_ABORT : CURL_PREREQFUNC_OK;
}

static bool
set_tls(struct http *h)
{
	const struct http_tls *t = h->options.tls;
	struct curl_blob blob = {.flags = CURL_BLOB_NOCOPY};

#define SET(option, value)                                                     \
	if (curl_easy_setopt(h->easy, option, value) != CURLE_OK)              \
	return false
	SET(CURLOPT_SSL_VERIFYPEER, t->verify ? 1L : 0L);
	SET(CURLOPT_SSL_VERIFYHOST, t->verify ? 2L : 0L);
	if (t->authorities != NULL) {
		blob.data = t->authorities;
		blob.len = t->len;
		SET(CURLOPT_CAINFO_BLOB, &blob);
	} else
		SET(CURLOPT_CAINFO, NULL); /* one that is lost is an error */
	if (t->client_cert != NULL) {
		SET(CURLOPT_SSLCERT, t->client_cert);
		SET(CURLOPT_SSLKEY, t->client_key);
	}
	return true;
}

static bool
set_options(struct http *h)
{
	SET(CURLOPT_ERRORBUFFER, h->why);
	SET(CURLOPT_NOSIGNAL, 1L);
	SET(CURLOPT_FOLLOWLOCATION, 0L);
	SET(CURLOPT_CONNECTTIMEOUT_MS, (long)HTTP_CONNECT_MS);
	SET(CURLOPT_LOW_SPEED_LIMIT, 1L);
	SET(CURLOPT_LOW_SPEED_TIME, h->options.stall_s);
	SET(CURLOPT_USERAGENT, "quarry/" QUARRY_VERSION);
	SET(CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
	SET(CURLOPT_PROTOCOLS_STR, "http,https");
	SET(CURLOPT_UPLOAD_BUFFERSIZE, 262144L);
	SET(CURLOPT_NETRC, (long)CURL_NETRC_IGNORED);
	SET(CURLOPT_HEADERFUNCTION, take_header);
	SET(CURLOPT_HEADERDATA, h);
	SET(CURLOPT_WRITEFUNCTION, take_body);
	SET(CURLOPT_WRITEDATA, h);
	SET(CURLOPT_READFUNCTION, give_body);
	SET(CURLOPT_READDATA, h);
	SET(CURLOPT_SEEKFUNCTION, rewind_body);
	SET(CURLOPT_SEEKDATA, h);
	SET(CURLOPT_NOPROGRESS, 0L);
	SET(CURLOPT_XFERINFOFUNCTION, look_around);
	SET(CURLOPT_XFERINFODATA, h);
	SET(CURLOPT_PREREQFUNCTION, check_peer);
	SET(CURLOPT_PREREQDATA, h);
#undef SET
	return set_tls(h);
}

static void
start_library(void)
{
	curl_global_init(CURL_GLOBAL_DEFAULT);
}

int
http_new(const struct http_options *options, struct http **out, struct err *e)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;
	AUTO(http_freep) struct http *h = NULL;

	pthread_once(&once, start_library);
	if ((h = calloc(1, sizeof(*h))) == NULL ||
	    (h->easy = curl_easy_init()) == NULL)
		return err_set(e, ERR_RETRY, ENOMEM, "HTTP");
	h->options = *options;
	if (h->options.stall_s <= 0)
		h->options.stall_s = HTTP_STALL_S;
	*out = STEAL(&h);
	return 0;
}

void
http_free(struct http *h)
{
	if (h == NULL)
		return;
	curl_easy_cleanup(h->easy);
	free(h);
}

void
http_freep(struct http **h)
{
	http_free(*h);
	*h = NULL;
}

static void
free_list(struct curl_slist **list)
{
	curl_slist_free_all(*list);
	*list = NULL;
}

static bool
add_line(struct curl_slist **list, const char *line)
{
	struct curl_slist *more = curl_slist_append(*list, line);

	if (more != NULL)
		*list = more;
	return more != NULL;
}

static bool
set_request(struct http *h, struct curl_slist **headers)
{
	const struct http_request *r = h->request;
	bool head = strcmp(r->method, "HEAD") == 0;
	bool sends = strcmp(r->method, "GET") != 0 && !head;
	char range[48];

	curl_easy_reset(h->easy);
	if (!set_options(h))
		return false;
	/* No waiting for a 100, and no form: what is sent is bytes. */
	if (!add_line(headers, "Expect:"))
		return false;
	for (size_t i = 0; i < r->n_headers; i++)
		if (!add_line(headers, r->header[i]))
			return false;
	if (r->file != NULL && r->file->got > 0) {
		snprintf(range, sizeof(range), "Range: bytes=%" PRIu64 "-",
		    r->file->got);
		if (!add_line(headers, range))
			return false;
	}
#define SET(option, value)                                                     \
	if (curl_easy_setopt(h->easy, option, value) != CURLE_OK)              \
	return false
	SET(CURLOPT_URL, r->url);
	if (http_is_loopback(r->url))
		SET(CURLOPT_NOPROXY, "*");
	SET(CURLOPT_HTTPHEADER, *headers);
	if (head)
		SET(CURLOPT_NOBODY, 1L);
	if (sends) {
		SET(CURLOPT_UPLOAD, 1L);
		SET(CURLOPT_INFILESIZE_LARGE, (curl_off_t)r->size);
		SET(CURLOPT_CUSTOMREQUEST, r->method);
	}
#undef SET
	return true;
}

static enum http_fault
fault_of(const struct http *h, CURLcode code)
{
	if (h->sys != 0 || h->no_memory || h->cancelled)
		return HTTP_LOCAL;
	if (h->refused || h->too_large || h->misplaced)
		return HTTP_REFUSED;
	/* Only some codes mean that the other side has seen nothing. */
	if (code == CURLE_COULDNT_CONNECT ||
	    code == CURLE_COULDNT_RESOLVE_HOST ||
	    code == CURLE_COULDNT_RESOLVE_PROXY)
		return HTTP_NO_CONNECTION;
	if (code == CURLE_SSL_CONNECT_ERROR)
		return HTTP_NO_TLS;
	if (code == CURLE_PEER_FAILED_VERIFICATION ||
	    code == CURLE_SSL_CACERT_BADFILE || code == CURLE_SSL_CERTPROBLEM)
		return HTTP_BAD_PEER;
	if (code == CURLE_URL_MALFORMAT || code == CURLE_UNSUPPORTED_PROTOCOL)
		return HTTP_REFUSED;
	if (code == CURLE_OUT_OF_MEMORY)
		return HTTP_LOCAL;
	return HTTP_BROKEN;
}

static int
no_answer(struct http *h, CURLcode code, struct err *e)
{
	char host[300];

	h->answer->fault = fault_of(h, code);
	if (!http_host(h->request->url, host, sizeof(host)))
		snprintf(host, sizeof(host), "registry");
	if (h->cancelled)
		return err_set(e, ERR_RETRY, ECANCELED, "%s", host);
	if (h->sys != 0)
		return err_set(e, ERR_RETRY, h->sys,
		    h->request->file != NULL ? "write what comes from %s"
					     : "read what to send to %s",
		    host);
	if (h->no_memory)
		return err_set(e, ERR_RETRY, ENOMEM, "%s", host);
	if (h->refused)
		return err_set(e, ERR_RETRY, 0,
		    "%s: a private address, where a public one sent us", host);
	if (h->too_large)
		return err_set(
		    e, ERR_RETRY, 0, "%s: its answer is too large", host);
	if (h->misplaced)
		return err_set(e, ERR_RETRY, 0,
		    "%s: it sends another part than was asked for", host);
	if (code == CURLE_OPERATION_TIMEDOUT)
		return err_set(e, ERR_RETRY, ETIMEDOUT, "%s", host);
	return err_set(e, ERR_RETRY, 0, "%s: %.200s%s", host,
	    h->why[0] != '\0' ? h->why : curl_easy_strerror(code),
	    code == CURLE_PEER_FAILED_VERIFICATION &&
		    h->options.tls->authorities == NULL
		? ": no authorities are known here: install ca-certificates"
		: "");
}

int
http_do(struct http *h, const struct http_request *r, struct http_answer *out,
    struct err *e)
{
	AUTO(free_list) struct curl_slist *headers = NULL;
	curl_off_t size = -1;
	CURLcode code;

	*out = (struct http_answer){.size = -1};
	h->request = r;
	h->answer = out;
	h->sent = 0;
	h->sys = 0;
	h->headers = 0;
	h->too_large = h->no_memory = h->refused = h->cancelled = false;
	h->enough = false;
	h->begun = h->misplaced = false;
	h->why[0] = '\0';
	code = set_request(h, &headers) ? curl_easy_perform(h->easy)
					: CURLE_OUT_OF_MEMORY;
	curl_easy_getinfo(h->easy, CURLINFO_RESPONSE_CODE, &out->status);
	if (code == CURLE_OK && out->body == NULL &&
	    (out->body = calloc(1, 1)) == NULL)
		code = CURLE_OUT_OF_MEMORY;
	/*
	 * An answer before all was sent is an answer: a refusal, or what was
	 * there already.
	 */
	if (code != CURLE_OK && !h->enough &&
	    (code != CURLE_SEND_ERROR || out->status < 400))
		return no_answer(h, code, e);
	if (curl_easy_getinfo(
		h->easy, CURLINFO_CONTENT_LENGTH_DOWNLOAD_T, &size) == CURLE_OK)
		out->size = size;
	return 0;
}

void
http_answer_clear(struct http_answer *a)
{
	forget_headers(a);
	own_freep(&a->body);
	*a = (struct http_answer){.size = -1};
}
