/*
 * SIGINT, SIGTERM and SIGHUP end quarry at any moment, whatever it is doing:
 * the handler kills the workers, ends the process group of --launch, lets the
 * reaper remove what is temporary, restores the terminal and exits with 128 +
 * signal.  It uses only
 * async-signal-safe calls.  The table below is the one piece of process-wide
 * state besides the log; the main thread alone changes it.
 */
#ifndef INTERRUPT_H
#define INTERRUPT_H

#include <stdbool.h>
#include <sys/types.h>

#define INTERRUPT_CHILDREN_MAX 1024

/* Installs the handlers and ignores SIGPIPE and SIGXFSZ (writes then fail). */
void interrupt_start(void);

/* SIGHUP means something else now: it is blocked, for a signalfd. */
void interrupt_leave_hangup(void);

/* The same for all of them: whoever calls ends well by itself. */
void interrupt_leave_all(void);

/* Children to kill; false where the table is full. */
bool interrupt_add(pid_t child);
void interrupt_remove(pid_t child);

/* A process group to end; 0: none. */
void interrupt_group(pid_t group);

/* The reaper, which works once fd is closed; -1: none. */
void interrupt_reaper(pid_t reaper, int fd);

/* What to write to standard error to restore the terminal; NULL: nothing. */
void interrupt_terminal(const char *restore);

#endif
