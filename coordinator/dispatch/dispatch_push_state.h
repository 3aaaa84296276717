/*
 * Inside of dispatch_push.c, dispatch_push_token.c, which has workers told what
 * they say in registries, and dispatch_stream.c.  For these alone.
 */
#ifndef DISPATCH_PUSH_STATE_H
#define DISPATCH_PUSH_STATE_H

#include <stdbool.h>
#include <stddef.h>

#include "dispatch/pushes.h"

struct dispatch;
struct err;
struct peer;
struct push_told;

struct dispatch_pushes {
	struct pushes *ps;
	bool only;	 /* what is there is not pulled */
	bool stream;	 /* into the first place, while they are made */
	bool unasked;	 /* who asks there, and how, is not known yet */
	bool unfit;	 /* that some worker may not was said */
	unsigned broken; /* streams in a row */
};

/* dispatch_stream.c: a place has answered a question that is no push's. */
int dispatch_stream_asked(
    struct dispatch *d, size_t i, bool failed, struct err *e);

/* The place's token, unless p has it.  1: p is not to be reached. */
int dispatch_push_tell(
    struct dispatch *d, struct peer *p, struct push_told *told, struct err *e);
/* Whoever was told the old one is told the new one. */
int dispatch_push_renewed(struct dispatch *d, size_t i, struct err *e);

#endif
