#include "output/output_ops.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "err.h"
#include "text/human.h"
#include "image/image.h"
#include "registry/image_format.h"
#include "output/oci_blobs.h"
#include "output/output.h"
#include "own.h"
#include "output/push.h"
#include "process/scratch.h"

/* Blobs lie in a scratch folder until the image is whole, then go. */
struct to_registry {
	struct output output;
	char *staging, *blobs;
};

static struct to_registry *
self(struct output *o)
{
	return (struct to_registry *)o;
}

static bool
registry_sink(struct output *o, size_t i, struct layer_output *out)
{
	(void)i;
	*out = (struct layer_output){.kind = LAYER_TO_BLOB,
	    .path = o->blobs,
	    .size = LAYER_SIZE_UNKNOWN};
	return true;
}

static void
free_files(struct push_blob *blob, size_t n)
{
	for (size_t i = 0; blob != NULL && i < n; i++)
		free((char *)blob[i].file);
	free(blob);
}

/* Another repository of this registry that has the blob, or NULL. */
static const char *
mount_from(const struct to_registry *o, const struct image_layer *layer)
{
	if (layer->registry == NULL ||
	    strcmp(layer->registry, push_base(o->output.push)) != 0 ||
	    strcmp(layer->repository, push_repo(o->output.push)) == 0)
		return NULL;
	return layer->repository;
}

/* Layers' blobs, and the config as the last one. */
static int
list_blobs(const struct to_registry *o, const struct image *image,
    const char *blobs, struct push_blob *out, struct err *e)
{
	for (size_t i = 0; i < image->n_layers; i++) {
		const struct image_layer *layer = &image->layer[i];
		char *file = NULL;

		if (!layer->remote &&
		    oci_blobs_find(layer, blobs, &file, e) < 0)
			return -1;
		out[i].file = file;
		out[i].digest = layer->result.digest;
		out[i].size = layer->result.size;
		out[i].from = mount_from(o, layer);
	}
	out[image->n_layers] = (struct push_blob){
	    .digest = image->id,
	    .size = image->config_len,
	    .data = image->config_json,
	};
	return 0;
}

static void
say(struct output *o, const struct push_counts *c)
{
	char bytes[HUMAN_MAX];

	human_bytes(c->uploaded_bytes, bytes);
	snprintf(o->said, sizeof(o->said),
	    "%zu blobs uploaded (%s), %zu were there, %zu mounted", c->uploaded,
	    bytes, c->there, c->mounted);
}

static int
registry_commit(struct output *output, const struct image *image,
    const struct output *blobs_of, struct err *e)
{
	struct to_registry *o = self(output);
	size_t n = image->n_layers + 1;
	struct push_blob *blob = calloc(n, sizeof(*blob));
	const char *tag = push_tag(o->output.push);
	struct push_counts counts;
	struct push_image what = {
	    .blob = blob,
	    .n_blobs = n,
	    .tag = *tag != '\0' ? tag : image->tag,
	    .media_type = image_format_manifest(image->format),
	    .manifest = image->manifest_json,
	    .manifest_len = image->manifest_len,
	    .manifest_digest = image->manifest_digest,
	};
	int rc;

	if (blob == NULL)
		return err_set(e, ERR_FATAL, errno, "push");
	rc = list_blobs(o, image,
	    blobs_of != NULL ? blobs_of->blobs : output->blobs, blob, e);
	if (rc == 0)
		rc = push_image(o->output.push, &what, &counts, e);
	if (rc == 0) {
		output->pushed = counts;
		say(output, &counts);
	}
	free_files(blob, n);
	return rc;
}

static void
output_registry_free(struct output *output)
{
	struct to_registry *o = self(output);

	if (o->staging != NULL)
		scratch_remove(output->scratch, o->staging);
	free(o->staging);
	free(o->blobs);
	push_free(o->output.push);
	free(o);
}

static void
freep(struct to_registry **o)
{
	if (*o != NULL)
		output_registry_free(&(*o)->output);
}

int
output_registry_open(const struct output_target *target,
    struct scratch *scratch, struct output **out, struct err *e)
{
	AUTO(freep) struct to_registry *o = calloc(1, sizeof(*o));
	static const struct output_ops ops = {
	    .takes_blobs = true,
	    .sink = registry_sink,
	    .commit = registry_commit,
	    .free = output_registry_free,
	};

	if (o == NULL)
		return err_set(e, ERR_FATAL, errno, "push");
	o->output.ops = &ops;
	o->output.scratch = scratch;
	if (push_open(target->path + strlen("//"), target->push,
		&o->output.push, e) < 0)
		return -1;
	o->output.registry = push_base(o->output.push);
	o->output.repository = push_repo(o->output.push);
	if (scratch_folder(scratch, scratch_temp(), &o->staging, e) < 0 ||
	    oci_blobs_make(o->staging, &o->blobs, e) < 0)
		return -1;
	o->output.blobs = o->blobs;
	*out = &STEAL(&o)->output;
	return 0;
}
