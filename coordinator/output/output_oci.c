#include "output/output_ops.h"

#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "digest.h"
#include "err.h"
#include "image/image.h"
#include "image/image_json.h"
#include "output/oci_blobs.h"
#include "output/oci_folder.h"
#include "output/output.h"
#include "own.h"

struct oci {
	struct output output;
	struct oci_folder *folder;
	bool links; /* blobs may be further names of files */
};

static struct oci *
self(struct output *o)
{
	return (struct oci *)o;
}

/* Ours is durable; on another file system it is copied. */
static int
put_blob(const struct oci *o, const struct image_layer *layer, const char *file,
    struct err *e)
{
	if (o->links && layer->kind != IMAGE_BASE &&
	    oci_folder_link(o->folder, file, &layer->result.digest))
		return 0;
	return oci_folder_copy(
	    o->folder, file, &layer->result.digest, layer->result.size, e);
}

static int
put_layers(struct oci *o, const struct image *image,
    const struct output *blobs_of, struct err *e)
{
	for (size_t i = 0; i < image->n_layers; i++) {
		const struct image_layer *layer = &image->layer[i];
		AUTO(own_freep) char *file = NULL;

		if (oci_blobs_find(layer,
			blobs_of != NULL ? blobs_of->blobs : o->output.blobs,
			&file, e) < 0)
			return -1;
		if ((layer->file != NULL || blobs_of != NULL) &&
		    put_blob(o, layer, file, e) < 0)
			return -1;
		/* Workers' temp files are private. */
		if (oci_folder_open_up(o->folder, &layer->result.digest, e) < 0)
			return -1;
	}
	return 0;
}

static int
oci_commit(struct output *output, const struct image *image,
    const struct output *blobs_of, struct err *e)
{
	struct oci *o = self(output);
	AUTO(own_freep) char *index = NULL;
	size_t len;

	if (image_json_index(image, &index, &len, e) < 0 ||
	    put_layers(o, image, blobs_of, e) < 0 ||
	    oci_folder_put(o->folder, &image->id, image->config_json,
		image->config_len, e) < 0 ||
	    oci_folder_put(o->folder, &image->manifest_digest,
		image->manifest_json, image->manifest_len, e) < 0 ||
	    oci_folder_commit(o->folder, index, len, e) < 0)
		return -1;
	/* Outputs that share the blobs find them where they are now. */
	output->blobs = oci_folder_blobs(o->folder);
	return 0;
}

static bool
oci_sink(struct output *output, size_t i, struct layer_output *out)
{
	(void)i;
	*out = (struct layer_output){.kind = LAYER_TO_BLOB,
	    .path = output->blobs,
	    .size = LAYER_SIZE_UNKNOWN};
	return true;
}

static void
oci_free(struct output *output)
{
	struct oci *o = self(output);

	oci_folder_free(o->folder);
	free(o);
}

static void
oci_freep(struct oci **o)
{
	if (*o != NULL)
		oci_free(&(*o)->output);
}

int
output_oci_open(const struct output_target *target, struct scratch *scratch,
    struct output **out, struct err *e)
{
	AUTO(oci_freep) struct oci *o = calloc(1, sizeof(*o));
	static const struct output_ops ops = {
	    .takes_blobs = true,
	    .sink = oci_sink,
	    .commit = oci_commit,
	    .free = oci_free,
	};

	if (o == NULL)
		return err_set(e, ERR_FATAL, errno, "oci");
	o->output.ops = &ops;
	o->output.scratch = scratch;
	o->links = target->links;
	if (oci_folder_open(target->path, scratch, &o->folder, e) < 0)
		return -1;
	o->output.blobs = oci_folder_blobs(o->folder);
	*out = &STEAL(&o)->output;
	return 0;
}
