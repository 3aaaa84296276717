/*
 * How layers are handed over between machines that do not share the output's
 * folder: by a worker to its coordinator, and by a server to its clients.  A
 * second pair of sockets, so that control messages never wait behind a layer;
 * a table of its own, with numbers that protocol.h does not have, so that no
 * socket takes what belongs to the other.  W hands over, C gets, N is the one
 * of them that connects (a worker, a client), L the one that listens:
 *
 *	connection = *( N:DATA_HELLO ) at least every DATA_HELLO_MS
 *	transfer   = 1*( C:PULL *( W:CHUNK ) [ W:PULL_FAIL ] )
 *	release    = 1*( C:COMMITTED / C:DROP ) W:RELEASED
 *
 * DATA_HELLO has the token of the WELCOME on the control socket: it ties both
 * connections together, and a new connection to the old one.  A server answers
 * the first one of a connection with the same, which tells the client that
 * what it asked for before may be lost.  The receiver drives: a PULL asks for
 * some chunks from an offset on, and no chunk comes that was not asked for.
 * Chunk N of a file has exactly the bytes from N * DATA_CHUNK on, DATA_CHUNK
 * of them or up to the file's end.  Anything may be lost with a connection;
 * the receiver then asks again, under a new pull number, from where it is.
 * Files are kept until COMMITTED or DROP, which are repeated until RELEASED
 * answers them.
 *
 * Encoding and decoding are usable in any thread; a struct data_msg belongs to
 * one.
 */
#ifndef DATA_PROTOCOL_H
#define DATA_PROTOCOL_H

#include <stddef.h>
#include <stdint.h>

#include <msgpack.h>

#include "err.h"

#define DATA_CHUNK ((size_t)256 << 10)
#define DATA_MSG_SIZE_MAX (DATA_CHUNK + ((size_t)64 << 10))
#define DATA_TOKEN_SIZE 16
#define DATA_HELLO_MS 1000

/*
 * Credit, in chunks: of one transfer, and of all of one worker's or client's.
 * A worker's queues hold more than that, so they are never full.
 */
#define DATA_WINDOW_MAX 16
#define DATA_TRANSFERS_MAX 4 /* of one such at a time */
#define DATA_CREDIT_MAX (DATA_WINDOW_MAX * DATA_TRANSFERS_MAX)

enum data_form {
	DATA_TAR = 0, /* the layer's tar */
	DATA_BLOB = 1 /* the tar as it is encoded */
};

/*	constant           no.  body       direction, meaning */
#define DATA_MSG_TYPES(X)                                                      \
	X(DATA_MSG_HELLO, 65, data_hello) /* N>L whose connection this is */   \
	X(DATA_MSG_PULL, 66, pull)	  /* C>W send these chunks */          \
	X(DATA_MSG_CHUNK, 67, chunk)	  /* W>C one of them */                \
	X(DATA_MSG_PULL_FAIL, 68, pull_fail) /* W>C they cannot be had */      \
	X(DATA_MSG_COMMITTED, 69, committed) /* C>W got all: remove it */      \
	X(DATA_MSG_DROP, 70, drop)	     /* C>W not wanted: remove it */   \
	X(DATA_MSG_RELEASED, 71, released)   /* W>C it is removed */

enum data_msg_type {
#define X(name, no, body) name = no,
	DATA_MSG_TYPES(X)
#undef X
};

/* What a worker made, as JOB named it. */
struct data_id {
	uint64_t job, attempt;
};

struct data_msg_data_hello {
	uint8_t token[DATA_TOKEN_SIZE];
};

struct data_msg_pull {
	struct data_id id;
	enum data_form form;
	uint64_t pull;	 /* grows; an older one of this file is void */
	uint64_t offset; /* a multiple of DATA_CHUNK */
	uint64_t chunks; /* 1 to DATA_WINDOW_MAX, further ones for this pull */
};

struct data_msg_chunk {
	struct data_id id;
	enum data_form form;
	uint64_t pull; /* echoed */
	uint64_t offset;
	const void *bytes; /* borrowed: of a decoded one, from the frame */
	size_t len;	   /* 1 to DATA_CHUNK */
};

struct data_msg_pull_fail {
	struct data_id id;
	enum data_form form;
	uint64_t pull;	    /* echoed */
	enum err_kind kind; /* ERR_RETRY or ERR_JOB */
	int sys;	    /* errno, or 0 */
	const char *text;
};

struct data_msg_committed {
	struct data_id id;
};

struct data_msg_drop {
	struct data_id id;
};

struct data_msg_released {
	struct data_id id;
};

struct data_msg {
	enum data_msg_type type;
	union {
		struct data_msg_data_hello data_hello;
		struct data_msg_pull pull;
		struct data_msg_chunk chunk;
		struct data_msg_pull_fail pull_fail;
		struct data_msg_committed committed;
		struct data_msg_drop drop;
		struct data_msg_released released;
	};
	msgpack_zone *zone; /* holds a decoded message's strings */
};

/* As msg_decode; a chunk's bytes stay in data, which must outlive *out. */
int data_msg_decode(
    const void *data, size_t len, struct data_msg *out, struct err *e);
void data_msg_clear(struct data_msg *m);

/* As msg_encode, with DATA_MSG_SIZE_MAX. */
int data_msg_encode(
    const struct data_msg *m, msgpack_sbuffer *out, struct err *e);

/* "PULL", "CHUNK", ...; static; "?" for no such type. */
const char *data_msg_name(enum data_msg_type type);

/* "tar" or "blob"; static. */
const char *data_form_name(enum data_form form);

#endif
