/*
 * Lets files go to the disk while they are written, instead of all at the
 * end, and out of the page cache once they are there: a writer then needs no
 * memory for what it has written, new pages are recycled ones (several times
 * cheaper than never-touched ones on virtual machines), and the last fsync is
 * short.
 *
 * A write_behind is a thread's list of what is on its way, over all the files
 * that it writes one after another: many files of middling size are worth as
 * much as a long one.  A cursor is one file that is being written.  One thread
 * at a time.
 */
#ifndef WRITE_BEHIND_H
#define WRITE_BEHIND_H

#include <stddef.h>
#include <stdint.h>

struct err;
struct write_behind;

#define WRITE_BEHIND_WINDOW ((uint64_t)8 << 20) /* sent at once, bytes */
#define WRITE_BEHIND_LEAST ((uint64_t)1 << 20)	/* ends below: the kernel's */
#define WRITE_BEHIND_MAX ((uint64_t)64 << 20)	/* on their way, bytes */

/* ERR_RETRY: out of memory. */
int write_behind_new(struct write_behind **out, struct err *e);
/* What is on its way goes on by itself. */
void write_behind_free(struct write_behind *w);
void write_behind_freep(struct write_behind **w);

/* Bytes on their way. */
uint64_t write_behind_pending(const struct write_behind *w);

struct write_cursor {
	struct write_behind *behind; /* or NULL: all is left to the kernel */
	uint64_t start;		     /* of the window that is being filled */
	int failed;		     /* errno of an earlier window, or 0 */
};

/* Writing starts at offset.  w, which may be NULL, is borrowed. */
void write_cursor_init(
    struct write_cursor *c, struct write_behind *w, uint64_t offset);

/*
 * All up to end has been written to fd.  -1 with errno where the disk has
 * failed or is full; file systems that cannot do this are left alone.
 */
int write_cursor_advance(struct write_cursor *c, int fd, uint64_t end);

/*
 * The file ends here: its rest is sent as well.  From now on nothing fails for
 * it: who needs to know that it is on the disk calls fsync.
 */
void write_cursor_end(struct write_cursor *c, int fd, uint64_t end);

/* As end, with nothing more to send; also for a cursor that was ended. */
void write_cursor_forget(struct write_cursor *c);

#endif
