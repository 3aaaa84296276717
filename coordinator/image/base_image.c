#include "image/base_image.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "image/architecture.h"
#include "image/base_archive.h"
#include "image/base_files.h"
#include "image/base_limits.h"
#include "image/base_plan.h"
#include "image/base_registry.h"
#include "err.h"
#include "text/json_file.h"
#include "own.h"
#include "process/scratch.h"

struct base {
	struct base_image image;
	struct scratch *scratch;
	const struct base_limits *limits;
	char *folder; /* an archive's members, or what was fetched; or NULL */
	struct base_registry *registry; /* or NULL */
};

/* "sha256:HEX" at i of the config's rootfs.diff_ids. */
static int
diff_id_at(const json_t *diff_ids, size_t i, struct digest *out, struct err *e)
{
	const char *s = json_string_value(json_array_get(diff_ids, i));

	if (s == NULL || !digest_from_text(s, out))
		return err_set(e, ERR_USAGE, 0,
		    "its config: diff_id %zu is not sha256 and 64 digits", i);
	return 0;
}

/* Takes over what a file that was unpacked is. */
static int
take_file(struct base_layer *layer, const struct base_file *file,
    const struct digest *diff_id, struct err *e)
{
	if (!digest_equal(&file->diff_id, diff_id)) {
		char want[DIGEST_HEX_LEN + 1], is[DIGEST_HEX_LEN + 1];

		digest_hex(diff_id, want);
		digest_hex(&file->diff_id, is);
		return err_set(e, ERR_USAGE, 0,
		    "layer '%.200s' is damaged: its tar's SHA-256 is %s, but "
		    "the config says %s",
		    layer->name, is, want);
	}
	if ((layer->file = strdup(file->file)) == NULL)
		return err_set(e, ERR_FATAL, errno, "base image");
	layer->media_type = file->media_type;
	layer->result.diff_id = file->diff_id;
	layer->result.tar_size = file->tar_size;
	layer->result.digest = file->digest;
	layer->result.size = file->size;
	return 0;
}

static int
read_layer(struct base_files *files, const struct base_ref *ref,
    const struct digest *diff_id, struct base_layer *layer, struct err *e)
{
	struct base_file *file;

	if ((layer->name = strdup(ref->name)) == NULL)
		return err_set(e, ERR_FATAL, errno, "base image");
	if (files->registry != NULL) {
		layer->media_type = ref->media_type;
		layer->result.diff_id = *diff_id;
		layer->result.digest = ref->digest;
		layer->result.size = ref->size;
		return 0;
	}
	if (base_plan_check(files, ref, e) < 0 ||
	    base_files_get(files, ref->name, &file, e) < 0 ||
	    base_archive_unpack(files, file, e) < 0)
		return -1;
	return take_file(layer, file, diff_id, e);
}

static int
read_layers(struct base_files *files, const struct base_plan *plan,
    const json_t *config, struct base_image *image, struct err *e)
{
	const json_t *diff_ids =
	    json_object_get(json_object_get(config, "rootfs"), "diff_ids");

	if (json_array_size(diff_ids) != plan->n)
		return err_set(e, ERR_USAGE, 0,
		    "its manifest names %zu layers, its config %zu", plan->n,
		    json_array_size(diff_ids));
	image->layer = calloc(plan->n + 1, sizeof(*image->layer));
	if (image->layer == NULL)
		return err_set(e, ERR_FATAL, errno, "base image");
	image->n = plan->n;
	for (size_t i = 0; i < plan->n; i++) {
		struct digest diff_id;

		if (diff_id_at(diff_ids, i, &diff_id, e) < 0 ||
		    read_layer(files, &plan->layer[i], &diff_id,
			&image->layer[i], e) < 0)
			return -1;
	}
	return 0;
}

/* The one key of "config" that the image takes over. */
static int
check_env(const json_t *config, struct err *e)
{
	const json_t *env = json_object_get(config, "Env");

	if (env == NULL || json_is_null(env))
		return 0;
	if (!json_is_array(env))
		return err_set(e, ERR_USAGE, 0,
		    "Env in its config is not an array of strings");
	for (size_t i = 0; i < json_array_size(env); i++)
		if (!json_is_string(json_array_get(env, i)))
			return err_set(e, ERR_USAGE, 0,
			    "Env in its config: entry %zu is not a string", i);
	return 0;
}

static int
read_image(struct base_files *files, struct base_image *image, struct err *e)
{
	AUTO(base_plan_clear) struct base_plan plan = {0};
	AUTO(json_file_decrefp) json_t *config = NULL;
	json_t *inner;

	if (base_plan_make(files, &plan, e) < 0 ||
	    base_plan_want(files, &plan.config, false, e) < 0 ||
	    base_plan_check(files, &plan.config, e) < 0 ||
	    base_files_json(files, plan.config.name, &config, e) < 0)
		return -1;
	if (!json_is_object(config))
		return err_set(e, ERR_USAGE, 0,
		    "its config '%.200s' is not an object", plan.config.name);
	inner = json_object_get(config, "config");
	if (inner != NULL && !json_is_null(inner) && !json_is_object(inner))
		return err_set(e, ERR_USAGE, 0,
		    "'config' in its config '%.200s' is not an object",
		    plan.config.name);
	if (check_env(inner, e) < 0)
		return -1;
	if (json_is_object(inner))
		image->config = json_incref(inner);
	return read_layers(files, &plan, config, image, e);
}

