/*
 * Inside of dispatch: its state, and what its files call of each other.
 * dispatch.c starts, loops and ends; dispatch_local.c has the workers of this
 * machine; dispatch_tasks.c keeps the jobs, of which
 * a server adds more; dispatch_peers.c keeps the workers that
 * are there, and dispatch_join.c lets them in;
 * dispatch_messages.c takes what they say; dispatch_remote.c listens for those
 * of other machines, whose layers dispatch_blobs.c pulls, unless
 * dispatch_shared.c finds that they see the outputs; dispatch_launch.c has a
 * command start them; dispatch_locality.c asks who has which store paths, and
 * dispatch_paths.c the same where jobs come for ever, whose needs
 * dispatch_needs.c holds against that;
 * dispatch_push.c (and _token.c) has them put layers into registries, as
 * pushes.h says, dispatch_stream.c while they make them,
 * and dispatch_relay.c for others; dispatch_status.c
 * says how things are, dispatch_postponed.c what is waited for,
 * dispatch_audit.c what differs where two results do.  For these alone.
 */
#ifndef DISPATCH_STATE_H
#define DISPATCH_STATE_H

#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>
#include <sys/types.h>

#include "encoding.h"
#include "closure/hash_index.h"
#include "dispatch/push_queue.h"
#include "dispatch/push_told.h"
#include "dispatch/dispatch.h"
#include "layer_spec.h"
#include "link.h"
#include "protocol.h"
#include "schedule/scheduler.h"
#include "progress/status.h"

struct audit_copy;
struct audit_fault;
struct blob_fetch;
struct dispatch_pull;
struct dispatch_pushes;
struct dispatch_relay;
struct err;
struct launch;
struct locality;
struct metrics;
struct paths;
struct peer_paths;
struct peer_stock;
struct shared_probe;
struct zap;

/* A worker that said HELLO and was welcomed. */
struct peer {
	struct link *via; /* d->link or d->remote */
	struct link_peer link;
	uint8_t instance[MSG_INSTANCE_SIZE];
	int64_t heard; /* ms */
	/* What ties its data connection to it; remote ones only. */
	uint8_t token[DATA_TOKEN_SIZE];
	/* Whether it sees the outputs' folders: see dispatch_shared.c. */
	int shared;
	size_t probing; /* which folder */
	struct shared_probe *probe;
	unsigned twice; /* how often another one said that it is this one */
	bool fetches;	/* it has binary caches */
	struct peer_stock *stock; /* which store paths it has, or not yet */
	struct peer_paths *paths; /* the same, where jobs come for ever */
	struct worker_id worker;  /* also its index in the progress display */
	char name[64];		  /* "HOST/PID" or "HOST/PID#N" */
	size_t slots;
	size_t room;		/* for jobs: 0 while it drains */
	bool near;		/* on this machine, by its own word */
	struct push_tolds told; /* of places of pushes */
	pid_t local;		/* its process if it is a local one, else 0 */
	bool left;		/* it said so */
	uint64_t rate; /* bytes/s, in a run before, or by its word; 0: none */
	int64_t postponed;	 /* when it was said why it did, ms; or 0 */
	uint64_t done, failures; /* in runs before */
};

/* What is known of an attempt's blob that a registry is to have alone. */
enum task_stream {
	TASK_STREAM_NONE,  /* it is not, or is made for the outputs after all */
	TASK_STREAM_ASKED, /* so its worker was told, */
	TASK_STREAM_BEGUN, /* and says how far it is */
	TASK_STREAM_UPLOADED,
	TASK_STREAM_THERE /* by its worker's word */
};

/* Of one of a job's last attempts: what it was sent to, and what it made. */
struct task_attempt {
	bool shared : 1; /* to one that writes into the outputs itself */
	bool kept : 1;	 /* its spool keeps it after the pull, to be pushed */
	/* enum task_stream: its blob goes into a registry while it is made */
	unsigned char stream;
};

