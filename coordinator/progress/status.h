/*
 * How a coordinator is doing: a plain snapshot, which its loop fills in and
 * others show, as JSON (what STATE carries), as a table for people, or as
 * Prometheus' text.  A snapshot owns its lists; status_clear frees them.  A
 * struct of zeros is an empty one.  Pure; usable in any thread, each with a
 * snapshot of its own.
 */
#ifndef STATUS_H
#define STATUS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "schedule/scheduler_counts.h"

struct err;

/* Bytes with the 0: of names, and of what images are called. */
#define STATUS_NAME_SIZE 64
#define STATUS_IMAGE_SIZE 128

struct status_worker {
	char name[STATUS_NAME_SIZE]; /* "HOST/PID" */
	bool remote;		     /* of another machine */
	bool draining;		     /* it wants to leave */
	bool aside; /* it failed too often: gets nothing more */
	uint64_t slots, running, waiting; /* waiting: behind busy slots */
	uint64_t rate;			  /* bytes/s, lately; 0: nobody knows */
	uint64_t done, failures;	  /* jobs, attempts; since it joined */
};

struct status_client {
	char name[STATUS_NAME_SIZE];   /* "HOST/PID" */
	char image[STATUS_IMAGE_SIZE]; /* what it builds */
	uint64_t wanted, done;	       /* jobs: all, and made by now */
};

/* A layer is counted once for each repository that it goes to. */
struct status_pushes {
	uint64_t open, there, mounted, uploaded;
	uint64_t left;		 /* to the coordinator */
	uint64_t failed;	 /* uploads */
	uint64_t uploaded_bytes; /* of blobs */
	/* What the coordinator uploads; of a batch only. */
	uint64_t own, own_bytes;
};

struct status {
	char version[STATUS_NAME_SIZE];
	char command[STATUS_NAME_SIZE]; /* "build", "serve" */
	uint64_t session, uptime_ms;

	struct sched_counts jobs;     /* that make layers */
	struct sched_counts measures; /* that only find their sizes */
	uint64_t cached;	      /* layers that were known and not made */
	uint64_t bytes_made;	      /* of tar, in jobs that are done */
	uint64_t bytes_read;	      /* by workers, of files */
	uint64_t bytes_fetched;	      /* that workers got from binary caches */
	uint64_t bytes_pulled;	      /* of blobs, out of workers' spools */
	/* Layers that workers put into registries, or were to. */
	struct status_pushes pushes;
	uint64_t joins, losses, leaves; /* workers: came, were lost, said bye */

	/* In order of their names; omitted: those that had no room. */
	struct status_worker *worker;
	size_t n_workers;
	uint64_t workers_omitted;
	struct status_client *client;
	size_t n_clients;
	uint64_t clients_omitted;
};

/*
 * Fills a name in: what is not printable ASCII becomes '?', what is too long
 * is cut.  All names in a snapshot must have come this way.
 */
void status_name(char *out, size_t size, const char *name);
/* Puts the lists in order. */
void status_sort(struct status *s);

/* A snapshot of its own; *out is empty before.  ERR_FATAL: no memory. */
int status_copy(const struct status *s, struct status *out, struct err *e);
void status_clear(struct status *s);

/*
 * One line of JSON without its end; *out is the caller's.  At most `max`
 * bytes (STATUS_JSON_MIN or more): lists are cut, and tell how much of them.
 */
#define STATUS_JSON_MIN 8192
int status_json(const struct status *s, size_t max, char **out, struct err *e);

/* The same back, every field checked: ERR_PEER names what is wrong. */
int status_parse(
    const char *text, size_t len, struct status *out, struct err *e);

/* For people: several lines of text; *out is the caller's. */
int status_table(const struct status *s, char **out, struct err *e);

/*
 * Prometheus' text exposition, version 0.0.4; *out is the caller's.  Of each
 * of the first STATUS_SERIES_MAX workers it has series of its own.
 */
#define STATUS_SERIES_MAX 1000
int status_prometheus(const struct status *s, char **out, struct err *e);

#endif
