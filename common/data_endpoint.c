#include "data_endpoint.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "endpoint.h"
#include "err.h"

#define TCP "tcp://"
#define ANY TCP "*:"

void
data_endpoint_welcome(const char *bound, char *out, size_t size)
{
	if (strncmp(bound, TCP, strlen(TCP)) == 0)
		snprintf(out, size, TCP "*%s", strrchr(bound, ':'));
	else
		snprintf(out, size, "%s", bound);
}

int
data_endpoint(const char *control, const char *data, char **out, struct err *e)
{
	const char *host, *port;
	char *made;
	int rc;

	if (strncmp(data, ANY, strlen(ANY)) != 0) {
		if (strncmp(data, TCP, strlen(TCP)) != 0 &&
		    strncmp(data, "ipc://", strlen("ipc://")) != 0)
			return err_set(e, ERR_PEER, 0,
			    "data endpoint %.200s: ipc or tcp is wanted", data);
		if ((made = strdup(data)) == NULL)
			return err_set(e, ERR_FATAL, errno, "endpoint");
		*out = made;
		return 0;
	}
	host = control + strlen(TCP);
	/* The last colon: an IPv6 address has more. */
	if (strncmp(control, TCP, strlen(TCP)) != 0 ||
	    (port = strrchr(host, ':')) == NULL || port == host)
		return err_set(e, ERR_PEER, 0,
		    "data endpoint %.200s: %.200s has no host to put there",
		    data, control);
	rc = asprintf(
	    &made, TCP "%.*s:%s", (int)(port - host), host, data + strlen(ANY));
	if (rc < 0)
		return err_set(e, ERR_FATAL, errno, "endpoint");
	*out = made;
	return 0;
}

int
data_endpoint_beside(const char *listen, char *out, size_t size, struct err *e)
{
	const char *colon = strrchr(listen, ':');
	struct endpoint where;
	unsigned long port;

	if (endpoint_check(listen, true, &where, e) < 0)
		return -1;
	if (where.kind == ENDPOINT_IPC) {
		snprintf(out, size, "%s.data", listen);
		return 0;
	}
	if (strcmp(colon, ":*") == 0) {
		snprintf(out, size, "%s", listen);
		return 0;
	}
	port = strtoul(colon + 1, NULL, 10) + 1;
	if (port > 65535)
		return err_set(e, ERR_USAGE, 0,
		    "%.120s: the port after it is needed, too", listen);
	snprintf(out, size, "%.*s:%lu", (int)(colon - listen), listen, port);
	return 0;
}
