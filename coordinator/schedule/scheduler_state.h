/*
 * Inside of the scheduler: its state, and what its files call of each other.
 * scheduler.c owns everything and takes jobs in; scheduler_workers.c takes
 * what is heard of workers; scheduler_results.c what becomes of leases;
 * scheduler_counts.c says how it went;
 * scheduler_next.c says what to do; scheduler_choose.c finds a worker for a
 * job, within what scheduler_plan.c says; scheduler_late.c moves and copies;
 * scheduler_rate.c has the figures.
 * For these alone.
 */
#ifndef SCHEDULER_STATE_H
#define SCHEDULER_STATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>

#include "digest.h"
#include "err.h"
#include "schedule/job_queue.h"
#include "schedule/scheduler.h"

#define COPIES 2 /* of a job that run at once */
#define NOT_STARTED (-1)

enum job_state {
	JOB_QUEUED,
	JOB_LEASED,
	JOB_DONE,
	JOB_FAILED,
	JOB_LEFT,
	JOB_RELEASED
};

/* There is one for each store path, maybe: what few have is elsewhere. */
struct job {
	/*
	 * weight: what the queue goes by: the job's, or what was set, or where
	 * jobs go in turn 0.  id: released: of the next one that was.
	 */
	struct job_queue_node node;
	uint64_t weight;
	uint32_t attempt; /* the newest; older ones may still answer */
	enum job_state state : 8;
	enum sched_end ended : 8; /* of the attempt that was last to */
	uint8_t failures, copies;
	uint8_t postponed; /* about; of an audit: since accepted */
	uint8_t answered;  /* of the last attempts, a bit each */
	bool audit : 1;	   /* to be run twice */
	bool accepted : 1; /* its result is there; open: the audit is not */
	bool measures : 1; /* it is counted apart */
	struct worker *at[COPIES];
	struct worker_id given; /* who was given the newest attempt */
	struct worker_id by;	/* accepted: whose result */
	struct digest fingerprint;
	struct past *past; /* NULL: it has none */
	struct locality *locality;
};

/* Of a job that had to be sent again, or has failed. */
struct past {
	/* Who was given the attempts before; by attempt % so many. */
	struct worker_id given[SCHED_ATTEMPTS_KNOWN];
	struct failure {
		struct worker_id worker;
		enum err_kind kind;
		char *text;
	} failure[]; /* twice poison of them */
};

struct locality {
	int64_t held_until; /* 0: not held back yet */
	int64_t able_until; /* 0: somebody can do it */
	/* All with room are unable that were listed by then. */
	uint64_t looked;
	enum { ABLE_UNKNOWN, ABLE_SOMEBODY, ABLE_NOBODY } able;
	uint64_t able_at; /* after so many losses; nobody: gains */
	size_t n;
	struct missing {
		struct worker_id worker;
		uint64_t bytes;
	} at[]; /* by worker */
};

struct lease {
	uint64_t job, attempt, bytes;
	int64_t started; /* or NOT_STARTED: it waits behind busy slots */
	int64_t told;	 /* when its bytes were */
	int64_t until, deadline;
	bool spared; /* its worker ends: not this job's fault */
};

/* Bytes by time, old ones fading. */
struct rate {
	double bytes, ms;
};

struct worker {
	struct worker_id id;
	char *name;
	size_t slots, n_leases;
	struct lease *lease; /* slots + 1, oldest first */
	int64_t silent_at;
	unsigned failures_in_a_row;
	bool aside, draining, news; /* news: an action tells of `aside` */
	uint64_t limit;		    /* only lighter jobs, */
	int64_t limit_until;	    /* until then */
	struct rate rate, bandwidth;
	struct rate live;	  /* of what it runs, not in `rate` */
	double said;		  /* bytes/ms, before it worked; or 0 */
	uint64_t most;		  /* planned: only lighter jobs */
	uint64_t done, failures;  /* see sched_worker_counts */
	uint64_t missing, mark;	  /* of the job that is looked at */
	uint64_t pass;		  /* of the queue, in which */
	int64_t promised;	  /* ms are held back for it */
	struct worker_list *list; /* the list it is in, or NULL: no room */
	uint64_t listed;	  /* since when: s->listed */
	TAILQ_ENTRY(worker) all, entry;
};
TAILQ_HEAD(worker_list, worker);

/* Actions that an event caused, until sched_next hands them out. */
struct pending {
	struct sched_action *action;
	size_t n, next, room;
};