/* A job, from when it was added on. */
struct task {
	struct job_id id;
	struct dispatch_job *job;   /* NULL: there is none */
	int64_t started;	    /* its newest attempt, ms */
	uint64_t bytes;		    /* of tar, by the one that has most */
	struct dispatch_pull *pull; /* that is on, or NULL */
	/* done: by this worker's attempt. */
	struct worker_id maker;
	uint32_t made;
	bool done : 1; /* by any result; open: an audit is not */
	bool audited : 1;
	bool no_copy : 1;     /* there is no room for the audit's */
	bool no_stream : 1;   /* a registry has lost it */
	bool differs : 1;     /* it did, and how is being found out */
	bool only_pushed : 1; /* as in what is made of the job */
	struct task_attempt attempt[SCHED_ATTEMPTS_KNOWN]; /* by % so many */
};

/* A job that workers had no room for. */
struct postponed {
	struct job_id job;
	int64_t since, told; /* ms; told: 0: not yet */
	unsigned times;	     /* 0: there is none */
};
#define DISPATCH_POSTPONED 64 /* of them at once are remembered */

struct dispatch {
	struct progress *progress;
	struct scratch *scratch;
	char *folder;	/* of the socket */
	char *endpoint; /* "ipc://FOLDER/c" */
	void *ctx;
	struct link *link;	  /* of this machine's workers */
	struct link *remote;	  /* of all others; NULL: none may join */
	struct zap *zap;	  /* who they may be; NULL: anybody */
	struct blob_fetch *fetch; /* pulls what they made */
	const char *keys_path;	  /* of who may join, or NULL */
	const char *launch_key;	  /* of those that launch starts, or NULL */
	struct launch *launch;	  /* while it is ours to end, or NULL */
	bool only_launched;	  /* no other workers can be expected */
	bool launch_over;	  /* its command has ended, and that was said */
	bool joined;		  /* one of another machine has been there */
	/* Whose encoder must be everybody's, and the first worker's. */
	bool encodes[ENCODING_KINDS];
	enum encoding_kind kind;			/* of most jobs */
	char encoder[ENCODING_KINDS][MSG_NAME_MAX + 1]; /* "": none yet */
	struct dispatch_hooks hooks;
	uint64_t session;
	size_t min_workers;
	size_t n_local;	    /* processes of this machine */
	unsigned audit;	    /* percent */
	bool no_local;	    /* none of this machine is to come */
	bool begun;	    /* so many have been there */
	bool waiting;	    /* too few are there, or nobody, */
	size_t told;	    /* and how many were there when that was said */
	int64_t stood;	    /* ms that this process stood still, in all */
	int64_t looked;	    /* when the loop last came round */
	int64_t silence_at; /* when to look for silent ones, before the start */
	int child_fd; /* signalfd for SIGCHLD, and SIGHUP where it means keys */
	struct local_workers *local;
	unsigned start_failures;
	/* Looked up by dispatch_peers.c; in no order. */
	struct peer *peer;
	size_t n_peers, room_peers;
	struct locality *locality; /* what is asked of them all */
	struct paths *paths;	   /* NULL: not one by one */
	struct hash_index by_link, by_instance, by_worker;
	struct hash_index by_token; /* of other machines' */
	uint64_t hash_seed;	    /* secret: peers choose what is hashed */
	/* Workers' ids, whose slots are used again. */
	uint64_t next_worker, reused_workers;
	uint32_t *worker_slot; /* that are free */
	size_t n_worker_slots;
	size_t room;		 /* of all workers: slots, and one ahead each */
	struct status seen;	 /* in all runs before; it has no lists */
	int64_t since;		 /* ms: of all that */
	struct metrics *metrics; /* or NULL */

