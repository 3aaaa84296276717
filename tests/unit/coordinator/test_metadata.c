#include <fcntl.h>
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>
#include <jansson.h>

#include "err.h"
#include "image/image.h"
#include "image/metadata.h"
#include "process/scratch.h"

static unsigned removed, kept;

/* The real one is scratch.c's and has its own test. */
int
scratch_file(
    struct scratch *s, const char *parent, char **path, int *fd, struct err *e)
{
	(void)s;
	if (asprintf(path, "%s/.quarry-test", parent) < 0)
		abort();
	if ((*fd = open(*path, O_RDWR | O_CREAT | O_EXCL, 0600)) >= 0)
		return 0;
	free(*path);
	*path = NULL;
	return err_set(e, ERR_USAGE, 0, "scratch in %s", parent);
}

void
scratch_remove(struct scratch *s, const char *path)
{
	(void)s;
	removed++;
	unlink(path);
}

void
scratch_keep(struct scratch *s, const char *path)
{
	(void)s;
	(void)path;
	kept++;
}

static void
fill(struct image *image, struct image_layer *layer, const char **paths)
{
	memset(image, 0, sizeof(*image));
	memset(layer, 0, 2 * sizeof(*layer));
	image->name = "a/b";
	image->tag = "1";
	image->layer = layer;
	image->n_layers = 2;
	memset(image->id.b, 0x11, DIGEST_SIZE);
	memset(image->manifest_digest.b, 0x22, DIGEST_SIZE);
	layer[0].kind = IMAGE_BASE;
	layer[0].paths = paths;
	layer[0].n_paths = 1;
	layer[0].media_type = encoding_media_type(ENCODING_NONE);
	layer[0].result.tar_size = 10240;
	layer[0].result.size = 10240;
	layer[1].kind = IMAGE_STORE;
	layer[1].paths = paths + 1;
	layer[1].n_paths = 2;
	layer[1].media_type = encoding_media_type(ENCODING_ZSTD);
	layer[1].result.tar_size = 20480;
	layer[1].result.size = 300;
	layer[1].result.entries = 7;
	layer[1].result.bytes_read = 9999;
	layer[1].result.fetched = 4444;
	memset(layer[1].result.digest.b, 0x33, DIGEST_SIZE);
	strcpy(layer[1].worker, "host/12");
	layer[1].seconds = 1.2345678;
	layer[1].cached = true;
}

static const char *paths[] = {"\xff/layer.tar", "/nix/store/a", "/nix/store/b"};

static void
content(void **state)
{
	struct image_layer layer[2];
	struct image image;
	struct err e = ERR_INIT;
	char *text, *again;
	json_t *doc, *l, *t;
	size_t len;

	(void)state;
	fill(&image, layer, paths);
	layer[0].paths = (const char *[]){"base/layer.tar"};
	assert_int_equal(metadata_make(&image, 12.5, &text, &len, &e), 0);
	assert_int_equal(strlen(text), len);
	assert_int_equal(text[len - 1], '\n');
	assert_non_null(doc = json_loads(text, JSON_REJECT_DUPLICATES, NULL));
	assert_memory_equal(json_string_value(json_object_get(doc, "image_id")),
	    "sha256:1111111111", 17);
	assert_memory_equal(
	    json_string_value(json_object_get(doc, "manifest_digest")),
	    "sha256:2222222222", 17);
	assert_string_equal(
	    json_string_value(json_object_get(doc, "name")), "a/b");
	assert_string_equal(
	    json_string_value(json_object_get(doc, "tag")), "1");
	l = json_array_get(json_object_get(doc, "layers"), 0);
	assert_true(json_is_null(json_object_get(l, "worker")));
	assert_true(json_is_false(json_object_get(l, "cached")));
	l = json_array_get(json_object_get(doc, "layers"), 1);
	assert_int_equal(json_object_size(l), 11);
	assert_int_equal(
	    json_integer_value(json_object_get(l, "bytes_read")), 9999);
	assert_int_equal(
	    json_integer_value(json_object_get(l, "bytes_fetched")), 4444);
	assert_memory_equal(json_string_value(json_object_get(l, "digest")),
	    "sha256:3333333333", 17);
	assert_memory_equal(json_string_value(json_object_get(l, "diff_id")),
	    "sha256:0000000000", 17);
	assert_int_equal(
	    json_integer_value(json_object_get(l, "tar_size")), 20480);
	assert_int_equal(json_integer_value(json_object_get(l, "size")), 300);
	assert_string_equal(json_string_value(json_object_get(l, "media_type")),
	    "application/vnd.oci.image.layer.v1.tar+zstd");
	again = json_dumps(json_object_get(l, "paths"), JSON_COMPACT);
	assert_string_equal(again, "[\"/nix/store/a\",\"/nix/store/b\"]");
	free(again);
	assert_non_null(strstr(text, "\"seconds\": 1.234568,"));
	assert_true(json_is_true(json_object_get(l, "cached")));
	l = json_object_get(l, "worker");
	assert_string_equal(json_string_value(l), "host/12");
	t = json_object_get(doc, "totals");
	again = json_dumps(t, JSON_COMPACT);
	assert_string_equal(again,
	    "{\"layers\":2,\"cached_layers\":1,\"tar_size\":30720,\"size\":"
	    "10540,\"store_paths\":2,\"entries\":7,\"bytes_read\":9999,"
	    "\"bytes_fetched\":4444,\"seconds\":12.5}");
	free(again);
	json_decref(doc);
	free(text);
}

