#include "image/base_input.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <archive.h>

#include "err.h"
#include "own.h"
#include "xz_stream.h"

#define BLOCK ((size_t)1 << 18)

struct base_input {
	int fd;
	struct xz_stream *xz; /* NULL: bytes are given as they are */
	bool ended;
	uint64_t bytes;
	size_t used, n;	    /* of block */
	struct err failure; /* none: its text is empty */
	uint8_t block[BLOCK], unpacked[BLOCK];
};

static void
base_input_free(struct base_input *in)
{
	if (in == NULL)
		return;
	own_closep(&in->fd);
	xz_stream_free(in->xz);
	free(in);
}

void
base_input_freep(struct base_input **in)
{
	base_input_free(*in);
	*in = NULL;
}

/* The next block; n is 0 at the end. */
static int
fill(struct base_input *in, struct err *e)
{
	ssize_t n;

	do
		n = read(in->fd, in->block, BLOCK);
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return err_set(e, ERR_USAGE, errno, "read");
	in->used = 0;
	in->n = (size_t)n;
	in->bytes += in->n;
	return 0;
}

int
base_input_open(const char *path, struct base_input **out, struct err *e)
{
	static const uint8_t magic[] = {0xfd, '7', 'z', 'X', 'Z', 0};
	AUTO(base_input_freep) struct base_input *in = calloc(1, sizeof(*in));

	if (in == NULL)
		return err_set(e, ERR_FATAL, errno, "base image");
	in->fd = open(path, O_RDONLY | O_CLOEXEC);
	if (in->fd < 0)
		return err_set(e, ERR_USAGE, errno, "open");
	if (fill(in, e) < 0)
		return -1;
	if (in->n >= sizeof(magic) &&
	    memcmp(in->block, magic, sizeof(magic)) == 0 &&
	    xz_stream_new(&in->xz, e) < 0) {
		e->kind = ERR_FATAL;
		return -1;
	}
	*out = STEAL(&in);
	return 0;
}

static int
give_unpacked(struct base_input *in, size_t *made, struct err *e)
{
	size_t used;

	for (*made = 0; *made == 0 && !in->ended;) {
		if (in->used == in->n && fill(in, e) < 0)
			return -1;
		if (xz_stream_run(in->xz, in->block + in->used,
			in->n - in->used, &used, in->unpacked, BLOCK, made,
			&in->ended, e) < 0)
			return -1;
		in->used += used;
	}
	return 0;
}

static int
give_plain(struct base_input *in, size_t *len, struct err *e)
{
	if (in->used == in->n && fill(in, e) < 0)
		return -1;
	*len = in->n - in->used;
	in->used = in->n;
	return 0;
}

static la_ssize_t
feed(struct archive *a, void *arg, const void **data)
{
	struct base_input *in = arg;
	size_t len = 0;

	if (in->failure.kind == ERR_NONE &&
	    (in->xz != NULL ? give_unpacked : give_plain)(
		in, &len, &in->failure) == 0) {
		*data = in->xz != NULL ? in->unpacked : in->block;
		return (la_ssize_t)len;
	}
	archive_set_error(a, EIO, "%s", in->failure.text);
	return -1;
}

int
base_input_attach(struct base_input *in, struct archive *a, struct err *e)
{
	int (*const filter[])(struct archive *) = {
	    archive_read_support_filter_none,
	    archive_read_support_filter_gzip,
	    archive_read_support_filter_bzip2,
	    archive_read_support_filter_zstd,
	    archive_read_support_filter_lz4,
	    archive_read_support_filter_compress,
	};

	for (size_t i = 0; i < sizeof(filter) / sizeof(filter[0]); i++)
		if (filter[i](a) < ARCHIVE_WARN)
			return err_set(e, ERR_FATAL, 0, "libarchive: %s",
			    base_input_reason(in, a));
	if (archive_read_open(a, in, NULL, feed, NULL) != ARCHIVE_OK)
		return err_set(e, ERR_USAGE, 0, "%s", base_input_reason(in, a));
	return 0;
}

uint64_t
base_input_bytes(const struct base_input *in)
{
	return in->bytes;
}

bool
base_input_is_xz(const struct base_input *in)
{
	return in->xz != NULL;
}

/* libarchive's own words, of which some end in a newline or are missing. */
const char *
base_input_reason(const struct base_input *in, struct archive *a)
{
	const char *text = archive_error_string(a);

	if (in->failure.kind != ERR_NONE)
		return in->failure.text;
	return text != NULL ? text : "it cannot be read";
}
