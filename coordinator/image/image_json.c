#include "image/image_json.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "err.h"
#include "image/image.h"
#include "registry/image_format.h"
#include "image/image_name.h"
#include "text/json_file.h"
#include "own.h"
#include "text/python_json.h"
#include "text/stream_end.h"

/* HOST/library/NAME:TAG */
#define REFERENCE_SIZE (IMAGE_NAME_MAX + IMAGE_TAG_MAX + 32)

static int
no_memory(struct err *e)
{
	return err_set(e, ERR_FATAL, 0, "image config: out of memory");
}

static json_t *
digest_value(const struct digest *d)
{
	char text[DIGEST_TEXT_SIZE];

	digest_text(d, text);
	return json_string(text);
}

/* Adds config's Env to env, an object of NAME -> "NAME=VALUE". */
static int
add_env(const json_t *config, const char *whose, json_t *env, struct err *e)
{
	const json_t *list = json_object_get(config, "Env");
	json_t *item;
	size_t i;

	if (list == NULL || json_is_null(list))
		return 0;
	if (!json_is_array(list))
		return err_set(e, ERR_USAGE, 0,
		    "%s: Env: an array of strings is wanted, not %s", whose,
		    json_file_type_name(list));
	json_array_foreach((json_t *)(uintptr_t)list, i, item)
	{
		AUTO(own_freep) char *name = NULL;

		if (!json_is_string(item))
			return err_set(e, ERR_USAGE, 0,
			    "%s: Env: element %zu: a string is wanted, not %s",
			    whose, i + 1, json_file_type_name(item));
		name = strndup(json_string_value(item),
		    strcspn(json_string_value(item), "="));
		/* A name that is there keeps its place. */
		if (name == NULL || json_object_set(env, name, item) < 0)
			return no_memory(e);
	}
	return 0;
}

/* The request's config, with the base's Env below its own. */
static int
merged_config(const struct image *image, json_t **out, struct err *e)
{
	AUTO(json_file_decrefp)
	json_t *config = json_copy((json_t *)(uintptr_t)image->config);
	AUTO(json_file_decrefp) json_t *env = json_object();
	AUTO(json_file_decrefp) json_t *list = json_array();
	const char *name;
	json_t *item;

	if (config == NULL || env == NULL || list == NULL)
		return no_memory(e);
	if (image->base_config != NULL) {
		if (add_env(image->base_config, "base image", env, e) < 0 ||
		    add_env(config, "config", env, e) < 0)
			return -1;
		json_object_foreach(env, name, item)
		{
			if (json_array_append(list, item) < 0)
				return no_memory(e);
		}
		if (json_array_size(list) > 0 &&
		    json_object_set(config, "Env", list) < 0)
			return no_memory(e);
	}
	*out = STEAL(&config);
	return 0;
}

/* "store paths: [...]" as the reference writes a Python list. */
static json_t *
comment_value(const struct image_layer *layer)
{
	AUTO(own_freep) char *text = NULL;
	size_t len;
	FILE *f = open_memstream(&text, &len);

	if (f == NULL)
		return NULL;
	fputs("store paths: ", f);
	python_json_put_repr(f, layer->paths, layer->n_paths);
	if (stream_close(f) < 0)
		return NULL;
	return json_stringn_nocheck(text, len);
}

static int
put_layers(
    const struct image *image, json_t *diff_ids, json_t *history, struct err *e)
{
	for (size_t i = 0; i < image->n_layers; i++) {
		const struct image_layer *layer = &image->layer[i];

		if (json_array_append_new(
			diff_ids, digest_value(&layer->result.diff_id)) < 0 ||
		    json_array_append_new(history,
			json_pack("{s:s, s:o}", "created", image->created,
			    "comment", comment_value(layer))) < 0)
			return no_memory(e);
	}
	return 0;
}

static int
dump(const json_t *doc, char **out, size_t *out_len, struct err *e)
{
	AUTO(own_freep) char *text = NULL;
	size_t len;
	FILE *f = open_memstream(&text, &len);

	if (f == NULL)
		return no_memory(e);
	python_json_put(f, doc);
	if (stream_close(f) < 0)
		return no_memory(e);
	*out = STEAL(&text);
	*out_len = len;
	return 0;
}

static int
make_config(struct image *image, struct err *e)
{
	AUTO(json_file_decrefp) json_t *config = NULL;
	AUTO(json_file_decrefp) json_t *diff_ids = json_array();
	AUTO(json_file_decrefp) json_t *history = json_array();
	AUTO(json_file_decrefp) json_t *doc = NULL;

	if (diff_ids == NULL || history == NULL)
		return no_memory(e);
	if (merged_config(image, &config, e) < 0 ||
	    put_layers(image, diff_ids, history, e) < 0)
		return -1;
	doc = json_pack("{s:s, s:s, s:s, s:O, s:{s:O, s:s}, s:O}", "created",
	    image->created, "architecture", image->architecture, "os",
	    image->os, "config", config, "rootfs", "diff_ids", diff_ids, "type",
	    "layers", "history", history);
	if (doc == NULL)
		return no_memory(e);
	return dump(doc, &image->config_json, &image->config_len, e);
}

