#include "output/output_ops.h"

#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "digest.h"
#include "err.h"
#include "image/image.h"
#include "image/image_json.h"
#include "output/oci_blobs.h"
#include "output/output.h"
#include "own.h"
#include "process/scratch.h"
#include "output/tar_out.h"

#define BLOBS_FOLDER "blobs/sha256"
#define BLOB_NAME_SIZE (sizeof(BLOBS_FOLDER "/") + DIGEST_HEX_LEN)

struct oci_archive {
	struct output output;
	struct tar_out *tar;
	char *staging; /* holds the blobs that workers write, or NULL */
	char *blobs;   /* there */
};

static struct oci_archive *
self(struct output *o)
{
	return (struct oci_archive *)o;
}

static void
blob_name(const struct digest *digest, char out[static BLOB_NAME_SIZE])
{
	strcpy(out, BLOBS_FOLDER "/");
	digest_hex(digest, out + strlen(out));
}

static int
archive_layout(struct output *o, const struct image *image, struct err *e)
{
	struct oci_archive *a = self(o);

	tar_out_set_mtime(a->tar, image->mtime);
	if (o->shares)
		return 0;
	if (scratch_folder(o->scratch, tar_out_near(a->tar), &a->staging, e) <
	    0)
		return -1;
	if (oci_blobs_make(a->staging, &a->blobs, e) < 0)
		return -1;
	o->blobs = a->blobs;
	return 0;
}

static bool
archive_sink(struct output *o, size_t i, struct layer_output *out)
{
	(void)i;
	*out = (struct layer_output){.kind = LAYER_TO_BLOB,
	    .path = o->blobs,
	    .size = LAYER_SIZE_UNKNOWN};
	return true;
}

/* docker load looks for this one; it may name any file of the archive. */
static int
put_docker_manifest(
    struct oci_archive *a, const struct image *image, struct err *e)
{
	AUTO(own_freep) char(*names)[BLOB_NAME_SIZE] = NULL;
	AUTO(own_freep) const char **name = NULL;
	AUTO(own_freep) char *manifest = NULL;
	char config[BLOB_NAME_SIZE];
	size_t len;

	names = calloc(image->n_layers + 1, sizeof(*names));
	name = calloc(image->n_layers + 1, sizeof(*name));
	if (names == NULL || name == NULL)
		return err_set(e, ERR_FATAL, errno, "oci-archive");
	for (size_t i = 0; i < image->n_layers; i++) {
		blob_name(&image->layer[i].result.digest, names[i]);
		name[i] = names[i];
	}
	blob_name(&image->id, config);
	if (image_json_docker_manifest(
		image, name, config, &manifest, &len, e) < 0)
		return -1;
	return tar_out_data(a->tar, "manifest.json", manifest, len, e);
}

static int
put_json(struct oci_archive *a, const struct image *image, struct err *e)
{
	AUTO(own_freep) char *index = NULL;
	char name[BLOB_NAME_SIZE];
	size_t len;

	if (image_json_index(image, &index, &len, e) < 0 ||
	    tar_out_data(a->tar, "oci-layout", OCI_LAYOUT_JSON,
		strlen(OCI_LAYOUT_JSON), e) < 0 ||
	    tar_out_data(a->tar, "index.json", index, len, e) < 0 ||
	    put_docker_manifest(a, image, e) < 0 ||
	    tar_out_folder(a->tar, "blobs", e) < 0 ||
	    tar_out_folder(a->tar, BLOBS_FOLDER, e) < 0)
		return -1;
	blob_name(&image->id, name);
	if (tar_out_data(
		a->tar, name, image->config_json, image->config_len, e) < 0)
		return -1;
	blob_name(&image->manifest_digest, name);
	return tar_out_data(
	    a->tar, name, image->manifest_json, image->manifest_len, e);
}

struct blob_ref {
	struct digest digest;
	size_t i;
};

static int
blob_ref_cmp(const void *a, const void *b)
{
	const struct blob_ref *x = a, *y = b;
	int order = memcmp(&x->digest, &y->digest, sizeof(x->digest));

	return order != 0 ? order : (x->i > y->i) - (x->i < y->i);
}

/* *out: which layers' blobs were not there before, bottom first. */
static int
find_first(const struct image *image, bool **out, struct err *e)
{
	AUTO(own_freep) struct blob_ref *ref = NULL;
	AUTO(own_freep) bool *first = NULL;
	size_t n = image->n_layers;

	ref = calloc(n + 1, sizeof(*ref));
	first = calloc(n + 1, sizeof(*first));
	if (ref == NULL || first == NULL)
		return err_set(e, ERR_FATAL, errno, "oci-archive");
	for (size_t i = 0; i < n; i++)
		ref[i] = (struct blob_ref){image->layer[i].result.digest, i};
	qsort(ref, n, sizeof(*ref), blob_ref_cmp);
	for (size_t k = 0; k < n; k++)
		first[ref[k].i] =
		    k == 0 || !digest_equal(&ref[k].digest, &ref[k - 1].digest);
	*out = STEAL(&first);
	return 0;
}

static int
put_layers(struct oci_archive *a, const struct image *image, const char *blobs,
    struct err *e)
{
	AUTO(own_freep) bool *first = NULL;
	char name[BLOB_NAME_SIZE];

	if (find_first(image, &first, e) < 0)
		return -1;
	for (size_t i = 0; i < image->n_layers; i++) {
		const struct image_layer *layer = &image->layer[i];
		AUTO(own_freep) char *file = NULL;

		if (!first[i])
			continue;
		blob_name(&layer->result.digest, name);
		if (oci_blobs_find(layer, blobs, &file, e) < 0 ||
		    tar_out_copy(a->tar, name, file, layer->result.size, e) < 0)
			return -1;
	}
	return 0;
}

static int
archive_commit(struct output *o, const struct image *image,
    const struct output *blobs_of, struct err *e)
{
	struct oci_archive *a = self(o);
	const char *blobs = blobs_of != NULL ? blobs_of->blobs : o->blobs;

	if (put_json(a, image, e) < 0 || put_layers(a, image, blobs, e) < 0)
		return -1;
	return tar_out_commit(a->tar, e);
}

static void
archive_free(struct output *o)
{
	struct oci_archive *a = self(o);

	tar_out_free(a->tar);
	if (a->staging != NULL)
		scratch_remove(o->scratch, a->staging);
	free(a->staging);
	free(a->blobs);
	free(a);
}

static const struct output_ops archive_ops = {
    .takes_blobs = true,
    .layout = archive_layout,
    .sink = archive_sink,
    .commit = archive_commit,
    .free = archive_free,
};

int
output_oci_archive_open(const struct output_target *target,
    struct scratch *scratch, struct output **out, struct err *e)
{
	AUTO(own_freep) struct oci_archive *a = calloc(1, sizeof(*a));

	if (a == NULL)
		return err_set(e, ERR_FATAL, errno, "oci-archive");
	a->output.ops = &archive_ops;
	a->output.scratch = scratch;
	if (tar_out_open(target->path, scratch, &a->tar, e) < 0)
		return -1;
	*out = &STEAL(&a)->output;
	return 0;
}
