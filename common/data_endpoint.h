/*
 * Where the data socket is: WELCOME says it, with "*" where the coordinator
 * does not know by which of its addresses the worker sees it.  Usable in any
 * thread.
 */
#ifndef DATA_ENDPOINT_H
#define DATA_ENDPOINT_H

struct err;

/*
 * data, where a TCP host of "*" is replaced by that of control, the endpoint
 * that the worker is connected to.  The result is the caller's.  ERR_PEER: it
 * is no endpoint, or control has no host.
 */
int data_endpoint(
    const char *control, const char *data, char **out, struct err *e);

#endif
