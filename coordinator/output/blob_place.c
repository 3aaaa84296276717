#include "output/blob_place.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "blob_dir.h"
#include "output/blob_request.h"
#include "digest.h"
#include "err.h"
#include "own.h"
#include "write_behind.h"

struct file {
	char *path;
	int fd;
	uint64_t offset;
	struct write_cursor behind;
};

struct blob_place {
	enum data_form form;
	struct digest want;
	uint64_t want_size, size;
	struct sha256 *hash;
	struct file file[LAYER_OUTPUTS_MAX];
	size_t n_files;
	struct blob_writer *blob[LAYER_OUTPUTS_MAX];
	size_t n_blobs;
};

/* An output that cannot be written is so for every worker's bytes. */
static int
fatal(struct err *e)
{
	e->kind = ERR_FATAL;
	return -1;
}

static int
open_file(struct blob_place *p, const struct layer_output *o,
    struct write_behind *behind, struct err *e)
{
	struct file *f = &p->file[p->n_files];

	if (o->offset > INT64_MAX || p->want_size > INT64_MAX - o->offset)
		return err_set(e, ERR_FATAL, 0,
		    "output %s: %" PRIu64 " bytes at %" PRIu64
		    " are past the end of any file",
		    o->path, p->want_size, o->offset);
	*f = (struct file){.fd = -1, .offset = o->offset};
	write_cursor_init(&f->behind, behind, o->offset);
	p->n_files++;
	if ((f->path = strdup(o->path)) == NULL ||
	    (f->fd = open(o->path, O_WRONLY | O_CLOEXEC)) < 0)
		return err_set(e, ERR_FATAL, errno, "output %s", o->path);
	return 0;
}

static int
open_outputs(struct blob_place *p, const struct blob_request *r,
    struct write_behind *behind, struct err *e)
{
	for (size_t i = 0; i < r->n_outputs; i++) {
		const struct layer_output *o = &r->outputs[i];

		if (o->kind == LAYER_TO_FILE && p->form == DATA_TAR) {
			if (open_file(p, o, behind, e) < 0)
				return -1;
		} else if (o->kind == LAYER_TO_BLOB &&
		    r->encoded == (p->form == DATA_BLOB)) {
			if (blob_writer_new(
				o->path, behind, &p->blob[p->n_blobs], e) < 0)
				return fatal(e);
			p->n_blobs++;
		}
	}
	return 0;
}

int
blob_place_new(const struct blob_request *r, enum data_form form,
    struct write_behind *behind, struct blob_place **out, struct err *e)
{
	AUTO(blob_place_freep) struct blob_place *p = NULL;

	if ((p = calloc(1, sizeof(*p))) == NULL)
		return err_set(e, ERR_FATAL, errno, "output");
	p->form = form;
	blob_request_want(r, form, &p->want_size, &p->want);
	if (sha256_new(&p->hash, e) < 0)
		return fatal(e);
	if (open_outputs(p, r, behind, e) < 0)
		return -1;
	*out = STEAL(&p);
	return 0;
}

static int
write_file(
    struct file *f, const void *data, size_t len, uint64_t at, struct err *e)
{
	const uint8_t *from = data;

	while (len > 0) {
		ssize_t n = pwrite(f->fd, from, len, (off_t)(f->offset + at));

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return err_set(
			    e, ERR_FATAL, errno, "write %s", f->path);
		from += n;
		at += (uint64_t)n;
		len -= (size_t)n;
	}
	if (write_cursor_advance(&f->behind, f->fd, f->offset + at) < 0)
		return err_set(e, ERR_FATAL, errno, "write %s", f->path);
	return 0;
}

int
blob_place_write(
    struct blob_place *p, const void *data, size_t len, struct err *e)
{
	if (len > p->want_size - p->size)
		return err_set(e, ERR_PEER, 0,
		    "the %s has more than the %" PRIu64 " bytes that were said",
		    data_form_name(p->form), p->want_size);
	sha256_update(p->hash, data, len);
	for (size_t i = 0; i < p->n_files; i++)
		if (write_file(&p->file[i], data, len, p->size, e) < 0)
			return -1;
	for (size_t i = 0; i < p->n_blobs; i++)
		if (blob_write(p->blob[i], data, len, e) < 0)
			return fatal(e);
	p->size += len;
	return 0;
}

int
blob_place_compare(enum data_form form, const struct digest *want,
    uint64_t want_size, const struct digest *have, uint64_t have_size,
    struct err *e)
{
	char said[DIGEST_HEX_LEN + 1], found[DIGEST_HEX_LEN + 1];

	if (have_size != want_size)
		return err_set(e, ERR_PEER, 0,
		    "the %s has %" PRIu64 " bytes, %" PRIu64 " were said",
		    data_form_name(form), have_size, want_size);
	if (digest_equal(want, have))
		return 0;
	digest_hex(want, said);
	digest_hex(have, found);
	return err_set(e, ERR_PEER, 0,
	    "the %s of %" PRIu64 " bytes has SHA-256 %s, %s was said",
	    data_form_name(form), have_size, found, said);
}

int
blob_place_commit(struct blob_place *p, struct err *e)
{
	struct digest digest;

	sha256_final(p->hash, &digest);
	if (blob_place_compare(
		p->form, &p->want, p->want_size, &digest, p->size, e) < 0)
		return -1;
	for (size_t i = 0; i < p->n_blobs; i++)
		if (blob_commit(p->blob[i], &digest, e) < 0)
			return fatal(e);
	/* Where a file system writes late, close tells of a full disk. */
	for (size_t i = 0; i < p->n_files; i++) {
		int fd = p->file[i].fd;

		write_cursor_end(
		    &p->file[i].behind, fd, p->file[i].offset + p->size);
		p->file[i].fd = -1;
		if (close(fd) < 0)
			return err_set(
			    e, ERR_FATAL, errno, "close %s", p->file[i].path);
	}
	return 0;
}

void
blob_place_free(struct blob_place *p)
{
	if (p == NULL)
		return;
	for (size_t i = 0; i < p->n_files; i++) {
		write_cursor_forget(&p->file[i].behind);
		own_closep(&p->file[i].fd);
		free(p->file[i].path);
	}
	for (size_t i = 0; i < p->n_blobs; i++)
		blob_writer_free(p->blob[i]);
	sha256_free(p->hash);
	free(p);
}

void
blob_place_freep(struct blob_place **p)
{
	blob_place_free(*p);
	*p = NULL;
}