static json_t *
descriptor(const char *media_type, const struct digest *digest, uint64_t size)
{
	return json_pack("{s:s, s:o, s:I}", "mediaType", media_type, "digest",
	    digest_value(digest), "size", (json_int_t)size);
}

/* Compact, keys in the order in which they were set. */
static int
dump_compact(const json_t *doc, char **out, size_t *len, struct err *e)
{
	char *text;

	if (doc == NULL ||
	    (text = json_dumps(doc, JSON_COMPACT | JSON_ENSURE_ASCII)) == NULL)
		return no_memory(e);
	*len = strlen(text);
	*out = text;
	return 0;
}

/* Docker's schema has no name for what some base images hold. */
static int
media_type(const struct image *image, size_t i, const char **out, struct err *e)
{
	const char *oci = image->layer[i].media_type;

	if ((*out = image_format_layer(image->format, oci)) != NULL)
		return 0;
	return err_set(e, ERR_USAGE, 0,
	    "--format docker: layer %zu is %s, for which it has no media type",
	    i + 1, oci);
}

static int
make_manifest(struct image *image, struct err *e)
{
	AUTO(json_file_decrefp) json_t *layers = json_array();
	AUTO(json_file_decrefp) json_t *doc = NULL;

	for (size_t i = 0; i < image->n_layers; i++) {
		const struct layer_result *r = &image->layer[i].result;
		const char *type;

		if (media_type(image, i, &type, e) < 0)
			return -1;
		if (json_array_append_new(
			layers, descriptor(type, &r->digest, r->size)) < 0)
			return no_memory(e);
	}
	doc = json_pack("{s:i, s:s, s:o, s:O}", "schemaVersion", 2, "mediaType",
	    image_format_manifest(image->format), "config",
	    descriptor(image_format_config(image->format), &image->id,
		image->config_len),
	    "layers", layers);
	return dump_compact(
	    doc, &image->manifest_json, &image->manifest_len, e);
}

int
image_json_make(struct image *image, struct err *e)
{
	char hex[DIGEST_HEX_LEN + 1];

	image_json_free(image);
	if (make_config(image, e) < 0)
		return -1;
	digest_of(image->config_json, image->config_len, &image->id);
	digest_hex(&image->id, hex);
	memcpy(image->default_tag, hex, sizeof(image->default_tag) - 1);
	image->default_tag[sizeof(image->default_tag) - 1] = '\0';
	if (image->tag == NULL)
		image->tag = image->default_tag;
	if (make_manifest(image, e) < 0) {
		image_json_free(image);
		return -1;
	}
	digest_of(
	    image->manifest_json, image->manifest_len, &image->manifest_digest);
	return 0;
}

int
image_json_docker_manifest(const struct image *image,
    const char *const *layer_name, const char *config_name, char **out,
    size_t *len, struct err *e)
{
	AUTO(json_file_decrefp) json_t *layers = json_array();
	AUTO(json_file_decrefp) json_t *doc = NULL;
	char tag[REFERENCE_SIZE];

	for (size_t i = 0; i < image->n_layers; i++)
		if (json_array_append_new(
			layers, json_string_nocheck(layer_name[i])) < 0)
			return no_memory(e);
	snprintf(tag, sizeof(tag), "%s:%s", image->name, image->tag);
	doc = json_pack("[{s:o, s:[s], s:O}]", "Config",
	    json_string_nocheck(config_name), "RepoTags", tag, "Layers",
	    layers);
	if (doc == NULL)
		return no_memory(e);
	return dump(doc, out, len, e);
}

/* What engines that want a host in each name call the image. */
static void
full_reference(const struct image *image, char out[static REFERENCE_SIZE])
{
	const char *prefix = "";

	if (image_name_host_len(image->name) == 0)
		prefix = strchr(image->name, '/') != NULL
		    ? "docker.io/"
		    : "docker.io/library/";
	snprintf(
	    out, REFERENCE_SIZE, "%s%s:%s", prefix, image->name, image->tag);
}

int
image_json_index(
    const struct image *image, char **out, size_t *len, struct err *e)
{
	AUTO(json_file_decrefp) json_t *doc = NULL;
	AUTO(json_file_decrefp)
	json_t *manifest = descriptor(image_format_manifest(image->format),
	    &image->manifest_digest, image->manifest_len);
	char reference[REFERENCE_SIZE];

	full_reference(image, reference);
	if (json_object_set_new(manifest, "platform",
		json_pack("{s:s, s:s}", "architecture", image->architecture,
		    "os", image->os)) < 0 ||
	    json_object_set_new(manifest, "annotations",
		json_pack("{s:s, s:s}", "io.containerd.image.name", reference,
		    "org.opencontainers.image.ref.name", image->tag)) < 0)
		return no_memory(e);
	doc = json_pack("{s:i, s:s, s:[O]}", "schemaVersion", 2, "mediaType",
	    IMAGE_INDEX_TYPE, "manifests", manifest);
	return dump_compact(doc, out, len, e);
}

void
image_json_free(struct image *image)
{
	if (image->tag == image->default_tag)
		image->tag = NULL;
	free(image->config_json);
	free(image->manifest_json);
	image->config_json = image->manifest_json = NULL;
	image->config_len = image->manifest_len = 0;
}
