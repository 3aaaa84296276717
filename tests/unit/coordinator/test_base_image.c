#include "image/base_image.h"

#include "base_maker.h"

static void
test_docker(void **state)
{
	static const char *const filter[] = {
	    "none", "gzip", "bzip2", "xz", "zstd", "lz4", "compress"};

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
	    "gzip", "zstd", "xz", "bzip2", "lz4", "compress"};

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
