#include "registry/image_format.h"

#include <stddef.h>
#include <string.h>

#define OCI "application/vnd.oci.image."
#define DOCKER "application/vnd.docker."
#define DIFF DOCKER "image.rootfs.diff.tar"

static const struct {
	const char *manifest, *config, *index;
} formats[] = {
    [IMAGE_OCI] = {OCI "manifest.v1+json", OCI "config.v1+json",
	IMAGE_INDEX_TYPE},
    [IMAGE_DOCKER] = {DOCKER "distribution.manifest.v2+json",
	DOCKER "container.image.v1+json",
	DOCKER "distribution.manifest.list.v2+json"},
};

/* Docker's schema has no zstd; images that say it all the same are read. */
static const struct {
	const char *oci, *docker;
	bool written;
} layers[] = {
    {OCI "layer.v1.tar", DIFF, true},
    {OCI "layer.v1.tar+gzip", DIFF ".gzip", true},
    {OCI "layer.v1.tar+zstd", DIFF ".zstd", false},
};

#define N_LAYERS (sizeof(layers) / sizeof(layers[0]))

const char *
image_format_manifest(enum image_format format)
{
	return formats[format].manifest;
}

const char *
image_format_config(enum image_format format)
{
	return formats[format].config;
}

const char *
image_format_layer(enum image_format format, const char *oci_type)
{
	if (format == IMAGE_OCI)
		return oci_type;
	for (size_t i = 0; i < N_LAYERS; i++)
		if (layers[i].written && strcmp(oci_type, layers[i].oci) == 0)
			return layers[i].docker;
	return NULL;
}

const char *
image_format_oci_layer(const char *media_type)
{
	for (size_t i = 0; i < N_LAYERS; i++)
		if (strcmp(media_type, layers[i].oci) == 0 ||
		    strcmp(media_type, layers[i].docker) == 0)
			return layers[i].oci;
	return NULL;
}

const char *
image_format_known(const char *media_type)
{
	for (size_t i = 0; i < sizeof(formats) / sizeof(formats[0]); i++) {
		if (strcmp(media_type, formats[i].manifest) == 0)
			return formats[i].manifest;
		if (strcmp(media_type, formats[i].index) == 0)
			return formats[i].index;
	}
	return NULL;
}

bool
image_format_is_manifest(const char *media_type)
{
	return strcmp(media_type, formats[IMAGE_OCI].manifest) == 0 ||
	    strcmp(media_type, formats[IMAGE_DOCKER].manifest) == 0;
}

bool
image_format_is_index(const char *media_type)
{
	return strcmp(media_type, formats[IMAGE_OCI].index) == 0 ||
	    strcmp(media_type, formats[IMAGE_DOCKER].index) == 0;
}
