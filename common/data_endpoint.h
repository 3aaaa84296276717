/*
 * Where the data socket is: WELCOME says it, with "*" where the coordinator
 * does not know by which of its addresses the worker sees it.  Usable in any
 * thread.
 */
#ifndef DATA_ENDPOINT_H
#define DATA_ENDPOINT_H

#include <stddef.h>

struct err;

/*
 * What WELCOME says of a socket that is bound at the endpoint: TCP without a
 * host, since who connects knows best by which name or address it sees this
 * machine.
 */
void data_endpoint_welcome(const char *bound, char *out, size_t size);

/*
 * data, where a TCP host of "*" is replaced by that of control, the endpoint
 * that the worker is connected to.  The result is the caller's.  ERR_PEER: it
 * is no endpoint, or control has no host.
 */
int data_endpoint(
    const char *control, const char *data, char **out, struct err *e);

/*
 * Where the data socket of a control socket at `listen` is to be bound: TCP at
 * the port after it, or at any where that was any; ipc at PATH.data.
 * ERR_USAGE: listen is no endpoint, or there is no port after it.
 */
int data_endpoint_beside(
    const char *listen, char *out, size_t size, struct err *e);

#endif
