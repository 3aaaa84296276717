#include "metadata.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "err.h"
#include "image.h"
#include "json_file.h"
#include "own.h"
#include "python_json.h"
#include "scratch.h"

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
layer_value(const struct image_layer *layer)
{
	const struct layer_result *r = &layer->result;
	json_t *paths = json_array();

	for (size_t i = 0; i < layer->n_paths; i++)
		if (json_array_append_new(
			paths, json_string_nocheck(layer->paths[i])) < 0) {
			json_decref(paths);
			return NULL;
		}
	return json_pack("{s:o, s:I, s:o, s:I, s:s, s:o, s:s?, s:o, s:b}",
	    "diff_id", digest_value(&r->diff_id), "tar_size",
	    (json_int_t)r->tar_size, "digest", digest_value(&r->digest), "size",
	    (json_int_t)r->size, "media_type", layer->media_type, "paths",
	    paths, "worker", layer->worker[0] != '\0' ? layer->worker : NULL,
	    "seconds", seconds_value(layer->seconds), "cached", layer->cached);
}

static json_t *
totals_value(const struct image *image, double seconds)
{
	json_int_t tar_size = 0, size = 0, paths = 0, entries = 0, read = 0;
	json_int_t cached = 0;

	for (size_t i = 0; i < image->n_layers; i++) {
		const struct image_layer *layer = &image->layer[i];

		tar_size += (json_int_t)layer->result.tar_size;
		size += (json_int_t)layer->result.size;
		entries += (json_int_t)layer->result.entries;
		read += (json_int_t)layer->result.bytes_read;
		cached += layer->cached;
		if (layer->kind == IMAGE_STORE)
			paths += (json_int_t)layer->n_paths;
	}
	return json_pack("{s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:o}", "layers",
	    (json_int_t)image->n_layers, "cached_layers", cached, "tar_size",
	    tar_size, "size", size, "store_paths", paths, "entries", entries,
	    "bytes_read", read, "seconds", seconds_value(seconds));
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
			layers, layer_value(&image->layer[i])) < 0)
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
	if (ferror(f) | fclose(f))
		return no_memory(e);
	*out = STEAL(&text);
	*out_len = len;
	return 0;
}

/* The folder that file is in. */
static char *
parent_of(const char *file)
{
	const char *slash = strrchr(file, '/');

	if (slash == NULL)
		return strdup(".");
	return slash == file ? strdup("/")
			     : strndup(file, (size_t)(slash - file));
}

int
metadata_check(const char *file, struct err *e)
{
	AUTO(own_freep) char *parent = NULL;
	struct stat st;

	if (strcmp(file, "-") == 0)
		return 0;
	if ((parent = parent_of(file)) == NULL)
		return no_memory(e);
	if (*file == '\0')
		return err_set(e, ERR_USAGE, 0, "--metadata-file: is empty");
	if (access(parent, W_OK | X_OK) < 0)
		return err_set(e, ERR_USAGE, errno,
		    "--metadata-file %.200s: folder %.200s", file, parent);
	if (stat(file, &st) == 0 && S_ISDIR(st.st_mode))
		return err_set(
		    e, ERR_USAGE, EISDIR, "--metadata-file %.200s", file);
	return 0;
}

static int
write_all(int fd, const char *data, size_t len)
{
	ssize_t n;

	while (len > 0) {
		if ((n = write(fd, data, len)) < 0) {
			if (errno == EINTR)
				continue;
			return -1;
		}
		data += n;
		len -= (size_t)n;
	}
	return 0;
}

/* What open() would have given a new file. */
static int
set_mode(int fd)
{
	mode_t mask = umask(0);

	umask(mask);
	return fchmod(fd, 0666 & ~mask);
}

static int
write_beside(const char *file, const char *data, size_t len,
    struct scratch *scratch, struct err *e)
{
	AUTO(own_freep) char *parent = parent_of(file);
	AUTO(own_freep) char *path = NULL;
	AUTO(own_closep) int fd = -1;

	if (parent == NULL)
		return no_memory(e);
	if (scratch_file(scratch, parent, &path, &fd, e) < 0)
		return err_ctx(e, "--metadata-file %.200s", file);
	if (write_all(fd, data, len) < 0 || set_mode(fd) < 0 || fsync(fd) < 0 ||
	    rename(path, file) < 0) {
		err_set(e, ERR_FATAL, errno, "--metadata-file %.200s", file);
		scratch_remove(scratch, path);
		return -1;
	}
	scratch_keep(scratch, path);
	return 0;
}

int
metadata_write(const struct image *image, double seconds, const char *file,
    struct scratch *scratch, struct err *e)
{
	AUTO(own_freep) char *data = NULL;
	size_t len;

	if (metadata_make(image, seconds, &data, &len, e) < 0)
		return -1;
	if (strcmp(file, "-") != 0)
		return write_beside(file, data, len, scratch, e);
	if (write_all(STDOUT_FILENO, data, len) < 0)
		return err_set(
		    e, ERR_FATAL, errno, "--metadata-file: standard output");
	return 0;
}
