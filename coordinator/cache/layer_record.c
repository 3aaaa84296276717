#include "cache/layer_cache_state.h"

#include <stdio.h>
#include <string.h>

#include <jansson.h>

#include "cache/layer_cache.h"
#include "own.h"

static void
decref(json_t **value)
{
	json_decref(*value);
	*value = NULL;
}

static bool
take_digest(const json_t *root, const char *name, struct digest *out)
{
	const char *text = json_string_value(json_object_get(root, name));

	return text != NULL && digest_from_text(text, out);
}

static bool
take_number(const json_t *root, const char *name, uint64_t *out)
{
	const json_t *value = json_object_get(root, name);

	if (!json_is_integer(value) || json_integer_value(value) < 0)
		return false;
	*out = (uint64_t)json_integer_value(value);
	return true;
}

bool
layer_record_parse(
    const char *data, size_t len, bool *verified, struct layer_result *out)
{
	AUTO(decref)
	json_t *root = json_loadb(data, len, JSON_REJECT_DUPLICATES, NULL);
	uint64_t version;

	memset(out, 0, sizeof(*out));
	*verified = json_is_true(json_object_get(root, "verified"));
	return take_number(root, "version", &version) &&
	    version == LAYER_CACHE_VERSION &&
	    take_digest(root, "diff_id", &out->diff_id) &&
	    take_digest(root, "digest", &out->digest) &&
	    take_number(root, "tar_size", &out->tar_size) &&
	    take_number(root, "size", &out->size) &&
	    take_number(root, "entries", &out->entries);
}

size_t
layer_record_print(
    const struct layer_result *r, bool verified, char *out, size_t size)
{
	char diff_id[DIGEST_TEXT_SIZE], digest[DIGEST_TEXT_SIZE];
	int n;

	digest_text(&r->diff_id, diff_id);
	digest_text(&r->digest, digest);
	n = snprintf(out, size,
	    "{\"version\": %d, \"diff_id\": \"%s\", \"tar_size\": %llu, "
	    "\"entries\": %llu, \"digest\": \"%s\", \"size\": %llu, "
	    "\"verified\": %s}\n",
	    LAYER_CACHE_VERSION, diff_id, (unsigned long long)r->tar_size,
	    (unsigned long long)r->entries, digest, (unsigned long long)r->size,
	    verified ? "true" : "false");
	return n < 0 ? 0 : (size_t)n;
}
