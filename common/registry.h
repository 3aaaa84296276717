/*
 * One repository of an OCI registry (distribution-spec 1.1): blobs and
 * manifests go there and come from there, each with the retries, pauses and
 * second looks that registries and the way to them need.  One thread each; what
 * is shared (registry_auth, http_tls) may be.
 *
 * Every call may take long, but for HTTP_STALL_S without a byte.  Errors name
 * the registry and what it said, never a secret: ERR_RETRY if trying again
 * later may help, ERR_FATAL if not.
 */
#ifndef REGISTRY_H
#define REGISTRY_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "digest.h"
#include "registry_auth.h"

struct err;
struct http_tls;
struct registry;

struct registry_config {
	const char *base; /* "https://HOST[:PORT]"; copied, as repo is */
	const char *repo;
	struct registry_auth *auth; /* borrowed */
	const struct http_tls *tls; /* borrowed */
	const atomic_bool *cancel;  /* borrowed, or NULL */
	int64_t backoff_ms;	    /* 0: REGISTRY_BACKOFF_MS */
	bool pull;		    /* nothing is put there: ask for no more */
	long stall_s;		    /* 0: HTTP_STALL_S */
};

int registry_new(
    const struct registry_config *config, struct registry **out, struct err *e);
void registry_free(struct registry *r);
void registry_freep(struct registry **r);
/* Another repository of the same registry, with the same connection. */
int registry_go_to(struct registry *r, const char *repo, struct err *e);

/*
 * For what can be done without: how often a request is made at most, instead
 * of REGISTRY_TRIES, and what pause, in ms, is too long to wait for.
 */
void registry_set_patience(
    struct registry *r, unsigned tries, int64_t pause_ms);

/*
 * Finds out how the server is spoken to: *base "https://SERVER", or, if it
 * speaks no TLS and `plain` allows that, "http://SERVER"; the caller's.
 * server: "HOST[:PORT]"; stall_s as in registry_config.  A bad certificate is
 * never got round.
 */
int registry_find(const char *server, bool plain, const struct http_tls *tls,
    long stall_s, char **base, struct err *e);

/* Whether the server is this machine, where plain HTTP goes over no wire. */
bool registry_is_loopback(const char *server);

enum registry_way {
	REGISTRY_THERE,	  /* it was there */
	REGISTRY_MOUNTED, /* it was in another repository */
	REGISTRY_UPLOADED,
	REGISTRY_LACKED /* it could not be mounted, and is absent here */
};

struct registry_blob {
	const struct digest *digest;
	uint64_t size; /* bytes */
	int fd;	       /* a file that is the blob, or -1: */
	const void *data;
	const char *from; /* another repository that may have it, or NULL */
	bool absent;	  /* neither fd nor data: it can only be mounted */
};

/* Whether the blob is there, whole. */
int registry_has_blob(struct registry *r, const struct digest *digest,
    uint64_t size, bool *there, struct err *e);

/* Gets the blob there, if it is not; *way says how. */
int registry_push_blob(struct registry *r, const struct registry_blob *blob,
    enum registry_way *way, struct err *e);

/*
 * Puts a manifest under a tag or digest.  *unknown true (and 0 returned): the
 * registry says that it lacks a blob.
 */
int registry_put_manifest(struct registry *r, const char *reference,
    const char *media_type, const void *data, size_t len,
    const struct digest *digest, bool *unknown, struct err *e);

#define REGISTRY_MANIFEST_MAX ((size_t)4 << 20)
#define REGISTRY_TYPE_MAX 255
#define REGISTRY_REDIRECTS_MAX 5

struct registry_manifest {
	char *data; /* len bytes, and a 0; NULL: none */
	size_t len;
	struct digest digest;
	char media_type[REGISTRY_TYPE_MAX + 1]; /* the header's, or "" */
};

/*
 * What is under a tag or digest, images and indexes of both formats; its
 * digest is the named one, or the one that the registry says.  out->data NULL
 * (and 0 returned): there is nothing.  registry_manifest_clear follows.
 */
int registry_get_manifest(struct registry *r, const char *reference,
    struct registry_manifest *out, struct err *e);
void registry_manifest_clear(struct registry_manifest *m);

/* Whether this very manifest is under the tag, by the registry's word. */
int registry_has_manifest(struct registry *r, const char *tag,
    const struct digest *digest, bool *there, struct err *e);

/* Whether the blob is there, or where the registry sends us, with this size. */
int registry_find_blob(struct registry *r, const struct digest *digest,
    uint64_t size, bool *there, struct err *e);

/*
 * Writes a blob into fd, from its beginning, and goes on where it broke off.
 * Where the registry sends us elsewhere we follow, without our credentials,
 * and from a public address to public ones only.  0: it has this digest and
 * size.
 */
int registry_get_blob(struct registry *r, const struct digest *digest,
    uint64_t size, int fd, struct err *e);

/*
 * What another machine is told that is to put blobs there in our place, see
 * registry_auth_lend; once something was asked here, so that it is known.
 */
int registry_lend(
    struct registry *r, enum registry_lend *how, char **token, struct err *e);

/*
 * How often the registry said that it is asked too much, since the last call.
 */
unsigned registry_throttled(struct registry *r);

#endif