/* A name of any bytes does no harm. */
static void
odd_name(void **state)
{
	struct image_layer layer[2];
	struct image image;
	struct err e = ERR_INIT;
	char *text;
	size_t len;

	(void)state;
	fill(&image, layer, paths);
	assert_int_equal(metadata_make(&image, 0, &text, &len, &e), 0);
	assert_non_null(strstr(text, "\"\\udcff/layer.tar\""));
	free(text);
}

static void
place(void **state)
{
	char dir[] = "/tmp/test_metadata.XXXXXX", file[64], text[4096];
	struct image_layer layer[2];
	struct image image;
	struct err e = ERR_INIT;
	struct stat st;
	FILE *f;

	(void)state;
	fill(&image, layer, paths);
	assert_non_null(mkdtemp(dir));
	snprintf(file, sizeof(file), "%s/m.json", dir);
	assert_int_equal(metadata_check(file, &e), 0);
	umask(027);
	assert_int_equal(metadata_write(&image, 1, file, NULL, &e), 0);
	assert_int_equal(kept, 1);
	assert_int_equal(stat(file, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0640);
	assert_non_null(f = fopen(file, "r"));
	text[fread(text, 1, sizeof(text) - 1, f)] = '\0';
	fclose(f);
	assert_memory_equal(text, "{\n    \"image_id\": \"sha256:1111", 30);
	assert_int_equal(unlink(file), 0);

	/* A folder in its place. */
	assert_int_equal(mkdir(file, 0700), 0);
	assert_int_equal(metadata_check(file, &e), -1);
	assert_int_equal(e.kind, ERR_USAGE);
	err_clear(&e);
	assert_int_equal(metadata_write(&image, 1, file, NULL, &e), -1);
	assert_non_null(strstr(e.text, file));
	assert_int_equal(removed, 1);
	err_clear(&e);
	assert_int_equal(rmdir(file), 0);
	assert_int_equal(rmdir(dir), 0); /* nothing else was left there */

	assert_int_equal(metadata_check(file, &e), -1);
	assert_non_null(strstr(e.text, "No such file"));
	err_clear(&e);
	assert_int_equal(metadata_write(&image, 1, file, NULL, &e), -1);
	err_clear(&e);
	assert_int_equal(metadata_check("", &e), -1);
	err_clear(&e);
	assert_int_equal(metadata_check("-", &e), 0);
}

/* Another's link stays, and what it names gets the text and keeps its mode. */
static void
link_and_fifo(void **state)
{
	char dir[] = "/tmp/test_metadata.XXXXXX", file[64], link[64], text[64];
	struct image_layer layer[2];
	struct image image;
	struct err e = ERR_INIT;
	struct stat st;
	int fd;

	(void)state;
	fill(&image, layer, paths);
	assert_non_null(mkdtemp(dir));
	snprintf(file, sizeof(file), "%s/m.json", dir);
	snprintf(link, sizeof(link), "%s/link", dir);
	assert_true((fd = open(file, O_WRONLY | O_CREAT, 0600)) >= 0);
	assert_int_equal(fchmod(fd, 0604), 0);
	assert_int_equal(close(fd), 0);
	assert_int_equal(symlink("m.json", link), 0);
	assert_int_equal(metadata_check(link, &e), 0);
	assert_int_equal(metadata_write(&image, 1, link, NULL, &e), 0);
	assert_int_equal(lstat(link, &st), 0);
	assert_true(S_ISLNK(st.st_mode));
	assert_int_equal(stat(file, &st), 0);
	assert_true(st.st_size > 100);
	assert_int_equal(st.st_mode & 07777, 0604);
	assert_int_equal(unlink(file), 0);

	assert_int_equal(mkfifo(file, 0600), 0);
	assert_true((fd = open(file, O_RDONLY | O_NONBLOCK)) >= 0);
	assert_int_equal(metadata_check(file, &e), 0);
	assert_int_equal(metadata_write(&image, 1, file, NULL, &e), 0);
	assert_int_equal(stat(file, &st), 0);
	assert_true(S_ISFIFO(st.st_mode));
	assert_int_equal(read(fd, text, 15), 15);
	assert_memory_equal(text, "{\n    \"image_id", 15);
	assert_int_equal(close(fd), 0);
	assert_int_equal(unlink(file), 0);
	assert_int_equal(unlink(link), 0);
	assert_int_equal(rmdir(dir), 0);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(content),
	    cmocka_unit_test(odd_name),
	    cmocka_unit_test(place),
	    cmocka_unit_test(link_and_fifo),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
