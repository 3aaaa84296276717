#include "registry/push_to.h"

#include <stdio.h>
#include <string.h>

#include "err.h"
#include "protocol.h"
#include "registry.h"
#include "registry_name.h"

/* The next one of the list, which *list is behind then; false: none is left. */
static bool
next(const char **list, char out[static REGISTRY_HOST_MAX + 2])
{
	size_t len = strcspn(*list, ",");

	if (**list == '\0')
		return false;
	snprintf(out, REGISTRY_HOST_MAX + 2, "%.*s", (int)len, *list);
	*list += len;
	*list += **list == ',';
	return true;
}

int
push_to_check(const char *list, struct err *e)
{
	char host[REGISTRY_HOST_MAX + 2], text[sizeof(host) + 2];
	struct registry_name name;
	size_t len = strlen(list), n = 0;

	if (len == 0 || list[len - 1] == ',')
		return err_set(e, ERR_USAGE, 0,
		    "'%.200s': registries are wanted, HOST[:PORT][,...]", list);
	while (next(&list, host)) {
		snprintf(text, sizeof(text), "%s/x", host);
		if (strchr(host, '/') != NULL)
			return err_set(e, ERR_USAGE, 0,
			    "'%.200s': a registry is HOST[:PORT], without a "
			    "repository",
			    host);
		if (registry_name_parse(text, &name, e) < 0)
			return -1;
		if (++n > PUSH_TO_MAX)
			return err_set(e, ERR_USAGE, 0,
			    "no more than %d registries", PUSH_TO_MAX);
	}
	return len > MSG_PUSH_TO_MAX
	    ? err_set(e, ERR_USAGE, 0, "the list is too long")
	    : 0;
}

bool
push_to_has(const char *list, const char *base)
{
	static const char tls[] = "https://", plain[] = "http://";
	char host[REGISTRY_HOST_MAX + 2];
	const char *server = NULL;

	if (strncmp(base, tls, strlen(tls)) == 0)
		server = base + strlen(tls);
	else if (strncmp(base, plain, strlen(plain)) == 0 &&
	    registry_is_loopback(base + strlen(plain)))
		server = base + strlen(plain);
	while (server != NULL && next(&list, host))
		if (strcmp(registry_name_server(host), server) == 0)
			return true;
	return false;
}
