#include "output/tar_out.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "err.h"
#include "process/file_copy.h"
#include "process/file_place.h"
#include "own.h"
#include "process/scratch.h"
#include "tar_header.h"

struct tar_out {
	struct scratch *scratch;
	char *place;  /* where it will be, for people and for rename */
	char *folder; /* that place's, NULL for a stream */
	char *temp;   /* NULL for a stream, and once committed */
	int fd;
	mode_t mode;
	int64_t mtime;
	uint64_t size; /* bytes so far */
	uint8_t header[TAR_HEADER_MAX];
};

static int
open_stream(struct tar_out *t, const char *path, struct err *e)
{
	bool standard = strcmp(path, "-") == 0;

	if ((t->place = strdup(standard ? "standard output" : path)) == NULL)
		return err_set(e, ERR_FATAL, errno, "archive");
	if (standard)
		t->fd = fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, 3);
	else
		t->fd = open(path, O_WRONLY | O_CLOEXEC | O_NOCTTY);
	if (t->fd < 0)
		return err_set(e, ERR_USAGE, errno, "open %s", t->place);
	if (isatty(t->fd))
		return err_set(e, ERR_USAGE, 0,
		    "%s is a terminal: redirect it, or give a file", t->place);
	return 0;
}

static int
open_file(struct tar_out *t, const char *path, struct err *e)
{
	if (file_place(path, &t->place, &t->folder, e) < 0)
		return -1;
	if (file_place_mounted(t->place))
		return err_set(e, ERR_USAGE, 0,
		    "%s is a mount point and cannot be replaced: name a file "
		    "in a folder that is mounted, or use '-'",
		    t->place);
	if (scratch_file(t->scratch, t->folder, &t->temp, &t->fd, e) < 0)
		return -1;
	t->mode = file_place_mode(t->place, 0666);
	return 0;
}

static int
open_place(struct tar_out *t, const char *path, struct err *e)
{
	struct stat st;

	if (strcmp(path, "-") == 0)
		return open_stream(t, path, e);
	if (stat(path, &st) < 0)
		return open_file(t, path, e);
	if (S_ISREG(st.st_mode))
		return open_file(t, path, e);
	if (S_ISFIFO(st.st_mode) || S_ISCHR(st.st_mode))
		return open_stream(t, path, e);
	return err_set(e, ERR_USAGE, 0, "%s is a %s: give the name of a file",
	    path, S_ISDIR(st.st_mode) ? "folder" : "special file");
}

int
tar_out_open(const char *path, struct scratch *scratch, struct tar_out **out,
    struct err *e)
{
	AUTO(tar_out_freep) struct tar_out *t = NULL;

	if ((t = calloc(1, sizeof(*t))) == NULL)
		return err_set(e, ERR_FATAL, errno, "archive");
	t->fd = -1;
	t->scratch = scratch;
	if (open_place(t, path, e) < 0)
		return -1;
	*out = STEAL(&t);
	return 0;
}

const char *
tar_out_file(const struct tar_out *t)
{
	return t->temp;
}

const char *
tar_out_near(const struct tar_out *t)
{
	return t->folder != NULL ? t->folder : scratch_temp();
}

void
tar_out_set_mtime(struct tar_out *t, int64_t mtime)
{
	t->mtime = mtime;
}

static size_t
header_put(uint8_t *out, enum tar_type type, const char *name, uint64_t size,
    int64_t mtime)
{
	struct tar_entry entry = {
	    .type = type,
	    .name = name,
	    .link = "",
	    .mode = type == TAR_DIRECTORY ? 0755 : 0644,
	    .uname = "",
	    .gname = "",
	    .size = size,
	    .mtime = mtime,
	};

	return tar_header_put(TAR_PAX, &entry, out);
}

size_t
tar_out_header_size(const char *name, uint64_t size, int64_t mtime)
{
	uint8_t header[TAR_HEADER_MAX];

	return header_put(header, TAR_REGULAR, name, size, mtime);
}

static int
put(struct tar_out *t, const void *data, size_t len, struct err *e)
{
	if (file_write(t->fd, t->place, data, len, e) < 0)
		return -1;
	t->size += len;
	return 0;
}

static int
put_zeros(struct tar_out *t, size_t len, struct err *e)
{
	static const char zeros[TAR_RECORD + TAR_BLOCK];

	while (len > 0) {
		size_t n = len < sizeof(zeros) ? len : sizeof(zeros);

		if (put(t, zeros, n, e) < 0)
			return -1;
		len -= n;
	}
	return 0;
}

static int
put_header(struct tar_out *t, enum tar_type type, const char *name,
    uint64_t size, struct err *e)
{
	size_t len = header_put(t->header, type, name, size, t->mtime);

	return put(t, t->header, len, e);
}

int
tar_out_folder(struct tar_out *t, const char *name, struct err *e)
{
	return put_header(t, TAR_DIRECTORY, name, 0, e);
}

int
tar_out_data(struct tar_out *t, const char *name, const void *data, size_t len,
    struct err *e)
{
	if (put_header(t, TAR_REGULAR, name, len, e) < 0 ||
	    put(t, data, len, e) < 0)
		return -1;
	return put_zeros(t, tar_padding(len), e);
}

int
tar_out_copy(struct tar_out *t, const char *name, const char *file,
    uint64_t size, struct err *e)
{
	if (put_header(t, TAR_REGULAR, name, size, e) < 0 ||
	    file_copy(file, size, t->fd, t->place, e) < 0)
		return -1;
	t->size += size;
	return put_zeros(t, tar_padding(size), e);
}

int
tar_out_skip(struct tar_out *t, const char *name, uint64_t size, struct err *e)
{
	if (put_header(t, TAR_REGULAR, name, size, e) < 0)
		return -1;
	if (lseek(t->fd, (off_t)size, SEEK_CUR) < 0)
		return err_set(e, ERR_FATAL, errno, "seek in %s", t->temp);
	t->size += size;
	return put_zeros(t, tar_padding(size), e);
}

int
tar_out_commit(struct tar_out *t, struct err *e)
{
	int closed;

	if (put_zeros(t, tar_end(t->size), e) < 0)
		return -1;
	if (t->temp != NULL && (fchmod(t->fd, t->mode) < 0 || fsync(t->fd) < 0))
		return err_set(e, ERR_FATAL, errno, "sync %s", t->temp);
	/* Some file systems say only now that they had no room. */
	closed = close(t->fd);
	t->fd = -1;
	if (closed < 0)
		return err_set(e, ERR_FATAL, errno, "close %s", t->place);
	if (t->temp == NULL)
		return 0;
	if (rename(t->temp, t->place) < 0)
		return err_set(
		    e, ERR_FATAL, errno, "rename %s to %s", t->temp, t->place);
	scratch_keep(t->scratch, t->temp);
	own_freep(&t->temp);
	return file_place_settle(t->place, t->folder, e);
}

void
tar_out_free(struct tar_out *t)
{
	if (t == NULL)
		return;
	own_closep(&t->fd);
	if (t->temp != NULL)
		scratch_remove(t->scratch, t->temp);
	free(t->temp);
	free(t->place);
	free(t->folder);
	free(t);
}

void
tar_out_freep(struct tar_out **t)
{
	tar_out_free(*t);
	*t = NULL;
}