/* Figures of a look at all workers, until the next. */
struct plan {
	int64_t made;	   /* when */
	int64_t ends;	   /* when all could be done */
	uint64_t heaviest; /* the job that was first */
	bool stale;	   /* a worker is new, or known now */
	bool knowing;	   /* the heaviest jobs wait until more are known */
	double fastest; /* bytes/ms; 0: nobody is known, and there is no end */
	uint64_t probe; /* only lighter ones for whom nobody knows */
	uint64_t easy;	/* lighter ones are nobody's concern */
};

struct scheduler {
	struct sched_config config;
	struct job *job;		/* by slot */
	size_t n_jobs, room_jobs, open; /* n_jobs: slots, also released ones */
	uint64_t released;		/* the slot that is used next, */
	size_t n_released;		/* of so many */
	uint64_t reused;		/* slots, in all */
	struct job_queue queue, audits; /* audits: accepted, to be run again */
	struct worker_list all, idle, ahead; /* ahead: room for one more */
	struct worker **by_id;		     /* by slot; NULL: nobody */
	size_t n_ids;
	size_t usable;	      /* workers that get jobs */
	uint64_t listed;      /* so often any was put into a list: at its end */
	uint64_t losses;      /* so often one went, or was not to be used */
	uint64_t gains;	      /* so often one came, or was used again */
	int64_t met_at;	      /* when one came or went */
	size_t slots, leases; /* of all workers: slots, and slots + 1 */
	size_t extra;	      /* leases that are second copies */
	int64_t check_at;     /* no lease or silence ends earlier */
	bool changed;	      /* something that may place a job */
	int64_t place_at;     /* nothing else does earlier */
	int64_t late_at;      /* when to look for either of: */
	int64_t move_at;      /* what may move */
	int64_t copy_at;      /* what may be copied */
	double queued;	      /* bytes, about */
	int64_t limited_until;
	struct rate rate, bandwidth;
	double said_scale; /* how fast they are, by what was said; 0: nothing */
	bool located;	   /* some jobs miss something at some workers */
	bool unable;	   /* some workers cannot do some jobs */
	/* Queued, and nobody can for too long; or JOB_QUEUE_NONE. */
	uint64_t hopeless;
	int64_t hopeless_at; /* all are busy: when to look for such */
	uint64_t mark, pass;
	struct plan plan;
	bool planned; /* in this pass workers have a limit by it */
	struct pending pending;
	bool ordered;		       /* some job's order is not its weight */
	struct sched_counts counts[2]; /* of those that measure: [1] */
};

_Static_assert(SCHED_SLOT_BITS == JOB_QUEUE_SLOT_BITS, "slots");

/* One that is there. */
static inline struct job *
job_at(const struct scheduler *s, uint64_t id)
{
	return &s->job[job_queue_slot(id)];
}

/* NULL: it was released, or never there. */
static inline struct job *
job_find(const struct scheduler *s, uint64_t id)
{
	struct job *j;

	if (job_queue_slot(id) >= s->n_jobs)
		return NULL;
	j = job_at(s, id);
	return j->node.id == id && j->state != JOB_RELEASED ? j : NULL;
}

/* scheduler.c */
void job_enqueue(struct scheduler *s, uint64_t id);
/* Its past, made if need be; NULL: out of memory. */
struct past *job_past(const struct scheduler *s, struct job *j);
void job_dequeue(struct scheduler *s, uint64_t id);
/* The job has ended: takes it off the queue, cancels its leases. */
void job_close(
    struct scheduler *s, int64_t now, uint64_t id, enum job_state state);
void queue_action(struct scheduler *s, enum sched_action_kind kind,
    uint64_t job, uint64_t attempt, struct worker_id worker);
/* Where the worker is in l (or NULL), or would be. */
size_t missing_place(const struct locality *l, struct worker_id worker);
/* Room for what can be caused until the next action is taken. */
int pending_reserve(struct scheduler *s);
/* A deadline was set: it may be the earliest. */
int64_t lease_deadline(struct scheduler *s, int64_t at);

/* scheduler_workers.c */
struct worker *worker_find(const struct scheduler *s, struct worker_id id);
bool worker_usable(const struct worker *w);
void worker_list(struct scheduler *s, struct worker *w);
void worker_free(struct worker *w);
void worker_end(
    struct scheduler *s, int64_t now, struct worker *w, const char *why);
