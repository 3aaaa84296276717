/*
 * Lets jobs begin as long as there is memory for them: each reserves what it
 * is known to take at most, and one that would not fit beside those that run
 * is to be handed back.  A job that runs alone always may: else it would wait
 * for ever.  Any thread calls.
 */
#ifndef MEMORY_GATE_H
#define MEMORY_GATE_H

#include <stdbool.h>
#include <stdint.h>

struct encoding;
struct err;
struct layer_job;
struct memory_gate;

/* Memory that is left to others, whatever is reserved. */
#define MEMORY_KEEP_FREE ((uint64_t)32 << 20)

/* root: as memory_room's; borrowed.  ERR_FATAL. */
int memory_gate_new(const char *root, struct memory_gate **out, struct err *e);
void memory_gate_free(struct memory_gate *g);

/* Bytes that the job takes at most, about (measured). */
uint64_t memory_gate_need(const struct layer_job *job);

/* ERR_RETRY with ENOMEM: not now; else memory_gate_leave has to follow. */
int memory_gate_enter(struct memory_gate *g, uint64_t need, struct err *e);
void memory_gate_leave(struct memory_gate *g, uint64_t need);

/*
 * The same for what a job can do without: another encoder, beside the one that
 * its need has in it.  Only while a job that needs as much could still begin.
 */
uint64_t memory_gate_encoder(const struct encoding *encoding);
bool memory_gate_lend(struct memory_gate *g, uint64_t need);
void memory_gate_return(struct memory_gate *g, uint64_t need);

#endif
