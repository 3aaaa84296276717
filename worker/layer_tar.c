#include "layer_tar.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "err.h"
#include "layer_run.h"
#include "layer_sink.h"
#include "look_ahead.h"
#include "nar_hash.h"
#include "own.h"
#include "source_nar.h"
#include "tar_header.h"

/* Hashed while it is in the second-level cache. */
#define BUFFER_SIZE ((size_t)256 << 10)

struct layer_tar {
	enum tar_dialect dialect;
	struct layer_sink *sink; /* or NULL */
	struct layer_progress *progress;
	uint8_t *buffer;
	size_t fill;
	uint64_t flushed; /* bytes of tar before those in the buffer */
	uint64_t told;	  /* of them and the buffer's, to progress */
	uint64_t entries;
};

int
layer_tar_new(const struct layer_spec *spec, struct layer_sink *sink,
    struct layer_progress *progress, struct layer_tar **out, struct err *e)
{
	AUTO(layer_tar_freep) struct layer_tar *lt = NULL;

	if ((lt = calloc(1, sizeof(*lt))) == NULL ||
	    (lt->buffer = aligned_alloc(4096, BUFFER_SIZE)) == NULL)
		return err_set(e, ERR_RETRY, errno, "tar buffer");
	lt->dialect = spec->dialect;
	lt->sink = sink;
	lt->progress = progress;
	*out = STEAL(&lt);
	return 0;
}

void
layer_tar_free(struct layer_tar *lt)
{
	if (lt == NULL)
		return;
	free(lt->buffer);
	free(lt);
}

void
layer_tar_freep(struct layer_tar **lt)
{
	layer_tar_free(*lt);
	*lt = NULL;
}

/* Added, not set: a layer may be started anew, and all is progress. */
static void
tell_progress(struct layer_tar *lt)
{
	uint64_t size = layer_tar_size(lt);

	atomic_fetch_add_explicit(
	    &lt->progress->bytes, size - lt->told, memory_order_relaxed);
	lt->told = size;
}

static int
check_cancel(const struct layer_tar *lt, struct err *e)
{
	if (atomic_load_explicit(&lt->progress->cancel, memory_order_relaxed))
		return err_set(e, ERR_RETRY, ECANCELED, "layer");
	return 0;
}

int
layer_tar_flush(struct layer_tar *lt, struct err *e)
{
	if (check_cancel(lt, e) < 0)
		return -1;
	if (lt->sink != NULL &&
	    layer_sink_write(lt->sink, lt->buffer, lt->fill, e) < 0)
		return -1;
	lt->flushed += lt->fill;
	lt->fill = 0;
	tell_progress(lt);
	return 0;
}

int
layer_tar_header(
    struct layer_tar *lt, const struct tar_entry *entry, struct err *e)
{
	if (BUFFER_SIZE - lt->fill < TAR_HEADER_MAX) {
		if (layer_tar_flush(lt, e) < 0)
			return -1;
	} else if (check_cancel(lt, e) < 0) {
		return -1;
	}
	lt->fill += tar_header_put(lt->dialect, entry, lt->buffer + lt->fill);
	lt->entries++;
	tell_progress(lt);
	return 0;
}

/*
 * Reads size bytes to the buffer and on, and the end after them: one more byte
 * is asked for, so that a short read tells of the end at no further cost.
 */
static int
read_content(struct layer_tar *lt, int fd, uint64_t size, struct nar_hash *nar,
    struct look_ahead *la, struct err *e)
{
	uint64_t done = 0, step = 0;

	for (;;) {
		size_t room = BUFFER_SIZE - lt->fill;
		uint64_t left = size - done;
		size_t want = left < room ? (size_t)left + 1 : room;
		ssize_t n;

		if (room == 0) {
			if (layer_tar_flush(lt, e) < 0)
				return -1;
			continue;
		}
		if (la != NULL && done >= step) {
			look_ahead_inside(la, step, size);
			step += LOOK_AHEAD_STEP;
		}
		n = read(fd, lt->buffer + lt->fill, want);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return err_set(e, ERR_RETRY, errno, "read");
		if ((uint64_t)n > left)
			return err_set(e, ERR_JOB, 0,
			    "grew beyond %" PRIu64 " bytes while it was read",
			    size);
		if (n == 0 && left > 0)
			return err_set(e, ERR_JOB, 0,
			    "shrank from %" PRIu64 " to %" PRIu64
			    " bytes while it was read",
			    size, done);
		if (nar != NULL)
			nar_hash_content(nar, lt->buffer + lt->fill, (size_t)n);
		lt->fill += (size_t)n;
		done += (uint64_t)n;
		lt->progress->read += (uint64_t)n;
		if (done == size && (size_t)n < want)
			return 0;
	}
}

static int
put_zeros(struct layer_tar *lt, size_t n, struct err *e)
{
	if (n > BUFFER_SIZE - lt->fill && layer_tar_flush(lt, e) < 0)
		return -1;
	memset(lt->buffer + lt->fill, 0, n);
	lt->fill += n;
	return 0;
}

int
layer_tar_content(struct layer_tar *lt, int fd, uint64_t size,
    struct nar_hash *nar, struct look_ahead *la, struct err *e)
{
	if (lt->sink == NULL)
		lt->flushed += size;
	else if (read_content(lt, fd, size, nar, la, e) < 0)
		return -1;
	return put_zeros(lt, tar_padding(size), e);
}

int
layer_tar_content_nar(struct layer_tar *lt, struct source_nar *source,
    uint64_t size, struct err *e)
{
	for (uint64_t left = size; left > 0;) {
		size_t room = BUFFER_SIZE - lt->fill, n;

		if (room == 0) {
			if (layer_tar_flush(lt, e) < 0)
				return -1;
			continue;
		}
		if (source_nar_read(source, lt->buffer + lt->fill,
			left < room ? (size_t)left : room, &n, e) < 0)
			return -1;
		lt->fill += n;
		left -= n;
		tell_progress(lt); /* a slow network is no standstill */
	}
	return put_zeros(lt, tar_padding(size), e);
}

int
layer_tar_end(struct layer_tar *lt, struct err *e)
{
	return put_zeros(lt, tar_end(layer_tar_size(lt)), e);
}

int
layer_tar_copy(struct layer_tar *lt, int fd, uint64_t size, struct err *e)
{
	if (lt->sink != NULL)
		return read_content(lt, fd, size, NULL, NULL, e);
	lt->flushed += size;
	return 0;
}

uint64_t
layer_tar_size(const struct layer_tar *lt)
{
	return lt->flushed + lt->fill;
}

uint64_t
layer_tar_entries(const struct layer_tar *lt)
{
	return lt->entries;
}
