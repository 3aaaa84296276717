/*
 * Puts base images together member by member, with libarchive's writer, and
 * holds what was read of them against what went in.  For tests only; each
 * test has a folder of its own, and setup and teardown check that nothing
 * stays in it.
 */
#ifndef BASE_MAKER_H
#define BASE_MAKER_H

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

#include "image/base_image.h"
#include "image/base_limits.h"
#include "err.h"
#include "own.h"
#include "process/scratch.h"

#define MEMBERS_MAX 64
#define IMAGE_FILE "image.tar"
#define OCI "application/vnd.oci.image."

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

static inline void
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

static inline void
add_text(const char *name, const char *text)
{
	add_bytes(name, text, strlen(text));
}

static inline void
add_link(const char *name, mode_t type, const char *target)
{
	add_bytes(name, "", 0);
	members[n_members - 1].type = type;
	members[n_members - 1].link = target;
}

static inline struct member *
member_of(const char *name)
{
	for (size_t i = 0; i < n_members; i++)
		if (strcmp(members[i].name, name) == 0)
			return &members[i];
	fail_msg("no member %s", name);
	return NULL;
}

static inline void
clear_members(void)
{
	for (size_t i = 0; i < n_members; i++)
		free(members[i].data);
	n_members = 0;
}

static inline void
check(struct archive *a, int ret)
{
	if (ret != ARCHIVE_OK)
		fail_msg("libarchive: %s", archive_error_string(a));
}

static inline void
add_filter(struct archive *a, const char *filter)
{
	if (strcmp(filter, "none") == 0)
		check(a, archive_write_add_filter_none(a));
	else
		check(a, archive_write_add_filter_by_name(a, filter));
}

/* data compressed; the caller frees it. */
static inline char *
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

static inline void
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

static inline char *
in_folder(const char *name)
{
	char *path;

	assert_true(asprintf(&path, "%s/%s", folder, name) > 0);
	return path;
}

/* Writes the members as an archive; *path is the caller's. */
static inline char *
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

static inline void
hex_of(const void *data, size_t len, char out[static DIGEST_HEX_LEN + 1])
{
	struct digest digest;

	digest_of(data, len, &digest);
	digest_hex(&digest, out);
}

#define TAR_LEN 20000 /* of each layer; the bytes need not be a tar's */

static inline void
layer_bytes(int k, char out[static TAR_LEN])
{
	unsigned x = (unsigned)k * 7919u + 1;

	for (int i = 0; i < TAR_LEN; i++) {
		x = x * 1103515245u + 12345u;
		out[i] = (char)('a' + (x >> 16) % 16);
	}
}

/* A config with n diff_ids, those of layers 0, 1, ...  The caller's. */
static inline char *
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
static inline void
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

static inline struct base_image *
opened(const char *path)
{
	const struct base_source source = {.name = path};
	struct base_image *base = NULL;
	struct err e = ERR_INIT;

	if (base_image_open_within(&source, scratch, &limits, &base, &e) < 0)
		fail_msg("%s", e.text);
	return base;
}

/* n layers, each the one it should be; the files hold what is said. */
static inline void
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
static inline void
refused_path(const char *path, const char *why)
{
	const struct base_source source = {.name = path};
	struct base_image *base = NULL;
	struct err e = ERR_INIT;

	assert_int_equal(
	    base_image_open_within(&source, scratch, &limits, &base, &e), -1);
	assert_null(base);
	snprintf(message, sizeof(message), "%s", e.text);
	assert_int_equal(e.kind, ERR_USAGE);
	if (strstr(e.text, why) == NULL || strstr(e.text, path) == NULL ||
	    strchr(e.text, '\n') != NULL)
		fail_msg("'%s' lacks '%s' or '%s'", e.text, why, path);
}

static inline void
refused(const char *why)
{
	AUTO(own_freep) char *path = write_archive("none");

	refused_path(path, why);
}

static inline int
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
static inline int
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

#endif