	/* Of the run that is on. */
	struct scheduler *sched;
	bool open;	   /* jobs are added to it, and forgotten */
	bool news;	   /* some were told of */
	bool more;	   /* messages wait for the next turn */
	struct task *task; /* by slot */
	size_t n_tasks, room_tasks;
	size_t fresh; /* added, and no worker was looked for yet */
	TAILQ_HEAD(, dispatch_pull) pulls; /* that are on */
	size_t n_pulls;
	size_t
	    n_differ; /* pulls of results that differ: no end before theirs */
	struct postponed postponed[DISPATCH_POSTPONED];
	struct audit_copy *audit_copies;
	struct audit_fault *audit_faults; /* that are being looked into */
	struct dispatch_pushes *pushes;	  /* NULL: workers push nothing, */
	struct dispatch_relay *relay;	  /* or nothing for others */
	char *audit_folder; /* for copies, or NULL: not made yet */
	char *folder_of[LAYER_OUTPUTS_MAX]; /* of outputs */
	size_t n_folders;
	char *probe_in[LAYER_OUTPUTS_MAX]; /* in each of them */
	bool unprobed; /* one is not to be found out about: nobody shares */
	uint64_t next_probe;
	size_t n_probing;   /* workers that are being found out about */
	int64_t probe_at;   /* nothing is to be done for them earlier */
	int64_t hold_until; /* work waits for probes; 0: nobody was there yet */
	int64_t pull_beat;  /* when leases of pulls are renewed */
	uint64_t base;	    /* job ids on the wire count on from run to run */
};

/*
 * The time, in ms, of which what this process was stopped for (SIGSTOP, a
 * machine that slept) is no part: nobody else was silent then.
 */
int64_t dispatch_now(const struct dispatch *d);

/* Where a message came from. */
struct dispatch_from {
	struct link *via;
	struct link_peer link;
};

/*
 * dispatch_tasks.c: the job, or NULL.  Adding one moves others.
 */
struct task *task_find(const struct dispatch *d, struct job_id id);
/* Room for so many in all at once. */
int tasks_reserve(struct dispatch *d, size_t n, struct err *e);
int task_add(struct dispatch *d, struct dispatch_job *job, struct task **out,
    struct err *e);
/* It has come to a good end, or to a bad one: tells whom that concerns. */
int task_done(struct dispatch *d, struct task *t, struct err *e);
int task_failed(
    struct dispatch *d, struct task *t, const struct err *why, struct err *e);
/* Why it failed, as the workers say; -1. */
int task_reasons(const struct dispatch *d, const struct task *t, struct err *e);
/* All of the run. */
void tasks_clear(struct dispatch *d);

/*
 * dispatch_peers.c: finds peers in O(1), or NULL.  Adding and removing one
 * moves others.
 */
struct peer *peer_by_link(struct dispatch *d, const struct dispatch_from *from);
struct peer *peer_by_worker(struct dispatch *d, struct worker_id worker);
struct peer *peer_by_instance(
    struct dispatch *d, const struct link *via, const uint8_t *instance);
struct peer *peer_by_token(struct dispatch *d, const uint8_t *token);
/* Room for one more; then it can be added: *p is copied. */
int peer_reserve(struct dispatch *d, struct err *e);
/* After that, and for as long as it is there: as sched_worker_up wants it. */
struct worker_id peer_worker_id(struct dispatch *d);
void peer_worker_id_free(struct dispatch *d, struct worker_id worker);
struct peer *peer_add(struct dispatch *d, const struct peer *p);
void peer_remove(struct dispatch *d, struct peer *p);
/* It has a new connection, to the same socket. */
void peer_relink(
    struct dispatch *d, struct peer *p, const struct dispatch_from *from);
void peers_free(struct dispatch *d);

/* Forgets the peer; a local process is killed, and so replaced. */
void peer_gone(struct dispatch *d, struct peer *p, const char *why);

/*
 * dispatch_local.c: the workers of this machine, which are its children: a
 * descriptor of their ends (and of SIGHUP), the socket, their start, and others
 * for those that have ended.
 */
