#include "base_image.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <archive.h>
#include <archive_entry.h>
#include <cmocka.h>

#include "base_limits.h"
#include "err.h"
#include "own.h"
#include "scratch.h"

/* Images are put together here member by member, by libarchive's writer. */

#define MEMBERS_MAX 64
#define IMAGE_FILE "image.tar"

struct member {
	char name[4200];
	mode_t type; /* AE_IFREG, AE_IFLNK, AE_IFDIR, AE_IFCHR; 0: hard link */
	char *data;
	size_t len;
	const char *link;
};

static char *folder;
static struct scratch *scratch;
static struct member members[MEMBERS_MAX];
static size_t n_members;
static struct base_limits limits;
static char message[ERR_TEXT_MAX];

static void
add_bytes(const char *name, const void *data, size_t len)
{
	struct member *m = &members[n_members++];

	assert_true(n_members <= MEMBERS_MAX);
	snprintf(m->name, sizeof(m->name), "%s", name);
	m->type = AE_IFREG;
	m->data = malloc(len + 1);
	memcpy(m->data, data, len);
	m->data[len] = '\0';
	m->len = len;
	m->link = NULL;
}

static void
add_text(const char *name, const char *text)
{
	add_bytes(name, text, strlen(text));
}

static void
add_link(const char *name, mode_t type, const char *target)
{
	add_bytes(name, "", 0);
	members[n_members - 1].type = type;
	members[n_members - 1].link = target;
}

static struct member *
member_of(const char *name)
{
	for (size_t i = 0; i < n_members; i++)
		if (strcmp(members[i].name, name) == 0)
			return &members[i];
	fail_msg("no member %s", name);
	return NULL;
}

static void
clear_members(void)
{
	for (size_t i = 0; i < n_members; i++)
		free(members[i].data);
	n_members = 0;
}

static void
check(struct archive *a, int ret)
{
	if (ret != ARCHIVE_OK)
		fail_msg("libarchive: %s", archive_error_string(a));
}

static void
add_filter(struct archive *a, const char *filter)
{
	if (strcmp(filter, "none") == 0)
		check(a, archive_write_add_filter_none(a));
	else
		check(a, archive_write_add_filter_by_name(a, filter));
}

/* data compressed; the caller frees it. */
static char *
compress_bytes(const char *filter, const void *data, size_t len, size_t *out)
{
	struct archive *a = archive_write_new();
	struct archive_entry *entry = archive_entry_new();
	size_t size = len + 65536;
	char *buf = malloc(size);

	add_filter(a, filter);
	check(a, archive_write_set_format_raw(a));
	check(a, archive_write_set_bytes_in_last_block(a, 1));
	check(a, archive_write_open_memory(a, buf, size, out));
	archive_entry_set_filetype(entry, AE_IFREG);
	check(a, archive_write_header(a, entry));
	assert_int_equal(archive_write_data(a, data, len), len);
	check(a, archive_write_close(a));
	archive_entry_free(entry);
	archive_write_free(a);
	return buf;
}

static void
write_member(struct archive *a, const struct member *m)
{
	struct archive_entry *entry = archive_entry_new();

	archive_entry_set_pathname(entry, m->name);
	archive_entry_set_mode(entry, (m->type ? m->type : AE_IFREG) | 0644);
	if (m->type == AE_IFLNK)
		archive_entry_set_symlink(entry, m->link);
	else if (m->type == 0)
		archive_entry_set_hardlink(entry, m->link);
	archive_entry_set_size(entry, (la_int64_t)m->len);
	check(a, archive_write_header(a, entry));
	if (m->len > 0)
		assert_int_equal(
		    archive_write_data(a, m->data, m->len), m->len);
	archive_entry_free(entry);
}

static char *
in_folder(const char *name)
{
	char *path;

	assert_true(asprintf(&path, "%s/%s", folder, name) > 0);
	return path;
}

