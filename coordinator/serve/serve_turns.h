/*
 * Who may have an answer now: so many a second for all, and so many of these
 * for one, who is a key or, without one, a connection.  Pure, one thread.
 */
#ifndef SERVE_TURNS_H
#define SERVE_TURNS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "link.h"

#define SERVE_TURNS_MAX 64
#define SERVE_TURNS_EACH 16

struct serve_turns {
	int64_t since; /* ms: a second, */
	size_t n;      /* and so many answers were given in it, */
	struct link_peer to[SERVE_TURNS_MAX]; /* to these */
};

/* True: it may have one, which counts. */
bool serve_turns_take(
    struct serve_turns *t, int64_t now, const struct link_peer *peer);

#endif
