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
	sync_file_range(fd, (off_t)w->start, (off_t)(end - w->start),
	    SYNC_FILE_RANGE_WRITE);
	w->start = end;
	/* So late that the disk is done with it: the writer hardly waits. */
	while (w->start - w->sent > WRITE_BEHIND_DEPTH * WRITE_BEHIND_WINDOW) {
		off_t at = (off_t)w->sent, len = (off_t)WRITE_BEHIND_WINDOW;

		if (sync_file_range(fd, at, len,
			SYNC_FILE_RANGE_WAIT_BEFORE | SYNC_FILE_RANGE_WRITE |
			    SYNC_FILE_RANGE_WAIT_AFTER) < 0 &&
		    (errno == EIO || errno == ENOSPC || errno == EDQUOT))
			return -1;
		posix_fadvise(fd, at, len, POSIX_FADV_DONTNEED);
		w->sent += WRITE_BEHIND_WINDOW;
	}
	return 0;
}
