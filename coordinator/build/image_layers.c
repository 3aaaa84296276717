#include "build/image_layers.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "image/base_image.h"
#include "closure/closure.h"
#include "err.h"
#include "build/image_closure.h"
#include "registry/image_format.h"
#include "image/image_json.h"
#include "plan/layer_plan.h"
#include "options/options.h"
#include "own.h"
#include "progress/progress.h"
#include "request/request.h"
#include "root/root_layer.h"
#include "process/scratch.h"

/* The plan that the reference's request brings along. */
static int
plan_given(const struct request *r, const struct closure *c,
    struct layer_plan **out, struct err *e)
{
	AUTO(layer_plan_freep) struct layer_plan *plan = NULL;

	if ((plan = calloc(1, sizeof(*plan))) == NULL ||
	    (plan->layer = calloc(r->n_layers + 1, sizeof(*plan->layer))) ==
		NULL)
		return err_set(e, ERR_FATAL, errno, "plan");
	plan->n = r->n_layers;
	for (size_t l = 0; l < r->n_layers; l++) {
		struct layer *layer = &plan->layer[l];

		layer->n = r->layer[l].n;
		layer->path = calloc(layer->n + 1, sizeof(*layer->path));
		if (layer->path == NULL)
			return err_set(e, ERR_FATAL, errno, "plan");
		for (size_t i = 0; i < layer->n; i++) {
			size_t at = closure_find(c, r->layer[l].path[i]);

			layer->path[i] = (uint32_t)at;
			if (c->nar_size != NULL)
				layer->nar_size += c->nar_size[at];
		}
	}
	*out = STEAL(&plan);
	return 0;
}

static int
plan_make(struct image_layers *l, struct err *e)
{
	const struct request *r = l->request;
	size_t base = l->base != NULL ? l->base->n : 0;

	if (r->planned)
		return plan_given(r, l->closure, &l->plan, e);
	if (layer_plan_make(
		l->closure, r->strategy, r->max_layers, base, &l->plan, e) < 0)
		return -1;
	return layer_plan_check(l->plan, l->closure, r->max_layers, base, e);
}

int
image_layers_of(struct request **request, const struct base_image *base,
    struct closure **closure, struct image_layers **out, struct err *e)
{
	AUTO(image_layers_freep) struct image_layers *l = NULL;

	if ((l = calloc(1, sizeof(*l))) == NULL)
		return err_set(e, ERR_FATAL, errno, "image");
	l->request = *request;
	l->base = base;
	l->closure = closure != NULL ? *closure : NULL;
	if (closure != NULL && plan_make(l, e) < 0) {
		l->request = NULL;
		l->closure = NULL;
		return -1;
	}
	*request = NULL;
	if (closure != NULL)
		*closure = NULL;
	*out = STEAL(&l);
	return 0;
}

int
image_layers_plan(const struct options *options, struct scratch *scratch,
    struct progress *progress, struct image_layers **out, struct err *e)
{
	AUTO(request_freep) struct request *request = NULL;
	AUTO(base_image_freep) struct base_image *base = NULL;
	AUTO(closure_freep) struct closure *closure = NULL;

	if (request_make(options, &request, e) < 0)
		return -1;
	if (request->from_image != NULL) {
		const struct base_source source = {
		    .name = request->from_image,
		    .architecture = request->architecture,
		    .push = &options->registry,
		};

		progress_phase(progress, "reading the base image");
		if (base_image_open(&source, scratch, &base, e) < 0)
			return -1;
	}
	progress_phase(progress, "reading the closure");
	if (image_closure_make(request, options, &closure, e) < 0)
		return -1;
	if (options->verify_store && closure->n > 0 &&
	    (closure->nar_hash == NULL || closure->nar_size == NULL))
		return err_set(e, ERR_USAGE, 0,
		    "--verify-store: the closure has no narHashes; give "
		    "--closure a file that has them, or leave it to Nix");
	progress_phase(progress, "planning");
	if (image_layers_of(&request, base, &closure, out, e) < 0)
		return -1;
	(*out)->own_base = STEAL(&base);
	return 0;
}

/* checksum: the SHA-256 of layer.tar in hexadecimal, and perhaps a newline. */
static int
read_checksum(const char *folder, struct digest *out, struct err *e)
{
	char path[4096], text[DIGEST_HEX_LEN + 16];
	AUTO(own_closep) int fd = -1;
	ssize_t n;

	snprintf(path, sizeof(path), "%s/checksum", folder);
	/* A fifo must not hold us up; it reads as empty. */
	if ((fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK)) < 0 ||
	    (n = read(fd, text, sizeof(text))) < 0)
		return err_set(e, ERR_USAGE, errno, "%s", path);
	while (n > 0 && isspace((unsigned char)text[n - 1]))
		n--;
	if (!digest_from_hex(text, (size_t)n, out))
		return err_set(
		    e, ERR_USAGE, 0, "%s: not a SHA-256 in hexadecimal", path);
	return 0;
}

/* What is no tar would be found only when its layer is done. */
static int
check_layer_tar(const char *path, struct err *e)
{
	struct stat st;

	if (access(path, R_OK) < 0 || stat(path, &st) < 0)
		return err_set(
		    e, ERR_USAGE, errno, "customisation_layer: %s", path);
	if (!S_ISREG(st.st_mode) || st.st_size == 0 ||
	    st.st_size % TAR_BLOCK != 0)
		return err_set(e, ERR_USAGE, 0,
		    "customisation_layer: %s: not a tar: %lld bytes are not "
		    "whole blocks of %d",
		    path, (long long)st.st_size, (int)TAR_BLOCK);
	return 0;
}

