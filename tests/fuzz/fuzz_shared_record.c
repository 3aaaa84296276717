/*
 * Records of a shared cache.  What is taken says of itself what was asked for,
 * and is taken again when it is printed.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "err.h"
#include "cache/layer_cache.h"
#include "layer_spec.h"
#include "cache/shared_record.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define TYPE "application/vnd.oci.image.layer.v1.tar+gzip"

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct layer_result result, again;
	struct layer_record record = {.result = &result};
	struct digest key = {{0}};
	struct err e = ERR_INIT;
	char *text = NULL;
	bool verified;
	size_t len;

	if (!shared_record_parse((const char *)data, size, &key, TYPE,
		&record.verified, &result))
		return 0;
	if (shared_record_print(&key, &record, TYPE, &text, &len, &e) < 0)
		abort();
	if (!shared_record_parse(text, len, &key, TYPE, &verified, &again) ||
	    verified != record.verified ||
	    memcmp(&again, &result, sizeof(again)) != 0)
		abort();
	free(text);
	return 0;
}
