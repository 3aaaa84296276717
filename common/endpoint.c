#include "endpoint.h"

#include <arpa/inet.h>
#include <stdlib.h>
#include <string.h>

#include "err.h"

#define IPC "ipc://"
#define TCP "tcp://"
#define HOST_MAX 256

static int
bad(const char *text, const char *what, struct err *e)
{
	return err_set(e, ERR_USAGE, 0,
	    "'%.120s': %s; wanted is tcp://HOST:PORT or ipc://PATH", text,
	    what);
}

static bool
port_valid(const char *s, bool listen)
{
	unsigned long v;
	char *end;

	if (listen && strcmp(s, "*") == 0)
		return true;
	if (*s < '0' || *s > '9' || strlen(s) > 5)
		return false;
	v = strtoul(s, &end, 10);
	return *end == '\0' && v >= 1 && v <= 65535;
}

/* Names are looked up later, by libzmq; only numbers are surely local. */
static bool
is_loopback(const char *host)
{
	struct in6_addr six;
	struct in_addr four;

	if (inet_pton(AF_INET, host, &four) == 1)
		return ntohl(four.s_addr) >> 24 == 127;
	/* A socket for both families tells IPv4 addresses as mapped ones. */
	if (inet_pton(AF_INET6, host, &six) == 1)
		return IN6_IS_ADDR_LOOPBACK(&six) ||
		    (IN6_IS_ADDR_V4MAPPED(&six) && six.s6_addr[12] == 127);
	return strcmp(host, "localhost") == 0;
}

static int
check_host(const char *text, const char *host, bool listen, struct err *e)
{
	static const char letters[] = "abcdefghijklmnopqrstuvwxyz"
				      "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789";

	if (strcmp(host, "*") == 0)
		return listen ? 0 : bad(text, "no host to connect to", e);
	/* Colons and '%' of IPv6 addresses and their zones; names. */
	for (const char *c = host; *c != '\0'; c++)
		if (strchr(letters, *c) == NULL && strchr(".:-_%", *c) == NULL)
			return bad(text, "not a host", e);
	return *host == '\0' ? bad(text, "no host", e) : 0;
}

static int
check_tcp(const char *text, bool listen, struct endpoint *out, struct err *e)
{
	const char *rest = text + strlen(TCP), *colon = strrchr(rest, ':');
	char host[HOST_MAX];
	size_t len;

	if (colon == NULL || !port_valid(colon + 1, listen))
		return bad(text, "no port", e);
	len = (size_t)(colon - rest);
	if (len >= sizeof(host))
		return bad(text, "host too long", e);
	memcpy(host, rest, len);
	host[len] = '\0';
	if (len >= 2 && host[0] == '[' && host[len - 1] == ']') {
		memmove(host, host + 1, len - 2);
		host[len - 2] = '\0';
	} else if (strchr(host, ':') != NULL) {
		return bad(text, "an IPv6 address stands in []", e);
	}
	if (check_host(text, host, listen, e) < 0)
		return -1;
	*out = (struct endpoint){ENDPOINT_TCP, is_loopback(host)};
	return 0;
}

int
endpoint_check(
    const char *text, bool listen, struct endpoint *out, struct err *e)
{
	if (strlen(text) > ENDPOINT_MAX)
		return bad(text, "too long", e);
	if (strncmp(text, TCP, strlen(TCP)) == 0)
		return check_tcp(text, listen, out, e);
	if (strncmp(text, IPC, strlen(IPC)) != 0)
		return bad(text, "not an endpoint", e);
	if (text[strlen(IPC)] == '\0')
		return bad(text, "no path", e);
	*out = (struct endpoint){ENDPOINT_IPC, true};
	return 0;
}