int dispatch_local_signals(bool hangup, struct err *e);
int dispatch_local_listen(struct dispatch *d, struct err *e);
int dispatch_local_start(
    struct dispatch *d, const struct dispatch_config *c, struct err *e);
int dispatch_local_replace(struct dispatch *d, struct err *e);

/* Listens for workers of other machines, if that is wanted. */
int dispatch_remote_open(
    struct dispatch *d, const struct dispatch_config *config, struct err *e);
void dispatch_remote_close(struct dispatch *d);

/*
 * Why the worker at p (NULL: one of this machine) may not join, or NULL; text
 * is the caller's, for it.
 */
const char *dispatch_remote_refusal(struct dispatch *d,
    const struct link_peer *p, const struct msg_hello *hello, char *text,
    size_t size);

/* SIGHUP: reads the keys again; whose is no longer listed has to go. */
void dispatch_remote_reload(struct dispatch *d);

/*
 * dispatch_launch.c: starts the command that starts workers; fails when that
 * has failed and there is nobody to wait for; ends it, once workers were sent
 * home.
 */
int dispatch_launch_start(
    struct dispatch *d, const struct dispatch_config *c, struct err *e);
int dispatch_launch_check(struct dispatch *d, struct err *e);
void dispatch_launch_end(struct dispatch *d);

/*
 * dispatch_blobs.c: layers of workers that cannot write into the outputs are
 * pulled from their spools, and verified on the way.
 */
int dispatch_blobs_open(struct dispatch *d, const struct dispatch_config *c,
    const struct link_keys *keys, struct err *e);
void dispatch_blobs_close(struct dispatch *d);
bool dispatch_blobs_wanted(
    const struct dispatch *d, const struct peer *p, const struct task *t);
/* Which way its bytes come is settled when the job is sent. */
void dispatch_blobs_sent(struct task *t, uint64_t attempt, bool shares);
/*
 * Pulls what p says that it made, or checks what it wrote; dispatch_accept
 * follows, or a failure.
 */
int dispatch_blobs_pull(struct dispatch *d, struct peer *p, struct task *t,
    uint64_t attempt, const struct layer_result *r, struct err *e);
/*
 * A result that differs from that of a job which is done: true if its bytes
 * are fetched, to be compared; dispatch_accept follows.
 */
bool dispatch_blobs_pull_copy(struct dispatch *d, const struct peer *p,
    struct task *t, uint64_t attempt, const struct layer_result *r);
/* p may forget what it made, by the wire's number of the job. */
int dispatch_blobs_drop(struct dispatch *d, const struct peer *p, uint64_t wire,
    uint64_t attempt, struct err *e);
/*
 * p's result counts once the registries have it, in place of a pull.  _pushed:
 * so it is, or a pull is to be made after all.
 */
int dispatch_blobs_push(struct dispatch *d, struct peer *p, struct task *t,
    uint64_t attempt, const struct layer_result *r, struct err *e);
int dispatch_blobs_pushed(struct dispatch *d, struct job_id id,
    struct worker_id worker, uint64_t attempt, bool there, struct err *e);
/* Whether its maker's spool still has what that attempt made. */
bool dispatch_blobs_kept(const struct task *t, uint64_t attempt);
/* Gives up the pull that is on for it. */
void dispatch_blobs_end(struct dispatch *d, struct task *t);
/* What came of pulls. */
int dispatch_blobs_collect(struct dispatch *d, struct err *e);
/* The attempts of p whose result is being pulled; at most n_pulls. */
size_t dispatch_blobs_held(
    const struct dispatch *d, const struct peer *p, struct sched_held *out);
/* Keeps the leases of jobs that are being pulled. */
void dispatch_blobs_beat(struct dispatch *d);

/*
 * dispatch_audit.c: the second copies of audited jobs, and what differs.
 * Outputs for one that p makes: *spec, whose strings are the job's.
 */
