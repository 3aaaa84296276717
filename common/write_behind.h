/*
 * Lets a long file go to the disk while it is written, instead of all at the
 * end, and out of the page cache once it is there: a worker then needs no
 * memory for what it has written, new pages are recycled ones (several times
 * cheaper than never-touched ones on virtual machines), and the last fsync is
 * short.  Files shorter than a window are left to the kernel.  One thread.
 */
#ifndef WRITE_BEHIND_H
#define WRITE_BEHIND_H

#include <stdint.h>

#define WRITE_BEHIND_WINDOW ((uint64_t)8 << 20) /* bytes */
#define WRITE_BEHIND_DEPTH 8 /* windows on their way to the disk */

struct write_behind {
	uint64_t start; /* of the window that is being filled */
	uint64_t sent;	/* from here to start, on its way to the disk */
};

/* Writing starts at offset. */
void write_behind_init(struct write_behind *w, uint64_t offset);

/*
 * All up to end has been written.  -1 with errno where the disk has failed or
 * is full; file systems that cannot do this are left alone.
 */
int write_behind(struct write_behind *w, int fd, uint64_t end);

#endif
