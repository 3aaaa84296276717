/*
 * Tells who started this process as a service how it is: sd_notify(3)'s
 * datagrams, to the socket that $NOTIFY_SOCKET names.  Without that variable
 * nothing is told, and what cannot be told is no error.  Process-wide; one
 * thread.
 */
#ifndef SUPERVISOR_H
#define SUPERVISOR_H

#include <stdint.h>

/*
 * Takes the variables, and out of the environment: child processes do not
 * speak for this one.  Before other threads are there.
 */
void supervisor_start(void);

/* It has begun to serve; status: one line for people, or NULL. */
void supervisor_ready(const char *status);
void supervisor_status(const char *status);
/* It reads its settings again; ready follows. */
void supervisor_reloading(void);
void supervisor_stopping(void);

/*
 * For a loop that comes round: tells that it does, if that is wanted and it is
 * time.  Returns when to call again (monotime_ms); INT64_MAX: it need not.
 */
int64_t supervisor_watchdog(int64_t now);

#endif
