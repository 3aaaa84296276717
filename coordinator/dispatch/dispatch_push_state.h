/*
 * Inside of dispatch_push.c and dispatch_push_token.c, which has workers told
 * what they say in registries: what is on its way there.  For these alone.
 */
#ifndef DISPATCH_PUSH_STATE_H
#define DISPATCH_PUSH_STATE_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>

#include "digest.h"
#include "dispatch/push_queue.h"
#include "progress/progress.h"
#include "registry/registry_place.h"
#include "schedule/scheduler.h"

struct dispatch;
struct err;
struct peer;
struct push;
struct push_look;

/* push_look's answers to push_look_renew, which belong to no push. */
#define RENEWED 0

/* A layer that is done, and on its way to the registries. */
struct item {
	uint64_t wire, attempt;
	struct worker_id maker;
	struct digest digest;
	uint64_t size;
	char *file; /* here */
	struct job_id job;
	bool alone;  /* nobody else has it: the job waits for it */
	bool left;   /* to us, by one place */
	bool kept;   /* in its maker's spool, until that is told to drop it */
	size_t open; /* pushes */
};

struct dispatch_pushing {
	uint64_t push;
	size_t place;
	struct item *item;
	const char *from; /* another repository there that has it, or NULL */
	bool mounted;
	TAILQ_ENTRY(dispatch_pushing) entry;
};

struct place {
	struct push *push;
	struct push_look *look;
	struct registry_place_lent lent;
	bool barred;
	uint64_t renewing; /* the serial, while another one is got; 0: none */
};

struct dispatch_pushes {
	struct push_queue *queue;
	int wake_fd;
	struct place place[PUSH_PLACES_MAX];
	size_t n_places;
	TAILQ_HEAD(, dispatch_pushing) list;
	bool only; /* what is there is not pulled */
	struct progress_pushes shown;
};

/* The place's token, unless p has it.  1: p is not to be reached. */
int dispatch_push_tell(
    struct dispatch *d, struct peer *p, size_t i, struct err *e);
/* Whoever was told the old one is told the new one. */
int dispatch_push_renewed(struct dispatch *d, size_t i, struct err *e);

#endif
