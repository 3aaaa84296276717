/*
 * Standard error as a stream for programs: one JSON object a line, and nothing
 * else.  Between start and end what is logged, and whatever child processes
 * and libraries write to standard error, is an event "log" in it; for that
 * descriptor 2 is a pipe, which a thread reads.  Process-wide, as standard
 * error is.
 */
#ifndef JSON_LINES_H
#define JSON_LINES_H

#include <jansson.h>

struct err;

/* The main thread calls both.  ERR_FATAL: standard error is as it was. */
int json_lines_start(struct err *e);
/* What was written by then is in the stream; without a start: nothing. */
void json_lines_end(void);

/*
 * Writes the line by one write(2); takes the object, NULL: out of memory, and
 * nothing is written.  Any thread; without a start as well.
 */
void json_line(json_t *event);

#endif
