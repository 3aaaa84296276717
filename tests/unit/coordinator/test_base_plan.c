#include "image/base_plan.h"

#include "base_maker.h"

static const char *
blob_name(const char *hex)
{
	static char name[DIGEST_HEX_LEN + 20];

	snprintf(name, sizeof(name), "blobs/sha256/%s", hex);
	return name;
}

/* Adds a blob; returns its descriptor, the caller's. */
static char *
add_blob(const char *media_type, const void *data, size_t len, const char *more)
{
	char hex[DIGEST_HEX_LEN + 1], *text;

	hex_of(data, len, hex);
	add_bytes(blob_name(hex), data, len);
	assert_true(asprintf(&text,
			"{\"mediaType\":\"%s\",\"digest\":\"sha256:%s\","
			"\"size\":%zu%s}",
			media_type, hex, len, more) > 0);
	return text;
}

/* Writes the members as files of a folder. */
static char *
write_folder(void)
{
	static const char *const made[] = {
	    "layout", "layout/blobs", "layout/blobs/sha256"};

	for (size_t i = 0; i < 3; i++) {
		AUTO(own_freep) char *path = in_folder(made[i]);

		assert_true(mkdir(path, 0755) == 0 || errno == EEXIST);
	}
	for (size_t i = 0; i < n_members; i++) {
		AUTO(own_freep) char *path = NULL;
		FILE *f;

		assert_true(asprintf(&path, "%s/layout/%s", folder,
				members[i].name) > 0);
		assert_non_null(f = fopen(path, "w"));
		assert_int_equal(fwrite(members[i].data, 1, members[i].len, f),
		    members[i].len);
		fclose(f);
	}
	return in_folder("layout");
}

/* An OCI manifest of n layers compressed with filter; its descriptor. */
static char *
oci_manifest(int n, const char *filter, const char *layer_type,
    const char *layer_more, const char *more)
{
	AUTO(own_freep) char *config = make_config(n, INNER);
	AUTO(own_freep)
	char *descriptor =
	    add_blob(OCI "config.v1+json", config, strlen(config), "");
	AUTO(own_freep) char *text = NULL;
	size_t len;
	FILE *f = open_memstream(&text, &len);

	fprintf(
	    f, "{\"schemaVersion\":2,\"config\":%s,\"layers\":[", descriptor);
	for (int i = 0; i < n; i++) {
		AUTO(own_freep) char *packed = NULL;
		AUTO(own_freep) char *layer = NULL;
		char bytes[TAR_LEN];
		size_t size;

		layer_bytes(i, bytes);
		packed = compress_bytes(filter, bytes, sizeof(bytes), &size);
		layer = add_blob(layer_type, packed, size, layer_more);
		fprintf(f, "%s%s", i > 0 ? "," : "", layer);
	}
	fprintf(f, "]}");
	fclose(f);
	return add_blob(OCI "manifest.v1+json", text, strlen(text), more);
}

static void
oci_index(const char *manifests)
{
	AUTO(own_freep) char *text = NULL;

	assert_true(asprintf(&text, "{\"schemaVersion\":2,\"manifests\":[%s]}",
			manifests) > 0);
	add_text("index.json", text);
	add_text("oci-layout", "{\"imageLayoutVersion\":\"1.0.0\"}");
}

static void
oci_image(int n, const char *filter, const char *suffix)
{
	AUTO(own_freep) char *manifest = NULL;
	char type[100];

	clear_members();
	snprintf(type, sizeof(type), OCI "layer.v1.tar%s", suffix);
	manifest = oci_manifest(n, filter, type, "", "");
	oci_index(manifest);
}

static void
test_oci(void **state)
{
	static const char *const kind[][2] = {
	    {"none", ""}, {"gzip", "+gzip"}, {"zstd", "+zstd"}};

	(void)state;
	for (int i = 0; i < 3; i++) {
		AUTO(own_freep) char *tar = NULL;
		AUTO(own_freep) char *dir = NULL;
		AUTO(base_image_freep) struct base_image *a = NULL;
		AUTO(base_image_freep) struct base_image *b = NULL;

		oci_image(3, kind[i][0], kind[i][1]);
		tar = write_archive("zstd");
		dir = write_folder();
		a = opened(tar);
		b = opened(dir);
		check_layers(a, 3, kind[i][1]);
		check_layers(b, 3, kind[i][1]);
		assert_string_equal(a->layer[1].name, b->layer[1].name);
		assert_non_null(strstr(b->layer[1].file, "/layout/blobs/"));
		assert_int_equal(
		    strncmp(a->layer[1].name, "blobs/sha256/", 13), 0);
		assert_true(json_equal(a->config, b->config));
	}
}

#define PLATFORM(os, arch)                                                     \
	",\"platform\":{\"os\":\"" os "\",\"architecture\":\"" arch "\"}"

#if defined(__x86_64__)
#define HERE "amd64"
#define ELSEWHERE "arm64"
#else
#define HERE "arm64"
#define ELSEWHERE "amd64"
#endif

