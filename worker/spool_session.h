/*
 * One worker process's folder among those of others:
 * HOST.BOOT-ID.PID.START-TIME, with a file "lock" that is locked as long as
 * the process lives.  One thread at a time.
 */
#ifndef SPOOL_SESSION_H
#define SPOOL_SESSION_H

#include <stdbool.h>
#include <sys/types.h>

struct err;

#define SPOOL_SESSION_MAX 192 /* bytes of the name */

#define SPOOL_SESSION_NONE                                                     \
	(struct spool_session)                                                 \
	{                                                                      \
		.parent = -1, .fd = -1, .lock = -1                             \
	}

struct spool_session {
	char *path;
	char name[SPOOL_SESSION_MAX];
	int parent, fd; /* folders */
	int lock;
};

/*
 * Removes the folders of processes of this host that are gone: of an earlier
 * boot, or whose process is not there, and which nobody has locked.  Others
 * are left alone, and so is what no worker makes.
 */
void spool_session_clean(int parent);

/*
 * Makes this process's folder in parent, which has the given path.  *out was
 * SPOOL_SESSION_NONE; also after a failure it is closed.
 */
int spool_session_open(
    int parent, const char *path, struct spool_session *out, struct err *e);

/* Removes the folder; also of one that was opened in part. */
void spool_session_close(struct spool_session *s);

/* The name of a process's folder; false: the process is not there. */
bool spool_session_name(pid_t pid, char out[static SPOOL_SESSION_MAX]);

#endif
