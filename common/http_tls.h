/*
 * What is trusted in TLS, for http.c alone: read once, used by any number of
 * threads.
 */
#ifndef HTTP_TLS_H
#define HTTP_TLS_H

#include <stdbool.h>
#include <stddef.h>

struct http_tls {
	bool verify;
	/* All authorities as PEM, or NULL: libcurl's own. */
	char *authorities;
	size_t len;
	size_t own; /* from where on they are not the system's */
	char *client_cert, *client_key; /* files, or NULL */
};

#endif