void dispatch_audit_outputs(struct dispatch *d, const struct peer *p,
    const struct task *t, uint64_t attempt, struct layer_spec *spec);
/* Its answer is dealt with, or none is wanted; all of a worker; all. */
void dispatch_audit_end(struct dispatch *d, struct worker_id worker,
    struct job_id id, uint64_t attempt);
void dispatch_audit_gone(struct dispatch *d, struct worker_id worker);
void dispatch_audit_forget(struct dispatch *d);
/* Where copies are pulled to, or NULL. */
const char *dispatch_audit_folder(struct dispatch *d);
/*
 * r is not the job's result: it has failed, by the error that names what
 * differs.  Where jobs are added for ever that is found out by a thread, and
 * told by dispatch_audit_collect.
 */
int dispatch_audit_fault(struct dispatch *d, struct worker_id worker,
    const char *name, struct task *t, uint64_t attempt,
    const struct layer_result *r, struct err *e);
int dispatch_audit_collect(struct dispatch *d, struct err *e);

/*
 * dispatch_shared.c: finds out which workers of other machines see the folders
 * that the outputs are in, and so can write there by themselves.
 */
/* to: the folder of all outputs; NULL: those of the jobs that are there. */
int dispatch_shared_start(
    struct dispatch *d, const struct layer_output *to, struct err *e);
void dispatch_shared_forget(struct dispatch *d);
void dispatch_shared_joined(struct dispatch *d, struct peer *p);
void dispatch_shared_gone(struct dispatch *d, struct peer *p);
void dispatch_shared_answered(
    struct dispatch *d, struct peer *p, const struct msg_probed *m);
bool dispatch_shared_is(const struct peer *p);
/* Whether work, at its start, waits for what probes find. */
bool dispatch_shared_hold(struct dispatch *d);
/* Goes on with all probes; when to call again. */
int64_t dispatch_shared_tick(struct dispatch *d);

/*
 * dispatch_locality.c: asks workers which store paths they have, so that jobs
 * go where their bytes are, and not where they cannot be had; one question a
 * list, which is a digest to a worker that knows it.  A new worker of another
 * machine is the scheduler's as soon as it has answered, or soon.  Memory: a
 * bit for each path and for each store that differs.
 */
int dispatch_locality_open(
    struct dispatch *d, const struct dispatch_config *c, struct err *e);
void dispatch_locality_free(struct dispatch *d);
/* At the start of a run: gives the scheduler all workers. */
int dispatch_locality_start(struct dispatch *d, struct err *e);
/* A new worker: the scheduler gets to know it, now or later. */
int dispatch_locality_joined(struct dispatch *d, struct peer *p, struct err *e);
/* Whoever is new or back is asked, after WELCOME. */
void dispatch_locality_ask(struct dispatch *d, struct peer *p);
void dispatch_locality_gone(struct dispatch *d, struct peer *p);
/* Does not wait any longer for answers; *next: when to call again. */
int dispatch_locality_tick(struct dispatch *d, int64_t *next, struct err *e);
/* Whether work, at its start, waits for the answers of those that are there. */
bool dispatch_locality_hold(struct dispatch *d);
/* NULL, or what a worker did that says so. */
const char *dispatch_locality_want(
    struct dispatch *d, struct peer *p, const struct msg_want *m);
/* The same in *bad. */
int dispatch_locality_have(struct dispatch *d, struct peer *p,
    const struct msg_have *m, const char **bad, struct err *e);

/* For dispatch_paths.c: whether it is not the scheduler's yet; now it is. */
bool dispatch_locality_waits(const struct peer *p);
int dispatch_locality_up(struct dispatch *d, struct peer *p, struct err *e);

/*
 * dispatch_paths.c, _needs.c: the same for jobs that are added for ever.  Their
 * paths have numbers (path_table.h), and workers are asked for those that are
 * new, or whose answer is old; what jobs are sent is told to the scheduler.
 * Memory: that of the table, 4 KiB a worker, and a KiB (stock_page.h) for each
 * page of each store that differs.  dispatch_locality.c calls all but `added`
 * and `failed`.
 */
