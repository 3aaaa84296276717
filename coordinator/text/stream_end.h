/* The end of what is printed: whether all of it has got to where it goes. */
#ifndef STREAM_END_H
#define STREAM_END_H

#include <stdio.h>

struct err;

/* Flushes f, which errors call what.  ERR_FATAL, also for earlier failures. */
int stream_end(FILE *f, const char *what, struct err *e);

/* Closes what was written in memory; -1: not all of it is there. */
int stream_close(FILE *f);

#endif
