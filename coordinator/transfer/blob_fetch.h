/*
 * Gets layers that remote workers made to where they belong: a thread of its
 * own, which owns the data socket, pulls them from the workers' spools,
 * several at a time, and writes and hashes them as they come; or, where a
 * worker shares the output's folder, reads again what it wrote there.  What
 * comes of each request is taken with blob_fetch_take.
 *
 * A client of a server does the same the other way round: the fetch connects
 * to the server's data socket (blob_offer.h), and all its requests are for
 * what that offers.
 *
 * Memory: transfers * window * DATA_CHUNK for what is on its way, besides the
 * requests themselves.  A worker that sends more than it was asked for is cut
 * off by its requests, and its queue holds 2 * DATA_CREDIT_MAX chunks.
 *
 * One thread calls (dispatch's); no call blocks, but blob_fetch_free.
 */
#ifndef BLOB_FETCH_H
#define BLOB_FETCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "output/blob_request.h"
#include "transfer/blob_transfer.h"

struct blob_fetch;
struct err;
struct link_keys;

#define BLOB_FETCH_TRANSFERS 16 /* at a time, of all workers */
#define BLOB_FETCH_SILENT_MS 10000
#define BLOB_FETCH_TRIES 3
#define BLOB_FETCH_SHOWN_MS 10000 /* until a shared folder shows a file */

/* Where a client gets layers from. */
struct blob_fetch_server {
	const char *name;     /* for errors: "server NAME"; copied */
	const uint8_t *token; /* DATA_TOKEN_SIZE bytes, of WELCOME; copied */
};

struct blob_fetch_config {
	const char *endpoint;	      /* see endpoint.h; not kept */
	const struct link_keys *keys; /* or NULL; not kept */
	/*
	 * NULL: the fetch listens at endpoint, for workers.  Else it connects
	 * there, requests have the server's token, and neither
	 * blob_fetch_worker nor blob_fetch_worker_gone is for it.  Not kept.
	 */
	const struct blob_fetch_server *server;
	size_t transfers; /* at a time, 1 or more */
	struct blob_pace pace;
	int64_t shown_ms;
	int hello_ms; /* to a server: DATA_HELLO_MS */
};

/* What all but tests want. */
void blob_fetch_defaults(struct blob_fetch_config *config);

/* Binds or connects the socket, starts the thread. */
int blob_fetch_new(void *ctx, const struct blob_fetch_config *config,
    struct blob_fetch **out, struct err *e);
/* Ends the thread, after the write or fsync that it is in; gives up all. */
void blob_fetch_free(struct blob_fetch *f);
void blob_fetch_freep(struct blob_fetch **f);

/* As it is bound, ports filled in; "" where it connects. */
const char *blob_fetch_endpoint(const struct blob_fetch *f);

/*
 * The same for WELCOME: TCP without a host, since the worker knows best by
 * which name or address it sees this machine (data_endpoint.h).
 */
const char *blob_fetch_welcome(const struct blob_fetch *f);

/* For poll(2): readable means that blob_fetch_take has something. */
int blob_fetch_fd(const struct blob_fetch *f);

/*
 * A worker that may come to the data socket: makes its token (DATA_TOKEN_SIZE
 * bytes), which is for its WELCOME.  name is for errors, key is what it has
 * proved to have on the control socket (link_peer's; "" without keys) and has
 * to prove here; both are copied.  ERR_FATAL.
 */
int blob_fetch_worker(struct blob_fetch *f, const char *name, const char *key,
    uint8_t *token, struct err *e);
/*
 * It is gone: its requests fail with ERR_RETRY, its connection counts no more.
 * ERR_FATAL: out of memory, as below.
 */
int blob_fetch_worker_gone(
    struct blob_fetch *f, const uint8_t *token, struct err *e);

/*
 * Asks for a layer; copied.  Exactly one outcome follows, unless it is
 * dropped.  The worker's spool is released when a pull has ended, well or not;
 * but if it is to keep what went well, until that is dropped.
 * ERR_PEER: the result contradicts itself or what was measured (release it
 * with blob_fetch_drop); ERR_FATAL.
 */
int blob_fetch_add(
    struct blob_fetch *f, const struct blob_request *r, struct err *e);

/*
 * The worker's layer is not wanted (any more): whatever goes on for it ends,
 * and the worker's spool is released.  An outcome that was on its way may
 * still be taken.
 */
int blob_fetch_drop(struct blob_fetch *f, const uint8_t *token,
    const struct data_id *id, struct err *e);

/*
 * What came of a request; false: nothing yet.  If the thread itself has failed
 * every request ends so, with ERR_FATAL.
 */
bool blob_fetch_take(struct blob_fetch *f, struct blob_outcome *out);

/* Bytes that have come of a request that goes on; else 0. */
uint64_t blob_fetch_bytes(struct blob_fetch *f, const struct data_id *id);

#endif
