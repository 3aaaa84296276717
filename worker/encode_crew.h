/*
 * Threads that compress chunks of long layers on cores that no job uses: they
 * are the whole worker's, and lent to one layer chunk by chunk.  Which thread
 * makes a chunk changes nothing of its bytes (encoder.h).  Any thread may call;
 * a member is its borrower's until it is given back.
 *
 * Memory: a thread, an encoder, and a chunk with its result for each member
 * that works or has worked in the last seconds.
 */
#ifndef ENCODE_CREW_H
#define ENCODE_CREW_H

#include <stddef.h>
#include <stdint.h>

struct encode_crew;
struct encode_member;
struct encoding;
struct err;
struct memory_gate;

/*
 * cores: how many of them layers and members together may keep busy.  gate:
 * says whether there is memory for one more; borrowed, or NULL.
 */
int encode_crew_new(size_t cores, struct memory_gate *gate,
    struct encode_crew **out, struct err *e);
/* All members have been given back.  Ends the threads. */
void encode_crew_free(struct encode_crew *crew);
void encode_crew_freep(struct encode_crew **crew);

/* A layer begins or ends to keep a core busy; more calls, more layers. */
void encode_crew_join(struct encode_crew *crew);
void encode_crew_leave(struct encode_crew *crew);

/*
 * Lends a member, and has it compress the chunk: *chunk, of `room` bytes from
 * malloc, len of them full, is exchanged for another one, as large.  NULL: no
 * core (or memory, or thread) is free; nothing is changed then.
 */
struct encode_member *encode_crew_start(struct encode_crew *crew,
    const struct encoding *encoding, uint8_t **chunk, size_t room, size_t len);

/* Waits for it.  *out is the member's, until it is given back. */
int encode_member_wait(
    struct encode_member *m, const void **out, size_t *out_len, struct err *e);
/* After it was waited for. */
void encode_member_back(struct encode_member *m);

#endif
