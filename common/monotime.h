/*
 * Time that only goes forward (CLOCK_MONOTONIC), in milliseconds or
 * microseconds.
 */
#ifndef MONOTIME_H
#define MONOTIME_H

#include <errno.h>
#include <poll.h>
#include <stdbool.h>
#include <stdint.h>
#include <time.h>

static inline int64_t
monotime_us(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

static inline int64_t
monotime_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

/*
 * Waits until fd is readable: true; false when timeout_ms (0 or more) are
 * over.  Signals do not shorten it.
 */
static inline bool
monotime_wait(int fd, int timeout_ms)
{
	struct pollfd p = {.fd = fd, .events = POLLIN};
	int64_t until = monotime_ms() + timeout_ms, left = timeout_ms;
	int rc;

	do {
		rc = poll(&p, 1, left > 0 ? (int)left : 0);
		left = until - monotime_ms();
	} while (rc < 0 && errno == EINTR);
	return rc > 0;
}

#endif
