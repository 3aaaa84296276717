#include "transfer/blob_check.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "output/blob_place.h"
#include "output/blob_request.h"
#include "digest.h"
#include "err.h"
#include "own.h"

#define STEP ((size_t)1 << 20)
#define AGAIN_MS 50

struct blob_check {
	const struct blob_request *request;
	int64_t until, next;
	size_t output; /* that is being looked at */
	int fd;	       /* its file, or -1 */
	uint64_t at;   /* bytes of it that were read */
	struct sha256 *hash;
	uint8_t *buf;
};

int
blob_check_new(const struct blob_request *r, int64_t until,
    struct blob_check **out, struct err *e)
{
	struct blob_check *c;

	if ((c = calloc(1, sizeof(*c))) == NULL)
		return err_set(e, ERR_FATAL, errno, "check");
	c->request = r;
	c->until = until;
	c->fd = -1;
	if ((c->buf = malloc(STEP)) == NULL) {
		err_set(e, ERR_FATAL, errno, "check");
		blob_check_free(c);
		return -1;
	}
	if (sha256_new(&c->hash, e) < 0) {
		e->kind = ERR_FATAL;
		blob_check_free(c);
		return -1;
	}
	*out = c;
	return 0;
}

void
blob_check_free(struct blob_check *c)
{
	if (c == NULL)
		return;
	own_closep(&c->fd);
	sha256_free(c->hash);
	free(c->buf);
	free(c);
}

static enum data_form
form_of(const struct blob_check *c, const struct layer_output *o)
{
	return o->kind == LAYER_TO_FILE || !c->request->encoded ? DATA_TAR
								: DATA_BLOB;
}

/*
 * The folder is opened anew each time: on NFS that asks the server whether it
 * has changed, and so whether "not there" is still true.
 */
static int
open_output(const struct layer_output *o, const struct digest *digest)
{
	AUTO(own_closep) int dir = -1;
	char name[DIGEST_HEX_LEN + 1];

	if (o->kind == LAYER_TO_FILE)
		return open(o->path, O_RDONLY | O_CLOEXEC);
	if ((dir = open(o->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC)) < 0)
		return -1;
	digest_hex(digest, name);
	return openat(
	    dir, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
}

/* Not there yet, or not all: 0 while there is time. */
static int
wait_for_it(struct blob_check *c, int64_t now)
{
	own_closep(&c->fd);
	if (now >= c->until)
		return -1;
	c->next = now + AGAIN_MS;
	return 0;
}

/* 1: open, and as long as it has to be; 0: not yet. */
static int
begin(struct blob_check *c, int64_t now, struct err *e)
{
	const struct layer_output *o = &c->request->outputs[c->output];
	enum data_form form = form_of(c, o);
	struct digest digest;
	uint64_t size, end;
	struct stat st;

	blob_request_want(c->request, form, &size, &digest);
	end = o->kind == LAYER_TO_FILE ? o->offset + size : size;
	c->fd = open_output(o, &digest);
	if (c->fd < 0 || fstat(c->fd, &st) < 0) {
		int sys = errno;

		if (sys == ENOENT && wait_for_it(c, now) == 0)
			return 0;
		return err_set(e, sys == ENOENT ? ERR_PEER : ERR_RETRY, sys,
		    "the %s that it says it wrote into %s",
		    data_form_name(form), o->path);
	}
	if (!S_ISREG(st.st_mode))
		return err_set(e, ERR_PEER, 0,
		    "the %s in %s is no regular file", data_form_name(form),
		    o->path);
	if ((uint64_t)st.st_size < end && wait_for_it(c, now) == 0)
		return 0;
	/* An archive goes on after the layer, a blob's file does not. */
	if ((uint64_t)st.st_size < end ||
	    (o->kind == LAYER_TO_BLOB && (uint64_t)st.st_size != end))
		return err_set(e, ERR_PEER, 0,
		    "the %s in %s: the file has %jd bytes, it said %" PRIu64,
		    data_form_name(form), o->path, (intmax_t)st.st_size, end);
	c->at = 0;
	sha256_init(c->hash);
	return 1;
}

/* Up to STEP bytes; 1 at the end of what the output should hold. */
static int
read_on(struct blob_check *c, const struct layer_output *o, uint64_t size,
    struct err *e)
{
	size_t want = size - c->at < STEP ? (size_t)(size - c->at) : STEP;
	uint64_t offset = o->kind == LAYER_TO_FILE ? o->offset : 0;
	ssize_t n;

	if (want == 0)
		return 1;
	do
		n = pread(c->fd, c->buf, want, (off_t)(offset + c->at));
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return err_set(e, ERR_RETRY, errno, "read %s", o->path);
	if (n == 0)
		return err_set(e, ERR_PEER, 0, "%s has shrunk", o->path);
	sha256_update(c->hash, c->buf, (size_t)n);
	c->at += (uint64_t)n;
	return c->at == size;
}

int
blob_check_step(struct blob_check *c, int64_t now, struct err *e)
{
	const struct layer_output *o;
	struct digest want, have;
	enum data_form form;
	uint64_t size;
	int rc;

	if (c->output == c->request->n_outputs)
		return 1;
	if (now < c->next)
		return 0;
	o = &c->request->outputs[c->output];
	form = form_of(c, o);
	if (c->fd < 0 && (rc = begin(c, now, e)) <= 0)
		return rc;
	blob_request_want(c->request, form, &size, &want);
	if ((rc = read_on(c, o, size, e)) <= 0)
		return rc;
	sha256_final(c->hash, &have);
	own_closep(&c->fd);
	if (blob_place_compare(form, &want, size, &have, size, e) < 0)
		return err_ctx(e, "%s", o->path);
	c->output++;
	return c->output == c->request->n_outputs;
}

int64_t
blob_check_wait(const struct blob_check *c)
{
	return c->next;
}
