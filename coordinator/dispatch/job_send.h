/*
 * Puts a job on the wire: JOB, then its store paths or entries in parts that
 * respect the protocol's limits.
 */
#ifndef JOB_SEND_H
#define JOB_SEND_H

#include <stdint.h>

struct dispatch_job;
struct err;
struct link;
struct link_peer;

/*
 * As link_send; a job that was sent in part will never start.  stream: as in
 * JOB.
 */
int job_send(struct link *link, const struct link_peer *peer,
    const struct dispatch_job *job, uint64_t id, uint64_t attempt,
    uint64_t stream, struct err *e);

#endif
