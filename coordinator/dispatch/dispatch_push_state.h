/*
 * Inside of dispatch_push.c, dispatch_push_places.c, dispatch_push_token.c,
 * which has workers told what they say in registries, and
 * dispatch_push_homes.c, which sees to it that what several jobs have in common
 * goes there once: what is on its way there.  For these alone.
 */
#ifndef DISPATCH_PUSH_STATE_H
#define DISPATCH_PUSH_STATE_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>

#include "closure/hash_index.h"
#include "digest.h"
#include "dispatch/push_queue.h"
#include "progress/progress.h"
#include "registry/registry_place.h"
#include "schedule/scheduler.h"

struct dispatch;
struct err;
struct peer;
struct dispatch_job;
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
	struct dispatch_job *told; /* is told of when all are over, or NULL */
	bool alone;		 /* nobody else has it: the job waits for it */
	bool homes;		 /* it goes to no others */
	bool left;		 /* to us, by one place */
	bool streamed, uploaded; /* only a registry has it, its maker says */
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
	/* The same blob to the same registry, which begins when this is over.
	 */
	TAILQ_HEAD(, dispatch_pushing) followers;
	TAILQ_ENTRY(dispatch_pushing) follow;
};

/* Of a blob that jobs with homes have: who puts it into a registry first. */
struct first {
	struct digest blob;
	size_t registry;
	struct dispatch_pushing *leader; /* NULL: that is over, */
	bool there;			 /* and so it is in */
	size_t place;
};

struct place {
	struct push *push;
	size_t registry; /* the first place of it */
	struct registry_place_lent lent;
	bool barred;
	uint64_t renewing; /* the serial, while another one is got; 0: none */
};

struct dispatch_pushes {
	struct push_queue *queue;
	int wake_fd;
	struct push_look *look; /* has the same places, as the queue has */
	struct place *place;
	size_t n_places;
	size_t *registry; /* first places */
	size_t n_registries;
	TAILQ_HEAD(, dispatch_pushing) list;
	struct first *first;
	size_t n_first, room_first;
	struct hash_index by_blob;
	bool only;	 /* what is there is not pulled */
	bool stream;	 /* into the first place, while they are made */
	bool unasked;	 /* who asks there, and how, is not known yet */
	bool unfit;	 /* that some worker may not was said */
	unsigned broken; /* streams in a row */
	struct progress_pushes shown;
};

/* dispatch_push_places.c: workers push there no more, or to none of the same
 * registry. */
void dispatch_push_bar(struct dispatch_pushes *ps, size_t i, const char *why);
void dispatch_push_bar_registry(
    struct dispatch_pushes *ps, size_t i, const char *why);

/* That will be pushed: in the list, and counted. */
int dispatch_pushing_new(struct dispatch_pushes *ps, size_t place,
    struct item *item, struct dispatch_pushing **out, struct err *e);
/* It can be; from: as in dispatch_pushing. */
int dispatch_pushing_begin(struct dispatch_pushes *ps,
    struct dispatch_pushing *p, const char *from, struct err *e);

/*
 * An item whose job says where it goes: once its blob is in one repository of
 * the registry it is mounted in others.  _over: what waited for p.
 */
int dispatch_push_home(
    struct dispatch_pushes *ps, size_t place, struct item *item, struct err *e);
int dispatch_push_home_over(struct dispatch_pushes *ps,
    struct dispatch_pushing *p, bool there, struct err *e);
void dispatch_push_homes_free(struct dispatch_pushes *ps);
/* *token: workers have to say one; barred, where that is a password. */
int dispatch_push_lendable(
    struct dispatch_pushes *ps, size_t i, bool *token, struct err *e);
/* dispatch_stream.c: a place has answered a question that is no push's. */
int dispatch_stream_asked(
    struct dispatch *d, size_t i, bool failed, struct err *e);

/* By what p knows place i, or will, once it was told. */
struct peer_told *dispatch_push_told(struct peer *p, size_t i);
/* The place's token, unless p has it.  1: p is not to be reached. */
int dispatch_push_tell(
    struct dispatch *d, struct peer *p, struct peer_told *told, struct err *e);
/* Whoever was told the old one is told the new one. */
int dispatch_push_renewed(struct dispatch *d, size_t i, struct err *e);

#endif
