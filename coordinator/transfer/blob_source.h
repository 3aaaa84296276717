/*
 * Inside of blob_fetch and blob_offer: who may be at the other end of a data
 * socket, by token and by connection: workers, clients, or the one server; and
 * what workers and servers have been told to release but have not confirmed.
 * The thread's that owns the socket, but for blob_source_new, _server and
 * _free.
 */
#ifndef BLOB_SOURCE_H
#define BLOB_SOURCE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "data_protocol.h"
#include "link.h"

struct err;
struct offer_client;

#define BLOB_SOURCE_NAME_MAX 64

struct blob_release {
	struct data_id id;
	bool committed; /* else dropped */
};

struct blob_source {
	uint8_t token[DATA_TOKEN_SIZE];
	const char *what; /* "worker", "server" or "client" */
	char name[BLOB_SOURCE_NAME_MAX];
	char key[CURVE_KEY_LEN + 1]; /* that its connection must have */
	struct link_peer peer;
	bool connected;		     /* peer is set, and was reachable */
	size_t active;		     /* transfers that are on */
	struct offer_client *client; /* blob_offer's, of a client */
	struct blob_release *release;
	size_t n_releases, room_releases;
	struct blob_source *next;
};

/* Makes the token; what is kept. */
int blob_source_new(const char *what, const char *name, const char *key,
    struct blob_source **out, struct err *e);
/* The server that gave the token. */
int blob_source_server(const char *name, const uint8_t *token,
    struct blob_source **out, struct err *e);
void blob_source_free(struct blob_source *s);

struct blob_source *blob_source_by_token(
    struct blob_source *list, const uint8_t *token);
struct blob_source *blob_source_by_peer(
    struct blob_source *list, const struct link_peer *peer);

/*
 * Ties the connection to the source, and to no other.  False: it was so
 * before.
 */
bool blob_source_tie(struct blob_source *list, struct blob_source *s,
    const struct link_peer *peer);

/*
 * Notes a release until it is confirmed; NULL: it was noted, or no memory.  Of
 * one that confirms none some are given up: their files stay until it ends.
 */
#define BLOB_RELEASES_MAX 4096
const struct blob_release *blob_source_release(
    struct blob_source *s, const struct data_id *id, bool committed);
void blob_source_released(struct blob_source *s, const struct data_id *id);

#endif
