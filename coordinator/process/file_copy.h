/*
 * Copies bytes from one file to another or into a pipe, inside the kernel
 * where it can, so that a file system that shares blocks shares them.  Usable
 * in any thread.
 */
#ifndef FILE_COPY_H
#define FILE_COPY_H

#include <stddef.h>
#include <stdint.h>

struct err;

/* All of data to out, at its position.  ERR_FATAL; to names out in it. */
int file_write(
    int out, const char *to, const void *data, size_t len, struct err *e);

/*
 * size bytes of the file from, which must hold exactly as many, to out at its
 * position.  ERR_FATAL.
 */
int file_copy(
    const char *from, uint64_t size, int out, const char *to, struct err *e);

#endif
