#include "output/output_ops.h"

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "digest.h"
#include "err.h"
#include "image/image.h"
#include "image/image_json.h"
#include "output/output.h"
#include "own.h"
#include "process/scratch.h"
#include "tar_header.h"
#include "output/tar_out.h"

#define MANIFEST_NAME "manifest.json"
#define LAYER_NAME "/layer.tar"
#define LAYER_NAME_SIZE (DIGEST_HEX_LEN + sizeof(LAYER_NAME))

/*
 * Layers are placed (needs_sizes): written where they belong in the archive's
 * file; or staged: written to files of their own and then copied.
 */
struct archive_layer {
	char *name;	 /* in the archive; known late but for base layers */
	size_t same_as;	 /* the first layer of this name: its own index */
	uint64_t offset; /* placed: where its content starts */
	uint64_t size;	 /* placed: of its content, as laid out */
	char *file;	 /* staged: its own file, until it was copied */
};

struct docker_archive {
	struct output output;
	struct tar_out *tar;
	char *folder; /* staged: holds the layers' files */
	struct archive_layer *layer;
	size_t n;
};

static struct docker_archive *
self(struct output *o)
{
	return (struct docker_archive *)o;
}

struct base_name {
	const char *name;
	size_t i;
};

static int
base_name_cmp(const void *a, const void *b)
{
	const struct base_name *x = a, *y = b;
	int order = strcmp(x->name, y->name);

	return order != 0 ? order : (x->i > y->i) - (x->i < y->i);
}

/* A base layer that comes twice is one entry of the archive. */
static int
find_same(struct docker_archive *d, const struct image *image, struct err *e)
{
	AUTO(own_freep) struct base_name *base = NULL;
	size_t n = 0;

	if ((base = calloc(d->n + 1, sizeof(*base))) == NULL)
		return err_set(e, ERR_FATAL, errno, "docker-archive");
	for (size_t i = 0; i < d->n; i++) {
		d->layer[i].same_as = i;
		if (image->layer[i].kind != IMAGE_BASE)
			continue;
		if (strcmp(image->layer[i].paths[0], MANIFEST_NAME) == 0)
			return err_set(e, ERR_USAGE, 0,
			    "a layer of the base image is named %s",
			    MANIFEST_NAME);
		base[n++] = (struct base_name){image->layer[i].paths[0], i};
	}
	qsort(base, n, sizeof(*base), base_name_cmp);
	for (size_t k = 1; k < n; k++)
		if (strcmp(base[k].name, base[k - 1].name) == 0)
			d->layer[base[k].i].same_as =
			    d->layer[base[k - 1].i].same_as;
	return 0;
}

/*
 * Where each layer's content will be.  A layer of ours is named by a digest
 * that is not known yet, but all such names are equally long.
 */
static void
lay_out_file(struct docker_archive *d, const struct image *image)
{
	char unknown[LAYER_NAME_SIZE];
	struct digest zero = {{0}};
	uint64_t at = 0;

	digest_hex(&zero, unknown);
	strcat(unknown, LAYER_NAME);
	for (size_t i = 0; i < d->n; i++) {
		const struct image_layer *from = &image->layer[i];
		struct archive_layer *layer = &d->layer[i];
		bool base = from->kind == IMAGE_BASE;

		if (layer->same_as != i)
			continue;
		layer->size = base ? from->result.size : from->result.tar_size;
		at += tar_out_header_size(
		    base ? from->paths[0] : unknown, layer->size, image->mtime);
		layer->offset = at;
		at += layer->size + tar_padding(layer->size);
	}
}

