/*
 * What people see while quarry works, on standard error: a display that is
 * redrawn in place on a terminal, plain lines elsewhere, JSON lines for
 * programs, or nothing.  It only shows what it is told; one thread, but for
 * lines that others log.
 */
#ifndef PROGRESS_H
#define PROGRESS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "schedule/scheduler_counts.h"

struct err;
struct image;
struct progress;

enum progress_mode {
	PROGRESS_AUTO,
	PROGRESS_BAR,
	PROGRESS_PLAIN,
	PROGRESS_JSON,
	PROGRESS_NONE
};

/* While it lives, a bar takes the log's lines and shows them above itself. */
int progress_new(enum progress_mode mode, struct progress **out, struct err *e);
/* Removes the bar and restores the terminal. */
void progress_free(struct progress *p);
void progress_freep(struct progress **p);

/*
 * A new phase: "planning", "building layers"; static text.  Plain lines tell
 * of the jobs of one that says so.
 */
void progress_phase(struct progress *p, const char *what);
void progress_tell_jobs(struct progress *p);

/* How much there is to do in this phase; bytes of tar, about. */
void progress_totals(struct progress *p, size_t jobs, uint64_t bytes);

/*
 * Workers, by an index that dispatch gives; name: "HOST/PID".  lost: it went
 * without a word.
 */
void progress_worker_up(struct progress *p, size_t worker, const char *name);
void progress_worker_gone(struct progress *p, size_t worker, bool lost);

/* A worker has made so many bytes of a job (label borrowed until done). */
void progress_job(struct progress *p, size_t worker, size_t job,
    const char *label, uint64_t bytes, uint64_t total);
/* The job is over at this worker; done: it counts. */
void progress_job_end(struct progress *p, size_t worker, size_t job,
    const char *label, uint64_t bytes, double seconds, bool done);

/* The worker is given a job once more, since the attempt before ended so; */
void progress_again(struct progress *p, size_t worker, const char *label,
    uint64_t attempt, enum sched_end before);
/* or beside an attempt that goes on, and takes too long. */
void progress_copy(
    struct progress *p, size_t worker, const char *label, uint64_t attempt);

/* Two workers made the same of a job, or there was no second one. */
void progress_audit(struct progress *p, const char *label, bool agreed);

/* A worker read so much of files, or got it from binary caches. */
void progress_read(struct progress *p, uint64_t bytes);
void progress_fetched(struct progress *p, uint64_t bytes);

/* What workers put into registries, in all. */
struct progress_pushes {
	uint64_t layers, done, uploaded; /* done: there, by whomever, */
	uint64_t mounted, left;		 /* or left to the coordinator */
	uint64_t failed;		 /* uploads */
	uint64_t bytes, uploaded_bytes;
};
void progress_pushed(struct progress *p, const struct progress_pushes *n);

/*
 * Tells more if it is time; returns the milliseconds until it wants to again,
 * or -1.
 */
int progress_tick(struct progress *p, int64_t now);

/* The last word: what was made, how fast, and where it went. */
struct progress_summary {
	const struct image *image;
	const struct output_target *targets;
	size_t n_targets;
	double seconds;
};
void progress_summary(struct progress *p, const struct progress_summary *s);

#endif