/* Writes the members as an archive; *path is the caller's. */
static char *
write_archive(const char *filter)
{
	struct archive *a = archive_write_new();
	char *path = in_folder(IMAGE_FILE);

	add_filter(a, filter);
	check(a, archive_write_set_format_pax_restricted(a));
	check(a, archive_write_open_filename(a, path));
	for (size_t i = 0; i < n_members; i++)
		write_member(a, &members[i]);
	check(a, archive_write_close(a));
	archive_write_free(a);
	return path;
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

static void
hex_of(const void *data, size_t len, char out[static DIGEST_HEX_LEN + 1])
{
	struct digest digest;

	digest_of(data, len, &digest);
	digest_hex(&digest, out);
}

static const char *
blob_name(const char *hex)
{
	static char name[DIGEST_HEX_LEN + 20];

	snprintf(name, sizeof(name), "blobs/sha256/%s", hex);
	return name;
}

#define TAR_LEN 20000 /* of each layer; the bytes need not be a tar's */

static void
layer_bytes(int k, char out[static TAR_LEN])
{
	unsigned x = (unsigned)k * 7919u + 1;

	for (int i = 0; i < TAR_LEN; i++) {
		x = x * 1103515245u + 12345u;
		out[i] = (char)('a' + (x >> 16) % 16);
	}
}

/* A config with n diff_ids, those of layers 0, 1, ...  The caller's. */
static char *
make_config(int n, const char *inner)
{
	char *text = NULL, bytes[TAR_LEN], hex[DIGEST_HEX_LEN + 1];
	size_t len;
	FILE *f = open_memstream(&text, &len);

	fprintf(f,
	    "{\"os\":\"linux\",%s\"rootfs\":{\"type\":\"layers\","
	    "\"diff_ids\":[",
	    inner);
	for (int i = 0; i < n; i++) {
		layer_bytes(i, bytes);
		hex_of(bytes, sizeof(bytes), hex);
		fprintf(f, "%s\"sha256:%s\"", i > 0 ? "," : "", hex);
	}
	fprintf(f, "]}}");
	fclose(f);
	return text;
}

#define INNER "\"config\":{\"Env\":[\"A=1\"]},"

/* A docker-archive of n plain layers, called "L0/layer.tar", ... */
static void
docker_image(int n, const char *inner)
{
	AUTO(own_freep) char *config = make_config(n, inner);
	char *text = NULL, bytes[TAR_LEN], name[64];
	size_t len;
	FILE *f = open_memstream(&text, &len);

	clear_members();
	fprintf(f, "[{\"Config\":\"c.json\",\"Layers\":[");
	for (int i = 0; i < n; i++) {
		snprintf(name, sizeof(name), "L%d/layer.tar", i);
		layer_bytes(i, bytes);
		add_bytes(name, bytes, sizeof(bytes));
		fprintf(f, "%s\"%s\"", i > 0 ? "," : "", name);
	}
	fprintf(f, "],\"RepoTags\":null}]");
	fclose(f);
	add_text("c.json", config);
	add_text("manifest.json", text);
	free(text);
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

#define OCI "application/vnd.oci.image."

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

static struct base_image *
opened(const char *path)
{
	struct base_image *base = NULL;
	struct err e = ERR_INIT;

	if (base_image_open_within(path, scratch, &limits, &base, &e) < 0)
		fail_msg("%s", e.text);
	return base;
}

/* n layers, each the one it should be; the files hold what is said. */
static void
check_layers(const struct base_image *base, size_t n, const char *suffix)
{
	char type[100], bytes[TAR_LEN];

	snprintf(type, sizeof(type), OCI "layer.v1.tar%s", suffix);
	assert_int_equal(base->n, n);
	for (size_t i = 0; i < n; i++) {
		const struct base_layer *l = &base->layer[i];
		AUTO(own_freep) char *stored = malloc(l->result.size);
		AUTO(own_fclosep) FILE *f = fopen(l->file, "r");
		struct digest digest;

		layer_bytes((int)i, bytes);
		digest_of(bytes, sizeof(bytes), &digest);
		assert_true(digest_equal(&digest, &l->result.diff_id));
		assert_int_equal(l->result.tar_size, sizeof(bytes));
		assert_string_equal(l->media_type, type);
		assert_non_null(f);
		assert_int_equal(
		    fread(stored, 1, l->result.size, f), l->result.size);
		assert_int_equal(fgetc(f), EOF);
		digest_of(stored, l->result.size, &digest);
		assert_true(digest_equal(&digest, &l->result.digest));
	}
}

/* The error that this image gets must hold why. */
static void
refused_path(const char *path, const char *why)
{
	struct base_image *base = NULL;
	struct err e = ERR_INIT;

	assert_int_equal(
	    base_image_open_within(path, scratch, &limits, &base, &e), -1);
	assert_null(base);
	snprintf(message, sizeof(message), "%s", e.text);
	assert_int_equal(e.kind, ERR_USAGE);
	if (strstr(e.text, why) == NULL || strstr(e.text, path) == NULL ||
	    strchr(e.text, '\n') != NULL)
		fail_msg("'%s' lacks '%s' or '%s'", e.text, why, path);
}

static void
refused(const char *why)
{
	AUTO(own_freep) char *path = write_archive("none");

	refused_path(path, why);
}

static int
setup(void **state)
{
	static const struct base_limits usual = BASE_LIMITS_DEFAULT;
	char name[] = "/tmp/test-base-XXXXXX";
	struct err e = ERR_INIT;

	(void)state;
	if (mkdtemp(name) == NULL || (folder = strdup(name)) == NULL)
		return -1;
	setenv("TMPDIR", folder, 1);
	limits = usual;
	return scratch_new(&scratch, &e);
}

/* Fails where a base image left something in the scratch folder. */
static int
teardown(void **state)
{
	char command[512];
	int left;

	(void)state;
	snprintf(command, sizeof(command),
	    "test -z \"$(find %s -name '.quarry-*')\"", folder);
	left = system(command);
	scratch_freep(&scratch);
	snprintf(command, sizeof(command), "rm -rf %s", folder);
	if (system(command) != 0)
		return -1;
	free(folder);
	clear_members();
	return left;
}

static void
test_docker(void **state)
{
	static const char *const filter[] = {
	    "none", "gzip", "bzip2", "xz", "lzma", "zstd", "lz4", "compress"};

	(void)state;
	docker_image(3, INNER);
	for (size_t i = 0; i < sizeof(filter) / sizeof(filter[0]); i++) {
		AUTO(own_freep) char *path = write_archive(filter[i]);
		AUTO(base_image_freep) struct base_image *base = opened(path);

		check_layers(base, 3, "");
		assert_string_equal(base->layer[1].name, "L1/layer.tar");
		assert_string_equal(
		    json_string_value(json_array_get(
			json_object_get(base->config, "Env"), 0)),
		    "A=1");
	}
}

static void
test_docker_packed_layers(void **state)
{
	static const char *const filter[] = {
	    "gzip", "zstd", "xz", "bzip2", "lz4", "lzma", "compress"};

	(void)state;
	for (size_t i = 0; i < sizeof(filter) / sizeof(filter[0]); i++) {
		AUTO(own_freep) char *path = NULL;
		AUTO(base_image_freep) struct base_image *base = NULL;
		char suffix[20];

		docker_image(2, INNER);
		for (int k = 0; k < 2; k++) {
			struct member *m = &members[k];
			char *plain = m->data;

			m->data =
			    compress_bytes(filter[i], plain, m->len, &m->len);
			free(plain);
		}
		path = write_archive("none");
		base = opened(path);
		snprintf(suffix, sizeof(suffix), "+%s", filter[i]);
		check_layers(base, 2, suffix);
	}
}

static void
test_config_null(void **state)
{
	static const char *const inner[] = {"", "\"config\":null,"};

	(void)state;
	for (int i = 0; i < 2; i++) {
		AUTO(own_freep) char *path = NULL;
		AUTO(base_image_freep) struct base_image *base = NULL;

		docker_image(1, inner[i]);
		path = write_archive("none");
		base = opened(path);
		assert_null(base->config);
		check_layers(base, 1, "");
	}
}

static void
set_text(const char *name, const char *text)
{
	struct member *m = member_of(name);

	free(m->data);
	m->data = strdup(text);
	m->len = strlen(text);
}

/* The same layer three times: by name, by symlink and by hard link. */
static void
test_repeated_layer(void **state)
{
	AUTO(own_freep) char *path = NULL;
	AUTO(own_freep) char *config = NULL;
	AUTO(base_image_freep) struct base_image *base = NULL;
	char hex[DIGEST_HEX_LEN + 1];
	struct digest digest;

	(void)state;
	docker_image(1, INNER);
	hex_of(members[0].data, members[0].len, hex);
	digest_of(members[0].data, members[0].len, &digest);
	assert_true(asprintf(&config,
			"{\"rootfs\":{\"diff_ids\":[\"sha256:%s\",\"sha256:%s\""
			",\"sha256:%s\",\"sha256:%s\"]}}",
			hex, hex, hex, hex) > 0);
	set_text("c.json", config);
	set_text("manifest.json",
	    "[{\"Config\":\"c.json\",\"Layers\":[\"L0/layer.tar\","
	    "\"L0/layer.tar\",\"a/layer.tar\",\"hard.tar\"]}]");
	add_link("a/layer.tar", AE_IFLNK, "../L0/layer.tar");
	add_link("hard.tar", 0, "L0/layer.tar");
	/* The same member again is no harm. */
	add_bytes("L0/layer.tar", members[0].data, members[0].len);
	path = write_archive("gzip");
	base = opened(path);
	assert_int_equal(base->n, 4);
	for (size_t i = 0; i < 4; i++)
		assert_true(
		    digest_equal(&base->layer[i].result.diff_id, &digest));
	assert_string_equal(base->layer[2].name, "a/layer.tar");
}

/* As "tar -C DIR ." makes them. */
static void
test_dot_names(void **state)
{
	AUTO(own_freep) char *path = NULL;
	AUTO(base_image_freep) struct base_image *base = NULL;

	(void)state;
	docker_image(2, INNER);
	for (size_t i = 0; i < n_members; i++) {
		AUTO(own_freep) char *name = strdup(members[i].name);

		snprintf(
		    members[i].name, sizeof(members[i].name), "./%s", name);
	}
	add_link("./", AE_IFDIR, NULL);
	path = write_archive("none");
	base = opened(path);
	check_layers(base, 2, "");
	assert_string_equal(base->layer[0].name, "L0/layer.tar");
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

static void
test_docker_damaged(void **state)
{
	(void)state;
	docker_image(2, INNER);
	member_of("L1/layer.tar")->data[5] ^= 1;
	refused("'L1/layer.tar' is damaged");
	docker_image(2, INNER);
	snprintf(members[1].name, sizeof(members[1].name), "gone");
	refused("'L1/layer.tar' is missing");
	docker_image(2, INNER);
	set_text("c.json", "{\"rootfs\":{\"diff_ids\":[]}}");
	refused("2 layers, its config 0");
	set_text("c.json", "{\"rootfs\":{\"diff_ids\":[1,2]}}");
	refused("diff_id 0");
	set_text("c.json", "{\"config\":3,\"rootfs\":{\"diff_ids\":[1,2]}}");
	refused("not an object");
	set_text("c.json", "[]");
	refused("not an object");
	set_text("c.json", "{\"a\":1,\"a\":2}");
	refused("duplicate");
	set_text("c.json", "");
	refused("c.json: line");
	snprintf(member_of("c.json")->name, sizeof(members[0].name), "d.json");
	refused("'c.json' is missing");
	set_text("manifest.json", "[]");
	refused("list of images");
	set_text("manifest.json", "[{\"Config\":\"d.json\"}]");
	refused("no list of layers");
	set_text("manifest.json", "[{\"Config\":\"../x\",\"Layers\":[]}]");
	refused("relative");
	clear_members();
	add_text("readme", "nothing");
	refused("neither manifest.json nor index.json");
}

static void
test_hostile_names(void **state)
{
	static const char *const bad[] = {"../../x", "/etc/passwd", "a/../b",
	    "a//b", "a/./b", "..", "a\nb", "a/.."};
	char longest[BASE_NAME_MAX + 50];

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		docker_image(1, INNER);
		add_text(bad[i], "x");
		refused(i == 6 ? "control character" : bad[i]);
	}
	memset(longest, 'x', sizeof(longest));
	longest[sizeof(longest) - 1] = '\0';
	docker_image(1, INNER);
	add_text(longest, "x");
	refused("longer than");
	docker_image(1, INNER);
	add_link("a/b", AE_IFLNK, "../../etc/passwd");
	refused("../etc/passwd");
	docker_image(1, INNER);
	add_link("a/b", AE_IFLNK, "/etc/passwd");
	refused("/etc/passwd");
	docker_image(1, INNER);
	add_link("device", AE_IFCHR, NULL);
	refused("'device'");
	docker_image(1, INNER);
	add_text("c.json", "another");
	refused("comes twice");
}

static void
test_link_circle(void **state)
{
	(void)state;
	docker_image(1, INNER);
	snprintf(members[0].name, sizeof(members[0].name), "gone");
	add_link("L0/layer.tar", AE_IFLNK, "b");
	add_link("L0/b", AE_IFLNK, "layer.tar");
	refused("link to a link");
}

static void
write_raw(const char *path, const void *data, size_t len)
{
	FILE *f = fopen(path, "w");

	assert_non_null(f);
	assert_int_equal(fwrite(data, 1, len, f), len);
	fclose(f);
}

/* Wherever an archive is cut, it is refused, and never crashes. */
static void
test_truncated(void **state)
{
	static const char *const filter[] = {"none", "gzip", "zstd", "xz"};

	(void)state;
	docker_image(2, INNER);
	for (size_t i = 0; i < 4; i++) {
		AUTO(own_freep) char *path = write_archive(filter[i]);
		struct stat st;
		off_t step;

		assert_int_equal(stat(path, &st), 0);
		/* The end of a tar is padding. */
		st.st_size -= i == 0 ? 10240 : 0;
		step = st.st_size / 50;
		for (off_t at = st.st_size - step; at > 0; at -= step) {
			assert_int_equal(truncate(path, at), 0);
			refused_path(path, "");
		}
	}
}

static void
test_not_an_image(void **state)
{
	AUTO(own_freep) char *path = in_folder("file");
	AUTO(own_freep) char *missing = in_folder("missing");

	(void)state;
	write_raw(path, "this is no image at all\n", 24);
	refused_path(path, "not an image");
	write_raw(path, "", 0);
	refused_path(path, "not an image");
	refused_path(missing, "No such file");
	refused_path("/dev/null", "neither a file nor a folder");
}

static void
test_limits(void **state)
{
	static const struct base_limits usual = BASE_LIMITS_DEFAULT;

	(void)state;
	docker_image(3, INNER);
	limits.entries = 5;
	free(write_archive("none"));
	limits.entries = 4;
	refused("more than 4 members");
	limits = usual;
	limits.bytes = 30000;
	refused("more than 30000 bytes");
	limits = usual;
	limits.layers = 2;
	refused("3 layers are more than 2");
	limits = usual;
	limits.json = 100;
	refused("larger than 100 bytes");
	limits = usual;
	limits.json_depth = 2;
	refused("deeper than 2");
	limits = usual;
	limits.header = 100;
	refused("headers are larger");
}

/* 100 MiB of zeros that are a few KiB: as the archive, then as a layer. */
static void
test_bomb(void **state)
{
	size_t len = (size_t)100 << 20;
	AUTO(own_freep) char *zeros = calloc(1, len);
	AUTO(own_freep) char *packed = NULL;
	AUTO(own_freep) char *path = NULL;
	size_t size;

	(void)state;
	docker_image(1, INNER);
	add_bytes("zeros", zeros, len);
	path = write_archive("zstd");
	refused_path(path, "decompression bomb");
	docker_image(1, INNER);
	packed = compress_bytes("zstd", zeros, len, &size);
	free(members[0].data);
	members[0].data = STEAL(&packed);
	members[0].len = size;
	refused("decompression bomb");
	assert_non_null(strstr(message, "L0/layer.tar"));
	/* What layers unpack to counts together. */
	limits.bytes = 1 << 20;
	refused("more than 1048576 bytes");
}

/* A layer whose compressed bytes are compressed again has no media type. */
static void
test_packed_twice(void **state)
{
	(void)state;
	docker_image(1, INNER);
	for (int i = 0; i < 2; i++) {
		char *plain = members[0].data;

		members[0].data = compress_bytes(
		    "gzip", plain, members[0].len, &members[0].len);
		free(plain);
	}
	refused("compressed more than once");
}

/* A hole may be a terabyte and takes a few bytes to say. */
static void
test_sparse(void **state)
{
	AUTO(own_freep) char *path = in_folder(IMAGE_FILE);
	struct archive *a = archive_write_new();
	struct archive_entry *entry = archive_entry_new();
	static char bytes[1 << 20];

	(void)state;
	check(a, archive_write_set_format_pax(a));
	check(a, archive_write_open_filename(a, path));
	archive_entry_set_pathname(entry, "holes");
	archive_entry_set_mode(entry, AE_IFREG | 0644);
	archive_entry_set_size(entry, sizeof(bytes));
	archive_entry_sparse_add_entry(entry, sizeof(bytes) - 1, 1);
	check(a, archive_write_header(a, entry));
	assert_int_equal(
	    archive_write_data(a, bytes, sizeof(bytes)), sizeof(bytes));
	archive_entry_free(entry);
	check(a, archive_write_close(a));
	archive_write_free(a);
	refused_path(path, "sparse file");
}

int
main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {
	    TEST(test_docker),
	    TEST(test_docker_packed_layers),
	    TEST(test_config_null),
	    TEST(test_repeated_layer),
	    TEST(test_dot_names),
	    TEST(test_oci),
	    TEST(test_oci_platform),
	    TEST(test_oci_ambiguous),
	    TEST(test_oci_damaged),
	    TEST(test_oci_refused),
	    TEST(test_oci_nested),
	    TEST(test_docker_damaged),
	    TEST(test_hostile_names),
	    TEST(test_link_circle),
	    TEST(test_truncated),
	    TEST(test_not_an_image),
	    TEST(test_limits),
	    TEST(test_bomb),
	    TEST(test_packed_twice),
	    TEST(test_sparse),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