static int
make_files(struct docker_archive *d, const struct image *image, struct err *e)
{
	if (scratch_folder(
		d->output.scratch, tar_out_near(d->tar), &d->folder, e) < 0)
		return -1;
	for (size_t i = 0; i < d->n; i++) {
		AUTO(own_closep) int fd = -1;

		if (image->layer[i].file != NULL)
			continue;
		if (asprintf(&d->layer[i].file, "%s/%zu", d->folder, i) < 0) {
			d->layer[i].file = NULL;
			return err_set(e, ERR_FATAL, errno, "docker-archive");
		}
		fd = open(d->layer[i].file,
		    O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
		if (fd < 0)
			return err_set(
			    e, ERR_FATAL, errno, "make %s", d->layer[i].file);
	}
	return 0;
}

static int
docker_layout(struct output *o, const struct image *image, struct err *e)
{
	struct docker_archive *d = self(o);

	d->layer = calloc(image->n_layers + 1, sizeof(*d->layer));
	if (d->layer == NULL)
		return err_set(e, ERR_FATAL, errno, "docker-archive");
	d->n = image->n_layers;
	if (find_same(d, image, e) < 0)
		return -1;
	tar_out_set_mtime(d->tar, image->mtime);
	if (!o->needs_sizes)
		return make_files(d, image, e);
	lay_out_file(d, image);
	return 0;
}

static bool
docker_sink(struct output *o, size_t i, struct layer_output *out)
{
	struct docker_archive *d = self(o);
	bool placed = o->needs_sizes;

	*out = (struct layer_output){.kind = LAYER_TO_FILE};
	out->path = placed ? tar_out_file(d->tar) : d->layer[i].file;
	out->offset = placed ? d->layer[i].offset : 0;
	out->size = placed ? d->layer[i].size : LAYER_SIZE_UNKNOWN;
	return true;
}

static int
name_layers(struct docker_archive *d, const struct image *image, struct err *e)
{
	char hex[DIGEST_HEX_LEN + 1];

	for (size_t i = 0; i < d->n; i++) {
		const struct image_layer *from = &image->layer[i];
		char *name = NULL;

		digest_hex(&from->result.diff_id, hex);
		if (from->kind == IMAGE_BASE)
			name = strdup(from->paths[0]);
		else if (asprintf(&name, "%s%s", hex, LAYER_NAME) < 0)
			name = NULL;
		if (name == NULL)
			return err_set(e, ERR_FATAL, errno, "docker-archive");
		d->layer[i].name = name;
	}
	return 0;
}

static int
put_layer(struct docker_archive *d, const struct image_layer *from,
    struct archive_layer *layer, struct err *e)
{
	uint64_t size = from->result.tar_size;

	if (from->file != NULL)
		return tar_out_copy(
		    d->tar, layer->name, from->file, from->result.size, e);
	if (d->output.needs_sizes) {
		/* The next layer's place was chosen by the size as told. */
		if (size != layer->size)
			return err_set(e, ERR_FATAL, 0,
			    "layer %s has %llu bytes instead of %llu",
			    layer->name, (unsigned long long)size,
			    (unsigned long long)layer->size);
		return tar_out_skip(d->tar, layer->name, size, e);
	}
	if (tar_out_copy(d->tar, layer->name, layer->file, size, e) < 0)
		return -1;
	unlink(layer->file); /* its room may be wanted for the rest */
	return 0;
}

static int
put_config(struct docker_archive *d, const struct image *image, struct err *e)
{
	AUTO(own_freep) const char **name = NULL;
	AUTO(own_freep) char *manifest = NULL;
	char config[DIGEST_HEX_LEN + sizeof(".json")];
	size_t len;

	if ((name = calloc(d->n + 1, sizeof(*name))) == NULL)
		return err_set(e, ERR_FATAL, errno, "docker-archive");
	digest_hex(&image->id, config);
	strcat(config, ".json");
	for (size_t i = 0; i < d->n; i++) {
		name[i] = d->layer[i].name;
		if (strcmp(name[i], config) == 0)
			return err_set(e, ERR_USAGE, 0,
			    "a layer of the base image is named as the config, "
			    "%s",
			    config);
	}
	if (image_json_docker_manifest(
		image, name, config, &manifest, &len, e) < 0 ||
	    tar_out_data(
		d->tar, config, image->config_json, image->config_len, e) < 0)
		return -1;
	return tar_out_data(d->tar, MANIFEST_NAME, manifest, len, e);
}

static int
docker_commit(struct output *o, const struct image *image,
    const struct output *blobs_of, struct err *e)
{
	struct docker_archive *d = self(o);

	(void)blobs_of;
	if (name_layers(d, image, e) < 0)
		return -1;
	for (size_t i = 0; i < d->n; i++)
		if (d->layer[i].same_as == i &&
		    put_layer(d, &image->layer[i], &d->layer[i], e) < 0)
			return -1;
	if (put_config(d, image, e) < 0)
		return -1;
	return tar_out_commit(d->tar, e);
}

static void
docker_free(struct output *o)
{
	struct docker_archive *d = self(o);

	for (size_t i = 0; i < d->n; i++) {
		free(d->layer[i].name);
		free(d->layer[i].file);
	}
	free(d->layer);
	tar_out_free(d->tar);
	if (d->folder != NULL)
		scratch_remove(o->scratch, d->folder);
	free(d->folder);
	free(d);
}

static const struct output_ops docker_ops = {
    .takes_blobs = false,
    .layout = docker_layout,
    .sink = docker_sink,
    .commit = docker_commit,
    .free = docker_free,
};

int
output_docker_archive_open(const struct output_target *target,
    struct scratch *scratch, struct output **out, struct err *e)
{
	AUTO(own_freep) struct docker_archive *d = calloc(1, sizeof(*d));

	if (d == NULL)
		return err_set(e, ERR_FATAL, errno, "docker-archive");
	d->output.ops = &docker_ops;
	d->output.scratch = scratch;
	if (tar_out_open(target->path, scratch, &d->tar, e) < 0)
		return -1;
	d->output.needs_sizes = tar_out_file(d->tar) != NULL;
	*out = &STEAL(&d)->output;
	return 0;
}
