/*
 * Finds out whether a worker sees the same folder: makes a file of random
 * bytes in it, lets the worker be asked by PROBE to answer in a second one,
 * and looks at what is there.  What the worker says is not believed, and a
 * folder that shows files late is looked into again until a deadline.  Nothing
 * blocks but the folder's own file system.  One thread.
 */
#ifndef SHARED_PROBE_H
#define SHARED_PROBE_H

#include <stdint.h>

struct err;
struct msg;
struct msg_probed;
struct shared_probe;

enum shared_probe_state {
	SHARED_PROBE_WAITING, /* look again at shared_probe_next */
	SHARED_PROBE_YES,
	SHARED_PROBE_NO
};

/* folder: absolute; borrowed.  Makes the file.  ERR_FATAL: it cannot be. */
int shared_probe_new(const char *folder, uint64_t id, int64_t until,
    struct shared_probe **out, struct err *e);
/* Removes both files. */
void shared_probe_free(struct shared_probe *p);

/* PROBE, for the worker; strings are the probe's. */
void shared_probe_message(const struct shared_probe *p, struct msg *out);

/* PROBED has come; one with another id is not for this probe. */
void shared_probe_answered(struct shared_probe *p, const struct msg_probed *m);

enum shared_probe_state shared_probe_look(struct shared_probe *p, int64_t now);
int64_t shared_probe_next(const struct shared_probe *p);

/* For people: why it is not shared. */
const char *shared_probe_why(const struct shared_probe *p);

#endif
