/*
 * One message: one ZeroMQ frame holding one msgpack array of exact arity.
 * wire_guard looks at the bytes before msgpack-c does, since msgpack-c
 * allocates what a header announces.  wire_in is a cursor that remembers the
 * first fault, so decoders are straight lines; wire_out is its counterpart.
 * One thread each.
 */
#ifndef WIRE_H
#define WIRE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <msgpack.h>

#include "err.h"

/* Of an error that is told: its text, and its errno. */
#define WIRE_TEXT_MAX (ERR_TEXT_MAX - 1)
#define WIRE_ERRNO_MAX 4095

/* Nesting of a message: the array, a list in it, an item, its fields. */
#define WIRE_DEPTH_MAX 4

/*
 * Whether the bytes are one msgpack object, whole and with nothing after it,
 * made of arrays, unsigned and signed integers, booleans, nil, str and bin
 * only, nested at most WIRE_DEPTH_MAX deep, no count or length beyond the
 * bytes that are left.  O(len), allocates nothing.  Error: ERR_PEER.
 */
int wire_guard(const void *data, size_t len, struct err *e);

struct wire_in {
	const char *message;	     /* what errors call it: "job" */
	const msgpack_object *at;    /* the array that is being read */
	uint32_t next;		     /* its next element */
	const struct wire_in *outer; /* the array it is in, or NULL */
	msgpack_zone *zone;	     /* strings and lists live here */
	bool bad;
	bool nomem;	 /* the fault is ours: out of memory */
	char fault[160]; /* "done: field 1 is not an unsigned integer" */
};

/* A cursor on at's first element; a fault if at is not an array. */
void wire_in_init(struct wire_in *in, const char *message,
    const msgpack_object *at, msgpack_zone *zone);

/* Each reads the next field; after a fault all give zeros. */
uint64_t wire_get_uint(struct wire_in *in, uint64_t max);
/* After a fault: min. */
uint64_t wire_get_range(struct wire_in *in, uint64_t min, uint64_t max);
int64_t wire_get_int(struct wire_in *in);
bool wire_get_bool(struct wire_in *in);
/* Exactly len bytes of bin. */
void wire_get_bytes(struct wire_in *in, void *out, size_t len);
/*
 * At most max bytes of bin, where they are in the message; NULL and 0 after a
 * fault.
 */
const void *wire_get_bin(struct wire_in *in, size_t max, size_t *len);
/*
 * A str of at most max bytes without NUL; copied into the zone, with a NUL.
 * "" after a fault.
 */
const char *wire_get_str(struct wire_in *in, size_t max);
/*
 * Enters the next field, a list of at most max, and returns its length;
 * wire_leave goes back to outer.  It is a fault to leave elements unread.
 */
size_t wire_enter(struct wire_in *in, struct wire_in *outer, size_t max);
void wire_leave(struct wire_in *in, const struct wire_in *outer);
/* After the last field: it is a fault to leave some unread. */
void wire_end(struct wire_in *in);
/*
 * Notes a fault of the field that was read last, unless there is one already:
 * "MESSAGE: field N TEXT".
 */
void wire_fault(struct wire_in *in, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));
/* Zeroed memory of the message's zone; NULL after a fault. */
void *wire_alloc(struct wire_in *in, size_t count, size_t size);

/*
 * One of a protocol's messages: errors call it what, it has at most max bytes,
 * and get reads the body of one of that type into m, noting what is wrong as a
 * fault.
 */
struct wire_form {
	const char *what;
	size_t max;
	void (*get)(struct wire_in *in, uint64_t type, void *m);
};

/*
 * Guards, unpacks and reads a whole message into m, whose strings and lists
 * are then in *zone (wire_zone_freep).  After a failure *zone is NULL.
 * ERR_PEER; ERR_FATAL: out of memory.
 */
int wire_decode(const struct wire_form *form, const void *data, size_t len,
    void *m, msgpack_zone **zone, struct err *e);
void wire_zone_freep(msgpack_zone **zone);

struct wire_out {
	msgpack_sbuffer *buf;
	msgpack_packer pk;
	bool failed; /* out of memory */
};

void wire_out_init(struct wire_out *out, msgpack_sbuffer *buf);
void wire_put_array(struct wire_out *out, size_t n);
/* The array that a message is, and its type; n_fields: those that follow. */
void wire_put_head(struct wire_out *out, uint64_t type, size_t n_fields);
void wire_put_uint(struct wire_out *out, uint64_t v);
void wire_put_int(struct wire_out *out, int64_t v);
void wire_put_bool(struct wire_out *out, bool v);
void wire_put_bytes(struct wire_out *out, const void *data, size_t len);
/* NULL is put as "". */
void wire_put_str(struct wire_out *out, const char *s);
/*
 * Whether all that was put from start on is there and has at most max bytes;
 * if not, it is taken back.  ERR_FATAL names the message.
 */
int wire_out_end(const struct wire_out *out, size_t start, size_t max,
    const char *message, struct err *e);

#endif
