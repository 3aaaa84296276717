#include "write_behind.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include "err.h"
#include "own.h"

/* Each range has WRITE_BEHIND_LEAST bytes or more. */
#define RANGES_MAX (WRITE_BEHIND_MAX / WRITE_BEHIND_LEAST + 1)

/* A stretch of a file on its way to the disk. */
struct range {
	struct write_cursor *cursor; /* NULL: its file has ended */
	int fd;			     /* our own */
	uint64_t at, len;
};

struct write_behind {
	struct range range[RANGES_MAX]; /* a ring, oldest first */
	size_t first, n;
	uint64_t bytes;
};

int
write_behind_new(struct write_behind **out, struct err *e)
{
	if ((*out = calloc(1, sizeof(**out))) == NULL)
		return err_set(e, ERR_RETRY, errno, "write behind");
	return 0;
}

static struct range *
nth(struct write_behind *w, size_t i)
{
	return &w->range[(w->first + i) % RANGES_MAX];
}

void
write_behind_free(struct write_behind *w)
{
	if (w == NULL)
		return;
	for (size_t i = 0; i < w->n; i++)
		close(nth(w, i)->fd);
	free(w);
}

void
write_behind_freep(struct write_behind **w)
{
	write_behind_free(*w);
	*w = NULL;
}

uint64_t
write_behind_pending(const struct write_behind *w)
{
	return w->bytes;
}

/*
 * Waits for the oldest range, and lets its pages go.  It was sent so long ago
 * that the disk is done with it: the writer hardly waits.
 */
static void
retire(struct write_behind *w)
{
	struct range *r = nth(w, 0);
	off_t at = (off_t)r->at, len = (off_t)r->len;

	if (sync_file_range(r->fd, at, len,
		SYNC_FILE_RANGE_WAIT_BEFORE | SYNC_FILE_RANGE_WRITE |
		    SYNC_FILE_RANGE_WAIT_AFTER) < 0 &&
	    (errno == EIO || errno == ENOSPC || errno == EDQUOT) &&
	    r->cursor != NULL)
		r->cursor->failed = errno;
	posix_fadvise(r->fd, at, len, POSIX_FADV_DONTNEED);
	close(r->fd);
	w->bytes -= r->len;
	w->first = (w->first + 1) % RANGES_MAX;
	w->n--;
}

static void
send_range(struct write_cursor *c, int fd, uint64_t end)
{
	struct write_behind *w = c->behind;
	struct range r = {
	    c, fcntl(fd, F_DUPFD_CLOEXEC, 0), c->start, end - c->start};

	c->start = end;
	if (r.fd < 0)
		return; /* the kernel's own way will do */
	if (sync_file_range(
		fd, (off_t)r.at, (off_t)r.len, SYNC_FILE_RANGE_WRITE) < 0) {
		close(r.fd);
		return;
	}
	while (w->n > 0 &&
	    (w->n == RANGES_MAX || w->bytes + r.len > WRITE_BEHIND_MAX))
		retire(w);
	*nth(w, w->n++) = r;
	w->bytes += r.len;
}

void
write_cursor_init(
    struct write_cursor *c, struct write_behind *w, uint64_t offset)
{
	*c = (struct write_cursor){.behind = w, .start = offset};
}

int
write_cursor_advance(struct write_cursor *c, int fd, uint64_t end)
{
	if (c->behind != NULL && end - c->start >= WRITE_BEHIND_WINDOW)
		send_range(c, fd, end);
	if (c->failed == 0)
		return 0;
	errno = c->failed;
	return -1;
}

void
write_cursor_end(struct write_cursor *c, int fd, uint64_t end)
{
	if (c->behind != NULL && end - c->start >= WRITE_BEHIND_LEAST)
		send_range(c, fd, end);
	write_cursor_forget(c);
}

void
write_cursor_forget(struct write_cursor *c)
{
	for (size_t i = 0; c->behind != NULL && i < c->behind->n; i++)
		if (nth(c->behind, i)->cursor == c)
			nth(c->behind, i)->cursor = NULL;
	c->behind = NULL;
}
