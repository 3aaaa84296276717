#include "sink.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "blob_dir.h"
#include "blob_stream.h"
#include "byte_queue.h"
#include "digest.h"
#include "encode_queue.h"
#include "err.h"
#include "own.h"
#include "write_behind.h"

/* From so many bytes on, what comes after is another thread's. */
#define ASYNC_FROM ((uint64_t)8 << 20)

/* What a stage does; close and free may be NULL. */
struct stage {
	int (*write)(
	    struct sink *s, const void *data, size_t len, struct err *e);
	int (*close)(struct sink *s, struct err *e);
	void (*free)(struct sink *s);
};

struct sink {
	const struct stage *stage;
	struct sink *next[SINK_TEE_MAX];
	size_t n_next;
	union {
		struct {
			struct sha256 *sha;
			struct digest *digest;
			uint64_t *size, n;
		} hash;
		struct encode_queue *encode;
		struct {
			char *path;
			int fd;
			uint64_t offset, size, n;
			struct write_cursor behind;
		} file;
		struct {
			struct byte_queue *queue;
			uint64_t n;
			bool alone; /* no thread was to be had */
		} async;
		struct blob_writer *blob;
		struct blob_stream *stream;
	};
};

int
sink_write(struct sink *s, const void *data, size_t len, struct err *e)
{
	return len == 0 ? 0 : s->stage->write(s, data, len, e);
}

int
sink_close(struct sink *s, struct err *e)
{
	if (s->stage->close != NULL && s->stage->close(s, e) < 0)
		return -1;
	for (size_t i = 0; i < s->n_next; i++)
		if (sink_close(s->next[i], e) < 0)
			return -1;
	return 0;
}

void
sink_free(struct sink *s)
{
	if (s == NULL)
		return;
	if (s->stage->free != NULL)
		s->stage->free(s);
	for (size_t i = 0; i < s->n_next; i++)
		sink_free(s->next[i]);
	free(s);
}

void
sink_freep(struct sink **s)
{
	sink_free(*s);
	*s = NULL;
}

/* Takes the sinks that follow; they are freed if there is no memory. */
static int
make(const struct stage *stage, struct sink **next, size_t n, struct sink **out,
    struct err *e)
{
	struct sink *s;

	assert(n <= SINK_TEE_MAX);
	if ((s = calloc(1, sizeof(*s))) == NULL) {
		for (size_t i = 0; i < n; i++)
			sink_free(next[i]);
		return err_set(e, ERR_RETRY, errno, "sink");
	}
	s->stage = stage;
	for (size_t i = 0; i < n; i++)
		s->next[s->n_next++] = next[i];
	*out = s;
	return 0;
}

static int
pass_on(struct sink *s, const void *data, size_t len, struct err *e)
{
	for (size_t i = 0; i < s->n_next; i++)
		if (sink_write(s->next[i], data, len, e) < 0)
			return -1;
	return 0;
}

static int
consume(void *arg, const void *data, size_t len, struct err *e)
{
	return pass_on(arg, data, len, e);
}

static int
hash_write(struct sink *s, const void *data, size_t len, struct err *e)
{
	sha256_update(s->hash.sha, data, len);
	s->hash.n += len;
	return pass_on(s, data, len, e);
}

static int
hash_close(struct sink *s, struct err *e)
{
	(void)e;
	sha256_final(s->hash.sha, s->hash.digest);
	*s->hash.size = s->hash.n;
	return 0;
}

static void
hash_free(struct sink *s)
{
	sha256_free(s->hash.sha);
}

int
sink_hash_new(struct sink *next, struct digest *digest, uint64_t *size,
    struct sink **out, struct err *e)
{
	static const struct stage stage = {hash_write, hash_close, hash_free};
	AUTO(sink_freep) struct sink *s = NULL;

	if (make(&stage, &next, next != NULL ? 1 : 0, &s, e) < 0 ||
	    sha256_new(&s->hash.sha, e) < 0)
		return -1;
	s->hash.digest = digest;
	s->hash.size = size;
	*out = STEAL(&s);
	return 0;
}

static int
encode_write(struct sink *s, const void *data, size_t len, struct err *e)
{
	return encode_queue_put(s->encode, data, len, e);
}

static int
encode_close(struct sink *s, struct err *e)
{
	return encode_queue_end(s->encode, e);
}

static void
encode_free(struct sink *s)
{
	encode_queue_free(s->encode);
}

int
sink_encode_new(struct sink *next, const struct encoding *encoding,
    struct encode_crew *crew, struct sink **out, struct err *e)
{
	static const struct stage stage = {
	    encode_write, encode_close, encode_free};
	AUTO(sink_freep) struct sink *s = NULL;

	if (make(&stage, &next, next != NULL ? 1 : 0, &s, e) < 0 ||
	    encode_queue_new(encoding, crew, consume, s, &s->encode, e) < 0)
		return -1;
	*out = STEAL(&s);
	return 0;
}

int
sink_tee_new(struct sink **next, size_t n, struct sink **out, struct err *e)
{
	static const struct stage stage = {.write = pass_on};

	return make(&stage, next, n, out, e);
}

