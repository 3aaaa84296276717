#include "cache/shared_record.h"

#include <string.h>

#include <jansson.h>

#include "err.h"
#include "registry/image_format.h"
#include "text/json_file.h"
#include "cache/layer_cache.h"
#include "cache/layer_cache_state.h"
#include "layer_spec.h"
#include "own.h"

#define EMPTY_TYPE "application/vnd.oci.empty.v1+json"
#define EMPTY_BASE64 "e30="
#define KEY "vnd.quarry.layer.key"
#define RECORD "vnd.quarry.layer.record"
#define DEPTH_MAX 8

void
shared_record_tag(
    const struct digest *key, char out[static SHARED_RECORD_TAG_SIZE])
{
	strcpy(out, "layer-");
	digest_hex(key, out + strlen(out));
}

int
shared_record_print(const struct digest *key, const struct layer_record *record,
    const char *media_type, char **out, size_t *len, struct err *e)
{
	AUTO(json_file_decrefp) json_t *doc = NULL;
	const struct layer_result *r = record->result;
	char text[LAYER_CACHE_RECORD_MAX], hex[DIGEST_HEX_LEN + 1];
	char digest[DIGEST_TEXT_SIZE], empty[DIGEST_TEXT_SIZE];
	struct digest nothing;

	layer_record_print(r, record->verified, text, sizeof(text));
	digest_hex(key, hex);
	digest_text(&r->digest, digest);
	digest_of(SHARED_RECORD_EMPTY, strlen(SHARED_RECORD_EMPTY), &nothing);
	digest_text(&nothing, empty);
	doc = json_pack("{s:i, s:s, s:s, s:{s:s, s:s, s:i, s:s}, "
			"s:[{s:s, s:s, s:I}], s:{s:s, s:s}}",
	    "schemaVersion", 2, "mediaType", image_format_manifest(IMAGE_OCI),
	    "artifactType", SHARED_RECORD_TYPE, "config", "mediaType",
	    EMPTY_TYPE, "digest", empty, "size",
	    (int)strlen(SHARED_RECORD_EMPTY), "data", EMPTY_BASE64, "layers",
	    "mediaType", media_type, "digest", digest, "size",
	    (json_int_t)r->size, "annotations", KEY, hex, RECORD, text);
	if (doc == NULL ||
	    (*out = json_dumps(doc, JSON_COMPACT | JSON_ENSURE_ASCII)) == NULL)
		return err_set(e, ERR_FATAL, 0, "shared cache: out of memory");
	*len = strlen(*out);
	return 0;
}

static bool
is(const json_t *object, const char *name, const char *want)
{
	const char *text = json_string_value(json_object_get(object, name));

	return text != NULL && strcmp(text, want) == 0;
}

/* Its only layer is the blob that the record is of. */
static bool
names_blob(
    const json_t *doc, const char *media_type, const struct layer_result *r)
{
	const json_t *layers = json_object_get(doc, "layers");
	const json_t *layer = json_array_get(layers, 0);
	const json_t *size = json_object_get(layer, "size");
	char digest[DIGEST_TEXT_SIZE];

	digest_text(&r->digest, digest);
	return json_array_size(layers) == 1 &&
	    is(layer, "mediaType", media_type) && is(layer, "digest", digest) &&
	    json_is_integer(size) &&
	    json_integer_value(size) == (json_int_t)r->size;
}

bool
shared_record_parse(const char *data, size_t len, const struct digest *key,
    const char *media_type, bool *verified, struct layer_result *out)
{
	AUTO(json_file_decrefp) json_t *doc = NULL;
	const json_t *notes;
	const char *text;
	char hex[DIGEST_HEX_LEN + 1];

	if (len > SHARED_RECORD_MAX || json_file_too_deep(data, len, DEPTH_MAX))
		return false;
	doc = json_loadb(data, len, JSON_REJECT_DUPLICATES, NULL);
	notes = json_object_get(doc, "annotations");
	text = json_string_value(json_object_get(notes, RECORD));
	digest_hex(key, hex);
	return text != NULL && is(doc, "artifactType", SHARED_RECORD_TYPE) &&
	    is(notes, KEY, hex) &&
	    !json_file_too_deep(text, strlen(text), DEPTH_MAX) &&
	    layer_record_parse(text, strlen(text), verified, out) &&
	    names_blob(doc, media_type, out);
}
