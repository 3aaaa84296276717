#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include <arpa/inet.h>
#include <netinet/in.h>

#include <curl/curl.h>

#include "err.h"
#include "http.h"
#include "own.h"

static void
url_cleanup(CURLU **u)
{
	curl_url_cleanup(*u);
	*u = NULL;
}

static void
curl_freep(char **text)
{
	curl_free(*text);
	*text = NULL;
}

static int
no_memory(struct err *e)
{
	return err_set(e, ERR_RETRY, ENOMEM, "URL");
}

static int
take_url(CURLU *u, char **out, struct err *e)
{
	AUTO(curl_freep) char *url = NULL;

	if (curl_url_get(u, CURLUPART_URL, &url, 0) != CURLUE_OK)
		return err_set(e, ERR_RETRY, 0, "an address that is no URL");
	if (strlen(url) >= HTTP_URL_MAX)
		return err_set(
		    e, ERR_RETRY, 0, "a URL of %zu bytes", strlen(url));
	return (*out = strdup(url)) == NULL ? no_memory(e) : 0;
}

static bool
is_https(const char *url)
{
	return strncasecmp(url, "https://", 8) == 0;
}

int
http_resolve(const char *base, const char *reference, char **out, struct err *e)
{
	AUTO(url_cleanup) CURLU *u = curl_url();
	AUTO(own_freep) char *url = NULL;

	if (u == NULL)
		return no_memory(e);
	if (curl_url_set(u, CURLUPART_URL, base, 0) != CURLUE_OK ||
	    curl_url_set(u, CURLUPART_URL, reference, 0) != CURLUE_OK)
		return err_set(e, ERR_RETRY, 0, "an address that is no URL");
	if (take_url(u, &url, e) < 0)
		return -1;
	if (!is_https(url) && strncasecmp(url, "http://", 7) != 0)
		return err_set(
		    e, ERR_RETRY, 0, "an address that is not http or https");
	if (is_https(base) && !is_https(url))
		return err_set(e, ERR_RETRY, 0,
		    "an address that leads from https to http");
	*out = STEAL(&url);
	return 0;
}

int
http_add_query(const char *url, const char *query, char **out, struct err *e)
{
	AUTO(url_cleanup) CURLU *u = curl_url();

	if (u == NULL)
		return no_memory(e);
	if (curl_url_set(u, CURLUPART_URL, url, 0) != CURLUE_OK ||
	    curl_url_set(u, CURLUPART_QUERY, query, CURLU_APPENDQUERY) !=
		CURLUE_OK)
		return err_set(e, ERR_RETRY, 0, "an address that is no URL");
	return take_url(u, out, e);
}

static bool
part(const char *url, CURLUPart what, char *out, size_t size)
{
	AUTO(url_cleanup) CURLU *u = curl_url();
	AUTO(curl_freep) char *text = NULL;
	size_t len;

	out[0] = '\0';
	if (u == NULL || curl_url_set(u, CURLUPART_URL, url, 0) != CURLUE_OK ||
	    curl_url_get(u, what, &text, CURLU_DEFAULT_PORT) != CURLUE_OK ||
	    (len = strlen(text)) >= size)
		return false;
	for (size_t i = 0; i <= len; i++)
		out[i] = (char)tolower((unsigned char)text[i]);
	return true;
}

bool
http_host(const char *url, char *out, size_t size)
{
	size_t len;

	if (!part(url, CURLUPART_HOST, out, size))
		return false;
	len = strlen(out);
	if (out[0] == '[' && out[len - 1] == ']') {
		memmove(out, out + 1, len - 2);
		out[len - 2] = '\0';
	}
	return true;
}

bool
http_same_origin(const char *a, const char *b)
{
	static const CURLUPart parts[] = {
	    CURLUPART_SCHEME, CURLUPART_HOST, CURLUPART_PORT};
	char of_a[300], of_b[300];

	for (size_t i = 0; i < 3; i++)
		if (!part(a, parts[i], of_a, sizeof(of_a)) ||
		    !part(b, parts[i], of_b, sizeof(of_b)) ||
		    strcmp(of_a, of_b) != 0)
			return false;
	return true;
}

void
http_shown(const char *url, char *out, size_t size)
{
	const char *host = strstr(url, "://"), *at, *end;

	if (host == NULL || (size_t)(host - url) > 8) {
		snprintf(out, size, "?");
		return;
	}
	host += 3;
	end = host + strcspn(host, "/?#");
	for (at = end; at > host && at[-1] != '@';)
		at--;
	snprintf(out, size, "%.*s%.*s", (int)(host - url), url,
	    (int)strcspn(at, "?#"), at);
}

int
http_escape(const char *text, char **out, struct err *e)
{
	AUTO(curl_freep) char *escaped = curl_easy_escape(NULL, text, 0);

	if (escaped == NULL || (*out = strdup(escaped)) == NULL)
		return no_memory(e);
	return 0;
}

bool
http_is_loopback(const char *url)
{
	char host[300];

	if (!http_host(url, host, sizeof(host)))
		return false;
	return strcmp(host, "localhost") == 0 || strcmp(host, "::1") == 0 ||
	    (strncmp(host, "127.", 4) == 0 &&
		strspn(host, "0123456789.") == strlen(host));
}

static bool
is_private_4(uint32_t a)
{
	return (a >> 24) == 0 || (a >> 24) == 10 || (a >> 24) == 127 ||
	    (a >> 20) == 0xac1 || (a >> 16) == 0xc0a8 || (a >> 16) == 0xa9fe ||
	    (a >> 22) == (0x64400000 >> 22) || (a >> 28) >= 0xe;
}

bool
http_is_private(const char *address)
{
	static const unsigned char nat64[12] = {0, 0x64, 0xff, 0x9b};
	struct in6_addr six;
	struct in_addr four;
	char text[64];

	/* With the zone of a link-local one. */
	snprintf(
	    text, sizeof(text), "%.*s", (int)strcspn(address, "%"), address);
	if (inet_pton(AF_INET, text, &four) == 1)
		return is_private_4(ntohl(four.s_addr));
	if (inet_pton(AF_INET6, text, &six) != 1)
		return true; /* a socket of another kind is near */
	if (IN6_IS_ADDR_V4MAPPED(&six) || IN6_IS_ADDR_V4COMPAT(&six)) {
		memcpy(&four, six.s6_addr + 12, sizeof(four));
		return is_private_4(ntohl(four.s_addr));
	}
	/* 64:ff9b::/96: an address of IPv4 behind NAT64. */
	if (memcmp(six.s6_addr, nat64, sizeof(nat64)) == 0) {
		memcpy(&four, six.s6_addr + 12, sizeof(four));
		return is_private_4(ntohl(four.s_addr));
	}
	return IN6_IS_ADDR_UNSPECIFIED(&six) || IN6_IS_ADDR_LOOPBACK(&six) ||
	    IN6_IS_ADDR_LINKLOCAL(&six) || IN6_IS_ADDR_SITELOCAL(&six) ||
	    IN6_IS_ADDR_MULTICAST(&six) || (six.s6_addr[0] & 0xfe) == 0xfc;
}
