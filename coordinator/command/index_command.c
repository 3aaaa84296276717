#include "command/index_command.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "image/base_registry.h"
#include "digest.h"
#include "err.h"
#include "registry/image_format.h"
#include "output/index_image.h"
#include "output/index_json.h"
#include "output/oci_folder.h"
#include "options/options.h"
#include "own.h"
#include "output/push.h"
#include "registry_name.h"
#include "process/scratch.h"
#include "text/stream_end.h"

#define LAYOUT "oci:"
#define TAG_DEFAULT "latest"

struct run {
	struct scratch *scratch;
	struct index_image *image[INDEX_IMAGES_MAX];
	const struct index_manifest *manifest[INDEX_IMAGES_MAX];
	size_t n;
	char *index;
	size_t len;
	struct digest digest;
	/* Where it goes: one of them. */
	struct push *push;
	struct oci_folder *folder;
	char *layout; /* DIR of oci:DIR[:NAME] */
	const char *tag;
};

static void
run_clear(struct run *r)
{
	for (size_t i = 0; i < r->n; i++)
		index_image_free(r->image[i]);
	free(r->index);
	push_free(r->push);
	oci_folder_free(r->folder);
	free(r->layout);
	scratch_free(r->scratch);
}

static int
open_layout(struct run *r, const char *place, struct err *e)
{
	size_t len = strcspn(place, ":");

	r->tag = place[len] == ':' ? place + len + 1 : TAG_DEFAULT;
	if (len == 0 || !registry_name_is_tag(r->tag))
		return err_set(e, ERR_USAGE, 0, "oci:DIR[:NAME] is wanted");
	if ((r->layout = strndup(place, len)) == NULL)
		return err_set(e, ERR_FATAL, errno, "index");
	return oci_folder_open(r->layout, r->scratch, &r->folder, e);
}

static int
open_target(struct run *r, const struct options *o, struct err *e)
{
	const char *name = o->index_name;

	if (strncmp(name, LAYOUT, strlen(LAYOUT)) == 0)
		return open_layout(r, name + strlen(LAYOUT), e);
	if (strncmp(name, BASE_REGISTRY, strlen(BASE_REGISTRY)) != 0)
		return err_set(e, ERR_USAGE, 0,
		    "docker://HOST[:PORT]/REPOSITORY:TAG or oci:DIR[:NAME] is "
		    "wanted");
	if (push_open(name + strlen(BASE_REGISTRY), &o->registry, &r->push, e) <
	    0)
		return -1;
	r->tag = push_tag(r->push);
	return *r->tag != '\0' ? 0
			       : err_set(e, ERR_USAGE, 0, "a tag is missing");
}

static int
open_images(struct run *r, const struct options *o, struct err *e)
{
	for (; r->n < o->n_manifests; r->n++) {
		if (index_image_open(o->manifests[r->n], &o->registry,
			r->scratch, &r->image[r->n], e) < 0)
			return err_ctx(e, "--manifest");
		r->manifest[r->n] = index_image_manifest(r->image[r->n]);
	}
	return index_json_check(r->manifest, r->n, e);
}

/* Its blobs and itself, under its digest. */
static int
push_manifest(
    const struct run *r, const struct index_manifest *m, struct err *e)
{
	AUTO(own_freep) struct push_blob *blob = NULL;
	struct push_counts counts;
	char digest[DIGEST_TEXT_SIZE];
	struct push_image image = {
	    .n_blobs = m->n_blobs,
	    .tag = digest,
	    .media_type = m->media_type,
	    .manifest = m->data,
	    .manifest_len = m->len,
	    .manifest_digest = m->digest,
	};
	bool near = m->source != NULL &&
	    strcmp(base_registry_base(m->source), push_base(r->push)) == 0;

	digest_text(&m->digest, digest);
	if ((blob = calloc(m->n_blobs + 1, sizeof(*blob))) == NULL)
		return err_set(e, ERR_FATAL, errno, "index");
	memcpy(blob, m->blob, m->n_blobs * sizeof(*blob));
	for (size_t i = 0; i < m->n_blobs && near; i++)
		if (strcmp(base_registry_repo(m->source), push_repo(r->push)) !=
		    0)
			blob[i].from = base_registry_repo(m->source);
	image.blob = blob;
	if (push_image(r->push, &image, &counts, e) < 0)
		return err_ctx(e, "%.200s", m->reference);
	return 0;
}

static int
push_all(const struct run *r, struct err *e)
{
	const struct push_image index = {
	    .tag = r->tag,
	    .media_type = IMAGE_INDEX_TYPE,
	    .manifest = r->index,
	    .manifest_len = r->len,
	    .manifest_digest = r->digest,
	};
	struct push_counts counts;

	for (size_t i = 0; i < r->n; i++)
		if (push_manifest(r, r->manifest[i], e) < 0)
			return -1;
	return push_image(r->push, &index, &counts, e);
}

static int
copy_blobs(const struct run *r, const struct index_manifest *m, struct err *e)
{
	for (size_t i = 0; i < m->n_blobs; i++) {
		const struct push_blob *b = &m->blob[i];
		int rc = b->file != NULL
		    ? oci_folder_copy(
			  r->folder, b->file, &b->digest, b->size, e)
		    : base_registry_fetch(m->source, &b->digest, b->size,
			  oci_folder_blobs(r->folder), e);

		if (rc < 0 || oci_folder_open_up(r->folder, &b->digest, e) < 0)
			return err_ctx(e, "%.200s", m->reference);
	}
	return oci_folder_put(r->folder, &m->digest, m->data, m->len, e);
}

static int
copy_all(const struct run *r, struct err *e)
{
	AUTO(own_freep) char *top = NULL;
	size_t len;

	for (size_t i = 0; i < r->n; i++)
		if (copy_blobs(r, r->manifest[i], e) < 0)
			return -1;
	if (oci_folder_put(r->folder, &r->digest, r->index, r->len, e) < 0 ||
	    index_json_layout(&r->digest, r->len, r->tag, &top, &len, e) < 0)
		return -1;
	return oci_folder_commit(r->folder, top, len, e);
}

int
index_command_run(const struct options *o, struct err *e)
{
	AUTO(run_clear) struct run r = {.n = 0};
	char digest[DIGEST_TEXT_SIZE];

	if (scratch_new(&r.scratch, e) < 0 || open_target(&r, o, e) < 0)
		return err_ctx(e, "index %.200s", o->index_name);
	if (open_images(&r, o, e) < 0 ||
	    index_json_make(r.manifest, r.n, &r.index, &r.len, e) < 0)
		return -1;
	digest_of(r.index, r.len, &r.digest);
	if ((r.push != NULL ? push_all(&r, e) : copy_all(&r, e)) < 0)
		return err_ctx(e, "index %.200s", o->index_name);
	digest_text(&r.digest, digest);
	puts(digest);
	return stream_end(stdout, "standard output", e);
}
