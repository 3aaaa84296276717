#include "image/base_plan.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "image/architecture.h"
#include "image/base_files.h"
#include "image/base_limits.h"
#include "image/base_registry.h"
#include "err.h"
#include "registry/image_format.h"
#include "text/json_file.h"
#include "own.h"

#define BLOBS "blobs/sha256/"
#define TOP "index.json"

static void
ref_clear(struct base_ref *ref)
{
	own_freep(&ref->name);
}

void
base_plan_clear(struct base_plan *plan)
{
	ref_clear(&plan->manifest);
	ref_clear(&plan->config);
	for (size_t i = 0; i < plan->n; i++)
		ref_clear(&plan->layer[i]);
	own_freep(&plan->layer);
	plan->n = 0;
}

void
base_plan_blob_name(
    const struct digest *digest, char out[static BASE_BLOB_NAME_SIZE])
{
	strcpy(out, BLOBS);
	digest_hex(digest, out + strlen(BLOBS));
}

int
base_plan_want(struct base_files *files, const struct base_ref *ref,
    bool manifest, struct err *e)
{
	return files->registry == NULL
	    ? 0
	    : base_registry_want(files->registry, files, ref, manifest, e);
}

int
base_plan_check(
    struct base_files *files, const struct base_ref *ref, struct err *e)
{
	struct base_file *file;

	if (base_files_get(files, ref->name, &file, e) < 0)
		return -1;
	if (ref->has_size && file->size != ref->size)
		return err_set(e, ERR_USAGE, 0,
		    "'%.200s' has %llu bytes, but the manifest says %llu",
		    ref->name, (unsigned long long)file->size,
		    (unsigned long long)ref->size);
	if (base_files_hash(file, e) < 0)
		return -1;
	if (ref->has_digest && !digest_equal(&file->digest, &ref->digest)) {
		char hex[DIGEST_HEX_LEN + 1];

		digest_hex(&file->digest, hex);
		return err_set(e, ERR_USAGE, 0,
		    "'%.200s' is damaged: its SHA-256 is %s", ref->name, hex);
	}
	return 0;
}

static int
plan_layers(struct base_files *files, struct base_plan *plan,
    const json_t *layers, struct err *e)
{
	size_t n = json_array_size(layers);

	if (!json_is_array(layers))
		return err_set(
		    e, ERR_USAGE, 0, "the manifest has no list of layers");
	if (n > files->limits->layers)
		return err_set(e, ERR_USAGE, 0,
		    "%zu layers are more than %zu, the most that is taken", n,
		    files->limits->layers);
	if ((plan->layer = calloc(n + 1, sizeof(*plan->layer))) == NULL)
		return err_set(e, ERR_FATAL, errno, "base image");
	plan->n = n;
	return 0;
}

/* A name in a docker-archive; blobs/sha256/HEX promises its digest. */
static int
ref_from_name(
    const json_t *json, const char *what, struct base_ref *ref, struct err *e)
{
	const char *name = json_string_value(json);
	size_t skip = strlen(BLOBS);

	if (name == NULL || name[0] == '\0')
		return err_set(
		    e, ERR_USAGE, 0, "manifest.json: %s is not a name", what);
	if (base_files_clean_name(name, &ref->name, e) < 0)
		return err_ctx(e, "manifest.json");
	if (strncmp(ref->name, BLOBS, skip) == 0)
		ref->has_digest = digest_from_hex(
		    ref->name + skip, strlen(ref->name + skip), &ref->digest);
	return 0;
}

