/*
 * Gets layer jobs done: listens for workers, starts local ones, sends jobs as
 * the scheduler decides, takes results.  One loop, one thread, which owns the
 * sockets and the child processes.
 *
 * A build has a closed set of jobs, which dispatch_run runs to its end.  A
 * server begins, adds jobs as they come, and takes turns for ever; memory is
 * that of what is open.
 */
#ifndef DISPATCH_H
#define DISPATCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "digest.h"
#include "encoding.h"
#include "layer_spec.h"
#include "schedule/scheduler.h"

struct cache_list;
struct closure;
struct pollfd;
struct curve_key;
struct dispatch;
struct err;
struct launch;
struct metrics;
struct path_needs;
struct progress;
struct push;
struct scratch;
struct status;

#define DISPATCH_NO_HOME UINT32_MAX

/* What came of a job. */
struct dispatch_made {
	struct layer_result result; /* measure: tar_size and entries */
	char worker[64];	    /* "HOST/PID" */
	bool only_pushed;	    /* the registries have it, no output does */
	bool pushing;		    /* `pushed` will be told of it */
	double seconds;		    /* from dispatch to result */
};

struct dispatch_job {
	/*
	 * What to do; borrowed, like all below, until dispatch_run ends, or
	 * the job was told of.  LAYER_FROM_STORE: path, where there is a
	 * closure, else item.
	 */
	const struct layer_spec *spec;
	const struct closure *closure; /* where paths are */
	union {
		const uint32_t *path;		 /* n indices */
		const struct layer_item *item;	 /* n store paths */
		const struct layer_entry *entry; /* LAYER_FROM_ENTRIES: n */
	};
	uint32_t n;
	/*
	 * Which of config's pushes it goes to, n_homes of them, some of which
	 * may be DISPATCH_NO_HOME; NULL: to all.  only_push: it is wanted
	 * nowhere else, what is there is not pulled.
	 */
	uint32_t n_homes : 31;
	bool only_push : 1;
	const uint32_t *home;
	uint64_t weight;   /* bytes, about: what the scheduler orders by, */
	uint64_t order;	   /* unless this is not 0: the highest first */
	const char *label; /* "layer 7 (glibc-2.38)" */
	struct path_needs *needs; /* dispatch_learn's, or NULL */
	/*
	 * Is written when it is done.  NULL: nobody wants to know; not where
	 * there are pushes or audits.
	 */
	struct dispatch_made *made;
};

/* What came of a blob that workers were to put into a registry for others. */
struct dispatch_relayed {
	void *what;	    /* dispatch_relay_blob's */
	bool uploaded;	    /* by a worker; else it was there */
	uint64_t throttled; /* how often it was asked too much */
	const char *why;    /* "": it is there, a worker says; else why not */
};

/* What dispatch tells, and asks, of whoever has it run; each may be NULL. */
struct dispatch_hooks {
	void *arg; /* the first one of all */
	/*
	 * Told of each job that is done, verified and, if that was its lot,
	 * audited; but for measured ones.  It may add others, and cancel them.
	 */
	int (*done)(void *arg, const struct dispatch_job *job, struct err *e);
	/* All that workers push of it is there, or left to the coordinator. */
	int (*pushed)(void *arg, const struct dispatch_job *job, struct err *e);
	/*
	 * The same for one that has failed for good, and why; NULL: that is
	 * the end.
	 */
	int (*failed)(void *arg, const struct dispatch_job *job,
	    const struct err *why, struct err *e);
	/*
	 * Fills in the entries of a copy of the job before each time that it
	 * is sent; unload is called once it was.  What cannot be loaded has
	 * failed.  For jobs LAYER_FROM_ENTRIES.
	 */
	int (*load)(void *arg, const struct dispatch_job *job,
	    struct dispatch_job *out, struct err *e);
	void (*unload)(void *arg, struct dispatch_job *out);
	/*
	 * A worker has handed a job back, for which it has no room now; text:
	 * of what.  It may cancel it.
	 */
	void (*postponed)(
	    void *arg, const struct dispatch_job *job, const char *text);
	/* SIGHUP came: what else reads its keys again. */
	void (*hangup)(void *arg);
	/*
	 * With relays.  A place takes its token no more: dispatch_relay_token
	 * follows, or nothing; and each dispatch_relay_put ends so.
	 */
	int (*expired)(void *arg, void *whose, size_t place, struct err *e);
	int (*relayed)(
	    void *arg, const struct dispatch_relayed *what, struct err *e);
	/*
	 * Puts into a status what is not dispatch's own, like clients and what
	 * they have queued.  Metrics show that, too.
	 */
	int (*status)(void *arg, struct status *s, struct err *e);
};

struct dispatch_config {
	struct dispatch_hooks hooks;
	size_t slots;		    /* of local processes in all; 0: none */
	size_t workers;		    /* local processes, at most slots */
	const char *worker_program; /* or NULL */
	const struct cache_list *caches; /* that local workers may ask */
	struct progress *progress;
	struct encoding encoding; /* of blobs */
	const char *encoder; /* that workers must have, or NULL: the first's */
	bool all_encodings;  /* workers must have all of the first's encoders */