/* A short layer is not worth a thread; without one it is only slower. */
static int
async_write(struct sink *s, const void *data, size_t len, struct err *e)
{
	struct err none = ERR_INIT;

	s->async.n += len;
	if (s->async.queue == NULL && !s->async.alone &&
	    s->async.n > ASYNC_FROM &&
	    byte_queue_new(consume, s, &s->async.queue, &none) < 0)
		s->async.alone = true;
	if (s->async.queue == NULL)
		return pass_on(s, data, len, e);
	return byte_queue_put(s->async.queue, data, len, e);
}

static int
async_close(struct sink *s, struct err *e)
{
	return s->async.queue == NULL ? 0 : byte_queue_drain(s->async.queue, e);
}

static void
async_free(struct sink *s)
{
	byte_queue_free(s->async.queue);
}

int
sink_async_new(struct sink *next, struct sink **out, struct err *e)
{
	static const struct stage stage = {
	    async_write, async_close, async_free};

	return make(&stage, &next, 1, out, e);
}

static int
file_write(struct sink *s, const void *data, size_t len, struct err *e)
{
	const uint8_t *at = data;

	if (len > s->file.size - s->file.n)
		return err_set(e, ERR_JOB, 0,
		    "the layer has more than the %" PRIu64
		    " bytes that were measured: its store paths have changed",
		    s->file.size);
	while (len > 0) {
		ssize_t n = pwrite(
		    s->file.fd, at, len, (off_t)(s->file.offset + s->file.n));

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return err_set(
			    e, ERR_RETRY, errno, "write %s", s->file.path);
		at += n;
		len -= (size_t)n;
		s->file.n += (uint64_t)n;
	}
	if (write_cursor_advance(
		&s->file.behind, s->file.fd, s->file.offset + s->file.n) < 0)
		return err_set(e, ERR_RETRY, errno, "write %s", s->file.path);
	return 0;
}

/*
 * What an earlier attempt wrote may be longer, where a NAR was wrong.  One
 * that still goes on elsewhere writes the same bytes: nothing of it is cut.
 */
static int
cut_off_rest(struct sink *s)
{
	off_t end = (off_t)(s->file.offset + s->file.n);
	struct stat st;

	if (fstat(s->file.fd, &st) < 0)
		return -1;
	if (!S_ISREG(st.st_mode) || st.st_size <= end)
		return 0;
	return ftruncate(s->file.fd, end);
}

static int
file_close(struct sink *s, struct err *e)
{
	int fd = s->file.fd;

	if (s->file.size != UINT64_MAX && s->file.n != s->file.size)
		return err_set(e, ERR_JOB, 0,
		    "the layer has %" PRIu64 " bytes, %" PRIu64
		    " were measured: its store paths have changed",
		    s->file.n, s->file.size);
	if (s->file.size == UINT64_MAX && cut_off_rest(s) < 0)
		return err_set(e, ERR_RETRY, errno, "cut %s", s->file.path);
	s->file.fd = -1;
	write_cursor_end(&s->file.behind, fd, s->file.offset + s->file.n);
	if (close(fd) < 0)
		return err_set(e, ERR_RETRY, errno, "close %s", s->file.path);
	return 0;
}

static void
file_free(struct sink *s)
{
	write_cursor_forget(&s->file.behind);
	own_closep(&s->file.fd);
	free(s->file.path);
}

int
sink_file_new(const char *path, uint64_t offset, uint64_t size,
    struct write_behind *behind, struct sink **out, struct err *e)
{
	static const struct stage stage = {file_write, file_close, file_free};
	AUTO(sink_freep) struct sink *s = NULL;

	if (offset > INT64_MAX ||
	    (size != UINT64_MAX && size > INT64_MAX - offset))
		return err_set(e, ERR_JOB, 0,
		    "output %s: %" PRIu64 " bytes at %" PRIu64
		    " are past the end of any file",
		    path, size, offset);
	if (make(&stage, NULL, 0, &s, e) < 0)
		return -1;
	s->file.fd = -1;
	s->file.offset = offset;
	s->file.size = size;
	write_cursor_init(&s->file.behind, behind, offset);
	if ((s->file.path = strdup(path)) == NULL)
		return err_set(e, ERR_RETRY, errno, "output %s", path);
	if ((s->file.fd = open(path, O_WRONLY | O_CLOEXEC)) < 0)
		return err_set(e, ERR_RETRY, errno, "output %s", path);
	*out = STEAL(&s);
	return 0;
}

static int
blob_sink_write(struct sink *s, const void *data, size_t len, struct err *e)
{
	return blob_write(s->blob, data, len, e);
}

int
sink_blob_new(struct blob_writer *w, struct sink **out, struct err *e)
{
	static const struct stage stage = {.write = blob_sink_write};

	if (make(&stage, NULL, 0, out, e) < 0)
		return -1;
	(*out)->blob = w;
	return 0;
}

static int
stream_write(struct sink *s, const void *data, size_t len, struct err *e)
{
	return blob_stream_write(s->stream, data, len, e);
}

int
sink_stream_new(struct blob_stream *b, struct sink **out, struct err *e)
{
	static const struct stage stage = {.write = stream_write};

	if (make(&stage, NULL, 0, out, e) < 0)
		return -1;
	(*out)->stream = b;
	return 0;
}
