/*
 * Everything temporary that quarry makes on disk: named .quarry-XXXXXX beside
 * where it will end up, and removed when the build ends, however it ends.  A
 * small child process (forked before any thread starts) holds the list and
 * removes what is left when this process dies, by SIGKILL too, and ends the
 * process group that it was told of.
 * Any thread may make and remove things; one makes and frees the list.
 */
#ifndef SCRATCH_H
#define SCRATCH_H

#include <sys/types.h>

struct err;
struct scratch;

/* Forks the reaper.  Call before threads and sockets exist. */
int scratch_new(struct scratch **out, struct err *e);

/* Removes what is left and ends the reaper. */
void scratch_free(struct scratch *s);
void scratch_freep(struct scratch **s);

/*
 * A new folder (mode 0700) or empty file (0600 less umask, open read-write)
 * in parent.  *path is the caller's to free.  Errors name parent: ERR_USAGE
 * where it is missing or not writable.
 */
int scratch_folder(
    struct scratch *s, const char *parent, char **path, struct err *e);
int scratch_file(
    struct scratch *s, const char *parent, char **path, int *fd, struct err *e);

/* Where temporary things without a better place go: $TMPDIR or /var/tmp. */
const char *scratch_temp(void);

/* Removes path (a tree) now. */
void scratch_remove(struct scratch *s, const char *path);

/*
 * The process group (one at most; 0: none) that must not outlive this process.
 */
void scratch_group(struct scratch *s, pid_t group);

/* path was renamed into its place or removed: no longer ours. */
void scratch_keep(struct scratch *s, const char *path);

#endif
