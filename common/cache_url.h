/*
 * Where a Nix binary cache is: an http, https or file URL as a command line
 * names it, and the URLs of what it holds.  A cache is where its owner says it
 * is: what it says of itself leads to no other place.  Pure; a struct
 * cache_url borrows the text that it was parsed from.
 */
#ifndef CACHE_URL_H
#define CACHE_URL_H

#include <stddef.h>

struct err;

/* The longest URL that is taken, or made, its NUL included. */
#define CACHE_URL_MAX 2048

/* Caches that a worker may be given. */
#define CACHE_URLS_MAX 16

enum cache_scheme { CACHE_HTTP, CACHE_HTTPS, CACHE_FILE };

struct cache_url {
	enum cache_scheme scheme;
	const char *text; /* need not end after len bytes */
	size_t len;	  /* without '/' at the end */
	const char *host; /* of http and https */
	size_t host_len;
	unsigned port;
	const char *path; /* file: of the folder, within text */
};

/*
 * SCHEME://HOST[:PORT][/PATH] or file:///PATH, with neither user, query nor
 * fragment.  ERR_USAGE says what is wrong; a password is not repeated.
 */
int cache_url_parse(const char *text, struct cache_url *out, struct err *e);

/*
 * The URL of what the cache itself calls url: relative to the cache, or
 * absolute with the same scheme, host and port (of files: in its folder).
 * ERR_RETRY says why it is neither.
 */
int cache_url_resolve(const struct cache_url *cache, const char *url,
    char out[static CACHE_URL_MAX], struct err *e);

/* The file that a resolved URL of a file cache names. */
const char *cache_url_file(const char *resolved);

#endif
