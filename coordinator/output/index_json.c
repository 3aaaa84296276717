#include "output/index_json.h"

#include <stdbool.h>
#include <string.h>

#include <jansson.h>

#include "digest.h"
#include "err.h"
#include "registry/image_format.h"
#include "output/index_image.h"
#include "text/json_file.h"
#include "own.h"

static bool
same(const char *a, const char *b)
{
	return a == NULL || b == NULL ? a == b : strcmp(a, b) == 0;
}

int
index_json_check(
    const struct index_manifest *const *manifest, size_t n, struct err *e)
{
	for (size_t i = 0; i < n; i++)
		for (size_t j = 0; j < i; j++) {
			const struct index_platform *a = &manifest[j]->platform;
			const struct index_platform *b = &manifest[i]->platform;

			if (same(a->architecture, b->architecture) &&
			    same(a->os, b->os) &&
			    same(a->variant, b->variant) &&
			    same(a->os_version, b->os_version))
				return err_set(e, ERR_USAGE, 0,
				    "%.200s and %.200s are both for %s/%s%s%s",
				    manifest[j]->reference,
				    manifest[i]->reference, b->os,
				    b->architecture,
				    b->variant != NULL ? "/" : "",
				    b->variant != NULL ? b->variant : "");
		}
	return 0;
}

static json_t *
descriptor(const char *media_type, const struct digest *digest, size_t size)
{
	char text[DIGEST_TEXT_SIZE];

	digest_text(digest, text);
	return json_pack("{s:s, s:s, s:I}", "mediaType", media_type, "digest",
	    text, "size", (json_int_t)size);
}

/* Compact, keys in the order in which they were set. */
static int
dump(const json_t *doc, char **out, size_t *len, struct err *e)
{
	if (doc == NULL ||
	    (*out = json_dumps(doc, JSON_COMPACT | JSON_ENSURE_ASCII)) == NULL)
		return err_set(e, ERR_FATAL, 0, "index: out of memory");
	*len = strlen(*out);
	return 0;
}

int
index_json_make(const struct index_manifest *const *manifest, size_t n,
    char **out, size_t *len, struct err *e)
{
	AUTO(json_file_decrefp) json_t *doc = NULL;
	json_t *list = json_array();

	for (size_t i = 0; i < n; i++) {
		const struct index_manifest *m = manifest[i];
		const struct index_platform *p = &m->platform;
		json_t *one = descriptor(m->media_type, &m->digest, m->len);

		json_object_set_new(one, "platform",
		    json_pack("{s:s, s:s, s:s*, s:s*}", "architecture",
			p->architecture, "os", p->os, "os.version",
			p->os_version, "variant", p->variant));
		if (json_object_get(one, "platform") == NULL ||
		    json_array_append(list, one) < 0) {
			json_decref(one);
			json_decref(list);
			return err_set(e, ERR_FATAL, 0, "index: out of memory");
		}
		json_decref(one);
	}
	doc = json_pack("{s:i, s:s, s:o}", "schemaVersion", 2, "mediaType",
	    IMAGE_INDEX_TYPE, "manifests", list);
	return dump(doc, out, len, e);
}

int
index_json_layout(const struct digest *digest, size_t size, const char *name,
    char **out, size_t *len, struct err *e)
{
	AUTO(json_file_decrefp)
	json_t *one = descriptor(IMAGE_INDEX_TYPE, digest, size);
	AUTO(json_file_decrefp) json_t *doc = NULL;

	json_object_set_new(one, "annotations",
	    json_pack("{s:s}", "org.opencontainers.image.ref.name", name));
	doc = json_pack("{s:i, s:s, s:[O]}", "schemaVersion", 2, "mediaType",
	    IMAGE_INDEX_TYPE, "manifests", one);
	return dump(doc, out, len, e);
}
