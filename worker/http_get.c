#include "http_get.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include <curl/curl.h>

#include "err.h"
#include "http.h"
#include "monotime.h"
#include "own.h"

#define BUFFER_SIZE ((size_t)256 << 10)
#define REDIRECTS_MAX 5L
/* Bytes: of all headers of a try, and what may follow a body. */
#define HEADERS_MAX ((size_t)256 << 10)
/* Between tries: doubled each time; a server may ask for more. */
#define BACKOFF_MS 250
#define BACKOFF_MAX_MS 5000
/* How soon a cancelled wait ends. */
#define POLL_MS 200

enum outcome { GOT_BODY, NOT_THERE, TRY_AGAIN, GIVE_UP };

struct http_get {
	const atomic_bool *cancel;
	CURLM *multi;
	CURL *easy;
	bool active; /* easy is in multi */
	bool done;   /* the transfer has ended, with: */
	CURLcode code;
	bool paused;
	const char *url;
	bool unpack;
	uint64_t offset; /* bytes of the body handed out */
	int resumes;
	int64_t waited_ms;   /* since stall_bytes was last reached */
	uint64_t wait_bytes; /* what came meanwhile */
	size_t headers;	     /* bytes of this try's */
	size_t fill;
	uint8_t *buffer;
	char why[CURL_ERROR_SIZE];
};

/* Only counted: libcurl keeps them all, and trailers without an end. */
static size_t
take_header(char *data, size_t one, size_t len, void *arg)
{
	struct http_get *h = arg;

	(void)data;
	(void)one;
	h->headers += len;
	return h->headers > HEADERS_MAX ? 0 : len;
}

/* Takes all or nothing of what came. */
static size_t
take_body(char *data, size_t one, size_t len, void *arg)
{
	struct http_get *h = arg;

	if (len > BUFFER_SIZE - h->fill) {
		h->paused = true;
		return CURL_WRITEFUNC_PAUSE;
	}
	memcpy(h->buffer + h->fill, data, one * len);
	h->fill += len;
	h->wait_bytes += len;
	return len;
}

static int
curl_failed(struct err *e)
{
	return err_set(e, ERR_RETRY, 0, "libcurl cannot be set up");
}

static bool
set_options(struct http_get *h)
{
	const char *ca = getenv("NIX_SSL_CERT_FILE");

	if (ca == NULL || *ca == '\0')
		ca = getenv("SSL_CERT_FILE");
#define SET(option, value)                                                     \
	if (curl_easy_setopt(h->easy, option, value) != CURLE_OK)              \
	return false
	SET(CURLOPT_HEADERFUNCTION, take_header);
	SET(CURLOPT_HEADERDATA, h);
	SET(CURLOPT_WRITEFUNCTION, take_body);
	SET(CURLOPT_WRITEDATA, h);
	SET(CURLOPT_ERRORBUFFER, h->why);
	SET(CURLOPT_NOSIGNAL, 1L);
	SET(CURLOPT_FOLLOWLOCATION, 1L);
	SET(CURLOPT_MAXREDIRS, REDIRECTS_MAX);
	SET(CURLOPT_CONNECTTIMEOUT_MS, (long)HTTP_GET_CONNECT_MS);
	SET(CURLOPT_USERAGENT, "quarry/" QUARRY_VERSION);
	/* A paused HTTP/2 stream would be buffered by the megabyte. */
	SET(CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
	if (ca != NULL && *ca != '\0')
		SET(CURLOPT_CAINFO, ca);
#undef SET
	return true;
}

static void
start_library(void)
{
	curl_global_init(CURL_GLOBAL_DEFAULT);
}

int
http_get_new(const atomic_bool *cancel, struct http_get **out, struct err *e)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;
	AUTO(http_get_freep) struct http_get *h = NULL;

	pthread_once(&once, start_library);
	if ((h = calloc(1, sizeof(*h))) == NULL ||
	    (h->buffer = malloc(BUFFER_SIZE)) == NULL)
		return err_set(e, ERR_RETRY, errno, "HTTP");
	h->cancel = cancel;
	h->multi = curl_multi_init();
	h->easy = curl_easy_init();
	if (h->multi == NULL || h->easy == NULL || !set_options(h))
		return curl_failed(e);
	*out = STEAL(&h);
	return 0;
}

