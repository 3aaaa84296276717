/*
 * What the agent does for layers that the coordinator pulls: keeps a spool,
 * runs its server, takes room before a job starts and tells when its files are
 * whole.  Where the coordinator has no data socket there is none (NULL): then
 * no job may need one.  The agent's thread calls.
 */
#ifndef HANDOVER_H
#define HANDOVER_H

#include <stdbool.h>
#include <stdint.h>

struct data_id;
struct err;
struct handover;
struct job;
struct link_keys;

struct handover_config {
	const char *folder;	      /* of the spool, or NULL */
	const char *control;	      /* endpoint of the agent's own socket */
	const struct link_keys *keys; /* of that, or NULL */
	const char *data;	      /* WELCOME's */
	const uint8_t *token;	      /* WELCOME's */
};

/*
 * At each WELCOME that names a data socket: makes *h, or connects it anew and
 * keeps its spool.  ERR_FATAL, ERR_USAGE, ERR_PEER.
 */
int handover_join(void *ctx, const struct handover_config *config,
    struct handover **h, struct err *e);

/* Whether a layer is whole, and not pulled yet. */
bool handover_holds(const struct handover *h);

/* Opens the blob of a job that is over, for reading.  ERR_RETRY. */
int handover_open(
    const struct handover *h, const struct data_id *id, int *fd, struct err *e);

/* Nobody wants the layers any more: all of the spool goes. */
void handover_forget(struct handover *h);

/* For poll(2), or -1: readable means that handover_check fails. */
int handover_fd(const struct handover *h);
int handover_check(struct handover *h, struct err *e);

/*
 * A job that is about to run: reserves room for its spool outputs and sets
 * their paths.  ERR_RETRY; sys is ENOSPC where there is no room now.
 */
int handover_begin(struct handover *h, struct job *job, struct err *e);

/* A job that is over: its files may be pulled, or go with it if it failed. */
void handover_end(struct handover *h, const struct job *job);

/* As blob_serve_stop; the spool is removed. */
bool handover_stop(struct handover *h, int timeout_ms);

#endif
