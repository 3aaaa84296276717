/*
 * The names of images in registries, by the grammar of the distribution
 * project: HOST[:PORT]/REPOSITORY[:TAG][@DIGEST].  Pure.
 */
#ifndef REGISTRY_NAME_H
#define REGISTRY_NAME_H

#include <stdbool.h>
#include <stddef.h>

struct err;

#define REGISTRY_HOST_MAX 260 /* with the port */
#define REGISTRY_REPO_MAX 255
#define REGISTRY_TAG_MAX 128
#define REGISTRY_DIGEST_MAX 71 /* "sha256:" and 64 hexadecimal digits */

struct registry_name {
	char host[REGISTRY_HOST_MAX + 1]; /* "HOST" or "HOST:PORT" */
	char repo[REGISTRY_REPO_MAX + 1];
	char tag[REGISTRY_TAG_MAX + 1];	      /* "": none */
	char digest[REGISTRY_DIGEST_MAX + 1]; /* "": none */
};

/*
 * text: what follows "docker://"; the host must be there (docker.io is one).
 * ERR_USAGE says what is wrong where.
 */
int registry_name_parse(
    const char *text, struct registry_name *out, struct err *e);

bool registry_name_is_repo(const char *text, size_t len);
bool registry_name_is_tag(const char *text);

/* Where the host is asked: "index.docker.io" is no server; static or host. */
const char *registry_name_server(const char *host);

#endif
