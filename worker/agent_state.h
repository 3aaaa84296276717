/*
 * Inside of the agent: its state, and what its files call of each other.
 * agent.c joins, beats and leaves; agent_jobs.c takes jobs and answers them;
 * agent_answers.c answers what is asked of the machine; agent_push.c has layers
 * uploaded.
 */
#ifndef AGENT_STATE_H
#define AGENT_STATE_H

#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "protocol.h"
#include "speed.h"

struct agent_options;
struct err;
struct handover;
struct job;
struct job_pool;
struct link;
struct sent_answers;
struct shared_answer;
struct store_answer;
struct uploads;

enum agent_state {
	AGENT_NEW,     /* HELLO is to be sent */
	AGENT_GREETED, /* WELCOME is awaited */
	AGENT_READY,
	AGENT_LEAVING
};

struct agent {
	const struct agent_options *options;
	enum agent_state state;
	void *ctx;
	struct link *link;
	struct job_pool *pool;
	struct handover *handover;    /* NULL: all outputs are reached */
	struct shared_answer *answer; /* to the PROBE that is on, or NULL */
	struct store_answer *store;   /* to ASK */
	struct uploads *uploads;      /* NULL: there was none yet */
	int signal_fd;
	sigset_t old_mask;
	struct job *jobs;
	size_t n_jobs;
	struct sent_answers *sent; /* of jobs that are no more */
	uint8_t instance[MSG_INSTANCE_SIZE];
	uint64_t session; /* the coordinator's; 0: none yet */
	struct speed speed;
	bool draining;
	int64_t drain_until;
	int64_t beat_ms, next_beat;
	int64_t deadline;   /* for WELCOME */
	int64_t hello_at;   /* when to say HELLO again */
	int64_t lost_since; /* when beats began to fail; 0: they do not */
	struct msg_progress *progress; /* of each slot */
};

/* 0: sent; 1: not now; -1: *e says why never. */
int agent_try_send(struct agent *a, const struct msg *m, struct err *e);

int agent_take_job(struct agent *a, struct msg *m, struct err *e);
/* ITEMS or ENTRIES; those of a job that is not there any more are ignored. */
int agent_take_part(struct agent *a, const struct msg *m, struct err *e);
int agent_cancel_job(
    struct agent *a, const struct msg_cancel *m, struct err *e);

/* Takes what the pool has finished. */
void agent_collect(struct agent *a);
/* Sends answers; what cannot be sent now stays for the next time. */
int agent_send_answers(struct agent *a, struct err *e);
/*
 * The jobs that it has and will answer; *out is the caller's to free.  Those
 * that lack parts are forgotten: the connection took these along.
 */
int agent_held(
    struct agent *a, struct msg_attempt **out, size_t *n, struct err *e);
/* The last answers may have been lost with a connection: once more. */
void agent_answer_again(struct agent *a);

/* PROBE: is a folder shared? */
int agent_take_probe(struct agent *a, const struct msg_probe *m, struct err *e);
int agent_send_probed(struct agent *a, struct err *e);
/* ASK or PATHS: which store paths are here? */
int agent_take_question(struct agent *a, const struct msg *m, struct err *e);
/* What could not be said is said the next time. */
int agent_send_have(struct agent *a, struct err *e);

/* PUSH or TOKEN. */
int agent_take_push(struct agent *a, const struct msg *m, struct err *e);
/* What came of uploads; what cannot be sent now stays for the next time. */
int agent_send_pushed(struct agent *a, struct err *e);

/* Nobody wants the jobs any more: they are stopped, and never answered. */
void agent_forget_jobs(struct agent *a);
/* No new jobs: what no thread has begun is handed back. */
void agent_hand_back(struct agent *a);
/* Stops what still runs; it is handed back, too. */
void agent_stop_jobs(struct agent *a);
void agent_free_jobs(struct agent *a);

#endif
