#include "image/metadata.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "err.h"
#include "process/file_copy.h"
#include "process/file_place.h"
#include "image/image.h"
#include "registry/image_format.h"
#include "text/json_file.h"
#include "own.h"
#include "text/python_json.h"
#include "text/stream_end.h"
#include "process/scratch.h"

static int
no_memory(struct err *e)
{
	return err_set(e, ERR_FATAL, 0, "metadata: out of memory");
}

static json_t *
digest_value(const struct digest *d)
{
	char text[DIGEST_TEXT_SIZE];

	digest_text(d, text);
	return json_string(text);
}

/* Microseconds are enough. */
static json_t *
seconds_value(double seconds)
{
	return json_real((double)(long long)(seconds * 1e6 + 0.5) / 1e6);
}

static json_t *
layer_value(const struct image *image, const struct image_layer *layer)
{
	const struct layer_result *r = &layer->result;
	json_t *paths = json_array();

	for (size_t i = 0; i < layer->n_paths; i++)
		if (json_array_append_new(
			paths, json_string_nocheck(layer->paths[i])) < 0) {
			json_decref(paths);
			return NULL;
		}
	return json_pack("{s:o, s:I, s:o, s:I, s:s, s:o, s:s?, s:o, s:b, s:I, "
			 "s:I}",
	    "diff_id", digest_value(&r->diff_id), "tar_size",
	    (json_int_t)r->tar_size, "digest", digest_value(&r->digest), "size",
	    (json_int_t)r->size, "media_type",
	    image_format_layer(image->format, layer->media_type), "paths",
	    paths, "worker", layer->worker[0] != '\0' ? layer->worker : NULL,
	    "seconds", seconds_value(layer->seconds), "cached", layer->cached,
	    "bytes_read", (json_int_t)r->bytes_read, "bytes_fetched",
	    (json_int_t)r->fetched);
}

static json_t *
totals_value(const struct image *image, double seconds)
{
	json_int_t tar_size = 0, size = 0, paths = 0, entries = 0, read = 0;
	json_int_t cached = 0, fetched = 0;

	for (size_t i = 0; i < image->n_layers; i++) {
		const struct image_layer *layer = &image->layer[i];

		tar_size += (json_int_t)layer->result.tar_size;
		size += (json_int_t)layer->result.size;
		entries += (json_int_t)layer->result.entries;
		read += (json_int_t)layer->result.bytes_read;
		fetched += (json_int_t)layer->result.fetched;
		cached += layer->cached;
		if (layer->kind == IMAGE_STORE)
			paths += (json_int_t)layer->n_paths;
	}
	return json_pack("{s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:o}",
	    "layers", (json_int_t)image->n_layers, "cached_layers", cached,
	    "tar_size", tar_size, "size", size, "store_paths", paths, "entries",
	    entries, "bytes_read", read, "bytes_fetched", fetched, "seconds",
	    seconds_value(seconds));
}

int
metadata_make(const struct image *image, double seconds, char **out,
    size_t *out_len, struct err *e)
{
	AUTO(json_file_decrefp) json_t *doc = NULL;
	AUTO(json_file_decrefp) json_t *layers = json_array();
	AUTO(own_freep) char *text = NULL;
	size_t len;
	FILE *f;

	for (size_t i = 0; i < image->n_layers; i++)
		if (json_array_append_new(
			layers, layer_value(image, &image->layer[i])) < 0)
			return no_memory(e);
	doc = json_pack("{s:o, s:o, s:s, s:s, s:O, s:o}", "image_id",
	    digest_value(&image->id), "manifest_digest",
	    digest_value(&image->manifest_digest), "name", image->name, "tag",
	    image->tag, "layers", layers, "totals",
	    totals_value(image, seconds));
	if (doc == NULL || (f = open_memstream(&text, &len)) == NULL)
		return no_memory(e);
	python_json_put(f, doc);
	fputc('\n', f);
	if (stream_close(f) < 0)
		return no_memory(e);
	*out = STEAL(&text);
	*out_len = len;
	return 0;
}

/* A FIFO or device takes the text as it is; it is not replaced by a file. */
static bool
is_stream(const struct stat *st)
{
	return S_ISFIFO(st->st_mode) || S_ISCHR(st->st_mode);
}

int
metadata_check(const char *file, struct err *e)
{
	AUTO(own_freep) char *place = NULL;
	AUTO(own_freep) char *folder = NULL;
	struct stat st;

	if (strcmp(file, "-") == 0)
		return 0;
	if (*file == '\0')
		return err_set(e, ERR_USAGE, 0, "--metadata-file: is empty");
	if (stat(file, &st) == 0 && S_ISDIR(st.st_mode))
		return err_set(
		    e, ERR_USAGE, EISDIR, "--metadata-file %.200s", file);
	if (stat(file, &st) == 0 && is_stream(&st))
		return access(file, W_OK) == 0
		    ? 0
		    : err_set(
			  e, ERR_USAGE, errno, "--metadata-file %.200s", file);
	if (file_place(file, &place, &folder, e) < 0)
		return err_ctx(e, "--metadata-file");
	if (file_place_mounted(place))
		return err_set(e, ERR_USAGE, 0,
		    "--metadata-file %.200s: is a mount point and cannot be "
		    "replaced",
		    file);
	if (access(folder, W_OK | X_OK) < 0)
		return err_set(e, ERR_USAGE, errno,
		    "--metadata-file %.200s: folder %.200s", file, folder);
	return 0;
}

static int
write_beside(const char *file, const char *data, size_t len,
    struct scratch *scratch, struct err *e)
{
	AUTO(own_freep) char *place = NULL;
	AUTO(own_freep) char *folder = NULL;
	AUTO(own_freep) char *path = NULL;
	AUTO(own_closep) int fd = -1;

	if (file_place(file, &place, &folder, e) < 0 ||
	    scratch_file(scratch, folder, &path, &fd, e) < 0)
		return -1;
	if (file_write(fd, path, data, len, e) < 0)
		goto failed;
	if (fchmod(fd, file_place_mode(place, 0666)) < 0 || fsync(fd) < 0 ||
	    rename(path, place) < 0) {
		err_set(e, ERR_FATAL, errno, "write %s", place);
		goto failed;
	}
	scratch_keep(scratch, path);
	return file_place_settle(place, folder, e);
failed:
	scratch_remove(scratch, path);
	return -1;
}

static int
write_stream(const char *file, const char *data, size_t len, struct err *e)
{
	AUTO(own_closep) int fd = open(file, O_WRONLY | O_CLOEXEC | O_NOCTTY);

	if (fd < 0)
		return err_set(e, ERR_FATAL, errno, "open %s", file);
	return file_write(fd, file, data, len, e);
}

int
metadata_put(const char *data, size_t len, const char *file,
    struct scratch *scratch, struct err *e)
{
	struct stat st;
	int rc;

	if (strcmp(file, "-") == 0)
		rc = file_write(STDOUT_FILENO, "standard output", data, len, e);
	else if (stat(file, &st) == 0 && is_stream(&st))
		rc = write_stream(file, data, len, e);
	else
		rc = write_beside(file, data, len, scratch, e);
	return rc < 0 ? err_ctx(e, "--metadata-file") : 0;
}

int
metadata_write(const struct image *image, double seconds, const char *file,
    struct scratch *scratch, struct err *e)
{
	AUTO(own_freep) char *data = NULL;
	size_t len;

	if (metadata_make(image, seconds, &data, &len, e) < 0)
		return -1;
	return metadata_put(data, len, file, scratch, e);
}