int dispatch_paths_open(struct dispatch *d, struct err *e);
void dispatch_paths_close(struct dispatch *d);
int dispatch_paths_joined(struct dispatch *d, struct peer *p, struct err *e);
/* It is to be asked something before it is the scheduler's. */
bool dispatch_paths_waits(const struct dispatch *d, const struct peer *p);
/* Paths that are needed. */
size_t dispatch_paths_count(const struct dispatch *d);
void dispatch_paths_ask(struct dispatch *d, struct peer *p);
void dispatch_paths_gone(struct dispatch *d, struct peer *p);
void dispatch_paths_tick(struct dispatch *d);
/* p is the scheduler's now: what jobs lack there. */
int dispatch_needs_up(struct dispatch *d, struct peer *p, struct err *e);
/* The scheduler has a new job; p has failed one, its store may be another. */
int dispatch_needs_added(
    struct dispatch *d, const struct task *t, struct err *e);
void dispatch_needs_failed(
    struct dispatch *d, struct peer *p, const struct dispatch_job *job);
/* Why nobody can do it; -1. */
int dispatch_needs_reason(
    const struct dispatch *d, const struct dispatch_job *job, struct err *e);
const char *dispatch_paths_want(
    struct dispatch *d, struct peer *p, const struct msg_want *m);
int dispatch_paths_have(struct dispatch *d, struct peer *p,
    const struct msg_have *m, const char **bad, struct err *e);

/*
 * dispatch_status.c.  show: hands the metrics a snapshot; tick: if it is time
 * for one, and when it will be.  run_ends: before the run's scheduler goes.
 */
void dispatch_status_open(struct dispatch *d, const struct dispatch_config *c);
void dispatch_status_show(struct dispatch *d);
int64_t dispatch_status_tick(struct dispatch *d);
void dispatch_status_run_ends(struct dispatch *d);
/* What workers say adds up to no more than JSON can hold. */
void dispatch_status_add(uint64_t *sum, uint64_t n);

/*
 * dispatch_postponed.c: tells why p handed the job back, and of jobs that
 * nobody has room for.
 */
void dispatch_postponed(
    struct dispatch *d, struct peer *p, const struct task *t, const char *why);

/*
 * dispatch_load.c: entries of a job that has none, made before it is sent and
 * freed then; 1, or 0: they cannot be made, and that was told.
 */
int dispatch_load(struct dispatch *d, struct task *t, struct dispatch_job *job,
    struct err *e);
void dispatch_unload(struct dispatch *d, struct dispatch_job *job);

/*
 * dispatch_push.c: has workers put layers that are done where images go, and
 * sees to it that they are there.  Whatever goes wrong, a layer is only not
 * there then: who commits the image looks, and puts it.
 */
int dispatch_push_open(
    struct dispatch *d, const struct dispatch_config *c, struct err *e);
void dispatch_push_close(struct dispatch *d);
int dispatch_push_fd(const struct dispatch *d);
/* A worker is new or was away, what it sees may have changed, it is gone. */
void dispatch_push_joined(struct dispatch *d, struct peer *p);
void dispatch_push_worker(struct dispatch *d, const struct peer *p);
void dispatch_push_gone(struct dispatch *d, const struct peer *p);
/* Nobody else hears what is said to p. */
bool dispatch_push_safe(const struct dispatch *d, const struct peer *p);
/* Whether what p makes may be wanted of its spool. */
bool dispatch_push_keeps(const struct dispatch *d, const struct peer *p);
/* It is done. */
int dispatch_push_layer(
    struct dispatch *d, const struct task *t, struct err *e);
/* The same of one that is nowhere else: dispatch_blobs_pushed follows. */
bool dispatch_push_instead(
    const struct dispatch *d, const struct task *t, const struct peer *p);
