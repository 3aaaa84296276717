#include "xz_stream.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

#include <lzma.h>

#include "err.h"

struct xz_stream {
	lzma_stream lzma;
};

int
xz_stream_new(struct xz_stream **out, struct err *e)
{
	struct xz_stream *x;

	if ((x = malloc(sizeof(*x))) == NULL)
		return err_set(e, ERR_RETRY, errno, "xz");
	*x = (struct xz_stream){.lzma = LZMA_STREAM_INIT};
	/* Several streams in a row are one, as for the xz program. */
	if (lzma_stream_decoder(
		&x->lzma, XZ_STREAM_MEMORY, LZMA_CONCATENATED) != LZMA_OK) {
		free(x);
		return err_set(e, ERR_RETRY, ENOMEM, "xz");
	}
	*out = x;
	return 0;
}

void
xz_stream_free(struct xz_stream *x)
{
	if (x == NULL)
		return;
	lzma_end(&x->lzma);
	free(x);
}

static int
failed(struct xz_stream *x, lzma_ret rc, struct err *e)
{
	const char *why = "damaged";

	if (rc == LZMA_FORMAT_ERROR)
		return err_set(e, ERR_RETRY, 0, "is not compressed with xz");
	if (rc == LZMA_MEM_ERROR)
		return err_set(e, ERR_RETRY, ENOMEM, "xz");
	if (rc == LZMA_MEMLIMIT_ERROR)
		return err_set(e, ERR_RETRY, 0,
		    "cannot be decompressed: that takes %" PRIu64
		    " MiB of memory, more than %" PRIu64,
		    lzma_memusage(&x->lzma) >> 20, XZ_STREAM_MEMORY >> 20);
	if (rc == LZMA_BUF_ERROR)
		why = "ends too early";
	else if (rc == LZMA_OPTIONS_ERROR)
		why = "in a way that this liblzma does not know";
	return err_set(e, ERR_RETRY, 0, "cannot be decompressed: %s", why);
}

int
xz_stream_run(struct xz_stream *x, const uint8_t *in, size_t len, size_t *used,
    uint8_t *out, size_t room, size_t *made, bool *ended, struct err *e)
{
	lzma_ret rc;

	x->lzma.next_in = in;
	x->lzma.avail_in = len;
	x->lzma.next_out = out;
	x->lzma.avail_out = room;
	rc = lzma_code(&x->lzma, len > 0 ? LZMA_RUN : LZMA_FINISH);
	if (rc != LZMA_OK && rc != LZMA_STREAM_END)
		return failed(x, rc, e);
	*used = len - x->lzma.avail_in;
	*made = room - x->lzma.avail_out;
	*ended = rc == LZMA_STREAM_END;
	return 0;
}
