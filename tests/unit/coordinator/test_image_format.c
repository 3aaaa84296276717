#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "encoding.h"
#include "registry/image_format.h"

#define OCI "application/vnd.oci.image."
#define DOCKER "application/vnd.docker."

static void
layers(void **state)
{
	static const struct {
		enum encoding_kind kind;
		const char *docker, *written;
	} cases[] = {
#define DIFF DOCKER "image.rootfs.diff.tar"
	    {ENCODING_NONE, DIFF, DIFF},
	    {ENCODING_GZIP, DIFF ".gzip", DIFF ".gzip"},
	    {ENCODING_ZSTD, DIFF ".zstd", NULL},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		const char *oci = encoding_media_type(cases[i].kind);
		const char *written = image_format_layer(IMAGE_DOCKER, oci);

		assert_string_equal(image_format_layer(IMAGE_OCI, oci), oci);
		assert_string_equal(image_format_oci_layer(oci), oci);
		assert_string_equal(
		    image_format_oci_layer(cases[i].docker), oci);
		if (cases[i].written == NULL)
			assert_null(written);
		else
			assert_string_equal(written, cases[i].written);
	}
	/* What no registry knows, but archives hold. */
	assert_null(image_format_layer(IMAGE_DOCKER, OCI "layer.v1.tar+xz"));
	assert_null(image_format_oci_layer(OCI "layer.v1.tar+xz"));
	assert_null(image_format_oci_layer(""));
}

static void
kinds(void **state)
{
	(void)state;
	for (int f = IMAGE_OCI; f <= IMAGE_DOCKER; f++) {
		const char *manifest =
		    image_format_manifest((enum image_format)f);
		const char *config = image_format_config((enum image_format)f);

		assert_true(image_format_is_manifest(manifest));
		assert_false(image_format_is_index(manifest));
		assert_ptr_equal(image_format_known(manifest), manifest);
		assert_false(image_format_is_manifest(config));
		assert_null(image_format_known(config));
	}
	assert_true(image_format_is_index(IMAGE_INDEX_TYPE));
	assert_true(
	    image_format_is_index(DOCKER "distribution.manifest.list.v2+json"));
	assert_false(image_format_is_manifest(IMAGE_INDEX_TYPE));
	/* Schema 1 is nothing that is read. */
	assert_null(
	    image_format_known(DOCKER "distribution.manifest.v1+prettyjws"));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(layers),
	    cmocka_unit_test(kinds),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