static int
open_registry(struct base *base, const struct base_source *source,
    struct base_files *files, struct err *e)
{
	struct base_image *image = &base->image;

	if (scratch_folder(base->scratch, scratch_temp(), &base->folder, e) <
		0 ||
	    base_registry_open(source->name + strlen(BASE_REGISTRY),
		source->push, base->folder, files, &base->registry, e) < 0)
		return -1;
	files->registry = base->registry;
	image->registry = base_registry_base(base->registry);
	image->repository = base_registry_repo(base->registry);
	return 0;
}

static int
open_files(struct base *base, const struct base_source *source,
    struct base_files *files, struct err *e)
{
	const char *path = source->name;
	struct stat st;

	if (strncmp(path, BASE_REGISTRY, strlen(BASE_REGISTRY)) == 0)
		return open_registry(base, source, files, e);
	if (stat(path, &st) < 0)
		return err_set(e, ERR_USAGE, errno, "open");
	if (S_ISDIR(st.st_mode)) {
		files->layout = path;
		if (!base_files_has(files, "oci-layout"))
			return err_set(e, ERR_USAGE, 0,
			    "not an image: a folder without oci-layout");
		return 0;
	}
	if (!S_ISREG(st.st_mode))
		return err_set(e, ERR_USAGE, 0, "neither a file nor a folder");
	if (scratch_folder(base->scratch, scratch_temp(), &base->folder, e) < 0)
		return -1;
	return base_archive_read(path, base->folder, files, e);
}

int
base_image_open_within(const struct base_source *source,
    struct scratch *scratch, const struct base_limits *limits,
    struct base_image **out, struct err *e)
{
	AUTO(base_files_clear) struct base_files files = {.limits = limits};
	AUTO(base_image_freep) struct base_image *image = NULL;
	char here[ARCHITECTURE_HERE_SIZE];
	struct base *base;

	if ((base = calloc(1, sizeof(*base))) == NULL)
		return err_set(e, ERR_FATAL, errno, "base image");
	image = &base->image;
	base->scratch = scratch;
	base->limits = limits;
	architecture_here(here);
	files.architecture =
	    source->architecture != NULL ? source->architecture : here;
	if (open_files(base, source, &files, e) < 0 ||
	    read_image(&files, image, e) < 0)
		return err_ctx(e, "base image %.300s", source->name);
	*out = STEAL(&image);
	return 0;
}

int
base_image_open(const struct base_source *source, struct scratch *scratch,
    struct base_image **out, struct err *e)
{
	static const struct base_limits limits = BASE_LIMITS_DEFAULT;

	return base_image_open_within(source, scratch, &limits, out, e);
}

/* Whether the layer is fetched or not, the image's manifest says the same. */
static int
check_media_type(
    const struct base_layer *layer, const struct base_file *file, struct err *e)
{
	if (strcmp(layer->media_type, file->media_type) == 0)
		return 0;
	return err_set(e, ERR_USAGE, 0,
	    "layer '%.200s' is %s, but its manifest says %s", layer->name,
	    file->media_type, layer->media_type);
}

int
base_image_fetch(
    struct base_image *image, size_t i, const char *blobs, struct err *e)
{
	struct base *base = (struct base *)image;
	struct base_layer *layer = &image->layer[i];
	struct base_files files = {.limits = base->limits};
	AUTO(own_freep) char *path = NULL;
	struct base_file file = {
	    .name = layer->name,
	    .size = layer->result.size,
	    .has_digest = true,
	    .digest = layer->result.digest,
	};
	char hex[DIGEST_HEX_LEN + 1];

	digest_hex(&file.digest, hex);
	if (asprintf(&path, "%s/%s", blobs, hex) < 0) {
		path = NULL;
		return err_set(e, ERR_FATAL, errno, "base image");
	}
	file.file = path;
	if (base_registry_fetch(
		base->registry, &file.digest, file.size, blobs, e) < 0 ||
	    base_archive_unpack(&files, &file, e) < 0 ||
	    check_media_type(layer, &file, e) < 0 ||
	    take_file(layer, &file, &layer->result.diff_id, e) < 0)
		return err_ctx(e, "base image");
	return 0;
}

void
base_image_free(struct base_image *image)
{
	struct base *base = (struct base *)image;

	if (image == NULL)
		return;
	for (size_t i = 0; i < image->n; i++) {
		free(image->layer[i].name);
		free(image->layer[i].file);
	}
	free(image->layer);
	json_decref(image->config);
	base_registry_free(base->registry);
	if (base->folder != NULL)
		scratch_remove(base->scratch, base->folder);
	free(base->folder);
	free(base);
}

void
base_image_freep(struct base_image **base)
{
	base_image_free(*base);
	*base = NULL;
}
