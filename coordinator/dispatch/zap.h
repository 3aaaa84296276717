/*
 * The ZAP handler (ZeroMQ RFC 27): a thread that libzmq asks of each
 * connection whether its key may come in.  It is there before zap_start
 * returns, so before a socket listens; should it die nobody comes in.  The
 * list of keys may be replaced at any time, from any thread.
 */
#ifndef ZAP_H
#define ZAP_H

#include <stdbool.h>
#include <stddef.h>

struct err;
struct key_list;
struct zap;

/* Takes *keys (NULL then) on success.  One a context. */
int zap_start(
    void *ctx, struct key_list **keys, struct zap **out, struct err *e);

/* What messages call those that may come in; static.  "worker" until then. */
void zap_call(struct zap *z, const char *who);

/* Takes *keys; who is in already is the caller's to look at again. */
void zap_replace(struct zap *z, struct key_list **keys);

/*
 * Whether the key may speak now; its name into name ("" where it has none).
 */
bool zap_allows(struct zap *z, const char *key, char *name, size_t size);

/* Ends the thread; before the context ends. */
void zap_stop(struct zap *z);

#endif
