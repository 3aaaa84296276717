/*
 * A repository that blobs of this worker go to, and the token that is said
 * there, of which another one is asked for where it ends.  Counted: it goes
 * with the last who holds it.  Any thread may call.
 */
#ifndef UPLOAD_PLACE_H
#define UPLOAD_PLACE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

struct err;
struct msg_token;
struct registry;
struct registry_auth;
struct upload_place;

#define UPLOAD_TOKEN_MS 60000 /* so long is a new token waited for */
#define UPLOAD_RENEWALS_MAX 4 /* of one blob's */

/*
 * wake_fd: becomes readable when another token is to be asked for; borrowed.
 * The caller holds it once.  ERR_RETRY.
 */
int upload_place_new(const struct msg_token *m, int wake_fd,
    struct upload_place **out, struct err *e);
struct upload_place *upload_place_hold(struct upload_place *p);
void upload_place_let_go(struct upload_place *p);
void upload_place_let_gop(struct upload_place **p);

/* Whether it is the one that m means, and not another of that number. */
bool upload_place_is(const struct upload_place *p, const struct msg_token *m);
uint64_t upload_place_id(const struct upload_place *p);

/* It takes no blobs that come in parts; and whether that was found out. */
void upload_place_refuse(struct upload_place *p);
bool upload_place_refuses(struct upload_place *p);

/* Its next token, unless that is an older one. */
int upload_place_renew(
    struct upload_place *p, const struct msg_token *m, struct err *e);
/* Whether another one than *serial is to be asked for, and was not yet. */
bool upload_place_asks(struct upload_place *p, uint64_t *serial);
/* It was. */
void upload_place_said(struct upload_place *p);

/* What one thread asks with there. */
struct upload_session {
	struct registry *registry; /* NULL: none */
	struct registry_auth *auth;
	uint64_t serial; /* of its token */
};

/* With the token that there is now; cancel is borrowed.  ERR_RETRY. */
int upload_session_open(struct upload_place *p, const atomic_bool *cancel,
    struct upload_session *out, struct err *e);
void upload_session_clear(struct upload_session *s);
/* Whether e, of a call to its registry, says that the token is good no more. */
bool upload_session_ended(const struct err *e);
/*
 * Has another token asked for, and waits for it.  False: there is none, or
 * cancel.
 */
bool upload_session_await(
    struct upload_place *p, uint64_t serial, const atomic_bool *cancel);

#endif
