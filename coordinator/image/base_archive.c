#include "image/base_archive.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <archive.h>
#include <archive_entry.h>

#include "image/base_files.h"
#include "image/base_input.h"
#include "image/base_limits.h"
#include "err.h"
#include "process/file_copy.h"
#include "own.h"

struct reader {
	struct base_input *input;
	struct archive *a;
	struct base_files *files;
	const char *folder;
	struct sha256 *h;
	uint64_t entries, bytes;
};

static void
archive_freep(struct archive **a)
{
	if (*a != NULL)
		archive_read_free(*a);
	*a = NULL;
}

static void
reader_clear(struct reader *r)
{
	archive_freep(&r->a);
	base_input_freep(&r->input);
	sha256_freep(&r->h);
}

static const char *
reason(const struct reader *r)
{
	return base_input_reason(r->input, r->a);
}

/* unpacked bytes so far, held against what was read for them. */
static int
check_bytes(
    const struct reader *r, uint64_t unpacked, uint64_t total, struct err *e)
{
	const struct base_limits *limits = r->files->limits;
	uint64_t stored = base_input_bytes(r->input);

	if (total > limits->bytes)
		return err_set(e, ERR_USAGE, 0,
		    "it holds more than %llu bytes, the most that is taken",
		    (unsigned long long)limits->bytes);
	if (unpacked > limits->ratio_free && unpacked / limits->ratio > stored)
		return err_set(e, ERR_USAGE, 0,
		    "%llu bytes came out of %llu compressed ones: this looks "
		    "like a decompression bomb",
		    (unsigned long long)unpacked, (unsigned long long)stored);
	return 0;
}

/* The content of one member into fd. */
static int
copy_member(struct reader *r, int fd, struct base_file *file, struct err *e)
{
	const void *data;
	size_t len;
	la_int64_t at;
	int ret;

	sha256_init(r->h);
	while ((ret = archive_read_data_block(r->a, &data, &len, &at)) ==
	    ARCHIVE_OK) {
		/* A hole of a terabyte takes a few bytes to say. */
		if (at != (la_int64_t)file->size && len > 0)
			return err_set(e, ERR_USAGE, 0, "it is a sparse file");
		file->size += len;
		r->bytes += len;
		if (check_bytes(r, r->bytes, r->bytes, e) < 0)
			return -1;
		sha256_update(r->h, data, len);
		if (file_write(fd, file->file, data, len, e) < 0)
			return -1;
	}
	if (ret != ARCHIVE_EOF)
		return err_set(e, ERR_USAGE, 0, "%s", reason(r));
	sha256_final(r->h, &file->digest);
	file->has_digest = true;
	return 0;
}

static int
read_file(struct reader *r, struct archive_entry *entry, struct base_file *file,
    struct err *e)
{
	AUTO(own_closep) int fd = -1;
	la_int64_t size = archive_entry_size(entry);

	if (size < 0 || (uint64_t)size > r->files->limits->bytes)
		return err_set(
		    e, ERR_USAGE, 0, "%lld bytes is absurd", (long long)size);
	if (asprintf(&file->file, "%s/%llu", r->folder,
		(unsigned long long)r->entries) < 0) {
		file->file = NULL;
		return err_set(e, ERR_FATAL, errno, "base image");
	}
	fd = open(file->file, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (fd < 0)
		return err_set(e, ERR_FATAL, errno, "make %s", file->file);
	if (copy_member(r, fd, file, e) < 0)
		return -1;
	if (file->size != (uint64_t)size)
		return err_set(e, ERR_USAGE, 0, "it is a sparse file");
	return 0;
}

/* docker save: a repeated layer is a symlink "../HEX/layer.tar". */
static int
read_symlink(struct base_file *file, const char *target, struct err *e)
{
	AUTO(own_freep) char *joined = NULL;
	const char *slash = strrchr(file->name, '/');
	size_t up = slash != NULL ? (size_t)(slash - file->name) : 0;

	while (strncmp(target, "../", 3) == 0 && up > 0) {
		target += 3;
		while (up > 0 && file->name[up - 1] != '/')
			up--;
		if (up > 0)
			up--;
	}
	if (target[0] == '/')
		return err_set(
		    e, ERR_USAGE, 0, "it is a link to '%.200s'", target);
	if (asprintf(&joined, "%.*s%s%s", (int)up, file->name,
		up > 0 ? "/" : "", target) < 0) {
		joined = NULL;
		return err_set(e, ERR_FATAL, errno, "base image");
	}
	if (base_files_clean_name(joined, &file->link, e) < 0)
		return err_ctx(e, "link");
	return 0;
}

static int
read_member(struct reader *r, struct archive_entry *entry,
    struct base_file *file, struct err *e)
{
	const char *link = archive_entry_hardlink(entry);

