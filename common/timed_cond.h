/*
 * A condition that is waited for no longer than until a moment of monotime's
 * clock, which nobody sets.
 */
#ifndef TIMED_COND_H
#define TIMED_COND_H

#include <pthread.h>
#include <time.h>

static inline void
timed_cond_init(pthread_cond_t *cond)
{
	pthread_condattr_t attr;

	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(cond, &attr);
	pthread_condattr_destroy(&attr);
}

/* So many milliseconds from now, for pthread_cond_timedwait. */
static inline struct timespec
timed_cond_after(int ms)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	t.tv_sec += ms / 1000;
	t.tv_nsec += ms % 1000 * 1000000L;
	if (t.tv_nsec >= 1000000000L) {
		t.tv_sec++;
		t.tv_nsec -= 1000000000L;
	}
	return t;
}

#endif
