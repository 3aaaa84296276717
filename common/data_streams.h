/*
 * What somebody who hands files over owes to one who pulls them: the PULLs
 * that go on, each with its file and the credit that is left, and the CHUNKs
 * and PULL_FAILs that are due.  It knows files and messages, but no sockets.
 * A table has DATA_STREAMS_MAX places, more than may be asked for at a time;
 * what does not fit is not answered, and asked for again.  One thread.
 */
#ifndef DATA_STREAMS_H
#define DATA_STREAMS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "data_protocol.h"
#include "err.h"

#define DATA_STREAMS_MAX (2 * DATA_TRANSFERS_MAX)

/* A file that was asked for, and how far. */
struct data_stream {
	bool used;
	struct data_id id;
	enum data_form form;
	uint64_t pull;
	uint64_t at;	 /* where the next chunk starts */
	uint64_t chunks; /* credit that is left */
	int fd;		 /* -1: not open */
	uint64_t size;
	bool failed; /* why is to be sent */
	struct err why;
	uint64_t turn; /* when it was asked for last */
};

struct data_streams {
	struct data_stream stream[DATA_STREAMS_MAX];
	uint64_t turns;
	size_t next; /* whose turn it is */
};

void data_streams_init(struct data_streams *s);
/* Closes all files, and forgets all that is owed. */
void data_streams_close(struct data_streams *s);

/*
 * A newer pull takes the place of an older one; the same one again goes on
 * where it ends.  What does neither came too late.  A stream that is returned
 * needs its file: it is for data_stream_open or data_stream_fail; NULL: none.
 */
struct data_stream *data_streams_pull(
    struct data_streams *s, const struct data_msg_pull *m);
/* Takes fd, which has size bytes. */
void data_stream_open(struct data_stream *t, int fd, uint64_t size);
/* There is no more to be had of it: the other end is told why. */
void data_stream_fail(struct data_stream *t, const struct err *why);
/* As if it had not been asked for; it will be again. */
void data_stream_forget(struct data_stream *t);

/* Nothing more is owed for the id. */
void data_streams_release(struct data_streams *s, const struct data_id *id);

/* Whether anything is due. */
bool data_streams_due(const struct data_streams *s);
/* One that something is due of, each in its turn; NULL: none. */
struct data_stream *data_streams_next(struct data_streams *s);
/*
 * What is due of it: a CHUNK, read into chunk (DATA_CHUNK bytes), or a
 * PULL_FAIL, also where the read fails.  It borrows from both.
 */
void data_stream_message(
    struct data_stream *t, uint8_t *chunk, struct data_msg *out);
/* It is sent; else it stays due. */
void data_stream_sent(struct data_stream *t, const struct data_msg *m);

#endif