/* The reference's customisation layer lies ready; perhaps under store_root. */
int
image_layers_open_root(
    struct image_layers *l, const char *store_root, struct err *e)
{
	AUTO(own_freep) char *folder = NULL;
	const char *given = l->request->customisation_layer;
	size_t len = strlen(l->request->store_dir);
	bool stored = strncmp(given, l->request->store_dir, len) == 0 &&
	    given[len] == '/';

	if (asprintf(&folder, "%s%s", stored ? store_root : "", given) < 0) {
		folder = NULL;
		return err_set(e, ERR_FATAL, errno, "customisation layer");
	}
	if (asprintf(&l->root_file, "%s/layer.tar", folder) < 0) {
		l->root_file = NULL;
		return err_set(e, ERR_FATAL, errno, "customisation layer");
	}
	if (check_layer_tar(l->root_file, e) < 0)
		return -1;
	return read_checksum(folder, &l->root_digest, e);
}

int
image_layers_add(struct image_layers *l, enum image_layer_kind kind, size_t n,
    struct image_layer **out, struct err *e)
{
	struct image_layer *layer = &l->image.layer[l->image.n_layers];

	if ((layer->paths = calloc(n + 1, sizeof(*layer->paths))) == NULL)
		return err_set(e, ERR_FATAL, errno, "image layers");
	l->image.n_layers++;
	layer->kind = kind;
	*out = layer;
	return 0;
}

static int
add_base(struct image_layers *l, struct err *e)
{
	enum image_format format = l->image.format;

	for (size_t i = 0; l->base != NULL && i < l->base->n; i++) {
		const struct base_layer *b = &l->base->layer[i];
		struct image_layer *layer = NULL;

		if (image_format_layer(format, b->media_type) == NULL)
			return err_set(e, ERR_USAGE, 0,
			    "--format docker: layer %zu of the base image is "
			    "%s, for which it has no media type",
			    i + 1, b->media_type);
		if (image_layers_add(l, IMAGE_BASE, 1, &layer, e) < 0)
			return -1;
		layer->paths[layer->n_paths++] = b->name;
		layer->media_type = b->media_type;
		layer->file = b->file;
		layer->registry = l->base->registry;
		layer->repository = l->base->repository;
		layer->remote = b->file == NULL;
		layer->result = b->result;
	}
	return 0;
}

static int
add_store(struct image_layers *l, struct err *e)
{
	for (size_t i = 0; i < l->plan->n; i++) {
		const struct layer *planned = &l->plan->layer[i];
		struct image_layer *layer = NULL;

		if (image_layers_add(l, IMAGE_STORE, planned->n, &layer, e) < 0)
			return -1;
		for (size_t p = 0; p < planned->n; p++)
			layer->paths[layer->n_paths++] =
			    l->closure->path[planned->path[p]];
	}
	return 0;
}

int
image_layers_add_root(
    struct image_layers *l, struct image_layer **out, struct err *e)
{
	if (image_layers_add(l, IMAGE_ROOT, 1, out, e) < 0)
		return -1;
	if (l->request->planned)
		(*out)->paths[(*out)->n_paths++] =
		    l->request->customisation_layer;
	return 0;
}

int
image_layers_begin(struct image_layers *l, const struct options *options,
    size_t n_store, struct err *e)
{
	const struct request *r = l->request;
	size_t n = (l->base != NULL ? l->base->n : 0) + n_store + 1;

	l->image.name = r->name;
	l->image.tag = r->tag;
	l->image.created = r->created;
	l->image.architecture = r->architecture;
	l->image.os = r->os;
	l->image.config = r->config;
	l->image.base_config = l->base != NULL ? l->base->config : NULL;
	l->image.mtime = r->mtime;
	l->image.format = options->format;
	if ((l->image.layer = calloc(n, sizeof(*l->image.layer))) == NULL)
		return err_set(e, ERR_FATAL, errno, "image layers");
	return add_base(l, e);
}

int
image_layers_make(
    struct image_layers *l, const struct options *options, struct err *e)
{
	const struct request *r = l->request;
	struct image_layer *root;

	if ((r->planned
		    ? image_layers_open_root(l, options->store_root, e)
		    : root_layer_make(r, options->store_root, &l->root, e)) < 0)
		return -1;
	if (image_layers_begin(l, options, l->plan->n, e) < 0 ||
	    add_store(l, e) < 0)
		return -1;
	return image_layers_add_root(l, &root, e);
}

void
image_layers_spec(const struct image_layers *l, const struct options *options,
    struct layer_spec *out)
{
	const struct request *r = l->request;

	*out = (struct layer_spec){
	    .dialect = options->dialect,
	    .verify = options->verify_store,
	    .store_dir = r->store_dir,
	    .store_root = options->store_root,
	    .mtime = r->mtime,
	    .uid = r->uid,
	    .gid = r->gid,
	    .uname = r->uname,
	    .gname = r->gname,
	    .encoding = options->encoding,
	    .file = "",
	};
}

void
image_layers_free(struct image_layers *l)
{
	if (l == NULL)
		return;
	for (size_t i = 0; i < l->image.n_layers; i++)
		free(l->image.layer[i].paths);
	free(l->image.layer);
	image_json_free(&l->image);
	free(l->root_file);
	root_layer_free(l->root);
	layer_plan_free(l->plan);
	closure_free(l->closure);
	base_image_free(l->own_base);
	request_free(l->request);
	free(l);
}

void
image_layers_freep(struct image_layers **l)
{
	image_layers_free(*l);
	*l = NULL;
}
