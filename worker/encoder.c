#include "encoder.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include <libdeflate.h>
#include <zstd.h>

#include "encoding.h"
#include "err.h"
#include "own.h"

struct encoder {
	struct libdeflate_compressor *gzip;
	ZSTD_CCtx *zstd;
	size_t chunk, bound;
	void *out;
};

static int
open_gzip(struct encoder *enc, int level)
{
	enc->chunk = ENCODING_GZIP_CHUNK;
	if ((enc->gzip = libdeflate_alloc_compressor(level)) == NULL)
		return -1;
	enc->bound = libdeflate_gzip_compress_bound(enc->gzip, enc->chunk);
	return 0;
}

static int
open_zstd(struct encoder *enc, int level)
{
	enc->chunk = ENCODING_ZSTD_CHUNK;
	enc->bound = ZSTD_compressBound(enc->chunk);
	if ((enc->zstd = ZSTD_createCCtx()) == NULL ||
	    ZSTD_isError(ZSTD_CCtx_setParameter(
		enc->zstd, ZSTD_c_compressionLevel, level)))
		return -1;
	return 0;
}

int
encoder_new(
    const struct encoding *encoding, struct encoder **out, struct err *e)
{
	AUTO(encoder_freep) struct encoder *enc = NULL;
	int rc;

	if ((enc = calloc(1, sizeof(*enc))) == NULL)
		return err_set(e, ERR_RETRY, errno, "encoder");
	rc = encoding->kind == ENCODING_GZIP ? open_gzip(enc, encoding->level)
					     : open_zstd(enc, encoding->level);
	if (rc < 0 || (enc->out = malloc(enc->bound)) == NULL)
		return err_set(e, ERR_RETRY, ENOMEM, "encoder %s:%d",
		    encoding_name(encoding->kind), encoding->level);
	*out = STEAL(&enc);
	return 0;
}

void
encoder_free(struct encoder *enc)
{
	if (enc == NULL)
		return;
	libdeflate_free_compressor(enc->gzip);
	ZSTD_freeCCtx(enc->zstd);
	free(enc->out);
	free(enc);
}

void
encoder_freep(struct encoder **enc)
{
	encoder_free(*enc);
	*enc = NULL;
}

size_t
encoder_chunk(const struct encoder *enc)
{
	return enc->chunk;
}

int
encoder_run(struct encoder *enc, const void *data, size_t len, const void **out,
    size_t *out_len, struct err *e)
{
	size_t n;

	if (enc->gzip != NULL) {
		/* The bound holds for every input: 0 is a fault of theirs. */
		n = libdeflate_gzip_compress(
		    enc->gzip, data, len, enc->out, enc->bound);
		if (n == 0)
			return err_set(e, ERR_RETRY, 0, "gzip failed");
	} else {
		n = ZSTD_compress2(enc->zstd, enc->out, enc->bound, data, len);
		if (ZSTD_isError(n))
			return err_set(
			    e, ERR_RETRY, 0, "zstd: %s", ZSTD_getErrorName(n));
	}
	*out = enc->out;
	*out_len = n;
	return 0;
}
