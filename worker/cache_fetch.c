#include "cache_fetch.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>

#include <archive.h>
#include <archive_entry.h>

#include "cache_url.h"
#include "err.h"
#include "http_get.h"
#include "own.h"
#include "xz_stream.h"

#define BUFFER_SIZE ((size_t)256 << 10)

/*
 * What a NAR may be longer when it is compressed than when it is not: streams
 * that hold nothing could else go on for ever.
 */
#define OVERHEAD(size) ((size) / 8 + ((uint64_t)1 << 20))

static const struct {
	int (*add)(struct archive *);
	int code;
	const char *name;
} filters[] = {
    [NAR_NONE] = {NULL, ARCHIVE_FILTER_NONE, "none"},
    [NAR_XZ] = {NULL, ARCHIVE_FILTER_XZ, "xz"}, /* see xz_stream.h */
    [NAR_ZSTD] = {archive_read_support_filter_zstd, ARCHIVE_FILTER_ZSTD,
	"zstd"},
    [NAR_GZIP] = {archive_read_support_filter_gzip, ARCHIVE_FILTER_GZIP,
	"gzip"},
    [NAR_BZIP2] = {archive_read_support_filter_bzip2, ARCHIVE_FILTER_BZIP2,
	"bzip2"},
};

struct cache_fetch {
	const atomic_bool *cancel;
	struct http_get *http;	 /* made at the first use */
	bool over_http;		 /* what is open now */
	int fd;			 /* or this is */
	struct archive *archive; /* decompresses, */
	struct xz_stream *xz;	 /* or this does; NULL, both: nothing has to */
	uint64_t raw, raw_max;	 /* bytes that came, and may come */
	uint64_t size, nar_size; /* bytes decompressed, and of the NAR */
	struct err err;		 /* what the archive's read failed with */
	uint8_t *buffer;
	/* With xz: what came and is not used yet, and what was made of it. */
	const uint8_t *in;
	size_t n_in, n_made;
	bool in_ended, xz_ended;
	uint8_t *made;
};

int
cache_fetch_new(
    const atomic_bool *cancel, struct cache_fetch **out, struct err *e)
{
	AUTO(cache_fetch_freep) struct cache_fetch *f = NULL;

	if ((f = calloc(1, sizeof(*f))) == NULL)
		return err_set(e, ERR_RETRY, errno, "cache");
	f->cancel = cancel;
	f->fd = -1;
	if ((f->buffer = malloc(BUFFER_SIZE)) == NULL)
		return err_set(e, ERR_RETRY, errno, "cache");
	*out = STEAL(&f);
	return 0;
}

void
cache_fetch_free(struct cache_fetch *f)
{
	if (f == NULL)
		return;
	cache_fetch_close(f);
	http_get_free(f->http);
	free(f->buffer);
	free(f->made);
	free(f);
}

void
cache_fetch_freep(struct cache_fetch **f)
{
	cache_fetch_free(*f);
	*f = NULL;
}

void
cache_fetch_close(struct cache_fetch *f)
{
	if (f->archive != NULL)
		archive_read_free(f->archive);
	f->archive = NULL;
	xz_stream_free(f->xz);
	f->xz = NULL;
	own_closep(&f->fd);
	if (f->http != NULL)
		http_get_close(f->http);
	err_clear(&f->err);
}

