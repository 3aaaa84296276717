/*
 * Layers that go from this worker into registries: each has a thread of its
 * own, UPLOADS_MAX at a time, so that slots stay free for jobs and the agent's
 * beats do not wait.  What a registry wants to be asked again, and how, is
 * registry.h's; where its token ends in between, another one is asked for, and
 * the blob is sent again.
 *
 * The agent's thread calls; no call blocks, but uploads_stop.
 */
#ifndef UPLOADS_H
#define UPLOADS_H

#include <stdbool.h>

#include "protocol.h"

struct err;
struct upload_place;
struct uploads;

#define UPLOADS_MAX 4 /* at a time; others wait */
#define UPLOADS_PLACES_MAX MSG_PUSH_PLACES

int uploads_new(struct uploads **out, struct err *e);
/*
 * Ends all threads and frees u: true.  If one is still stuck after timeout_ms:
 * false, and u must stay as it is.  NULL is fine, here and below.
 */
bool uploads_stop(struct uploads *u, int timeout_ms);

/* For poll(2): readable means that uploads_next may have something. */
int uploads_fd(const struct uploads *u);

/*
 * A place, or its next token, or that its number means another one.  ERR_RETRY:
 * there is none to be had here.
 */
int uploads_place(struct uploads *u, const struct msg_token *m, struct err *e);

/* One that was told of, which the caller then holds; NULL: it was not. */
struct upload_place *uploads_find(struct uploads *u, uint64_t place);

/*
 * A blob for a place.  fd, taken over on success: a file that holds it; -1:
 * m->file does.  ERR_RETRY.
 */
int uploads_put(
    struct uploads *u, const struct msg_push *m, int *fd, struct err *e);

/* The next PUSHED or EXPIRED; it is said again until uploads_said. */
bool uploads_next(struct uploads *u, struct msg *out);
void uploads_said(struct uploads *u);

/* Whether any blob is not answered yet. */
bool uploads_busy(const struct uploads *u);

/* Nobody waits for them any more: they end soon, and are never answered. */
void uploads_forget(struct uploads *u);

#endif