int dispatch_push_spooled(struct dispatch *d, const struct task *t,
    const struct peer *p, uint64_t attempt, const struct layer_result *r,
    struct err *e);
/* All that can be done now; and whether anything is on its way. */
int dispatch_push_turn(struct dispatch *d, struct err *e);
bool dispatch_push_busy(const struct dispatch *d);
void dispatch_push_status(const struct dispatch *d, struct status_pushes *out);
/* What a worker says of it. */
void dispatch_push_pushed(
    struct dispatch *d, struct peer *p, const struct msg_pushed *m);
int dispatch_push_expired(struct dispatch *d, struct peer *p,
    const struct msg_expired *m, struct err *e);

/*
 * dispatch_relay.c: has workers do that for others, who know what is there.
 */
int dispatch_relay_new(
    struct dispatch *d, const struct dispatch_config *c, struct err *e);
void dispatch_relay_free(struct dispatch *d);
/* Or NULL: there is none. */
struct push_queue *dispatch_relay_queue(const struct dispatch *d);
int dispatch_relay_turn(struct dispatch *d, struct err *e);
void dispatch_relay_pushed(
    struct dispatch *d, struct peer *p, const struct msg_pushed *m);
int dispatch_relay_expired(struct dispatch *d, struct peer *p,
    const struct msg_expired *m, struct err *e);
void dispatch_relay_status(const struct dispatch *d, struct status_pushes *out);

/*
 * dispatch_stream.c: has workers send layers into the first registry while they
 * make them.  Where it takes none, or that fails, they are in the outputs, by
 * the worker's doing; and what gets lost there is made again.
 */
int dispatch_stream_open(struct dispatch *d, struct err *e);
/* Whether work, at its start, waits for the registry's first answer. */
bool dispatch_stream_hold(const struct dispatch *d);
/* What the JOB of p's attempt says; p knows the place then. */
int dispatch_stream_order(struct dispatch *d, struct peer *p, struct task *t,
    uint64_t attempt, uint64_t *stream, struct err *e);
/*
 * p is at it: from now on it may take as long as the registry, if only it goes
 * on.
 */
void dispatch_stream_goes_on(
    struct dispatch *d, const struct peer *p, struct task *t, uint64_t attempt);
/* Takes p's word for where its blob is.  False: it was not asked for that. */
bool dispatch_stream_told(struct dispatch *d, const struct peer *p,
    struct task *t, const struct msg_done *m);
/* Whether that attempt's blob is in the registry alone, so p says. */
bool dispatch_stream_is(const struct task *t, uint64_t attempt);
bool dispatch_stream_uploaded(const struct task *t, uint64_t attempt);
/* It is not there: the job is queued again. */
void dispatch_stream_lost(
    struct dispatch *d, const struct peer *p, struct task *t, uint64_t attempt);

/* A result that holds and is where it belongs: does it count? */
int dispatch_accept(struct dispatch *d, struct worker_id worker,
    const char *name, struct task *t, uint64_t attempt,
    const struct digest *fingerprint, const struct layer_result *r,
    struct err *e);

/* What does not get there is asked for again. */
void dispatch_say(const struct dispatch_from *from, const struct msg *m);
/* The job of this run that the wire's number means, or NULL. */
struct task *dispatch_task_of(const struct dispatch *d, uint64_t wire);
/* How progress calls a worker. */
size_t dispatch_worker_index(struct worker_id worker);

/* dispatch_join.c: HELLO of a worker that is new, or back, or not wanted. */
int dispatch_hello(struct dispatch *d, const struct dispatch_from *from,
    const struct msg_hello *hello, struct err *e);

/* After BYE: waits so long until all have answered it; nothing else counts. */
void dispatch_part(struct dispatch *d, int ms);

/* What came, up to so much that others have their turn, too: then d->more. */
int dispatch_receive(struct dispatch *d, struct err *e);

#endif