	if (link != NULL)
		return base_files_clean_name(link, &file->link, e);
	switch (archive_entry_filetype(entry)) {
	case AE_IFREG:
		return read_file(r, entry, file, e);
	case AE_IFLNK:
		link = archive_entry_symlink(entry);
		if (link == NULL)
			link = archive_entry_symlink_utf8(entry);
		if (link == NULL)
			return err_set(
			    e, ERR_USAGE, 0, "it is a link to nowhere");
		return read_symlink(file, link, e);
	default:
		return err_set(e, ERR_USAGE, 0,
		    "it is neither a file nor a folder nor a link");
	}
}

static int
add_member(struct reader *r, struct archive_entry *entry, struct err *e)
{
	const char *name = archive_entry_pathname(entry);
	struct base_file file = {0};
	bool added = false;
	int ret;

	/* Names that the locale cannot say come as UTF-8 or not at all. */
	if (name == NULL)
		name = archive_entry_pathname_utf8(entry);
	if (name == NULL)
		return err_set(e, ERR_USAGE, 0,
		    "member %llu: its name cannot be read",
		    (unsigned long long)r->entries);
	if (base_files_clean_name(name, &file.name, e) < 0)
		return -1;
	if (archive_entry_filetype(entry) == AE_IFDIR) {
		free(file.name);
		return 0;
	}
	if (file.name[0] == '\0')
		ret = err_set(e, ERR_USAGE, 0, "a member has no name");
	else if ((ret = read_member(r, entry, &file, e)) < 0)
		err_ctx(e, "member '%.200s'", file.name);
	if (ret == 0)
		ret = base_files_add(r->files, &file, &added, e);
	/* Moved away if it was added. */
	if (file.file != NULL)
		unlink(file.file);
	free(file.name);
	free(file.file);
	free(file.link);
	return ret;
}

static int
read_members(struct reader *r, struct err *e)
{
	const struct base_limits *limits = r->files->limits;
	struct archive_entry *entry;

	for (;;) {
		la_int64_t before = archive_filter_bytes(r->a, 0);
		int ret = archive_read_next_header(r->a, &entry);

		if (ret == ARCHIVE_EOF)
			return 0;
		if (ret != ARCHIVE_OK && ret != ARCHIVE_WARN)
			return err_set(e, ERR_USAGE, 0,
			    r->entries == 0
				? "not an image: neither a tar archive nor an "
				  "OCI layout folder (%s)"
				: "damaged archive: %s",
			    reason(r));
		if ((uint64_t)(archive_filter_bytes(r->a, 0) - before) >
		    limits->header)
			return err_set(e, ERR_USAGE, 0,
			    "member %llu: its headers are larger than %llu "
			    "bytes",
			    (unsigned long long)r->entries,
			    (unsigned long long)limits->header);
		if (r->entries++ >= limits->entries)
			return err_set(e, ERR_USAGE, 0,
			    "it holds more than %llu members, the most that "
			    "is taken",
			    (unsigned long long)limits->entries);
		if (add_member(r, entry, e) < 0)
			return -1;
	}
}

int
base_archive_read(const char *path, const char *folder,
    struct base_files *files, struct err *e)
{
	AUTO(reader_clear) struct reader r = {.files = files, .folder = folder};