static int
open_file(struct cache_fetch *f, const char *path, bool *found, struct err *e)
{
	struct stat st;

	/* Not to wait, should it be a fifo. */
	f->fd = open(path, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
	if (f->fd < 0 && (errno == ENOENT || errno == ENOTDIR)) {
		*found = false;
		return 0;
	}
	if (f->fd < 0 || fstat(f->fd, &st) < 0)
		return err_set(e, ERR_RETRY, errno, "open");
	if (!S_ISREG(st.st_mode))
		return err_set(e, ERR_RETRY, 0, "not a regular file");
	*found = true;
	return 0;
}

static int
open_raw(struct cache_fetch *f, const char *url, bool unpack, bool *found,
    struct err *e)
{
	cache_fetch_close(f);
	f->raw = 0;
	f->over_http = strncasecmp(url, "file:", 5) != 0;
	if (!f->over_http)
		return open_file(f, cache_url_file(url), found, e);
	if (f->http == NULL && http_get_new(f->cancel, &f->http, e) < 0)
		return -1;
	return http_get_open(f->http, url, unpack, found, e);
}

/* The next bytes as the cache has them; *len 0 at their end. */
static int
read_raw(
    struct cache_fetch *f, const uint8_t **data, size_t *len, struct err *e)
{
	ssize_t n;

	if (atomic_load_explicit(f->cancel, memory_order_relaxed))
		return err_set(e, ERR_RETRY, ECANCELED, "layer");
	if (f->over_http) {
		if (http_get_read(f->http, data, len, e) < 0)
			return -1;
	} else {
		while ((n = read(f->fd, f->buffer, BUFFER_SIZE)) < 0)
			if (errno != EINTR)
				return err_set(e, ERR_RETRY, errno, "read");
		*data = f->buffer;
		*len = (size_t)n;
	}
	f->raw += *len;
	if (f->raw > f->raw_max)
		return err_set(e, ERR_RETRY, 0,
		    "is longer than it may be, %" PRIu64 " bytes", f->raw_max);
	return 0;
}

int
cache_fetch_text(struct cache_fetch *f, const char *url, char *text, size_t max,
    size_t *len, bool *found, struct err *e)
{
	const uint8_t *data;
	size_t n, at = 0;

	f->raw_max = max;
	if (open_raw(f, url, true, found, e) < 0)
		return -1;
	while (*found) {
		if (read_raw(f, &data, &n, e) < 0)
			return -1;
		if (n == 0)
			break;
		memcpy(text + at, data, n); /* raw_max holds it */
		at += n;
	}
	text[at] = '\0';
	*len = at;
	cache_fetch_close(f);
	return 0;
}

static la_ssize_t
feed(struct archive *a, void *arg, const void **out)
{
	struct cache_fetch *f = arg;
	const uint8_t *data;
	size_t len;

	if (f->err.kind != ERR_NONE || read_raw(f, &data, &len, &f->err) < 0) {
		archive_set_error(a, EIO, "cache");
		return -1;
	}
	*out = data;
	return (la_ssize_t)len;
}

/* Ours, if reading failed; else what the decompressor says. */
static int
archive_failed(struct cache_fetch *f, struct err *e)
{
	const char *why = archive_error_string(f->archive);

	if (f->err.kind != ERR_NONE) {
		*e = f->err;
		return -1;
	}
	return err_set(e, ERR_RETRY, 0, "cannot be decompressed: %.120s",
	    why != NULL ? why : "damaged");
}

/* The next bytes that xz makes; n_made stays 0 at their end. */
static int
fill_from_xz(struct cache_fetch *f, struct err *e)
{
	size_t used;

	while (f->n_made == 0 && !f->xz_ended) {
		if (f->n_in == 0 && !f->in_ended) {
			if (read_raw(f, &f->in, &f->n_in, e) < 0)
				return -1;
			f->in_ended = f->n_in == 0;
		}
		if (xz_stream_run(f->xz, f->in, f->n_in, &used, f->made,
			BUFFER_SIZE, &f->n_made, &f->xz_ended, e) < 0)
			return -1;
		f->in += used;
		f->n_in -= used;
	}
	return 0;
}

/* With its first bytes: what is no xz is found out here. */
static int
open_xz(struct cache_fetch *f, struct err *e)
{
	if (f->made == NULL && (f->made = malloc(BUFFER_SIZE)) == NULL)
		return err_set(e, ERR_RETRY, errno, "cache");
	f->n_in = f->n_made = 0;
	f->in_ended = f->xz_ended = false;
	return xz_stream_new(&f->xz, e) < 0 ? -1 : fill_from_xz(f, e);
}

static int
read_xz(struct cache_fetch *f, const uint8_t **data, size_t *len, struct err *e)
{
	if (fill_from_xz(f, e) < 0)
		return -1;
	*data = f->made;
	*len = f->n_made;
	f->n_made = 0;
	return 0;
}

int
cache_fetch_open(struct cache_fetch *f, const char *url,
    enum nar_compression compression, uint64_t nar_size, bool *found,
    struct err *e)
{
	struct archive_entry *entry;

	f->raw_max = nar_size + OVERHEAD(nar_size);
	f->size = 0;
	f->nar_size = nar_size;
	if (open_raw(f, url, false, found, e) < 0)
		return -1;
	if (!*found || compression == NAR_NONE)
		return 0;
	if (compression == NAR_XZ)
		return open_xz(f, e);
	if ((f->archive = archive_read_new()) == NULL)
		return err_set(e, ERR_RETRY, ENOMEM, "decompression");
	/* A program of the system as a filter is not what is wanted. */
	if (filters[compression].add(f->archive) != ARCHIVE_OK)
		return err_set(e, ERR_RETRY, 0,
		    "this libarchive cannot decompress %s",
		    filters[compression].name);
	if (archive_read_support_format_raw(f->archive) != ARCHIVE_OK ||
	    archive_read_open(f->archive, f, NULL, feed, NULL) != ARCHIVE_OK ||
	    archive_read_next_header(f->archive, &entry) != ARCHIVE_OK)
		return archive_failed(f, e);
	if (archive_filter_count(f->archive) != 2 ||
	    archive_filter_code(f->archive, 0) != filters[compression].code)
		return err_set(e, ERR_RETRY, 0, "is not compressed with %s",
		    filters[compression].name);
	return 0;
}

int
cache_fetch_read(
    struct cache_fetch *f, const uint8_t **data, size_t *len, struct err *e)
{
	const void *block = NULL;
	la_int64_t offset;
	int rc;

	*len = 0;
	if (f->xz != NULL) {
		if (read_xz(f, data, len, e) < 0)
			return -1;
	} else if (f->archive == NULL) {
		if (read_raw(f, data, len, e) < 0)
			return -1;
	} else {
		rc = archive_read_data_block(f->archive, &block, len, &offset);
		if (rc != ARCHIVE_OK && rc != ARCHIVE_EOF)
			return archive_failed(f, e);
		*data = block;
		if (rc == ARCHIVE_EOF)
			*len = 0;
	}
	f->size += *len;
	if (f->size > f->nar_size)
		return err_set(e, ERR_RETRY, 0,
		    "holds more than its NarSize, %" PRIu64 " bytes",
		    f->nar_size);
	return 0;
}
