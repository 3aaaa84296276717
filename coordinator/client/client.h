/*
 * Has layers made by a coordinator that stays up (quarry serve): the other
 * side of CLIENT in protocol.h.  It asks the server for all of its jobs, the
 * largest first, pulls what was made straight into the jobs' outputs, hashed
 * on the way (blob_fetch.h), and asks again for whatever was lost with a
 * connection or with the server, for which it waits as long as it takes.
 *
 * Where a server's workers push, they put layers into registries, too, each as
 * soon as it is made: who asks there, and looks, is the client.
 *
 * Only the blobs of store layers can be had so, and of them one form: where
 * they are encoded the encoded one, else the tar.
 *
 * One loop, one thread, which owns the control socket.
 */
#ifndef CLIENT_H
#define CLIENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct client;
struct dispatch_job;
struct err;
struct link_keys;
struct progress;
struct push;

/* What is asked for at a time: layers, and bytes of their lists of paths. */
#define CLIENT_ASKED_MAX 512
#define CLIENT_ASKED_BYTES_MAX ((uint64_t)16 << 20)
/* Of one layer's list: a server takes no more, and queues hold no more. */
#define CLIENT_LIST_BYTES_MAX ((uint64_t)1 << 30)
/* A layer that did not come whole is asked for again, so often. */
#define CLIENT_AGAIN_MAX 3

struct client_pace {
	int64_t hello_ms;    /* until CLIENT is said again */
	int64_t silent_ms;   /* a server that says nothing is gone */
	int64_t postpone_ms; /* until what was postponed is asked for again, */
	int64_t postpone_max_ms; /* which doubles up to this */
	int64_t pull_silent_ms;	 /* blob_pace's */
};

struct client_config {
	/* Borrowed until client_free. */
	const char *endpoint;	      /* the server's */
	const struct link_keys *keys; /* ours and the server's, or NULL */
	const char *image;	      /* its name, for people */
	struct progress *progress;
	/*
	 * Told of each job that is done and where it belongs, and of each that
	 * has failed for good, and why (NULL: that is the end).  Or NULL.
	 */
	int (*done)(void *arg, const struct dispatch_job *job, struct err *e);
	int (*failed)(void *arg, const struct dispatch_job *job,
	    const struct err *why, struct err *e);
	/* All that the server pushes of it is there, or left to us; or NULL. */
	int (*pushed)(void *arg, const struct dispatch_job *job, struct err *e);
	void *arg; /* the first one of all */
	/* As dispatch_config's. */
	struct push *const *pushes;
	size_t n_pushes;
	bool only_pushed;
	struct client_pace pace;
};

/* The pace that all but tests want; the rest is empty. */
void client_defaults(struct client_config *config);

/* Makes the socket; connects in the background.  ERR_USAGE: the endpoint. */
int client_new(
    const struct client_config *config, struct client **out, struct err *e);

/*
 * Has n jobs of store paths done; fills what came of them, as dispatch_run
 * does.  Fails with the first that the server says has failed, if nobody is
 * told of it: ERR_JOB where its input is to blame, else ERR_FATAL; and where
 * the server refuses this client.  ERR_USAGE: a layer has more store paths than
 * can be asked for.  After a failure only client_free is allowed.
 */
int client_run(
    struct client *c, struct dispatch_job *job, size_t n, struct err *e);

/* From now on all layers are pulled, and the server pushes none. */
void client_pull_all(struct client *c);

/* Takes leave: the server forgets what it was asked for. */
void client_free(struct client *c);
void client_freep(struct client **c);

#endif
