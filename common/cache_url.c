#include "cache_url.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "err.h"

static const struct {
	const char *prefix;
	unsigned port;
} schemes[] = {
    [CACHE_HTTP] = {"http://", 80},
    [CACHE_HTTPS] = {"https://", 443},
    [CACHE_FILE] = {"file://", 0},
};

#define N_SCHEMES (sizeof(schemes) / sizeof(schemes[0]))

static bool
is_host_char(char c)
{
	return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') ||
	    (c >= 'A' && c <= 'Z') || c == '.' || c == '-' || c == '_';
}

/* What may stand in a path, by RFC 3986 and what file names have. */
static bool
is_path_char(enum cache_scheme scheme, char c)
{
	unsigned char u = (unsigned char)c;

	if (scheme == CACHE_FILE)
		return u >= 0x20 && u != 0x7f && strchr("?#%", c) == NULL;
	return u > 0x20 && u < 0x7f && strchr("\"<>\\^`{|}#?", c) == NULL;
}

/* HOST[:PORT] of len bytes. */
static bool
parse_host(const char *s, size_t len, struct cache_url *u)
{
	size_t i = 0;

	u->host = s;
	if (len > 0 && *s == '[') {
		while (i < len && s[i] != ']')
			if (strchr("[0123456789abcdefABCDEF:.", s[i++]) == NULL)
				return false;
		if (i++ == len)
			return false;
	} else {
		while (i < len && is_host_char(s[i]))
			i++;
	}
	u->host_len = i;
	u->port = schemes[u->scheme].port;
	if (i == 0 || i == len)
		return i != 0;
	if (s[i++] != ':' || i == len || len - i > 5)
		return false;
	for (u->port = 0; i < len; i++) {
		if (s[i] < '0' || s[i] > '9')
			return false;
		u->port = u->port * 10 + (unsigned)(s[i] - '0');
	}
	return u->port >= 1 && u->port <= 65535;
}

/* The part of a URL up to its path; *rest is what follows. */
static bool
parse_origin(const char *text, struct cache_url *u, const char **rest)
{
	size_t len;

	for (size_t s = 0; s < N_SCHEMES; s++) {
		len = strlen(schemes[s].prefix);
		if (strncasecmp(text, schemes[s].prefix, len) != 0)
			continue;
		u->scheme = (enum cache_scheme)s;
		u->text = text;
		*rest = text + len;
		if (u->scheme == CACHE_FILE)
			return **rest == '/';
		len = strcspn(*rest, "/?#");
		if (!parse_host(*rest, len, u))
			return false;
		*rest += len;
		return true;
	}
	return false;
}

int
cache_url_parse(const char *text, struct cache_url *out, struct err *e)
{
	struct cache_url u = {.text = text};
	size_t origin = strcspn(text, "/");
	const char *path;

	origin += strspn(text + origin, "/");
	if (strncasecmp(text, "file:", 5) != 0 &&
	    memchr(text + origin, '@', strcspn(text + origin, "/")) != NULL)
		return err_set(e, ERR_USAGE, 0,
		    "a user and password in a cache's URL are not taken");
	if (!parse_origin(text, &u, &path))
		return err_set(e, ERR_USAGE, 0,
		    "'%.200s': http://HOST[:PORT][/PATH], https://... or "
		    "file:///FOLDER is wanted",
		    text);
	for (const char *p = path; *p != '\0'; p++)
		if (!is_path_char(u.scheme, *p))
			return err_set(e, ERR_USAGE, 0,
			    "'%.200s': a cache's URL has no '%c' after its "
			    "host (parameters and fragments are not taken)",
			    text, *p);
	u.len = strlen(text);
	while (text + u.len > path && text[u.len - 1] == '/')
		u.len--;
	/* HASH.narinfo and the like are still to follow. */
	if (u.len + 300 > CACHE_URL_MAX)
		return err_set(e, ERR_USAGE, 0,
		    "'%.200s...': longer than %d bytes", text,
		    CACHE_URL_MAX - 300);
	u.path = path;
	*out = u;
	return 0;
}

/* No component that leads elsewhere; http may have a query after the path. */
static bool
path_is_clean(enum cache_scheme scheme, const char *path)
{
	const char *p = path;

	for (;;) {
		size_t n = strcspn(p, "/?");

		if (n == 0 || strncmp(p, "..", n) == 0)
			return false;
		for (size_t i = 0; i < n; i++)
			if (!is_path_char(scheme, p[i]))
				return false;
		p += n;
		if (*p == '?')
			break;
		if (*p++ == '\0')
			return true;
	}
	for (p++; *p != '\0'; p++)
		if (*p != '?' && !is_path_char(scheme, *p))
			return false;
	return scheme != CACHE_FILE;
}

static bool
same_origin(const struct cache_url *a, const struct cache_url *b)
{
	return a->scheme == b->scheme && a->port == b->port &&
	    a->host_len == b->host_len &&
	    strncasecmp(a->host, b->host, a->host_len) == 0;
}

static int
elsewhere(const char *url, struct err *e)
{
	return err_set(e, ERR_RETRY, 0,
	    "its URL '%.100s' is not a place in the cache", url);
}

int
cache_url_resolve(const struct cache_url *cache, const char *url,
    char out[static CACHE_URL_MAX], struct err *e)
{
	struct cache_url u;
	const char *path;
	int n;

	if (strstr(url, "://") == NULL) {
		if (!path_is_clean(cache->scheme, url))
			return elsewhere(url, e);
		n = snprintf(out, CACHE_URL_MAX, "%.*s/%s", (int)cache->len,
		    cache->text, url);
	} else {
		if (!parse_origin(url, &u, &path) || *path != '/')
			return elsewhere(url, e);
		if (cache->scheme == CACHE_FILE) {
			if (strncmp(url, cache->text, cache->len) != 0 ||
			    url[cache->len] != '/')
				return elsewhere(url, e);
			path = url + cache->len;
		} else if (!same_origin(cache, &u)) {
			return elsewhere(url, e);
		}
		if (!path_is_clean(cache->scheme, path + 1))
			return elsewhere(url, e);
		n = snprintf(out, CACHE_URL_MAX, "%s", url);
	}
	if (n < 0 || n >= CACHE_URL_MAX)
		return err_set(e, ERR_RETRY, 0,
		    "its URL '%.100s...' is longer than %d bytes", url,
		    CACHE_URL_MAX - 1);
	return 0;
}

const char *
cache_url_file(const char *resolved)
{
	return resolved + strlen(schemes[CACHE_FILE].prefix);
}
