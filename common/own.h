/*
 * Ownership by scope.  AUTO(f) frees a local when its scope ends, STEAL(&p)
 * gives it away first.  x_free(NULL) is a no-op everywhere; x_freep takes the
 * address of a pointer, for AUTO.  Usable in any thread.
 */
#ifndef OWN_H
#define OWN_H

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define AUTO(f) __attribute__((cleanup(f)))

/* The pointer's value; the variable itself becomes NULL. */
#define STEAL(pp)                                                              \
	({                                                                     \
		__typeof__(*(pp)) stolen_ = *(pp);                             \
		*(pp) = NULL;                                                  \
		stolen_;                                                       \
	})

/* For any pointer to malloc'd memory. */
static inline void
own_freep(void *pp)
{
	free(*(void **)pp);
	*(void **)pp = NULL;
}

/* For a file descriptor; -1 is none. */
static inline void
own_closep(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

static inline void
own_closedirp(DIR **dir)
{
	if (*dir != NULL)
		closedir(*dir);
	*dir = NULL;
}

/* For a stream that was only read; one that was written needs its own check. */
static inline void
own_fclosep(FILE **f)
{
	if (*f != NULL)
		fclose(*f);
	*f = NULL;
}

#endif