	if (base_input_open(path, &r.input, e) < 0 || sha256_new(&r.h, e) < 0)
		return -1;
	if ((r.a = archive_read_new()) == NULL)
		return err_set(e, ERR_FATAL, errno, "libarchive");
	archive_read_support_format_tar(r.a);
	if (base_input_attach(r.input, r.a, e) < 0)
		return err_ctx(e,
		    "not an image: neither a tar archive nor an OCI layout "
		    "folder");
	if (read_members(&r, e) < 0)
		return -1;
	if (r.entries == 0)
		return err_set(e, ERR_USAGE, 0,
		    "not an image: an archive without members");
	return 0;
}

#define TAR "application/vnd.oci.image.layer.v1.tar"

/* What a layer is compressed with, as its media type says it. */
static const char *
layer_media_type(const struct reader *r)
{
	static const struct {
		int filter;
		const char *media_type;
	} known[] = {
	    {ARCHIVE_FILTER_NONE, TAR},
	    {ARCHIVE_FILTER_GZIP, TAR "+gzip"},
	    {ARCHIVE_FILTER_ZSTD, TAR "+zstd"},
	    /* No registry knows these, but archives hold them. */
	    {ARCHIVE_FILTER_BZIP2, TAR "+bzip2"},
	    {ARCHIVE_FILTER_LZ4, TAR "+lz4"},
	    {ARCHIVE_FILTER_COMPRESS, TAR "+compress"},
	};
	int filter = archive_filter_code(r->a, 0);
	bool xz = base_input_is_xz(r->input);

	/* The last one is always "none"; two real ones say nothing clear. */
	if (archive_filter_count(r->a) + xz > 2)
		return NULL;
	if (xz)
		return TAR "+xz";
	for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++)
		if (known[i].filter == filter)
			return known[i].media_type;
	return NULL;
}

static int
hash_unpacked(struct reader *r, struct base_file *file, struct err *e)
{
	const void *data;
	size_t len;
	la_int64_t at;
	int ret;

	file->tar_size = 0;
	sha256_init(r->h);
	while ((ret = archive_read_data_block(r->a, &data, &len, &at)) ==
	    ARCHIVE_OK) {
		file->tar_size += len;
		r->files->unpacked += len;
		if (check_bytes(r, file->tar_size, r->files->unpacked, e) < 0)
			return -1;
		sha256_update(r->h, data, len);
	}
	if (ret != ARCHIVE_EOF)
		return err_set(e, ERR_USAGE, 0, "%s", reason(r));
	sha256_final(r->h, &file->diff_id);
	return 0;
}

static int
unpack(struct reader *r, struct base_file *file, struct err *e)
{
	struct archive_entry *entry;
	int ret;

	archive_read_support_format_raw(r->a);
	archive_read_support_format_empty(r->a);
	if (base_input_open(file->file, &r->input, e) < 0 ||
	    base_input_attach(r->input, r->a, e) < 0)
		return -1;
	ret = archive_read_next_header(r->a, &entry);
	if (ret != ARCHIVE_OK)
		return err_set(e, ERR_USAGE, 0, "%s",
		    ret == ARCHIVE_EOF ? "it is empty" : reason(r));
	if ((file->media_type = layer_media_type(r)) == NULL)
		return err_set(
		    e, ERR_USAGE, 0, "it is compressed more than once");
	/* Nothing to unpack: what is stored is the tar. */
	if (archive_filter_code(r->a, 0) == ARCHIVE_FILTER_NONE &&
	    !base_input_is_xz(r->input)) {
		file->diff_id = file->digest;
		file->tar_size = file->size;
		return 0;
	}
	return hash_unpacked(r, file, e);
}

int
base_archive_unpack(
    struct base_files *files, struct base_file *file, struct err *e)
{
	AUTO(reader_clear) struct reader r = {.files = files};

	if (file->unpacked)
		return 0;
	if (sha256_new(&r.h, e) < 0)
		return -1;
	if ((r.a = archive_read_new()) == NULL)
		return err_set(e, ERR_FATAL, errno, "libarchive");
	if (unpack(&r, file, e) < 0)
		return err_ctx(e, "layer '%.200s'", file->name);
	file->unpacked = true;
	return 0;
}
