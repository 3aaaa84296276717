/*
 * The bytes of a closure file, seen through a window that moves on: from a
 * descriptor (borrowed) in reads of a fixed size, so that neither a file nor
 * a pipe is ever held whole, or from memory, where the window is all of it.
 * Readers may change bytes in the window.  Errors leave out the file's name,
 * which the caller knows.  Belongs to one thread.
 */
#ifndef CLOSURE_INPUT_H
#define CLOSURE_INPUT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct closure_text;
struct err;

#define CLOSURE_INPUT_WINDOW ((size_t)256 << 10)
/* The longest string or line; several fit into the window. */
#define CLOSURE_INPUT_TOKEN_MAX ((size_t)64 << 10)
/* The longest file. */
#define CLOSURE_INPUT_MAX ((uint64_t)16 << 30)

#define CLOSURE_INPUT_NO_MARK SIZE_MAX

struct closure_input {
	char *buf;	 /* the window: buf[0..len) */
	size_t len, pos; /* buf[pos] is the next byte */
	size_t mark;	 /* bytes from here on are kept, or NO_MARK */
	uint64_t base;	 /* where buf[0] is in the file */
	size_t chunk;	 /* the most that one read takes */
	int fd;		 /* -1: memory, or the end was reached */
	bool owns_buf;
};

/* A window over fd. */
int closure_input_open(struct closure_input *in, int fd, struct err *e);

/* All of data, which is borrowed. */
void closure_input_memory(struct closure_input *in, char *data, size_t len);

/* For AUTO: frees the window. */
void closure_input_close(struct closure_input *in);

/*
 * Reads on: 1 if there is more now, 0 at the end, -1 for an error.  Moves
 * what is kept to the front, and pos and mark with it.
 */
int closure_input_more(struct closure_input *in, struct err *e);

/* At least n bytes from pos on: 1, or 0 if the end comes first, or -1. */
int closure_input_need(struct closure_input *in, size_t n, struct err *e);

/* The place of buf[pos] in the file. */
uint64_t closure_input_at(const struct closure_input *in);

/*
 * The next line without its newline; valid until the next call.  1, 0 at the
 * end, -1.  A last line that has no newline is an error: the file was cut.
 */
int closure_input_line(
    struct closure_input *in, struct closure_text *line, struct err *e);

#endif
