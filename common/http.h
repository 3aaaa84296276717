/*
 * One HTTP exchange after the other, each with an answer small enough for
 * memory, or for a file: what talking to a registry is made of.  Redirects are
 * not followed (the caller knows which may be), cookies are not kept, proxies
 * are the environment's (http_proxy, HTTPS_PROXY, NO_PROXY), and never stand
 * before this machine itself.  One thread each; connections are kept in
 * between.
 */
#ifndef HTTP_H
#define HTTP_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct err;
struct http;
struct http_tls;
struct sha256;

#define HTTP_CONNECT_MS 10000
/* So long without a byte either way, and the exchange has failed. */
#define HTTP_STALL_S 60
/*
 * Bytes: of a header's value, of all headers, of a body, and of one that says
 * what is wrong (its rest is left).
 */
#define HTTP_HEADER_MAX ((size_t)16 << 10)
#define HTTP_HEADERS_MAX ((size_t)256 << 10)
#define HTTP_ANSWER_MAX ((size_t)8 << 20)
#define HTTP_REFUSAL_MAX ((size_t)16 << 10)
#define HTTP_URL_MAX ((size_t)16 << 10)

struct http_options {
	const struct http_tls *tls; /* borrowed */
	const atomic_bool *cancel;  /* borrowed, or NULL: ends exchanges soon */
	long stall_s;		    /* HTTP_STALL_S */
};

/*
 * Where the body of a 200 or 206 goes as it comes.  What broke off goes on:
 * the next request with the same file asks for the rest alone, and begins anew
 * where the server does not know how.
 */
struct http_file {
	int fd;
	uint64_t size;	     /* of the whole; more is refused */
	uint64_t got;	     /* bytes that are there, from the first on */
	struct sha256 *hash; /* of these; borrowed */
};

struct http_request {
	const char *method;	   /* "GET", "HEAD", "PUT", ... */
	const char *url;	   /* http or https */
	const char *const *header; /* "Name: value" */
	size_t n_headers;
	const void *body; /* or NULL */
	uint64_t size;	  /* of body, or of what is sent of fd */
	int fd;		  /* -1: none; read with pread from offset on */
	uint64_t offset;
	/* A name that leads to a private address leads nowhere. */
	bool public_only;
	struct http_file *file; /* of GET; or NULL: to memory, */
	size_t answer_max;	/* so many bytes; 0: HTTP_ANSWER_MAX */
};

enum http_header {
	HTTP_LOCATION,
	HTTP_RANGE,
	HTTP_CONTENT_RANGE,
	HTTP_DIGEST, /* Docker-Content-Digest */
	HTTP_CONTENT_TYPE,
	HTTP_CHALLENGE, /* WWW-Authenticate; several: a line each */
	HTTP_CHUNK_MIN, /* OCI-Chunk-Min-Length */
	HTTP_RETRY_AFTER,
	HTTP_HEADERS
};

/* Why there was no answer. */
enum http_fault {
	HTTP_ANSWERED,
	HTTP_NO_CONNECTION, /* nothing was sent */
	HTTP_NO_TLS,	    /* the other side speaks no TLS that we do */
	HTTP_BAD_PEER,	    /* its certificate is not what we trust */
	HTTP_BROKEN,	    /* sent, perhaps in part; what came of it is open */
	HTTP_REFUSED,	    /* by us: address, size, URL */
	HTTP_LOCAL	    /* our file or memory, or cancelled */
};

struct http_answer {
	enum http_fault fault;
	long status;
	char *header[HTTP_HEADERS]; /* NULL: it had none */
	char *body;		    /* len bytes, and a 0 */
	size_t len;
	int64_t size;	   /* Content-Length, of HEAD too; -1: not said */
	bool private_peer; /* the address is no public one */
};

/*
 * folder: *.crt are authorities that are trusted besides the system's,
 * NAME.cert and NAME.key a client's certificate; NULL: none.  verify false:
 * certificates are not looked at.  ERR_USAGE.
 */
int http_tls_new(
    const char *folder, bool verify, struct http_tls **out, struct err *e);
/* The same with authorities as PEM in place of a folder's. */
int http_tls_new_pem(
    const char *pem, bool verify, struct http_tls **out, struct err *e);
/* What is trusted besides the system's, as PEM, or "": t's. */
const char *http_tls_added(const struct http_tls *t);
/* Whether it shows a certificate of ours, for which it needs the key. */
bool http_tls_shows(const struct http_tls *t);
bool http_tls_verifies(const struct http_tls *t);
void http_tls_free(struct http_tls *t);
void http_tls_freep(struct http_tls **t);

int http_new(
    const struct http_options *options, struct http **out, struct err *e);
void http_free(struct http *h);
void http_freep(struct http **h);

/*
 * 0: there is an answer, whatever its status; -1: none, and fault says why
 * (ERR_RETRY; e names host and reason, never the URL's query).  Either way
 * http_answer_clear follows.
 */
int http_do(struct http *h, const struct http_request *r,
    struct http_answer *out, struct err *e);
void http_answer_clear(struct http_answer *a);

/*
 * A reference in an answer to the request for base, made absolute; the
 * caller's.  ERR_RETRY: it is no URL of http or https, or leads from https to
 * http.
 */
int http_resolve(
    const char *base, const char *reference, char **out, struct err *e);
/* url with "name=value" more in its query; value needs no escape. */
int http_add_query(
    const char *url, const char *query, char **out, struct err *e);
/* Both lead to one scheme, host and port. */
bool http_same_origin(const char *a, const char *b);
/* The host without port and brackets, in lower case; false: too long. */
bool http_host(const char *url, char *out, size_t size);
/* The URL for people: without user, password, query. */
void http_shown(const char *url, char *out, size_t size);
/* As RFC 3986 has it in a query; the caller's. */
int http_escape(const char *text, char **out, struct err *e);

/* The host is this machine by its name alone: no proxy belongs before it. */
bool http_is_loopback(const char *url);

/* An address of this machine, a private network or a link. */
bool http_is_private(const char *address);

#endif
