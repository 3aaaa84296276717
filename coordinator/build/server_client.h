/*
 * What a run does that has a server make its layers (--coordinator): the way to
 * the server with its keys, and one worker of its own for root layers, which
 * are made of what is on this machine.  For build_client.c and batch_client.c;
 * one thread.
 */
#ifndef SERVER_CLIENT_H
#define SERVER_CLIENT_H

#include <stdbool.h>

#include "curve_key.h"
#include "encoding.h"
#include "link.h"

struct client;
struct client_config;
struct dispatch;
struct dispatch_hooks;
struct err;
struct options;
struct progress;
struct scratch;

/* Of zeros until it is opened. */
struct server_client {
	struct client *client;
	bool has_keys;
	struct curve_key own;
	char server[CURVE_KEY_LEN + 1];
	struct link_keys keys;
};

/* Reads the keys, if there are any.  ERR_USAGE. */
int server_client_keys(
    struct server_client *s, const struct options *options, struct err *e);
/* Connects in the background.  config: image, progress and what is told. */
int server_client_open(struct server_client *s, const struct options *options,
    struct client_config *config, struct err *e);
/* Takes leave, and forgets the keys. */
void server_client_close(struct server_client *s);

/* The worker for root layers; encoding: of all that is encoded. */
int server_client_worker(const struct options *options,
    const struct dispatch_hooks *hooks, const struct encoding *encoding,
    struct progress *progress, struct scratch *scratch, struct dispatch **out,
    struct err *e);

#endif
