/*
 * How fast this worker makes layers, for HELLO: by the layers that it made, for
 * whichever coordinator, and before any by a trial of some milliseconds.  It
 * need not be exact: a coordinator goes by it until it sees work, and against
 * what others say.  For one thread.
 */
#ifndef SPEED_H
#define SPEED_H

#include <stdint.h>

#include "encoding.h"

struct speed {
	/* Of layers, old ones fading; by enum encoding_kind. */
	struct speed_work {
		double bytes, us;
	} made[ENCODING_KINDS];
	uint64_t tried[ENCODING_KINDS]; /* bytes/s; 0: it was not */
};

/*
 * Hashes and compresses a little, at the default levels: some 20 ms.  What
 * cannot be tried stays 0.
 */
void speed_try(struct speed *s);

/* A layer was made: so many bytes of tar, in so long. */
void speed_add(
    struct speed *s, enum encoding_kind kind, uint64_t bytes, int64_t us);

/* Bytes of tar a second, of one slot; 0: not known. */
uint64_t speed_of(const struct speed *s, enum encoding_kind kind);

#endif
