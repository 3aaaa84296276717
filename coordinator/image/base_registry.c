#include "image/base_registry.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "image/base_files.h"
#include "image/base_limits.h"
#include "image/base_plan.h"
#include "blob_dir.h"
#include "err.h"
#include "process/file_copy.h"
#include "registry/image_format.h"
#include "text/json_file.h"
#include "own.h"
#include "registry.h"
#include "registry_name.h"
#include "registry/registry_place.h"

#define TAG_DEFAULT "latest"

struct base_registry {
	struct registry_name name;
	struct registry_place *place;
	struct registry *session;
	const char *folder;
	unsigned n; /* files in it */
};

void
base_registry_free(struct base_registry *r)
{
	if (r == NULL)
		return;
	registry_free(r->session);
	registry_place_free(r->place);
	free(r);
}

void
base_registry_freep(struct base_registry **r)
{
	base_registry_free(*r);
	*r = NULL;
}

const char *
base_registry_base(const struct base_registry *r)
{
	return registry_place_base(r->place);
}

const char *
base_registry_repo(const struct base_registry *r)
{
	return r->name.repo;
}

/* A new file of the folder. */
static int
new_file(struct base_registry *r, char **path, int *fd, struct err *e)
{
	if (asprintf(path, "%s/%u", r->folder, r->n++) < 0) {
		*path = NULL;
		return err_set(e, ERR_FATAL, errno, "base image");
	}
	*fd = open(*path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	return *fd < 0 ? err_set(e, ERR_FATAL, errno, "make %s", *path) : 0;
}

/* The image has a file of this name and content then. */
static int
add_file(struct base_files *files, const char *name, char **path, uint64_t size,
    struct err *e)
{
	struct base_file file = {.size = size};
	bool added = false;
	int rc;

	if ((file.name = strdup(name)) == NULL)
		return err_set(e, ERR_FATAL, errno, "base image");
	file.file = STEAL(path);
	/* What comes twice has to be the same, which its digest says. */
	if ((rc = base_files_hash(&file, e)) == 0)
		rc = base_files_add(files, &file, &added, e);
	free(file.name);
	free(file.file);
	return rc;
}

static int
add_data(struct base_registry *r, struct base_files *files, const char *name,
    const void *data, size_t len, struct err *e)
{
	AUTO(own_freep) char *path = NULL;
	AUTO(own_closep) int fd = -1;

	if (len > files->limits->json)
		return err_set(e, ERR_USAGE, 0, "%s is larger than %zu bytes",
		    name, files->limits->json);
	if (new_file(r, &path, &fd, e) < 0 ||
	    file_write(fd, path, data, len, e) < 0)
		return -1;
	return add_file(files, name, &path, len, e);
}

static int
add_manifest(struct base_registry *r, struct base_files *files,
    const struct registry_manifest *m, struct err *e)
{
	char name[BASE_BLOB_NAME_SIZE];

	base_plan_blob_name(&m->digest, name);
	return add_data(r, files, name, m->data, m->len, e);
}

/*
 * What a manifest says of itself decides; the header is for those that say
 * nothing.  Two that differ are how one text passes for two things.
 */
static int
media_type(const struct registry_manifest *m, size_t depth,
    char out[static REGISTRY_TYPE_MAX + 1], struct err *e)
{
	AUTO(json_file_decrefp) json_t *json = NULL;
	const char *own;

	if (json_file_too_deep(m->data, m->len, depth))
		return err_set(e, ERR_USAGE, 0,
		    "its manifest nests deeper than %zu", depth);
	json = json_loadb(m->data, m->len, JSON_REJECT_DUPLICATES, NULL);
	if (!json_is_object(json))
		return err_set(
		    e, ERR_USAGE, 0, "its manifest is not a JSON object");
	own = json_string_value(json_object_get(json, "mediaType"));
	if (own != NULL && m->media_type[0] != '\0' &&
	    strcmp(own, m->media_type) != 0)
		return err_set(e, ERR_USAGE, 0,
		    "its manifest says that it is %.100s, the registry says "
		    "%.100s",
		    own, m->media_type);
	snprintf(out, REGISTRY_TYPE_MAX + 1, "%s",
	    own != NULL ? own : m->media_type);
	if (!image_format_is_manifest(out) && !image_format_is_index(out))
		return err_set(e, ERR_USAGE, 0,
		    "it is %.100s, and not an image%s",
		    out[0] != '\0' ? out : "of no media type",
		    strstr(out, "manifest.v1") != NULL
			? " of Docker's schema 2 or OCI"
			: "");
	return 0;
}

/* An index.json, as a layout has one. */
static int
start(struct base_registry *r, struct base_files *files, struct err *e)
{
	AUTO(registry_manifest_clear) struct registry_manifest m = {0};
	const struct registry_name *name = &r->name;
	const char *reference = name->digest[0] != '\0' ? name->digest
	    : name->tag[0] != '\0'			? name->tag
							: TAG_DEFAULT;
	char type[REGISTRY_TYPE_MAX + 1], digest[DIGEST_TEXT_SIZE];
	char index[REGISTRY_TYPE_MAX + 300];

	if (registry_get_manifest(r->session, reference, &m, e) < 0)
		return -1;
	if (m.data == NULL)
		return err_set(e, ERR_USAGE, 0,
		    "the registry has no manifest %.140s there", reference);
	if (media_type(&m, files->limits->json_depth, type, e) < 0 ||
	    add_manifest(r, files, &m, e) < 0)
		return -1;
	digest_text(&m.digest, digest);
	snprintf(index, sizeof(index),
	    "{\"schemaVersion\": 2, \"manifests\": [{\"mediaType\": \"%s\", "
	    "\"digest\": \"%s\", \"size\": %zu}]}",
	    type, digest, m.len);
	return add_data(r, files, "index.json", index, strlen(index), e);
}

int
base_registry_open(const char *name, const struct registry_options *push,
    const char *folder, struct base_files *files, struct base_registry **out,
    struct err *e)
{
	AUTO(base_registry_freep) struct base_registry *r = NULL;

	if ((r = calloc(1, sizeof(*r))) == NULL)
		return err_set(e, ERR_FATAL, errno, "base image");
	r->folder = folder;
	if (registry_name_parse(name, &r->name, e) < 0 ||
	    registry_place_open(&r->name, push, &r->place, e) < 0 ||
	    registry_place_session(
		r->place, r->name.repo, true, NULL, &r->session, e) < 0 ||
	    start(r, files, e) < 0)
		return -1;
	*out = STEAL(&r);
	return 0;
}

static int
want_manifest(struct base_registry *r, struct base_files *files,
    const struct base_ref *ref, struct err *e)
{
	AUTO(registry_manifest_clear) struct registry_manifest m = {0};
	char digest[DIGEST_TEXT_SIZE];

	digest_text(&ref->digest, digest);
	if (registry_get_manifest(r->session, digest, &m, e) < 0)
		return -1;
	if (m.data == NULL)
		return err_set(e, ERR_USAGE, 0,
		    "the registry lacks the manifest %s, which it names",
		    digest);
	return add_manifest(r, files, &m, e);
}

int
base_registry_want(struct base_registry *r, struct base_files *files,
    const struct base_ref *ref, bool manifest, struct err *e)
{
	AUTO(own_freep) char *path = NULL;
	AUTO(own_closep) int fd = -1;

	if (base_files_has(files, ref->name))
		return 0;
	if (ref->size > files->limits->json)
		return err_set(e, ERR_USAGE, 0, "%s is larger than %zu bytes",
		    ref->name, files->limits->json);
	if (manifest)
		return want_manifest(r, files, ref, e);
	if (new_file(r, &path, &fd, e) < 0 ||
	    registry_get_blob(r->session, &ref->digest, ref->size, fd, e) < 0)
		return -1;
	return add_file(files, ref->name, &path, ref->size, e);
}

int
base_registry_get(struct base_registry *r, const struct digest *digest,
    uint64_t size, int fd, struct err *e)
{
	AUTO(registry_freep) struct registry *session = NULL;

	if (registry_place_session(
		r->place, r->name.repo, true, NULL, &session, e) < 0)
		return -1;
	return registry_get_blob(session, digest, size, fd, e);
}

int
base_registry_fetch(struct base_registry *r, const struct digest *digest,
    uint64_t size, const char *blobs, struct err *e)
{
	AUTO(blob_writer_freep) struct blob_writer *w = NULL;

	if (blob_writer_new(blobs, NULL, &w, e) < 0 ||
	    base_registry_get(r, digest, size, blob_writer_file(w), e) < 0)
		return -1;
	blob_writer_wrote(w, size);
	return blob_commit(w, digest, e);
}