static int
plan_docker(struct base_files *files, struct base_plan *plan, struct err *e)
{
	AUTO(json_file_decrefp) json_t *json = NULL;
	const json_t *image, *layers;

	if (base_files_json(files, "manifest.json", &json, e) < 0)
		return -1;
	image = json_array_get(json, 0);
	if (!json_is_object(image))
		return err_set(e, ERR_USAGE, 0,
		    "manifest.json: a list of images is wanted");
	layers = json_object_get(image, "Layers");
	if (ref_from_name(json_object_get(image, "Config"), "Config",
		&plan->config, e) < 0 ||
	    plan_layers(files, plan, layers, e) < 0)
		return -1;
	for (size_t i = 0; i < plan->n; i++)
		if (ref_from_name(json_array_get(layers, i), "a layer",
			&plan->layer[i], e) < 0)
			return -1;
	return 0;
}

/* A descriptor; where names it in errors. */
static int
ref_from_descriptor(
    const json_t *json, const char *where, struct base_ref *ref, struct err *e)
{
	const json_t *size = json_object_get(json, "size");
	const char *digest = json_string_value(json_object_get(json, "digest"));
	char name[BASE_BLOB_NAME_SIZE];

	if (digest == NULL || !json_is_integer(size) ||
	    json_integer_value(size) < 0)
		return err_set(e, ERR_USAGE, 0,
		    "%s: a descriptor needs digest and size", where);
	if (!digest_from_text(digest, &ref->digest))
		return err_set(e, ERR_USAGE, 0,
		    "%s: digest '%.80s' is not sha256 and 64 digits", where,
		    digest);
	base_plan_blob_name(&ref->digest, name);
	if ((ref->name = strdup(name)) == NULL)
		return err_set(e, ERR_FATAL, errno, "base image");
	ref->size = (uint64_t)json_integer_value(size);
	ref->has_size = ref->has_digest = true;
	return 0;
}

static const char *
media_type_of(const json_t *json)
{
	const char *type =
	    json_string_value(json_object_get(json, "mediaType"));

	return type != NULL ? type : "";
}

static bool
is_wanted(const struct base_files *files, const json_t *descriptor)
{
	const json_t *platform = json_object_get(descriptor, "platform");
	const char *os = json_string_value(json_object_get(platform, "os"));
	const char *arch =
	    json_string_value(json_object_get(platform, "architecture"));

	return files->architecture != NULL && os != NULL && arch != NULL &&
	    strcmp(os, "linux") == 0 && strcmp(arch, files->architecture) == 0;
}

/* Builders add attestations beside an image, for no platform at all. */
static bool
is_candidate(const json_t *descriptor, const char *ref_name)
{
	const char *name = json_string_value(
	    json_object_get(json_object_get(descriptor, "annotations"),
		"org.opencontainers.image.ref.name"));
	const json_t *platform = json_object_get(descriptor, "platform");
	const char *os = json_string_value(json_object_get(platform, "os"));
	const char *type = media_type_of(descriptor);

	return (image_format_is_index(type) ||
		   image_format_is_manifest(type)) &&
	    (os == NULL || strcmp(os, "unknown") != 0) &&
	    (ref_name == NULL || (name != NULL && strcmp(name, ref_name) == 0));
}

static int
not_one(const struct base_files *files, const char *where, size_t n,
    size_t n_found, struct err *e)
{
	const char *arch = files->architecture;

	if (n == 0)
		return err_set(e, ERR_USAGE, 0, "%s names no image%s%.100s",
		    where, files->ref_name != NULL ? " called " : "",
		    files->ref_name != NULL ? files->ref_name : "");
	return err_set(e, ERR_USAGE, 0, "%s names %zu images%s%s%s: %s", where,
	    n,
	    arch == NULL       ? ""
		: n_found == 0 ? ", none of them for linux/"
			       : ", several of them for linux/",
	    arch != NULL ? arch : "", arch == NULL ? ", and one is wanted" : "",
	    files->registry != NULL
		? "name the one that is meant by its digest"
		: "copy the one that is meant into a layout of its own");
}

