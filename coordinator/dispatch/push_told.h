/*
 * What someone who pushes was told of places (TOKEN in protocol.h): each under
 * a number, of which there are few.
 */
#ifndef PUSH_TOLD_H
#define PUSH_TOLD_H

#include <stddef.h>
#include <stdint.h>

#include "protocol.h"

struct push_told {
	size_t place;	 /* that its index stands for */
	uint64_t serial; /* of the token; 0: none was told */
	uint64_t used;	 /* when, by now */
	size_t open;	 /* pushes that it has there */
};

struct push_tolds {
	struct push_told at[MSG_PUSH_PLACES];
	uint64_t now; /* counts what was taken */
};

/* By what it knows the place, or NULL. */
struct push_told *push_told_find(struct push_tolds *t, size_t place);
/* The same; or by what it will, once it was told.  Some must have no pushes. */
struct push_told *push_told_take(struct push_tolds *t, size_t place);

#endif
