#include "registry/auth_file.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <jansson.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>

#include "registry/auth_helpers.h"
#include "err.h"
#include "text/json_file.h"
#include "own.h"
#include "secret.h"

#define HUB_KEY "https://index.docker.io/v1/"
#define KEY_MAX 600
#define CODED_MAX ((size_t)64 << 10)

void
auth_clear(struct auth *a)
{
	secret_wipep(&a->user);
	secret_wipep(&a->password);
	secret_wipep(&a->identity);
}

/* "auth": base 64 of USER:PASSWORD. */
static int
take_pair(const char *coded, struct auth *out)
{
	size_t len = strnlen(coded, CODED_MAX + 1), n;
	AUTO(own_freep) unsigned char *plain = malloc(len + 4);
	char *colon;
	int got;

	if (plain == NULL || len > CODED_MAX || len % 4 != 0)
		return -1;
	got = EVP_DecodeBlock(plain, (const unsigned char *)coded, (int)len);
	if (got <= 0)
		return -1;
	n = (size_t)got;
	/* It counts what '=' stands for. */
	for (size_t i = len; i > 0 && coded[i - 1] == '=' && n > 0; i--)
		n--;
	plain[n] = '\0';
	if (strlen((char *)plain) != n ||
	    (colon = strchr((char *)plain, ':')) == NULL)
		return -1;
	out->user = strndup((char *)plain, (size_t)(colon - (char *)plain));
	out->password = strdup(colon + 1);
	OPENSSL_cleanse(plain, n);
	return out->user == NULL || out->password == NULL ? -1 : 0;
}

static int
take_entry(const char *file, const char *key, const json_t *entry,
    struct auth *out, struct err *e)
{
	const json_t *auth = json_object_get(entry, "auth");
	const char *coded = json_string_value(auth);
	const char *token =
	    json_string_value(json_object_get(entry, "identitytoken"));

	if (coded == NULL && auth != NULL && !json_is_null(auth))
		return err_set(e, ERR_USAGE, 0,
		    "%s: \"auth\" of \"%.200s\" is %s", file, key,
		    json_file_type_name(auth));
	if (token != NULL && *token != '\0' &&
	    (out->identity = strdup(token)) == NULL)
		return err_set(e, ERR_FATAL, errno, "%s", file);
	if (coded != NULL && *coded != '\0' && take_pair(coded, out) < 0 &&
	    out->identity == NULL)
		return err_set(e, ERR_USAGE, 0,
		    "%s: \"auth\" of \"%.200s\" is not USER:PASSWORD in base "
		    "64",
		    file, key);
	return 0;
}

/* "https://HOST/v1/" and "HOST/" are old ways to write HOST. */
static bool
means(const char *key, const char *name)
{
	const char *start = strstr(key, "://");
	size_t len;

	start = start != NULL ? start + 3 : key;
	len = strcspn(start, "/");
	return strcmp(key, name) == 0 ||
	    (strlen(name) == len && strncmp(start, name, len) == 0 &&
		(start[len] == '\0' || strcmp(start + len, "/") == 0 ||
		    strcmp(start + len, "/v1/") == 0 ||
		    strcmp(start + len, "/v2/") == 0));
}

static const json_t *
find_key(const json_t *map, const char *name, const char **key)
{
	const char *k;
	json_t *value;

	json_object_foreach((json_t *)map, k, value)
	{
		if (means(k, name) ||
		    (strcmp(name, "docker.io") == 0 &&
			strcmp(k, HUB_KEY) == 0)) {
			*key = k;
			return value;
		}
	}
	return NULL;
}

/* "HOST/a/b", "HOST/a", "HOST": the longest that has an entry. */
static const json_t *
find_entry(
    const json_t *auths, const char *host, const char *repo, const char **key)
{
	char name[KEY_MAX];
	const json_t *found;
	char *slash;

	snprintf(name, sizeof(name), "%s/%s", host, repo);
	for (;;) {
		if ((found = find_key(auths, name, key)) != NULL)
			return found;
		if ((slash = strrchr(name, '/')) == NULL)
			return NULL;
		*slash = '\0';
	}
}

static int
look_in(const char *file, struct auth_helpers *helpers, const char *host,
    const char *repo, bool *found, struct auth *out, struct err *e)
{
	AUTO(json_file_decrefp) json_t *root = NULL;
	const char *key = NULL, *helper;
	const json_t *entry;

	if (json_file_read(file, &root, e) < 0)
		return -1;
	helper = json_string_value(
	    find_key(json_object_get(root, "credHelpers"), host, &key));
	entry = find_entry(json_object_get(root, "auths"), host, repo, &key);
	*found = true;
	if (helper == NULL && entry != NULL &&
	    (json_object_get(entry, "auth") != NULL ||
		json_object_get(entry, "identitytoken") != NULL))
		return take_entry(file, key, entry, out, e);
	if (helper == NULL)
		helper = json_string_value(json_object_get(root, "credsStore"));
	if (helper == NULL) {
		*found = false;
		return 0;
	}
	if (auth_helpers_ask(helpers, helper,
		strcmp(host, "docker.io") == 0 ? HUB_KEY : host, out, e) < 0)
		return err_ctx(e, "%s", file);
	*found = out->password != NULL || out->identity != NULL;
	return 0;
}

static char *
join(const char *name, const char *rest)
{
	const char *folder = getenv(name);
	char *path;

	if (folder == NULL || folder[0] != '/' ||
	    asprintf(&path, "%s%s", folder, rest) < 0)
		return NULL;
	return path;
}

/* Where podman and skopeo log in without XDG_RUNTIME_DIR, as root often has. */
static char *
join_runtime(void)
{
	const char *folder = getenv("XDG_RUNTIME_DIR");
	char *path;

	if (folder != NULL && *folder != '\0')
		return join("XDG_RUNTIME_DIR", "/containers/auth.json");
	if (asprintf(&path, "/run/containers/%lu/auth.json",
		(unsigned long)getuid()) < 0)
		return NULL;
	return path;
}

int
auth_file_find(const char *file, struct auth_helpers *helpers, const char *host,
    const char *repo, struct auth *out, struct err *e)
{
	static const struct {
		const char *variable, *rest;
	} places[] = {
	    {NULL, NULL}, /* join_runtime */
	    {"XDG_CONFIG_HOME", "/containers/auth.json"},
	    {"HOME", "/.config/containers/auth.json"},
	    {"DOCKER_CONFIG", "/config.json"},
	    {"HOME", "/.docker/config.json"},
	};
	bool found = false;

	memset(out, 0, sizeof(*out));
	if (file == NULL)
		file = getenv("REGISTRY_AUTH_FILE");
	if (file != NULL && *file != '\0')
		return look_in(file, helpers, host, repo, &found, out, e);
	for (size_t i = 0; i < sizeof(places) / sizeof(places[0]) && !found;
	     i++) {
		AUTO(own_freep)
		char *path = places[i].variable == NULL
		    ? join_runtime()
		    : join(places[i].variable, places[i].rest);

		if (path == NULL || access(path, R_OK) < 0)
			continue;
		if (look_in(path, helpers, host, repo, &found, out, e) < 0)
			return -1;
	}
	return 0;
}
