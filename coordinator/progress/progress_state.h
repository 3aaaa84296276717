/*
 * Inside of the progress display: what it knows, and what its files call of
 * each other.  progress.c keeps it and chooses among progress_bar.c (a
 * terminal), progress_plain.c (lines for people) and progress_json.c (lines
 * for programs); progress_text.c has the words that people read.  For these
 * alone.
 */
#ifndef PROGRESS_STATE_H
#define PROGRESS_STATE_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "closure/hash_index.h"
#include "progress/progress.h"
#include "schedule/scheduler_counts.h"

struct image;
struct output_target;
struct progress_summary;

#define PROGRESS_NAME_MAX 64

/* A job at a worker. */
struct running {
	size_t worker, job;
	const char *label;
	uint64_t bytes, total;
};

struct seen_worker {
	char name[PROGRESS_NAME_MAX];
	bool up;
	uint32_t host; /* index */
};

/* Kept, once it was there. */
struct seen_host {
	char name[PROGRESS_NAME_MAX];
	size_t workers; /* that are up */
	/* Of the jobs that run there; progress_count_hosts. */
	size_t running;
	const struct running *most; /* with the most bytes */
};

/* What happened to workers and jobs, since the beginning. */
struct progress_events {
	uint64_t joins, losses, leaves;
	uint64_t again[SCHED_ENDS], copies; /* again: by how it ended before */
	uint64_t agreed, skipped;	    /* audits */
	uint64_t read, fetched; /* bytes of files, from binary caches */
	struct progress_pushes pushes;
};

struct progress {
	enum progress_mode mode;
	const char *phase;
	size_t jobs, jobs_done;
	uint64_t bytes, bytes_done;
	int64_t phase_start, next;
	struct running *running;
	size_t n_running, room_running;
	struct hash_index by_job; /* of running: by worker and job */
	struct seen_worker *worker;
	size_t n_workers;
	struct seen_host *host;
	size_t n_hosts, room_hosts;
	struct hash_index by_host; /* by name */
	size_t hosts_up, workers_up;
	struct progress_events events;
	bool tell;    /* of the phase's jobs, in plain lines */
	size_t lines; /* of the bar that are on the screen */
	bool shown;   /* the cursor is hidden */
	/* Lines of other threads, which the next drawing shows. */
	pthread_t owner;
	pthread_mutex_t lock;
	char *held;
	size_t held_len;
	/* What a signal writes; the one that is not in use is changed. */
	char restore[2][40];
	unsigned restore_at;
};

/* progress.c */
uint64_t progress_bytes_now(const struct progress *p);
const char *progress_worker_name(const struct progress *p, size_t worker);
/* Fills in what hosts do now; how many of them do anything. */
size_t progress_count_hosts(struct progress *p);

/* progress_text.c; each writes into the caller's buffer, "" for nothing. */

/* "layer 7 (glibc): 12 MiB of 40 MiB" */
void progress_text_job(const struct running *r, char *out, size_t size);
/* "3 workers, 8 layers" */
void progress_text_host(const struct seen_host *h, char *out, size_t size);
/* "2 hosts, 3 workers (4 joined, 1 lost), 2 again (1 lost, 1 failed), ..." */
void progress_text_events(const struct progress *p, char *out, size_t size);

/* "oci:DIR" */
#define PROGRESS_TARGET_MAX 4200
void progress_text_target(
    const struct output_target *target, char *out, size_t size);

/* Of all layers. */
struct progress_sums {
	uint64_t tar_size, size;
	size_t paths, known;
};
void progress_text_sums(const struct image *image, struct progress_sums *out);

/* progress_bar.c */
void progress_bar_start(struct progress *p);
void progress_bar_draw(struct progress *p, int64_t now);
void progress_bar_end(struct progress *p);

/* progress_plain.c */
void progress_plain_done(const struct progress *p, size_t worker,
    const char *label, uint64_t bytes, double seconds);
void progress_plain_again(const struct progress *p, size_t worker,
    const char *label, uint64_t attempt, const char *why);
/* Every now and then: who works on what. */
void progress_plain_tell(struct progress *p);
void progress_plain_summary(
    const struct progress *p, const struct progress_summary *s);

/* progress_json.c */
void progress_json_phase(const struct progress *p);
void progress_json_worker(const struct progress *p, size_t worker);
void progress_json_worker_gone(
    const struct progress *p, size_t worker, bool lost);
void progress_json_done(const struct progress *p, size_t worker,
    const char *label, uint64_t bytes, double seconds);
void progress_json_again(const struct progress *p, size_t worker,
    const char *label, uint64_t attempt, const char *why);
void progress_json_audit(const char *label, bool agreed);
void progress_json_tell(struct progress *p);
void progress_json_summary(
    const struct progress *p, const struct progress_summary *s);

#endif
