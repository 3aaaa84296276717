/*
 * Layers on their way into registries, of whoever has others put them there:
 * dispatch its workers, a client its server.  Which is looked for where, who is
 * to put it there (push_queue.h), what is said there (push_look.h), and what
 * came of it; what several jobs have in common goes there once.  Whatever goes
 * wrong, a layer is only not there then.
 *
 * One thread, which calls pushes_next whenever the descriptor is readable or it
 * has called anything else.
 */
#ifndef PUSHES_H
#define PUSHES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>

#include "closure/hash_index.h"
#include "digest.h"
#include "dispatch/push_queue.h"
#include "progress/progress.h"
#include "registry/registry_place.h"
#include "schedule/scheduler.h"

struct dispatch_job;
struct err;
struct msg_pushed;
struct msg_token;
struct push;
struct push_look;
struct push_told;
struct status_pushes;

/* A layer that is done, and on its way to the registries. */
struct pushes_item {
	uint64_t wire, attempt;
	struct worker_id maker;
	struct digest digest;
	uint64_t size;
	char *file; /* here; or NULL */
	struct job_id job;
	struct dispatch_job *told; /* is told of when all are over, or NULL */
	bool alone;		 /* nobody else has it: the job waits for it */
	bool homes;		 /* it goes to no others */
	bool left;		 /* to us, by one place */
	bool streamed, uploaded; /* only a registry has it, its maker says */
	bool kept;   /* in its maker's spool, until that is told to drop it */
	size_t open; /* pushings */
};

/* An item on its way to one place. */
struct pushing {
	uint64_t push;
	size_t place;
	struct pushes_item *item;
	const char *from; /* another repository there that has it, or NULL */
	bool mounted;
	TAILQ_ENTRY(pushing) entry;
	/*
	 * The same blob to the same registry, which begins when this is over.
	 */
	TAILQ_HEAD(, pushing) followers;
	TAILQ_ENTRY(pushing) follow;
};

/* Of a blob that jobs with homes have: who puts it into a registry first. */
struct pushes_first {
	struct digest blob;
	size_t registry;
	struct pushing *leader; /* NULL: that is over, */
	bool there;		/* and so it is in */
	size_t place;
};

struct pushes_place {
	struct push *push;
	size_t registry; /* the first place of it */
	struct registry_place_lent lent;
	bool barred;
	uint64_t renewing; /* the serial, while another one is got; 0: none */
};

/* What its owner may read; the rest is for pushes*.c alone. */
struct pushes {
	struct push_queue *queue; /* its owner says who is there */
	int wake_fd;
	struct pushes_place *place;
	size_t n_places;
	struct progress_pushes shown;

	struct progress *progress;
	struct push_look *look; /* has the same places, as the queue has */
	size_t *registry;	/* first places */
	size_t n_registries;
	TAILQ_HEAD(, pushing) list;
	struct pushes_first *first;
	size_t n_first, room_first;
	struct hash_index by_blob;
};

/* Borrows all pushes. */
int pushes_new(struct push *const *push, size_t n, struct progress *progress,
    struct pushes **out, struct err *e);
void pushes_free(struct pushes *ps);
void pushes_freep(struct pushes **ps);

/* Nobody pushes there any more, or to none of the same registry. */
void pushes_bar(struct pushes *ps, size_t place, const char *why);
void pushes_bar_registry(struct pushes *ps, size_t place, const char *why);

/*
 * The layer of that job goes to where that says, or to all registries; *like is
 * copied, what it owns is taken over.  *any: it goes anywhere.
 */
int pushes_put(struct pushes *ps, const struct pushes_item *like,
    const struct dispatch_job *job, bool *any, struct err *e);

enum pushes_act {
	PUSHES_GIVE,  /* to the worker; pushes_said follows */
	PUSHES_OVER,  /* all of an item is: the job may go on */
	PUSHES_ASKED, /* a place is known, or has another token, or fails */
};

struct pushes_step {
	enum pushes_act act;
	const struct pushing *pushing; /* GIVE */
	struct worker_id worker;       /* GIVE */
	struct pushes_item item;       /* OVER: it was */
	size_t place;		       /* ASKED */
	bool failed;
};

/* The next thing to do: 1; 0: none. */
int pushes_next(struct pushes *ps, struct pushes_step *out, struct err *e);
/* Whether anything is on its way. */
bool pushes_busy(const struct pushes *ps);

/*
 * What a worker (who, for people) says of a push.  False: it was not given it;
 * else *place is where.
 */
bool pushes_said(struct pushes *ps, struct worker_id worker, const char *who,
    const struct msg_pushed *m, size_t *place);

/* Has a place asked how it wants to be; PUSHES_ASKED follows. */
int pushes_ask(struct pushes *ps, size_t place, struct err *e);
/* *token: workers have to say one; barred, where that is a password. */
int pushes_lendable(
    struct pushes *ps, size_t place, bool *token, struct err *e);
/*
 * 1: who was told that is to be told *out, and then told->serial is its; the
 * rest of it is borrowed, but *token, which is the caller's and secret.
 */
int pushes_token(struct pushes *ps, const struct push_told *told,
    struct msg_token *out, char **token, struct err *e);
/*
 * The place's token of that serial is taken no more: 1: there is another one,
 * pushes_token has it; 0: PUSHES_ASKED follows once there is.
 */
int pushes_expired(
    struct pushes *ps, size_t place, uint64_t serial, struct err *e);

void pushes_count(const struct pushes *ps, struct status_pushes *out);

/*
 * For pushes*.c.  One that will be pushed: in the list, and counted; and it can
 * be (from: as in struct pushing).
 */
int pushes_place(struct pushes *ps, struct push *push, struct err *e);
int pushing_new(struct pushes *ps, size_t place, struct pushes_item *item,
    struct pushing **out, struct err *e);
int pushing_begin(
    struct pushes *ps, struct pushing *p, const char *from, struct err *e);
/*
 * An item whose job says where it goes: once its blob is in one repository of
 * the registry it is mounted in others.  _over: what waited for p.
 */
int pushes_home(
    struct pushes *ps, size_t place, struct pushes_item *item, struct err *e);
int pushes_home_over(
    struct pushes *ps, struct pushing *p, bool there, struct err *e);
void pushes_homes_free(struct pushes *ps);

#endif
