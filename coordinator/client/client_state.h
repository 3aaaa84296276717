/*
 * Inside of client: its state, and what its files call of each other.
 * client.c keeps the connection and loops, client_messages.c takes what the
 * server says, client_jobs.c knows what is asked for and what came of it,
 * client_blobs.c pulls what was made, client_push.c has it pushed.  For these
 * alone.
 */
#ifndef CLIENT_STATE_H
#define CLIENT_STATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "client/client.h"
#include "dispatch/push_told.h"
#include "layer_spec.h"
#include "protocol.h"

struct blob_fetch;
struct blob_outcome;
struct link;
struct pushes;

enum client_step {
	CLIENT_NEW,	/* CLIENT is to be said */
	CLIENT_GREETED, /* it was; no WELCOME yet */
	CLIENT_READY
};

enum want_step {
	WANT_OPEN,  /* to be asked for, for the first time or again */
	WANT_ASKED, /* the server has it */
	WANT_MADE,  /* it is being pulled, or pushed to registries alone */
	WANT_DONE   /* or failed */
};

/* What is known of a job. */
struct want {
	enum want_step step;
	uint64_t attempt; /* what was asked last; 0: nothing */
	bool offered;	  /* the server keeps it for us */
	bool pushing;	  /* it is on its way to registries */
	bool kept;	  /* it stays offered when it was pulled */
	bool only_pushed; /* all registries have it, we do not */
	unsigned failed;  /* so often it did not come whole */
	uint64_t bytes;	  /* of the list of its paths, about */
	int64_t asked;	  /* ms */
	/* Of the attempt, as the server says. */
	struct layer_result result;
	char worker[64]; /* "": it did not say */
	double seconds;
};

struct client {
	struct client_config config;
	void *ctx;
	struct link *link;
	uint8_t instance[MSG_INSTANCE_SIZE];
	char host[MSG_NAME_MAX + 1], image[MSG_NAME_MAX + 1];

	enum client_step step;
	int64_t heard;	  /* when it last said something, ms */
	int64_t looked;	  /* when the loop last came round */
	int64_t hello_at; /* when CLIENT is to be said again */
	int64_t next_beat;
	int64_t lost;	    /* since when it is not there */
	int64_t connect_at; /* on a new socket, if it is not there by then */
	bool away;	    /* that was said */
	bool met;	    /* it was there once */

	/* Of the WELCOME that counts. */
	uint64_t session;
	int64_t beat_ms;
	char *data;
	uint8_t token[DATA_TOKEN_SIZE];
	struct blob_fetch *fetch; /* from there */

	struct pushes *pushes; /* NULL: there is nowhere to push to */
	struct push_tolds told;
	bool pushing, only_pushed;

	/* Those whom the progress display knows; the first is the server. */
	char (*worker)[64];
	size_t n_workers, room_workers;

	/* Of the run that is on. */
	struct dispatch_job *job;
	struct want *want; /* of each job */
	size_t *order;	   /* of jobs: the largest first */
	size_t n_jobs, n_done;
	size_t first;	     /* in order: before it nothing is WANT_OPEN */
	size_t n_held;	     /* asked for or being pulled, */
	uint64_t held_bytes; /* and the bytes of their lists */
	size_t room;	     /* how many may be */
	int64_t room_at;     /* when it is taken to be all there is again */
	int64_t patience;    /* ms that this takes */
	char postponed[MSG_NAME_MAX + 64]; /* why, as was said last */
	uint64_t base;			   /* job ids on the wire count on */
};

/* 0: sent; 1: it cannot be now, and the connection is to be made good. */
int client_send(struct client *c, const struct msg *m, struct err *e);
/* The server is not there: CLIENT is the next word. */
void client_lost(struct client *c);
/* That it is, and why, is said now. */
void client_away(struct client *c, const char *why);
/* A beat, if it is time. */
int client_beat(struct client *c, struct err *e);

/* client_messages.c: all that came; 1: there was something. */
int client_receive(struct client *c, struct err *e);

/* client_jobs.c: at the start and the end of a run. */
int client_jobs_start(
    struct client *c, struct dispatch_job *job, size_t n, struct err *e);
void client_jobs_end(struct client *c);
/* Asks for as many as may be. */
int client_jobs_ask(struct client *c, struct err *e);
/* All that is asked for, and with pulls all that is pulled, is open again. */
void client_jobs_reopen(struct client *c, bool pulls);
/* Whether it is of a job and its newest attempt, at that step: its index. */
bool client_job_of(const struct client *c, uint64_t job, uint64_t attempt,
    enum want_step step, size_t *out);
/* It did not come whole: asked for again, unless too often. */
int client_job_again(
    struct client *c, size_t i, const char *why, struct err *e);
int client_job_done(struct client *c, size_t i, struct err *e);
/* It will never be: -1, or whoever wants it is told. */
int client_job_failed(
    struct client *c, size_t i, const struct err *why, struct err *e);
/* The server has no room for it. */
void client_job_postpone(struct client *c, size_t i);

/*
 * client_blobs.c: pulls from where m says, no longer from where it was.
 * ERR_FATAL: nothing can be pulled from there.
 */
int client_blobs_open(
    struct client *c, const struct msg_welcome *m, struct err *e);
void client_blobs_close(struct client *c);
/* What the server says that it made is not wanted: client_job_again. */
int client_blobs_refuse(
    struct client *c, size_t i, const char *why, struct err *e);
/* The job is made: pulls it; client_job_done or _again follow. */
int client_blobs_pull(struct client *c, size_t i, struct err *e);
/* What came of pulls. */
int client_blobs_collect(struct client *c, struct err *e);

/* client_push.c: who pushes is the server, to which each is a PUSH. */
int client_push_open(struct client *c, struct err *e);
void client_push_close(struct client *c);
int client_push_fd(const struct client *c);
bool client_push_busy(const struct client *c);
/* The server is there, and has forgotten all; or will not be. */
int client_push_welcome(
    struct client *c, const struct msg_welcome *m, struct err *e);
void client_push_lost(struct client *c);
/*
 * The job is made.  *alone: it is pushed, and client_job_done or _pull follow.
 */
int client_push_made(struct client *c, size_t i, bool *alone, struct err *e);
/* The server need not keep it any longer. */
int client_push_end(struct client *c, size_t i, struct err *e);
/* All that can be done now. */
int client_push_turn(struct client *c, struct err *e);
void client_push_said(struct client *c, const struct msg_pushed *m);
int client_push_expired(
    struct client *c, const struct msg_expired *m, struct err *e);

#endif