void
http_get_free(struct http_get *h)
{
	if (h == NULL)
		return;
	http_get_close(h);
	curl_easy_cleanup(h->easy);
	curl_multi_cleanup(h->multi);
	free(h->buffer);
	free(h);
}

void
http_get_freep(struct http_get **h)
{
	http_get_free(*h);
	*h = NULL;
}

void
http_get_close(struct http_get *h)
{
	if (h->active)
		curl_multi_remove_handle(h->multi, h->easy);
	h->active = false;
}

static int
check_cancel(const struct http_get *h, struct err *e)
{
	if (atomic_load_explicit(h->cancel, memory_order_relaxed))
		return err_set(e, ERR_RETRY, ECANCELED, "layer");
	return 0;
}

/* What the network has for us now, without waiting for it. */
static int
perform(struct http_get *h, struct err *e)
{
	const struct CURLMsg *m;
	int running, left;

	if (h->paused && h->fill == 0) {
		h->paused = false;
		if (curl_easy_pause(h->easy, CURLPAUSE_CONT) != CURLE_OK)
			return curl_failed(e);
	}
	if (curl_multi_perform(h->multi, &running) != CURLM_OK)
		return curl_failed(e);
	while ((m = curl_multi_info_read(h->multi, &left)) != NULL)
		if (m->msg == CURLMSG_DONE) {
			h->done = true;
			h->code = m->data.result;
		}
	return 0;
}

/* Waits for some of the body or its end; a server may not keep us for ever. */
static int
fill(struct http_get *h, struct err *e)
{
	/* What comes and is no body, for ever, is waited for as silence is. */
	int64_t before = h->waited_ms, start = monotime_ms();

	for (;;) {
		if (check_cancel(h, e) < 0 || perform(h, e) < 0)
			return -1;
		h->waited_ms = before + monotime_ms() - start;
		if (h->wait_bytes >= HTTP_GET_STALL_BYTES) {
			h->wait_bytes = 0;
			h->waited_ms = 0;
		}
		if (h->fill > 0 || h->done)
			return 0;
		if (h->waited_ms >= HTTP_GET_STALL_MS)
			return err_set(e, ERR_RETRY, 0,
			    "sent only %u bytes in %d s",
			    (unsigned)h->wait_bytes, HTTP_GET_STALL_MS / 1000);
		if (curl_multi_poll(h->multi, NULL, 0, POLL_MS, NULL) !=
		    CURLM_OK)
			return curl_failed(e);
	}
}

/* Why the transfer itself failed. */
static int
transfer_failed(const struct http_get *h, struct err *e)
{
	if (h->headers > HEADERS_MAX)
		return err_set(e, ERR_RETRY, 0, "its headers do not end");
	return err_set(e, ERR_RETRY, 0, "%.150s%s",
	    h->why[0] != '\0' ? h->why : curl_easy_strerror(h->code),
	    h->code == CURLE_SSL_CACERT_BADFILE ? ": install ca-certificates"
						: "");
}

/* A time-out was waiting enough: others are there to be asked. */
static bool
may_pass(CURLcode code)
{
	return code == CURLE_COULDNT_CONNECT ||
	    code == CURLE_COULDNT_RESOLVE_HOST ||
	    code == CURLE_COULDNT_RESOLVE_PROXY || code == CURLE_GOT_NOTHING ||
	    code == CURLE_SEND_ERROR || code == CURLE_RECV_ERROR;
}

/* The first bytes, or the end, are there. */
static enum outcome
judge(struct http_get *h, struct err *e)
{
	long status = 0;

	if (h->fill == 0 && h->code != CURLE_OK) {
		transfer_failed(h, e);
		return may_pass(h->code) ? TRY_AGAIN : GIVE_UP;
	}
	curl_easy_getinfo(h->easy, CURLINFO_RESPONSE_CODE, &status);
	if (status == 200)
		return GOT_BODY;
	/* Buckets that cannot be listed say 403 for what they do not have. */
	if (status == 403 || status == 404 || status == 410)
		return NOT_THERE;
	err_set(e, ERR_RETRY, 0, "HTTP status %ld", status);
	return status == 408 || status == 429 || status >= 500 ? TRY_AGAIN
							       : GIVE_UP;
}