/* An index in an index, an attestation, and another machine's image. */
static void
test_oci_platform(void **state)
{
	AUTO(own_freep) char *path = NULL;
	AUTO(own_freep) char *here = NULL;
	AUTO(own_freep) char *other = NULL;
	AUTO(own_freep) char *attested = NULL;
	AUTO(own_freep) char *inner = NULL;
	AUTO(own_freep) char *outer = NULL;
	AUTO(base_image_freep) struct base_image *base = NULL;

	(void)state;
	clear_members();
	other = oci_manifest(1, "gzip", OCI "layer.v1.tar+gzip", "",
	    PLATFORM("linux", ELSEWHERE));
	here = oci_manifest(2, "gzip",
	    "application/vnd.docker.image.rootfs.diff.tar.gzip", "",
	    PLATFORM("linux", HERE));
	attested = oci_manifest(
	    3, "zstd", OCI "layer.v1.tar", "", PLATFORM("unknown", "unknown"));
	assert_true(asprintf(&inner, "{\"manifests\":[%s,%s,%s]}", other, here,
			attested) > 0);
	outer = add_blob(OCI "index.v1+json", inner, strlen(inner), "");
	oci_index(outer);
	path = write_archive("none");
	base = opened(path);
	check_layers(base, 2, "+gzip");
}

/* Beside one image for any platform, an attestation is no second one. */
static void
test_oci_attestation(void **state)
{
	AUTO(own_freep) char *path = NULL;
	AUTO(own_freep) char *image = NULL;
	AUTO(own_freep) char *attested = NULL;
	AUTO(own_freep) char *both = NULL;
	AUTO(base_image_freep) struct base_image *base = NULL;

	(void)state;
	clear_members();
	attested = oci_manifest(
	    3, "zstd", OCI "layer.v1.tar", "", PLATFORM("unknown", "unknown"));
	image = oci_manifest(2, "zstd", OCI "layer.v1.tar+zstd", "", "");
	assert_true(asprintf(&both, "%s,%s", attested, image) > 0);
	oci_index(both);
	path = write_archive("none");
	base = opened(path);
	check_layers(base, 2, "+zstd");
}

static void
test_oci_ambiguous(void **state)
{
	AUTO(own_freep) char *a = NULL;
	AUTO(own_freep) char *b = NULL;
	AUTO(own_freep) char *both = NULL;

	(void)state;
	clear_members();
	a = oci_manifest(1, "none", OCI "layer.v1.tar", "", "");
	b = oci_manifest(2, "none", OCI "layer.v1.tar", "", "");
	assert_true(asprintf(&both, "%s,%s", a, b) > 0);
	oci_index(both);
	refused("2 images");
	clear_members();
	oci_index("");
	refused("names no image");
}

/* A file that is larger, or that is not what its name says. */
static void
test_oci_damaged(void **state)
{
	struct member *layer;

	(void)state;
	oci_image(1, "none", "");
	layer = &members[1];
	layer->data[100] ^= 1;
	refused("damaged");
	assert_non_null(strstr(message, layer->name));
	layer->data[100] ^= 1;
	layer->len--;
	refused("but the manifest says 20000");
	/* What no diff_id covers: the config, "linux" as "minux". */
	oci_image(1, "none", "");
	strstr(members[0].data, "linux")[0] = 'm';
	refused("is damaged: its SHA-256 is");
	oci_image(1, "none", "");
	member_of("index.json")->data[0] = '[';
	refused("index.json: line 1");
	oci_image(1, "none", "");
	snprintf(members[1].name, sizeof(members[1].name), "elsewhere");
	refused("missing");
}

static void
test_oci_refused(void **state)
{
	AUTO(own_freep) char *path = NULL;
	AUTO(own_freep) char *foreign = NULL;
	AUTO(own_freep) char *odd = NULL;

	(void)state;
	clear_members();
	foreign = oci_manifest(
	    1, "none", OCI "layer.v1.tar", ",\"urls\":[\"http://x/\"]", "");
	oci_index(foreign);
	refused("fetched from elsewhere");
	clear_members();
	odd = oci_manifest(
	    1, "none", OCI "layer.nondistributable.v1.tar", "", "");
	oci_index(odd);
	refused("not one of a layer");
	clear_members();
	oci_index("{\"mediaType\":\"" OCI "manifest.v1+json\",\"size\":1,"
		  "\"digest\":\"sha512:00\"}");
	refused("sha256");
	clear_members();
	oci_index("{\"mediaType\":\"" OCI "manifest.v1+json\",\"size\":-1,"
		  "\"digest\":\"sha256:00\"}");
	refused("descriptor");
	path = in_folder("plain");
	assert_int_equal(mkdir(path, 0755), 0);
	refused_path(path, "oci-layout");
}

/* An index that names itself would be read for ever. */
static void
test_oci_nested(void **state)
{
	AUTO(own_freep) char *descriptor = NULL;

	(void)state;
	clear_members();
	descriptor = oci_manifest(1, "none", OCI "layer.v1.tar", "", "");
	for (int i = 0; i < BASE_INDEXES_MAX; i++) {
		AUTO(own_freep) char *text = NULL;

		assert_true(
		    asprintf(&text, "{\"manifests\":[%s]}", descriptor) > 0);
		free(descriptor);
		descriptor =
		    add_blob(OCI "index.v1+json", text, strlen(text), "");
	}
	oci_index(descriptor);
	refused("an index in an index");
}

int
main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {
	    TEST(test_oci),
	    TEST(test_oci_platform),
	    TEST(test_oci_attestation),
	    TEST(test_oci_ambiguous),
	    TEST(test_oci_damaged),
	    TEST(test_oci_refused),
	    TEST(test_oci_nested),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
