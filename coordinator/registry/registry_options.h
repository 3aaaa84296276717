/* How registries are reached and who asks: the command line's, as data. */
#ifndef REGISTRY_OPTIONS_H
#define REGISTRY_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>

struct blob_places;
struct registry_places;

#define REGISTRY_STALL_S_MAX 3600

/* Borrowed, as are its strings. */
struct registry_options {
	const char *auth_file; /* or NULL: where podman and docker look */
	const char *cert_dir;  /* of authorities and a client's key; or NULL */
	long stall_s;	       /* 0: HTTP_STALL_S */
	bool insecure; /* certificates are not looked at, http is fine */
	const char *token_servers[8]; /* further hosts that get the password */
	size_t n_token_servers;
	bool known; /* an image that is under its tag is there, whole */
	struct blob_places *places;	/* where blobs are already, or NULL */
	struct registry_places *opened; /* that are open already, or NULL */
};

#endif
