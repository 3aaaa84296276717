/*
 * One job, from its JOB message to its answer: here its parts are put
 * together, so a job holds copies of all it points to.  The agent owns jobs;
 * while a job_pool has one, of its fields only progress and running may be
 * touched.
 */
#ifndef JOB_H
#define JOB_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <msgpack.h>

#include "err.h"
#include "layer_run.h"

struct msg;
struct msg_entries;
struct msg_items;
struct upload_place;

enum job_state {
	JOB_ASSEMBLING, /* parts are still to come */
	JOB_SUBMITTED,	/* the pool has it */
	JOB_FINISHED	/* its answer is to be sent */
};

struct job {
	uint64_t id, attempt;
	enum job_state state;
	uint64_t stream; /* as in JOB */
	struct layer_job layer;
	uint64_t n_items; /* that were announced; layer.n have come */
	struct layer_progress progress;
	atomic_bool running;
	bool unwanted; /* no answer is waited for */
	bool leaving;  /* stopped to be handed back: no failure */

	/* What came of it: an error, or a result. */
	struct err err;
	bool postponed; /* err says what lacks: no failure */
	struct layer_result result;
	uint64_t cpu_us;
	int64_t us; /* that it took, without what it waited for */
	/* What became of its stream, where it is made again without. */
	enum layer_stream streamed;
	/*
	 * Told besides: bytes made before that, and 1 for each beat of waiting.
	 */
	uint64_t ahead;

	struct job *next;	 /* of the agent's */
	struct job *queue_next;	 /* of the pool's */
	struct layer_item *item; /* layer's own */
	struct layer_entry *entry;
	size_t room;
	msgpack_zone *strings;
};

/* Takes over the strings of a decoded JOB message.  ERR_RETRY. */
int job_new(struct msg *m, struct job **out, struct err *e);
void job_free(struct job *job);

/*
 * Adds a part of a job that is being assembled.  ERR_RETRY: it is not a part
 * of this job (wrong kind, too many), or out of memory; ERR_JOB: a path that
 * is no store path.
 */
int job_add_items(struct job *job, const struct msg_items *m, struct err *e);
int job_add_entries(
    struct job *job, const struct msg_entries *m, struct err *e);

/* A copy of s that lives as long as the job; NULL: no memory. */
const char *job_keep(struct job *job, const char *s);

/* All parts are there. */
bool job_complete(const struct job *job);

/*
 * DONE, SIZED, FAIL or POSTPONE of a finished job; strings are borrowed from
 * it.
 */
void job_answer(const struct job *job, struct msg *out);

#endif
