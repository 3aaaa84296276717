/* Numbers on the command line.  Pure; ERR_USAGE names the option. */
#ifndef OPTIONS_NUMBER_H
#define OPTIONS_NUMBER_H

#include <stddef.h>
#include <stdint.h>

struct err;

/* 1 to max. */
int options_count(const char *arg, size_t max, const char *option, size_t *out,
    struct err *e);

/* "500M", "20G": powers of 1024; bytes without a letter. */
int options_size(
    const char *arg, const char *option, uint64_t *out, struct err *e);

#endif
