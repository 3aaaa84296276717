#include "http_tls.h"

#include <dirent.h>
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <curl/curl.h>

#include "err.h"
#include "http.h"
#include "own.h"

#define AUTHORITIES_MAX ((size_t)8 << 20)

/* Room for so many bytes, a newline and a 0 at the end. */
static int
make_room(struct http_tls *t, size_t len, const char *what, struct err *e)
{
	char *more = realloc(t->authorities, t->len + len + 2);

	if (more == NULL)
		return err_set(e, ERR_USAGE, errno, "%s", what);
	t->authorities = more;
	return 0;
}

static void
add_end(struct http_tls *t, size_t len)
{
	t->len += len;
	t->authorities[t->len++] = '\n';
	t->authorities[t->len] = '\0';
}

/* Appends a file of certificates. */
static int
add_file(struct http_tls *t, const char *path, struct err *e)
{
	AUTO(own_fclosep) FILE *f = fopen(path, "re");
	struct stat st;

	if (f == NULL || fstat(fileno(f), &st) < 0)
		return err_set(e, ERR_USAGE, errno, "%s", path);
	if (!S_ISREG(st.st_mode) ||
	    (uint64_t)st.st_size + t->len > AUTHORITIES_MAX)
		return err_set(
		    e, ERR_USAGE, 0, "%s: no file of certificates", path);
	if (make_room(t, (size_t)st.st_size, path, e) < 0)
		return -1;
	if (fread(t->authorities + t->len, 1, (size_t)st.st_size, f) !=
	    (size_t)st.st_size)
		return err_set(e, ERR_USAGE, EIO, "%s", path);
	add_end(t, (size_t)st.st_size);
	return 0;
}

/* What programs here trust anyway. */
static int
add_system(struct http_tls *t, struct err *e)
{
	const char *names[] = {"NIX_SSL_CERT_FILE", "SSL_CERT_FILE"};
	const char *path = NULL;
	struct stat st;

	for (size_t i = 0; i < 2 && (path == NULL || *path == '\0'); i++)
		path = getenv(names[i]);
	if (path != NULL && *path != '\0')
		return add_file(t, path, e);
	path = curl_version_info(CURLVERSION_NOW)->cainfo;
	return path == NULL || stat(path, &st) < 0 ? 0 : add_file(t, path, e);
}

static bool
ends_with(const char *text, const char *end)
{
	size_t n = strlen(text), m = strlen(end);

	return n > m && strcmp(text + n - m, end) == 0;
}

/* NAME.cert belongs to NAME.key. */
static int
add_client(
    struct http_tls *t, const char *folder, const char *name, struct err *e)
{
	int stem = (int)(strlen(name) - strlen(".cert"));

	if (t->client_cert != NULL)
		return err_set(e, ERR_USAGE, 0,
		    "%s: more than one client certificate", folder);
	if (asprintf(&t->client_cert, "%s/%s", folder, name) < 0) {
		t->client_cert = NULL;
		return err_set(e, ERR_USAGE, ENOMEM, "%s", folder);
	}
	if (asprintf(&t->client_key, "%s/%.*s.key", folder, stem, name) < 0) {
		t->client_key = NULL;
		return err_set(e, ERR_USAGE, ENOMEM, "%s", folder);
	}
	if (access(t->client_key, R_OK) < 0)
		return err_set(e, ERR_USAGE, errno, "%s, the key of %s",
		    t->client_key, name);
	return 0;
}

static int
add_folder(struct http_tls *t, const char *folder, struct err *e)
{
	AUTO(own_closedirp) DIR *d = opendir(folder);
	struct dirent *entry;

	if (d == NULL)
		return err_set(e, ERR_USAGE, errno, "%s", folder);
	while ((entry = readdir(d)) != NULL) {
		AUTO(own_freep) char *path = NULL;

		if (asprintf(&path, "%s/%s", folder, entry->d_name) < 0) {
			path = NULL;
			return err_set(e, ERR_USAGE, errno, "%s", folder);
		}
		if (ends_with(entry->d_name, ".crt") &&
		    add_file(t, path, e) < 0)
			return -1;
		if (ends_with(entry->d_name, ".cert") &&
		    add_client(t, folder, entry->d_name, e) < 0)
			return -1;
	}
	return 0;
}

int
http_tls_new(
    const char *folder, bool verify, struct http_tls **out, struct err *e)
{
	AUTO(http_tls_freep) struct http_tls *t = calloc(1, sizeof(*t));

	if (t == NULL)
		return err_set(e, ERR_USAGE, errno, "TLS");
	t->verify = verify;
	if (add_system(t, e) < 0)
		return -1;
	t->own = t->len;
	if (folder != NULL && add_folder(t, folder, e) < 0)
		return -1;
	*out = STEAL(&t);
	return 0;
}

int
http_tls_new_pem(
    const char *pem, bool verify, struct http_tls **out, struct err *e)
{
	AUTO(http_tls_freep) struct http_tls *t = NULL;
	size_t len = strlen(pem);

	if (http_tls_new(NULL, verify, &t, e) < 0)
		return -1;
	if (len > 0) {
		if (make_room(t, len, "TLS", e) < 0)
			return -1;
		memcpy(t->authorities + t->len, pem, len);
		add_end(t, len);
	}
	*out = STEAL(&t);
	return 0;
}

const char *
http_tls_added(const struct http_tls *t)
{
	return t->authorities != NULL ? t->authorities + t->own : "";
}

bool
http_tls_shows(const struct http_tls *t)
{
	return t->client_cert != NULL;
}

bool
http_tls_verifies(const struct http_tls *t)
{
	return t->verify;
}

void
http_tls_free(struct http_tls *t)
{
	if (t == NULL)
		return;
	free(t->authorities);
	free(t->client_cert);
	free(t->client_key);
	free(t);
}

void
http_tls_freep(struct http_tls **t)
{
	http_tls_free(*t);
	*t = NULL;
}
