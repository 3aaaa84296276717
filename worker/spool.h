/*
 * Where a worker keeps layers until the coordinator has pulled them: a folder
 * of its own (0700) in FOLDER/quarry-worker-UID.  The folder's name says host,
 * boot, process and start time, and it holds a locked file, so that what dead
 * workers left behind can be told from what others still use.  Room is
 * reserved before a job starts.
 *
 * Usable in any thread; a file is written by the job's thread between
 * spool_take and spool_settle, and read after that.
 */
#ifndef SPOOL_H
#define SPOOL_H

#include <stddef.h>
#include <stdint.h>

#include "data_protocol.h"

struct err;
struct layer_job;
struct spool;

/* Disk space that is not taken, whatever is reserved. */
#define SPOOL_KEEP_FREE ((uint64_t)64 << 20)

/*
 * folder: NULL is $TMPDIR or /var/tmp; made if it is not there.  Removes what
 * dead workers of this host left in it.  ERR_USAGE: it cannot be one.
 */
int spool_new(
    const char *folder, uint64_t keep_free, struct spool **out, struct err *e);
/* Removes all of it. */
void spool_free(struct spool *s);
void spool_freep(struct spool **s);

/*
 * At most so many bytes, about, the job writes into the spool: what its store
 * paths have, headers, and as if nothing could be compressed.
 */
uint64_t spool_need(const struct layer_job *job);

/* Bits of spool_take's forms. */
#define SPOOL_TAR (1u << DATA_TAR)
#define SPOOL_BLOB (1u << DATA_BLOB)

/*
 * Reserves need bytes and makes the job's files, empty.  ERR_RETRY; sys is
 * ENOSPC where there is not room enough now.
 */
int spool_take(struct spool *s, const struct data_id *id, unsigned forms,
    uint64_t need, struct err *e);

/* A file's path, the caller's; NULL: no memory. */
char *spool_path(
    const struct spool *s, const struct data_id *id, enum data_form form);

/* The job's files are whole: they may be read, and take what they take. */
void spool_settle(struct spool *s, const struct data_id *id);

/* Opens a file that is whole, for reading.  ERR_RETRY: it is not there. */
int spool_open(struct spool *s, const struct data_id *id, enum data_form form,
    int *fd, uint64_t *size, struct err *e);

/* Forgets every job. */
void spool_clear(struct spool *s);

/* Forgets a job, at any time; no such job is no fault. */
void spool_remove(struct spool *s, const struct data_id *id);

#endif