/* Asks for the body from the offset on. */
static int
start(struct http_get *h, struct err *e)
{
	bool https = strncasecmp(h->url, "https:", 6) == 0;

	h->done = h->paused = false;
	h->code = CURLE_OK;
	h->fill = 0;
	h->headers = 0;
	h->waited_ms = 0;
	h->wait_bytes = 0;
	h->why[0] = '\0';
	if (curl_easy_setopt(h->easy, CURLOPT_URL, h->url) != CURLE_OK ||
	    curl_easy_setopt(h->easy, CURLOPT_NOPROXY,
		http_is_loopback(h->url) ? "*" : NULL) != CURLE_OK ||
	    curl_easy_setopt(h->easy, CURLOPT_RESUME_FROM_LARGE,
		(curl_off_t)h->offset) != CURLE_OK ||
	    curl_easy_setopt(h->easy, CURLOPT_PROTOCOLS_STR, "http,https") !=
		CURLE_OK ||
	    curl_easy_setopt(h->easy, CURLOPT_REDIR_PROTOCOLS_STR,
		https ? "https" : "http,https") != CURLE_OK ||
	    curl_easy_setopt(h->easy, CURLOPT_ACCEPT_ENCODING,
		h->unpack ? "" : NULL) != CURLE_OK ||
	    curl_multi_add_handle(h->multi, h->easy) != CURLM_OK)
		return curl_failed(e);
	h->active = true;
	return 0;
}

/* Waits before another try. */
static int
back_off(struct http_get *h, int tried, struct err *e)
{
	int64_t wait = (int64_t)BACKOFF_MS << tried, until;
	curl_off_t asked = 0;

	curl_easy_getinfo(h->easy, CURLINFO_RETRY_AFTER, &asked);
	if (asked > BACKOFF_MAX_MS / 1000)
		asked = BACKOFF_MAX_MS / 1000;
	if (wait < asked * 1000)
		wait = asked * 1000;
	for (until = monotime_ms() + wait; monotime_ms() < until;) {
		if (check_cancel(h, e) < 0)
			return -1;
		wait = until - monotime_ms();
		curl_multi_poll(h->multi, NULL, 0,
		    wait < POLL_MS ? (int)wait : POLL_MS, NULL);
	}
	return 0;
}

int
http_get_open(struct http_get *h, const char *url, bool unpack, bool *found,
    struct err *e)
{
	h->url = url;
	h->unpack = unpack;
	h->offset = 0;
	h->resumes = 0;
	for (int tried = 0;; tried++) {
		enum outcome outcome;
		struct err why = ERR_INIT;

		http_get_close(h);
		if (start(h, e) < 0 || fill(h, e) < 0)
			return -1;
		outcome = judge(h, &why);
		if (outcome == GOT_BODY || outcome == NOT_THERE) {
			*found = outcome == GOT_BODY;
			return 0;
		}
		if (outcome == GIVE_UP || tried + 1 == HTTP_GET_TRIES) {
			*e = why;
			return -1;
		}
		if (back_off(h, tried, e) < 0)
			return -1;
	}
}

/*
 * The connection broke: goes on where it did.  What is said if that cannot be
 * is why it broke.
 */
static int
resume(struct http_get *h, struct err *e)
{
	struct err why = ERR_INIT;
	long status = 0;

	transfer_failed(h, &why);
	while (!h->unpack &&
	    (h->code == CURLE_PARTIAL_FILE || may_pass(h->code)) &&
	    h->resumes < HTTP_GET_RESUMES) {
		if (back_off(h, h->resumes++ / 2, e) < 0)
			return -1;
		http_get_close(h);
		if (start(h, e) < 0 || fill(h, e) < 0)
			return -1;
		curl_easy_getinfo(h->easy, CURLINFO_RESPONSE_CODE, &status);
		if (h->fill > 0 && status == 206)
			return 0;
	}
	*e = why;
	return -1;
}

int
http_get_read(
    struct http_get *h, const uint8_t **data, size_t *len, struct err *e)
{
	if (h->fill == 0 && fill(h, e) < 0)
		return -1;
	if (h->fill == 0 && h->code != CURLE_OK && resume(h, e) < 0)
		return -1;
	*data = h->buffer;
	*len = h->fill;
	h->offset += h->fill;
	h->fill = 0;
	return 0;
}
