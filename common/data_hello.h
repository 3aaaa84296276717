/*
 * The DATA_HELLOs that who connected a data socket says, and goes on saying:
 * they tell the other end, also after a new connection, whose it is.  The
 * socket's thread alone.
 */
#ifndef DATA_HELLO_H
#define DATA_HELLO_H

#include <stdint.h>

#include "data_protocol.h"

struct err;
struct link;

struct data_hello {
	uint8_t token[DATA_TOKEN_SIZE];
	int64_t every_ms;
	int64_t next; /* when to say it */
};

/*
 * 1: said now; 0: it is not time yet, or it cannot be said just now, and next
 * is when to call again; -1: ERR_FATAL.
 */
int data_hello_say(
    struct data_hello *h, struct link *l, int64_t now, struct err *e);

#endif