/* One that is set aside, and that will be told of. */
void worker_use_again(struct scheduler *s, struct worker *w);
/* All that are set aside. */
void workers_use_all(struct scheduler *s);
/* A failure that is the worker's own, or may be. */
void worker_failed(struct scheduler *s, struct worker *w);

/* scheduler_counts.c: where the job is counted; `running` is not kept. */
struct sched_counts *counts_of(struct scheduler *s, const struct job *j);
void count_start(struct scheduler *s, const struct job *j);
void count_end(
    struct scheduler *s, struct job *j, struct worker *w, enum sched_end how);
void count_close(
    struct scheduler *s, const struct job *j, enum job_state state);
/* A result of the worker's, whether it is there or not. */
void count_result(struct scheduler *s, const struct job *j, struct worker *w,
    enum sched_verdict verdict);

/* scheduler_results.c */
struct lease *lease_find(struct worker *w, uint64_t job);
void lease_begin(
    struct scheduler *s, int64_t now, struct worker *w, uint64_t id);
void lease_end(struct scheduler *s, int64_t now, struct worker *w,
    struct lease *lease, enum sched_end how);
void lease_cancel(
    struct scheduler *s, int64_t now, struct worker *w, struct lease *lease);
/* The same, but it was another attempt that did better. */
void lease_lose(
    struct scheduler *s, int64_t now, struct worker *w, struct lease *lease);
/* The first one waiting runs now. */
void lease_start(
    struct scheduler *s, int64_t now, struct worker *w, struct lease *lease);
/* So many bytes by now. */
void lease_tell(struct scheduler *s, int64_t now, struct worker *w,
    struct lease *lease, uint64_t bytes);
bool failed_at(const struct job *j, const struct worker *w);
/* A lease of the job was ended: again, or never. */
void job_again(struct scheduler *s, int64_t now, uint64_t id);
/* And it failed. */
void job_failed(struct scheduler *s, int64_t now, uint64_t id,
    const struct worker *w, enum err_kind kind, const char *why);

/* scheduler_rate.c: pure figures */
void rate_add(struct rate *r, uint64_t bytes, int64_t ms);
/* It has worked for long enough to say how fast it is; */
bool rate_worked(const struct worker *w);
/* or it was said. */
bool rate_known(const struct worker *w);
/*
 * How far what was said of workers is from what they do: all may be as wrong,
 * where this run's work is heavier.  Looks at all workers.
 */
void rate_scale(struct scheduler *s);
/*
 * bytes/ms of a slot of the worker's: by its work, and while there is little
 * of that by what was said of it; else of all; 0: nobody knows.
 */
double rate_of(const struct scheduler *s, const struct worker *w);
/* ms from the lease's start; as long as anything where nothing is known. */
int64_t attempt_ms(
    const struct scheduler *s, const struct worker *w, const struct job *j);
/* Kept so small that sums of times cannot overflow. */
int64_t whole_ms(double ms);
/* Of a running lease. */
int64_t time_left(const struct scheduler *s, int64_t now,
    const struct worker *w, const struct lease *lease);
/* For the whole job, from its start. */
int64_t time_needed(
    const struct scheduler *s, const struct worker *w, uint64_t weight);
/* Until a slot is free. */
int64_t time_to_slot(
    const struct scheduler *s, int64_t now, const struct worker *w);
/* And until what waits there for one is done, too. */
int64_t time_to_room(
    const struct scheduler *s, int64_t now, const struct worker *w);

/* scheduler_plan.c: as good as new; false: nothing is known, or queued. */
bool plan_made(struct scheduler *s, int64_t now);
/* Whether what is queued goes by it. */
bool plan_holds(struct scheduler *s, int64_t now);
/* Only jobs lighter than this for the worker, which has room. */
uint64_t plan_most(
    const struct scheduler *s, int64_t now, const struct worker *w);

/* scheduler_choose.c: a queued job and a worker for it, or NULL. */
struct worker *choose(struct scheduler *s, int64_t now, uint64_t *job);
/* ms to fetch what the job misses there. */
int64_t transfer_to(
    const struct scheduler *s, const struct worker *w, const struct job *j);
bool worker_may_take(const struct worker *w, const struct job *j, int64_t now);
/* It lacks what the job needs, and cannot get it. */
bool worker_unable(const struct worker *w, const struct job *j);

/* scheduler_late.c: moves a waiting job or starts a second copy. */
bool late_move(struct scheduler *s, int64_t now, struct sched_action *out);
/* The same while others are queued: for what takes longer than all of them. */
bool critical_move(struct scheduler *s, int64_t now, struct sched_action *out);

#endif