	/* Workers of other machines; borrowed until dispatch_free. */
	const char *listen;	     /* where they may join, or NULL */
	const struct curve_key *key; /* ours, or NULL: none */
	const char *keys;	     /* file or folder of theirs, or NULL */
	bool plain;		     /* without keys beyond this machine */
	struct launch *launch;	     /* starts some of them, or NULL */
	bool no_locality;	     /* workers' stores do not matter */
	size_t min_workers;	     /* work begins when so many are there */
	unsigned audit; /* percent of jobs that two workers must agree on */
	/*
	 * Where workers put each layer that is done, while others are made;
	 * borrowed until dispatch_free.  What they cannot is not there then.
	 */
	struct push *const *pushes;
	size_t n_pushes;
	/* Layers of jobs without homes are wanted nowhere else, likewise. */
	bool only_pushed;
	/* And go there while they are made, to the first of pushes. */
	bool stream;
	/*
	 * Workers put blobs into registries for others, who look there by
	 * themselves; authorities: PEM, that they trust besides the system's.
	 */
	bool relays;
	const char *authorities;

	/* What dispatch_status says. */
	const char *command;	 /* "build", or NULL: that; static */
	uint64_t cached;	 /* layers that need not be made */
	struct metrics *metrics; /* is shown it, or NULL; borrowed */
};

/* Makes the sockets (one in a scratch folder) and starts local workers. */
int dispatch_new(const struct dispatch_config *config, struct scratch *scratch,
    struct dispatch **out, struct err *e);

/*
 * Runs n jobs to their end; their ids are 0 to n - 1.  Fails with the first
 * that failed for good, unless `failed` is there to be told:
 * its label and the workers' reasons, ERR_JOB where its input is to blame.
 * ERR_FATAL: workers cannot be had or disagree.  After a failure only
 * dispatch_free is allowed.
 */
int dispatch_run(
    struct dispatch *d, struct dispatch_job *job, size_t n, struct err *e);

/* From now on all layers are pulled, too. */
void dispatch_pull_all(struct dispatch *d);

/*
 * From now on jobs are added; all their layers go to the folder of `to`.  None
 * is measured.
 */
int dispatch_begin(
    struct dispatch *d, const struct layer_output *to, struct err *e);
/*
 * Workers are asked for the store paths of a job that will be added, where
 * that matters, until it is unlearned: after it was told of, or cancelled.
 * knows: all have answered that do; who is silent is not waited for.
 */
int dispatch_learn(struct dispatch *d, struct dispatch_job *job, struct err *e);
bool dispatch_knows(struct dispatch *d, const struct dispatch_job *job);
void dispatch_unlearn(struct dispatch *d, struct dispatch_job *job);
/* Borrows *job until it was told of, or cancelled. */
int dispatch_add(struct dispatch *d, struct dispatch_job *job,
    struct job_id *out, struct err *e);
/* Nobody wants the job any more; it is not told of. */
void dispatch_cancel(struct dispatch *d, struct job_id id);
/* Bytes of tar that were made of it, about. */
uint64_t dispatch_bytes(const struct dispatch *d, struct job_id id);

/*
 * With relays.  A place: a repository, and whose (not NULL) all is that goes
 * there.  Closed: what a worker has goes on, what waits ends; all is told of.
 */
struct dispatch_relay_to {
	const char *base, *repo; /* "https://HOST[:PORT]"; copied, and */
	const char *token;	 /* secret; "": none */
	bool near;		 /* only workers of this machine reach it */
	long stall_s;		 /* 0: HTTP_STALL_S */
	void *whose;
};
int dispatch_relay_open(struct dispatch *d, const struct dispatch_relay_to *to,
    size_t *place, struct err *e);
int dispatch_relay_token(
    struct dispatch *d, size_t place, const char *token, struct err *e);
void dispatch_relay_close(struct dispatch *d, size_t place);
/* A file of this machine, which must stay until it was told of. */
struct dispatch_relay_blob {
	size_t place;
	const char *file; /* copied */
	struct digest digest;
	uint64_t size;
	void *what;
};
int dispatch_relay_put(
    struct dispatch *d, const struct dispatch_relay_blob *blob, struct err *e);

/*
 * Does what is to be done, then waits for more: until that came, or something
 * was told, or an extra descriptor is ready (its revents say so), or it is
 * `until` (monotime_ms), or a second has passed.
 */
#define DISPATCH_EXTRA_MAX 8
int dispatch_turn(struct dispatch *d, struct pollfd *extra, size_t n_extra,
    int64_t until, struct err *e);

/* What the workers that are there can hold: one job a slot, and one ahead. */
size_t dispatch_room(const struct dispatch *d);
/*
 * How many more jobs may be added now: for what workers could hold besides
 * what they have.  What waits though they could, since they have no room for
 * that job or since it is held back, does not count, up to a point.
 */
#define DISPATCH_WAITING_MAX 16384
size_t dispatch_wants(const struct dispatch *d);
/*
 * How many jobs of one client's may be added at once: what workers could hold,
 * and some that wait for workers with room for them, or with their paths.  At
 * most as many as may still wait: others' have as much.
 */
size_t dispatch_share(const struct dispatch *d);

/*
 * Of the workers that were there: encoder_version.h; "": nobody was, or it
 * does not matter.
 */
const char *dispatch_encoder(const struct dispatch *d, enum encoding_kind kind);

/* How things are now; the caller's to clear. */
int dispatch_status(
    const struct dispatch *d, struct status *out, struct err *e);

/*
 * Bytes that workers have read of files, attempts that came to nothing among
 * them, and got from binary caches; of a worker that was lost only what it
 * has answered.
 */
void dispatch_inputs(
    const struct dispatch *d, uint64_t *read, uint64_t *fetched);

/* Sends the workers home and waits for the local ones, then kills. */
void dispatch_free(struct dispatch *d);
void dispatch_freep(struct dispatch **d);

#endif
