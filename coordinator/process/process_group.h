/*
 * Ends a process group: its processes are asked, then killed.  The calls are
 * async-signal-safe and belong to any thread.
 */
#ifndef PROCESS_GROUP_H
#define PROCESS_GROUP_H

#include <stdbool.h>
#include <sys/types.h>

/* How long a group may take to end after SIGTERM. */
#define PROCESS_GROUP_GRACE_MS 5000

/* Waits so long for all of the group to end: whether it has. */
bool process_group_wait(pid_t group, int ms);

/* SIGTERM, and after the grace SIGKILL.  Children of ours are waited for. */
void process_group_end(pid_t group);

#endif
