/*
 * Where sockets are: ipc://PATH, tcp://HOST:PORT, tcp://[IPV6]:PORT; a listener
 * may have the host * (all addresses) and the port * (any that is free).
 * Usable in any thread.
 */
#ifndef ENDPOINT_H
#define ENDPOINT_H

#include <stdbool.h>

struct err;

#define ENDPOINT_MAX 512 /* bytes */

enum endpoint_kind { ENDPOINT_IPC, ENDPOINT_TCP };

struct endpoint {
	enum endpoint_kind kind;
	/* tcp: nobody but this machine can reach it: 127.0.0.0/8 or ::1. */
	bool loopback;
};

/* ERR_USAGE says what is wrong and what is known. */
int endpoint_check(
    const char *text, bool listen, struct endpoint *out, struct err *e);

#endif
