#include "output/index_image.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "image/base_files.h"
#include "image/base_limits.h"
#include "image/base_plan.h"
#include "image/base_registry.h"
#include "err.h"
#include "text/json_file.h"
#include "own.h"
#include "output/push.h"
#include "process/scratch.h"

#define LAYOUT "oci:"

struct index_image {
	struct index_manifest manifest;
	struct scratch *scratch;
	char *folder; /* what was fetched; or NULL */
	char *layout, *ref_name;
	struct base_files files;
	struct base_plan plan;
	struct base_registry *registry;
	json_t *config;
	char *data;
	struct push_blob *blob;
};

void
index_image_free(struct index_image *m)
{
	if (m == NULL)
		return;
	free(m->blob);
	free(m->data);
	json_decref(m->config);
	base_plan_clear(&m->plan);
	base_files_clear(&m->files);
	base_registry_free(m->registry);
	if (m->folder != NULL)
		scratch_remove(m->scratch, m->folder);
	free(m->folder);
	free(m->layout);
	free(m->ref_name);
	free(m);
}

void
index_image_freep(struct index_image **m)
{
	index_image_free(*m);
	*m = NULL;
}

const struct index_manifest *
index_image_manifest(const struct index_image *m)
{
	return &m->manifest;
}

/* DIR[:NAME], as skopeo takes it apart. */
static int
open_layout(struct index_image *m, const char *place, struct err *e)
{
	size_t len = strcspn(place, ":");

	if (len == 0)
		return err_set(e, ERR_USAGE, 0, "oci:DIR[:NAME] is wanted");
	if ((m->layout = strndup(place, len)) == NULL ||
	    (place[len] == ':' &&
		(m->ref_name = strdup(place + len + 1)) == NULL))
		return err_set(e, ERR_FATAL, errno, "index");
	m->files.layout = m->layout;
	m->files.ref_name = m->ref_name;
	if (!base_files_has(&m->files, "oci-layout"))
		return err_set(
		    e, ERR_USAGE, 0, "%s is no OCI layout", m->layout);
	return 0;
}

static int
open_files(struct index_image *m, const char *reference,
    const struct registry_options *push, struct err *e)
{
	if (strncmp(reference, LAYOUT, strlen(LAYOUT)) == 0)
		return open_layout(m, reference + strlen(LAYOUT), e);
	if (strncmp(reference, BASE_REGISTRY, strlen(BASE_REGISTRY)) != 0)
		return err_set(e, ERR_USAGE, 0,
		    "docker://HOST/REPOSITORY[:TAG|@DIGEST] or oci:DIR[:NAME] "
		    "is wanted");
	if (scratch_folder(m->scratch, scratch_temp(), &m->folder, e) < 0 ||
	    base_registry_open(reference + strlen(BASE_REGISTRY), push,
		m->folder, &m->files, &m->registry, e) < 0)
		return -1;
	m->files.registry = m->registry;
	return 0;
}

/* A word of the config; *out stays NULL where it is missing. */
static int
word(const struct index_image *m, const char *name, const char **out,
    struct err *e)
{
	const json_t *value = json_object_get(m->config, name);

	*out = json_string_value(value);
	if (value == NULL || json_is_null(value) ||
	    (*out != NULL && **out == '\0')) {
		*out = NULL;
		return 0;
	}
	if (*out == NULL || strlen(*out) > INDEX_WORD_MAX)
		return err_set(e, ERR_USAGE, 0,
		    "its config's '%s' is no string of 1 to %d bytes", name,
		    INDEX_WORD_MAX);
	return 0;
}

static int
read_platform(
    const struct index_image *m, struct index_platform *out, struct err *e)
{
	if (word(m, "architecture", &out->architecture, e) < 0 ||
	    word(m, "os", &out->os, e) < 0 ||
	    word(m, "variant", &out->variant, e) < 0 ||
	    word(m, "os.version", &out->os_version, e) < 0)
		return -1;
	if (out->architecture == NULL || out->os == NULL)
		return err_set(e, ERR_USAGE, 0,
		    "its config does not say for which architecture and os it "
		    "is");
	return 0;
}

static int
read_config(struct index_image *m, struct err *e)
{
	const struct base_plan *plan = &m->plan;
	size_t n;

	if (base_plan_want(&m->files, &plan->config, false, e) < 0 ||
	    base_plan_check(&m->files, &plan->config, e) < 0 ||
	    base_files_json(&m->files, plan->config.name, &m->config, e) < 0)
		return -1;
	n = json_array_size(
	    json_object_get(json_object_get(m->config, "rootfs"), "diff_ids"));
	if (n != plan->n)
		return err_set(e, ERR_USAGE, 0,
		    "its manifest names %zu layers, its config %zu", plan->n,
		    n);
	return read_platform(m, &m->manifest.platform, e);
}

/* A file that is here goes as a file, all else comes from the registry. */
static int
list_blob(struct index_image *m, const struct base_ref *ref,
    struct push_blob *out, struct err *e)
{
	struct base_file *file;

	out->digest = ref->digest;
	out->size = ref->size;
	out->source = m->registry;
	if (m->registry != NULL && !base_files_has(&m->files, ref->name))
		return 0;
	if (base_plan_check(&m->files, ref, e) < 0 ||
	    base_files_get(&m->files, ref->name, &file, e) < 0)
		return -1;
	out->file = file->file;
	return 0;
}

static int
list_blobs(struct index_image *m, struct err *e)
{
	const struct base_plan *plan = &m->plan;

	m->blob = calloc(plan->n + 1, sizeof(*m->blob));
	if (m->blob == NULL)
		return err_set(e, ERR_FATAL, errno, "index");
	if (list_blob(m, &plan->config, &m->blob[plan->n], e) < 0)
		return -1;
	for (size_t i = 0; i < plan->n; i++)
		if (list_blob(m, &plan->layer[i], &m->blob[i], e) < 0)
			return -1;
	m->manifest.blob = m->blob;
	m->manifest.n_blobs = plan->n + 1;
	return 0;
}

static int
read_image(struct index_image *m, struct err *e)
{
	const struct base_ref *manifest = &m->plan.manifest;

	if (base_plan_make(&m->files, &m->plan, e) < 0 ||
	    read_config(m, e) < 0 || list_blobs(m, e) < 0 ||
	    base_files_read(
		&m->files, manifest->name, &m->data, &m->manifest.len, e) < 0)
		return -1;
	m->manifest.data = m->data;
	m->manifest.digest = manifest->digest;
	m->manifest.media_type = manifest->media_type;
	m->manifest.source = m->registry;
	return 0;
}

int
index_image_open(const char *reference, const struct registry_options *push,
    struct scratch *scratch, struct index_image **out, struct err *e)
{
	static const struct base_limits limits = BASE_LIMITS_DEFAULT;
	AUTO(index_image_freep)
	struct index_image *m = calloc(1, sizeof(*m));

	if (m == NULL)
		return err_set(e, ERR_FATAL, errno, "index");
	m->scratch = scratch;
	m->files.limits = &limits;
	m->files.architecture = NULL; /* none is better than another */
	m->manifest.reference = reference;
	if (open_files(m, reference, push, e) < 0 || read_image(m, e) < 0)
		return err_ctx(e, "%.300s", reference);
	*out = STEAL(&m);
	return 0;
}