/* The only image of an index, or the one for the wanted architecture. */
static int
choose(const struct base_files *files, const json_t *index, const char *where,
    const json_t **out, struct err *e)
{
	const json_t *list = json_object_get(index, "manifests"), *found = NULL;
	bool top = strcmp(where, TOP) == 0;
	size_t n = 0, n_found = 0;

	for (size_t i = 0; i < json_array_size(list); i++) {
		const json_t *descriptor = json_array_get(list, i);

		if (!is_candidate(descriptor, top ? files->ref_name : NULL))
			continue;
		if (n++ == 0)
			*out = descriptor;
		if (is_wanted(files, descriptor) && n_found++ == 0)
			found = descriptor;
	}
	if (n == 1)
		return 0;
	if (n == 0 || n_found != 1)
		return not_one(files, where, n, n_found, e);
	*out = found;
	return 0;
}

static int
plan_manifest(struct base_files *files, const char *name, const json_t *json,
    struct base_plan *plan, struct err *e)
{
	const json_t *layers = json_object_get(json, "layers");

	if (ref_from_descriptor(
		json_object_get(json, "config"), name, &plan->config, e) < 0 ||
	    plan_layers(files, plan, layers, e) < 0)
		return -1;
	for (size_t i = 0; i < plan->n; i++) {
		const json_t *layer = json_array_get(layers, i);

		if (json_array_size(json_object_get(layer, "urls")) > 0)
			return err_set(e, ERR_USAGE, 0,
			    "layer %zu must be fetched from elsewhere: only "
			    "layers that the image holds are taken",
			    i);
		plan->layer[i].media_type =
		    image_format_oci_layer(media_type_of(layer));
		if (plan->layer[i].media_type == NULL)
			return err_set(e, ERR_USAGE, 0,
			    "layer %zu has the media type '%.100s', which is "
			    "not one of a layer",
			    i, media_type_of(layer));
		if (ref_from_descriptor(layer, name, &plan->layer[i], e) < 0)
			return -1;
	}
	return 0;
}

static int
plan_oci(struct base_files *files, struct base_plan *plan, struct err *e)
{
	AUTO(ref_clear) struct base_ref ref = {0};
	AUTO(json_file_decrefp) json_t *json = NULL;

	if (base_files_json(files, TOP, &json, e) < 0)
		return -1;
	for (int i = 0; i < BASE_INDEXES_MAX; i++) {
		const char *where = i == 0 ? TOP : ref.name;
		const json_t *chosen = NULL;
		struct base_ref next = {0};
		json_t *inner = NULL;

		if (choose(files, json, where, &chosen, e) < 0 ||
		    ref_from_descriptor(chosen, where, &next, e) < 0)
			return -1;
		next.media_type = image_format_known(media_type_of(chosen));
		ref_clear(&ref);
		ref = next;
		if (base_plan_want(files, &ref, true, e) < 0 ||
		    base_plan_check(files, &ref, e) < 0 ||
		    base_files_json(files, ref.name, &inner, e) < 0)
			return -1;
		json_decref(json);
		json = inner;
		if (!image_format_is_manifest(ref.media_type))
			continue;
		plan->manifest = ref;
		memset(&ref, 0, sizeof(ref));
		return plan_manifest(files, plan->manifest.name, json, plan, e);
	}
	return err_set(e, ERR_USAGE, 0,
	    TOP ": an index in an index, more than %d deep", BASE_INDEXES_MAX);
}

int
base_plan_make(struct base_files *files, struct base_plan *out, struct err *e)
{
	AUTO(base_plan_clear) struct base_plan plan = {0};
	int ret;

	/* An archive may be both; then manifest.json has the layers' names. */
	if (files->layout == NULL && base_files_has(files, "manifest.json"))
		ret = plan_docker(files, &plan, e);
	else if (base_files_has(files, TOP))
		ret = plan_oci(files, &plan, e);
	else
		ret = err_set(e, ERR_USAGE, 0,
		    "not an image: it holds neither manifest.json nor "
		    "index.json (is it cut short?)");
	if (ret < 0)
		return -1;
	*out = plan;
	memset(&plan, 0, sizeof(plan));
	return 0;
}
