#include "process/file_copy.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <string.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <unistd.h>

#include "err.h"
#include "own.h"

#define COPY_STEP ((size_t)1 << 30)
#define COPY_BUF ((size_t)1 << 18)

enum copy_way { COPY_RANGE, COPY_SENDFILE, COPY_PLAIN };

int
file_write(int out, const char *to, const void *data, size_t len, struct err *e)
{
	const char *at = data;

	while (len > 0) {
		ssize_t n = write(out, at, len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return err_set(e, ERR_FATAL, errno, "write %s", to);
		at += n;
		len -= (size_t)n;
	}
	return 0;
}

/* As copy_file_range: how many bytes, 0 at the end, -1 and errno. */
static ssize_t
copy_plain(int in, int out, char *buf, size_t want)
{
	ssize_t n = read(in, buf, want < COPY_BUF ? want : COPY_BUF), done = 0;

	while (done < n) {
		ssize_t m = write(out, buf + done, (size_t)(n - done));

		if (m < 0 && errno == EINTR)
			continue;
		if (m < 0)
			return -1;
		done += m;
	}
	return n;
}

/* Whether this pair of files cannot be copied in this way at all. */
static bool
way_refused(int sys)
{
	return sys == EINVAL || sys == EXDEV || sys == ENOSYS || sys == EBADF ||
	    sys == EOPNOTSUPP || sys == EPERM || sys == EOVERFLOW;
}

static ssize_t
copy_some(enum copy_way way, int in, int out, char *buf, size_t want)
{
	switch (way) {
	case COPY_RANGE:
		return copy_file_range(in, NULL, out, NULL, want, 0);
	case COPY_SENDFILE:
		return sendfile(out, in, NULL, want);
	case COPY_PLAIN:
		break;
	}
	return copy_plain(in, out, buf, want);
}

static int
copy_all(int in, const char *from, uint64_t size, int out, const char *to,
    struct err *e)
{
	AUTO(own_freep) char *buf = NULL;
	enum copy_way way = COPY_RANGE;

	while (size > 0) {
		size_t want = size < COPY_STEP ? (size_t)size : COPY_STEP;
		ssize_t n;

		if (way == COPY_PLAIN && buf == NULL &&
		    (buf = malloc(COPY_BUF)) == NULL)
			return err_set(e, ERR_FATAL, errno, "copy %s", from);
		n = copy_some(way, in, out, buf, want);
		if (n > 0) {
			size -= (uint64_t)n;
		} else if (n == 0 && way == COPY_PLAIN) {
			return err_set(e, ERR_FATAL, 0,
			    "%s became shorter while it was read", from);
		} else if (n == 0 ||
		    (way != COPY_PLAIN && way_refused(errno))) {
			/* Some file systems answer 0 for "not this way". */
			way++;
		} else if (errno != EINTR) {
			return err_set(
			    e, ERR_FATAL, errno, "copy %s to %s", from, to);
		}
	}
	return 0;
}

int
file_copy(
    const char *from, uint64_t size, int out, const char *to, struct err *e)
{
	AUTO(own_closep) int in = -1;
	struct stat st;

	if ((in = open(from, O_RDONLY | O_CLOEXEC)) < 0 || fstat(in, &st) < 0)
		return err_set(e, ERR_FATAL, errno, "open %s", from);
	if ((uint64_t)st.st_size != size)
		return err_set(e, ERR_FATAL, 0,
		    "%s has %llu bytes, but should have %llu", from,
		    (unsigned long long)st.st_size, (unsigned long long)size);
	return copy_all(in, from, size, out, to, e);
}
