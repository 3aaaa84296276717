/*
 * Gets layer jobs done: listens for workers, starts local ones, sends jobs as
 * the scheduler decides, takes results.  One loop, one thread, which owns the
 * sockets and the child processes.
 */
#ifndef DISPATCH_H
#define DISPATCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "encoding.h"
#include "layer_spec.h"
#include "scheduler.h"

struct cache_list;
struct closure;
struct curve_key;
struct dispatch;
struct err;
struct launch;
struct progress;
struct scratch;

struct dispatch_job {
	/* What to do; borrowed, like all below, until dispatch_run ends. */
	const struct layer_spec *spec;
	const struct closure *closure;	 /* LAYER_FROM_STORE: where paths are */
	const uint32_t *path;		 /* LAYER_FROM_STORE: n indices */
	const struct layer_entry *entry; /* LAYER_FROM_ENTRIES: n entries */
	size_t n;
	uint64_t weight;   /* bytes, about: what the scheduler orders by, */
	uint64_t order;	   /* unless this is not 0: the highest first */
	const char *label; /* "layer 7 (glibc-2.38)" */

	/* What came of it. */
	struct layer_result result; /* measure: tar_size and entries */
	char worker[64];	    /* "HOST/PID" */
	double seconds;		    /* from dispatch to result */
};

struct dispatch_config {
	size_t slots;		    /* of local processes in all; 0: none */
	size_t workers;		    /* local processes, at most slots */
	const char *worker_program; /* or NULL */
	const struct cache_list *caches; /* that local workers may ask */
	struct progress *progress;
	struct encoding encoding; /* of blobs */
	const char *encoder; /* that workers must have, or NULL: the first's */
	/* Told of each job that is done and verified, but for measured ones. */
	int (*done)(void *arg, const struct dispatch_job *job, struct err *e);
	void *done_arg;
	/*
	 * The same for one that has failed for good, and why: the run goes on
	 * without it.  NULL: that is the end.
	 */
	int (*failed)(void *arg, const struct dispatch_job *job,
	    const struct err *why, struct err *e);
	void *failed_arg;
	/*
	 * Fills in the entries of a copy of the job before each time that it
	 * is sent; unload is called once it was.  What cannot be loaded has
	 * failed.  For jobs LAYER_FROM_ENTRIES, if not NULL.
	 */
	int (*load)(void *arg, const struct dispatch_job *job,
	    struct dispatch_job *out, struct err *e);
	void (*unload)(void *arg, struct dispatch_job *out);
	void *load_arg;

	/* Workers of other machines; borrowed until dispatch_free. */
	const char *listen;	     /* where they may join, or NULL */
	const struct curve_key *key; /* ours, or NULL: none */
	const char *keys;	     /* file or folder of theirs, or NULL */
	bool plain;		     /* without keys beyond this machine */
	struct launch *launch;	     /* starts some of them, or NULL */
	bool no_locality;	     /* workers' stores do not matter */
	size_t min_workers;	     /* work begins when so many are there */
	unsigned audit; /* percent of jobs that two workers must agree on */
};

/* Makes the sockets (one in a scratch folder) and starts local workers. */
int dispatch_new(const struct dispatch_config *config, struct scratch *scratch,
    struct dispatch **out, struct err *e);

/*
 * Runs n jobs to their end.  Fails with the first job that failed for good
 * (unless `failed` is there to be told): its label and the workers' reasons,
 * ERR_JOB where its input is to blame. ERR_FATAL: workers cannot be had or
 * disagree.  After a failure only dispatch_free is allowed.
 */
int dispatch_run(
    struct dispatch *d, struct dispatch_job *job, size_t n, struct err *e);

/* From callbacks: nobody wants that job of the run any more; it is not told of.
 */
void dispatch_cancel(struct dispatch *d, struct job_id id);

/* Of the workers that were there: encoder_version.h; "": nobody was. */
const char *dispatch_encoder(const struct dispatch *d);

/* Sends the workers home and waits for the local ones, then kills. */
void dispatch_free(struct dispatch *d);
void dispatch_freep(struct dispatch **d);

#endif
