/*
 * An eventfd that one thread makes readable and another one polls.  A
 * descriptor is used by any number of threads.
 */
#ifndef WAKE_FD_H
#define WAKE_FD_H

#include <errno.h>
#include <stdint.h>
#include <sys/eventfd.h>
#include <unistd.h>

/* -1 and errno. */
static inline int
wake_fd_new(void)
{
	return eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
}

/* Readable from now on. */
static inline void
wake_fd_set(int fd)
{
	const uint64_t one = 1;

	/* Fails only where 2^64 - 1 wake-ups are unread. */
	if (write(fd, &one, sizeof(one)) < 0)
		errno = 0;
}

/* Not so any more. */
static inline void
wake_fd_clear(int fd)
{
	uint64_t n;

	if (read(fd, &n, sizeof(n)) < 0)
		errno = 0;
}

#endif
