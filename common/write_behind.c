#include "write_behind.h"

#include <errno.h>
#include <fcntl.h>

void
write_behind_init(struct write_behind *w, uint64_t offset)
{
	w->start = w->sent = offset;
}

int
write_behind(struct write_behind *w, int fd, uint64_t end)
{
	if (end - w->start < WRITE_BEHIND_WINDOW)
		return 0;
	/* The disk starts with this window while the one before is awaited. */
	sync_file_range(fd, (off_t)w->start, (off_t)(end - w->start),
	    SYNC_FILE_RANGE_WRITE);
	if (w->start > w->sent) {
		off_t at = (off_t)w->sent, len = (off_t)(w->start - w->sent);

		if (sync_file_range(fd, at, len,
			SYNC_FILE_RANGE_WAIT_BEFORE | SYNC_FILE_RANGE_WRITE |
			    SYNC_FILE_RANGE_WAIT_AFTER) < 0 &&
		    (errno == EIO || errno == ENOSPC || errno == EDQUOT))
			return -1;
		posix_fadvise(fd, at, len, POSIX_FADV_DONTNEED);
	}
	w->sent = w->start;
	w->start = end;
	return 0;
}
