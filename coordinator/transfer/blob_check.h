/*
 * Whether what a worker says it wrote into a shared folder is there: reads it
 * again, step by step, and compares size and SHA-256.  A folder that is shared
 * by way of a network shows files late, so what is not there yet is waited
 * for.  One thread.
 */
#ifndef BLOB_CHECK_H
#define BLOB_CHECK_H

#include <stdint.h>

struct blob_check;
struct blob_request;
struct err;

/* r is borrowed.  Files are waited for until `until`.  ERR_FATAL: no memory. */
int blob_check_new(const struct blob_request *r, int64_t until,
    struct blob_check **out, struct err *e);
void blob_check_free(struct blob_check *c);

/*
 * Some milliseconds' work: 1 when all is as was said, 0 to go on.  ERR_PEER: it
 * is not, ERR_RETRY: it cannot be read.
 */
int blob_check_step(struct blob_check *c, int64_t now, struct err *e);

/* When the next step makes sense. */
int64_t blob_check_wait(const struct blob_check *c);

#endif
