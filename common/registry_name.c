#include "registry_name.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

#include "digest.h"
#include "err.h"

static bool
is_low(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
}

/* [a-z0-9]+((\.|_|__|-+)[a-z0-9]+)* */
static bool
is_component(const char *text, size_t len)
{
	size_t i = 0;

	while (i < len) {
		size_t start = i, mark;

		while (i < len && is_low(text[i]))
			i++;
		if (i == start)
			return false;
		if (i == len)
			return true;
		mark = i;
		while (i < len && text[i] == text[mark] &&
		    strchr("._-", text[i]) != NULL)
			i++;
		if (i == mark || (text[mark] == '.' && i - mark > 1) ||
		    (text[mark] == '_' && i - mark > 2))
			return false;
	}
	return false;
}

bool
registry_name_is_repo(const char *text, size_t len)
{
	if (len > REGISTRY_REPO_MAX)
		return false;
	for (size_t start = 0; start <= len;) {
		const char *slash = memchr(text + start, '/', len - start);
		size_t end = slash != NULL ? (size_t)(slash - text) : len;

		if (!is_component(text + start, end - start))
			return false;
		start = end + 1;
	}
	return true;
}

static bool
is_word(char c)
{
	return isalnum((unsigned char)c) || c == '_';
}

bool
registry_name_is_tag(const char *text)
{
	size_t len = strlen(text);

	if (len == 0 || len > REGISTRY_TAG_MAX || !is_word(text[0]))
		return false;
	for (size_t i = 1; i < len; i++)
		if (!is_word(text[i]) && text[i] != '.' && text[i] != '-')
			return false;
	return true;
}

/* A name or address, and a port; what curl makes of it is curl's. */
static bool
is_host(const char *text, size_t len)
{
	const char *port = text + len;
	size_t digits = 0;

	if (len == 0 || len > REGISTRY_HOST_MAX)
		return false;
	while (port > text && isdigit((unsigned char)port[-1])) {
		port--;
		digits++;
	}
	if (port > text && port[-1] == ':' && digits > 0 && digits <= 5)
		len = (size_t)(port - 1 - text);
	if (text[0] == '[') {
		for (size_t i = 1; i + 1 < len; i++)
			if (!isxdigit((unsigned char)text[i]) &&
			    strchr(":.", text[i]) == NULL)
				return false;
		return len > 2 && text[len - 1] == ']';
	}
	for (size_t i = 0; i < len; i++)
		if (!isalnum((unsigned char)text[i]) &&
		    strchr(".-_", text[i]) == NULL)
			return false;
	return len > 0 && isalnum((unsigned char)text[0]);
}

/* Cuts "@DIGEST" and ":TAG" off what is after the host. */
static int
take_tail(const char *text, const char *rest, struct registry_name *out,
    size_t *repo_len, struct err *e)
{
	const char *at = strchr(rest, '@');
	size_t len = at != NULL ? (size_t)(at - rest) : strlen(rest);
	const char *colon = memchr(rest, ':', len);
	struct digest digest;

	if (at != NULL) {
		if (strncmp(at + 1, "sha256:", 7) != 0 ||
		    !digest_from_hex(at + 8, strlen(at + 8), &digest))
			return err_set(e, ERR_USAGE, 0,
			    "'%.200s': '%.100s' is no sha256 digest", text, at);
		snprintf(out->digest, sizeof(out->digest), "%s", at + 1);
	}
	*repo_len = colon != NULL ? (size_t)(colon - rest) : len;
	if (colon == NULL)
		return 0;
	snprintf(out->tag, sizeof(out->tag), "%.*s", (int)(len - *repo_len - 1),
	    colon + 1);
	if (len - *repo_len - 1 > REGISTRY_TAG_MAX ||
	    !registry_name_is_tag(out->tag))
		return err_set(e, ERR_USAGE, 0,
		    "'%.200s': '%.140s' is no tag: letters, digits, '_', '.' "
		    "and '-', at most %d",
		    text, out->tag, REGISTRY_TAG_MAX);
	return 0;
}

int
registry_name_parse(const char *text, struct registry_name *out, struct err *e)
{
	const char *slash = strchr(text, '/');
	size_t host, repo = 0;
	bool hub;

	memset(out, 0, sizeof(*out));
	if (slash == NULL)
		return err_set(e, ERR_USAGE, 0,
		    "'%.200s': HOST[:PORT]/REPOSITORY[:TAG] is wanted", text);
	host = (size_t)(slash - text);
	/* As docker tells a host from a folder of Docker Hub. */
	if (!is_host(text, host) ||
	    (memchr(text, '.', host) == NULL &&
		memchr(text, ':', host) == NULL &&
		!(host == 9 && strncmp(text, "localhost", 9) == 0)))
		return err_set(e, ERR_USAGE, 0,
		    "'%.200s': '%.*s' is no registry: a host name with a dot, "
		    "or with its port (docker.io for Docker Hub)",
		    text, host > 200 ? 200 : (int)host, text);
	snprintf(out->host, sizeof(out->host), "%.*s", (int)host, text);
	if (take_tail(text, slash + 1, out, &repo, e) < 0)
		return -1;
	if (!registry_name_is_repo(slash + 1, repo))
		return err_set(e, ERR_USAGE, 0,
		    "'%.200s': '%.*s' is no repository: lower case letters and "
		    "digits, '.', '_' or '-' between them, folders with '/'",
		    text, repo > 200 ? 200 : (int)repo, slash + 1);
	hub = strcmp(out->host, "docker.io") == 0 &&
	    memchr(slash + 1, '/', repo) == NULL;
	if (repo + 8 > REGISTRY_REPO_MAX && hub)
		return err_set(e, ERR_USAGE, 0,
		    "'%.200s': the repository's name is too long", text);
	snprintf(out->repo, sizeof(out->repo), "%s%.*s", hub ? "library/" : "",
	    (int)repo, slash + 1);
	return 0;
}

const char *
registry_name_server(const char *host)
{
	return strcmp(host, "docker.io") == 0 ? "registry-1.docker.io" : host;
}
