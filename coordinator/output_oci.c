#include "output_ops.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "digest.h"
#include "err.h"
#include "file_copy.h"
#include "file_place.h"
#include "image.h"
#include "image_json.h"
#include "oci_blobs.h"
#include "output.h"
#include "own.h"
#include "scratch.h"

struct oci {
	struct output output;
	char *place, *parent;
	char *staging; /* the whole layout, beside its place */
	bool replaces; /* a layout is there already */
	bool links;    /* blobs may be further names of files */
	mode_t mode;
};

static struct oci *
self(struct output *o)
{
	return (struct oci *)o;
}

/* A file of the layout, durable.  Replaces one of that name. */
static int
put_file(const char *folder, const char *name, const void *data, size_t len,
    struct err *e)
{
	AUTO(own_freep) char *path = NULL;
	AUTO(own_closep) int fd = -1;

	if (asprintf(&path, "%s/%s", folder, name) < 0) {
		path = NULL;
		return err_set(e, ERR_FATAL, errno, "%s", name);
	}
	fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
	if (fd < 0)
		return err_set(e, ERR_FATAL, errno, "make %s", path);
	if (file_write(fd, path, data, len, e) < 0)
		return -1;
	if (fsync(fd) < 0)
		return err_set(e, ERR_FATAL, errno, "sync %s", path);
	return 0;
}

/* A blob that is in a file elsewhere, whole. */
static int
copy_blob(const struct oci *o, const struct image_layer *layer,
    const char *file, struct err *e)
{
	const struct digest *digest = &layer->result.digest;
	AUTO(own_freep) char *path = NULL;
	AUTO(own_closep) int fd = -1;

	if (oci_blobs_path(o->output.blobs, digest, &path, e) < 0)
		return -1;
	/* Ours is durable; on another file system it is copied. */
	if (o->links && layer->kind != IMAGE_BASE &&
	    (link(file, path) == 0 || errno == EEXIST))
		return 0;
	fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
	if (fd < 0 && errno == EEXIST) /* the same layer again */
		return 0;
	if (fd < 0)
		return err_set(e, ERR_FATAL, errno, "make %s", path);
	if (file_copy(file, layer->result.size, fd, path, e) < 0)
		return -1;
	if (fsync(fd) < 0)
		return err_set(e, ERR_FATAL, errno, "sync %s", path);
	return 0;
}

/* Workers' temp files are private; a layout is as public as other files. */
static int
open_up(const struct oci *o, const struct digest *digest, struct err *e)
{
	AUTO(own_freep) char *path = NULL;

	if (oci_blobs_path(o->output.blobs, digest, &path, e) < 0)
		return -1;
	if (chmod(path, o->mode & 0666) < 0)
		return err_set(e, ERR_FATAL, errno, "chmod %s", path);
	return 0;
}

static int
put_layers(struct oci *o, const struct image *image,
    const struct output *blobs_of, struct err *e)
{
	for (size_t i = 0; i < image->n_layers; i++) {
		const struct image_layer *layer = &image->layer[i];
		AUTO(own_freep) char *file = NULL;

		if (oci_blobs_find(layer,
			blobs_of != NULL ? blobs_of->blobs : o->output.blobs,
			&file, e) < 0)
			return -1;
		if ((layer->file != NULL || blobs_of != NULL) &&
		    copy_blob(o, layer, file, e) < 0)
			return -1;
		if (open_up(o, &layer->result.digest, e) < 0)
			return -1;
	}
	return 0;
}

/* Makes the names in the staging folder durable, innermost first. */
static int
sync_folders(const struct oci *o, struct err *e)
{
	AUTO(own_freep) char *parent = NULL;

	if (asprintf(&parent, "%s/blobs", o->staging) < 0) {
		parent = NULL;
		return err_set(e, ERR_FATAL, errno, "oci");
	}
	if (file_place_sync(o->output.blobs, e) < 0 ||
	    file_place_sync(parent, e) < 0)
		return -1;
	return file_place_sync(o->staging, e);
}

static int
put_json(struct oci *o, const struct image *image, struct err *e)
{
	AUTO(own_freep) char *index = NULL;
	char hex[DIGEST_HEX_LEN + 1];
	size_t len;

	if (image_json_index(image, &index, &len, e) < 0)
		return -1;
	digest_hex(&image->id, hex);
	if (put_file(o->output.blobs, hex, image->config_json,
		image->config_len, e) < 0)
		return -1;
	digest_hex(&image->manifest_digest, hex);
	if (put_file(o->output.blobs, hex, image->manifest_json,
		image->manifest_len, e) < 0 ||
	    put_file(o->staging, "oci-layout", OCI_LAYOUT_JSON,
		strlen(OCI_LAYOUT_JSON), e) < 0 ||
	    put_file(o->staging, "index.json", index, len, e) < 0)
		return -1;
	return sync_folders(o, e);
}

/*
 * Where names cannot be exchanged.  The old layout is not on the list of
 * things to remove until the new one is in its place.
 */
static int
replace_in_steps(struct oci *o, struct err *e)
{
	AUTO(own_freep) char *old = NULL;

	if (scratch_folder(o->output.scratch, o->parent, &old, e) < 0)
		return -1;
	scratch_keep(o->output.scratch, old);
	if (rename(o->place, old) < 0) {
		int sys = errno;

		rmdir(old);
		return err_set(e, ERR_FATAL, sys, "rename %s", o->place);
	}
	if (rename(o->staging, o->place) < 0) {
		int sys = errno;

		if (rename(old, o->place) < 0)
			return err_set(e, ERR_FATAL, sys,
			    "rename %s to %s (what was there is now %s)",
			    o->staging, o->place, old);
		return err_set(
		    e, ERR_FATAL, sys, "rename %s to %s", o->staging, o->place);
	}
	scratch_keep(o->output.scratch, o->staging);
	scratch_remove(o->output.scratch, old);
	return 0;
}

static int
put_in_place(struct oci *o, struct err *e)
{
	struct scratch *scratch = o->output.scratch;

	if (!o->replaces) {
		if (rename(o->staging, o->place) < 0)
			return err_set(e, ERR_FATAL, errno, "rename %s to %s",
			    o->staging, o->place);
		scratch_keep(scratch, o->staging);
	} else if (renameat2(AT_FDCWD, o->staging, AT_FDCWD, o->place,
		       RENAME_EXCHANGE) == 0) {
		if (file_place_sync(o->parent, e) < 0)
			return -1;
		scratch_remove(scratch, o->staging); /* now the old one */
	} else if (errno != EINVAL && errno != ENOSYS && errno != EOPNOTSUPP) {
		return err_set(e, ERR_FATAL, errno, "exchange %s and %s",
		    o->staging, o->place);
	} else if (replace_in_steps(o, e) < 0) {
		return -1;
	}
	own_freep(&o->staging);
	return file_place_sync(o->parent, e);
}

static int
oci_commit(struct output *output, const struct image *image,
    const struct output *blobs_of, struct err *e)
{
	struct oci *o = self(output);

	if (put_layers(o, image, blobs_of, e) < 0 || put_json(o, image, e) < 0)
		return -1;
	if (chmod(o->staging, o->mode) < 0)
		return err_set(e, ERR_FATAL, errno, "chmod %s", o->staging);
	if (put_in_place(o, e) < 0)
		return -1;
	free(output->blobs);
	if (asprintf(&output->blobs, "%s/blobs/sha256", o->place) < 0) {
		output->blobs = NULL;
		return err_set(e, ERR_FATAL, errno, "oci");
	}
	return 0;
}

static int
oci_layout(struct output *output, const struct image *image, struct err *e)
{
	(void)output;
	(void)image;
	(void)e;
	return 0;
}

static bool
oci_sink(struct output *output, size_t i, struct layer_output *out)
{
	(void)i;
	*out = (struct layer_output){.kind = LAYER_TO_BLOB,
	    .path = output->blobs,
	    .size = LAYER_SIZE_UNKNOWN};
	return true;
}

static void
oci_free(struct output *output)
{
	struct oci *o = self(output);

	if (o->staging != NULL)
		scratch_remove(output->scratch, o->staging);
	free(o->staging);
	free(o->place);
	free(o->parent);
	output_clear(output);
	free(o);
}

static void
oci_freep(struct oci **o)
{
	if (*o != NULL)
		oci_free(&(*o)->output);
}

static bool
folder_is_empty(const char *path)
{
	struct dirent *entry;
	bool empty = true;
	DIR *d = opendir(path);

	if (d == NULL)
		return false;
	while (empty && (entry = readdir(d)) != NULL)
		empty = strcmp(entry->d_name, ".") == 0 ||
		    strcmp(entry->d_name, "..") == 0;
	closedir(d);
	return empty;
}

/* Only an OCI layout, or nothing, is ever replaced. */
static int
check_place(struct oci *o, struct err *e)
{
	AUTO(own_freep) char *mark = NULL;
	struct statx st;

	if (statx(AT_FDCWD, o->place, AT_SYMLINK_NOFOLLOW, STATX_TYPE, &st) < 0)
		return errno == ENOENT
		    ? 0
		    : err_set(e, ERR_USAGE, errno, "%s", o->place);
	if (!S_ISDIR(st.stx_mode))
		return err_set(e, ERR_USAGE, 0, "%s is not a folder", o->place);
	if ((st.stx_attributes & STATX_ATTR_MOUNT_ROOT) != 0)
		return err_set(e, ERR_USAGE, 0,
		    "%s is a mount point and cannot be replaced as a whole: "
		    "name a folder in it",
		    o->place);
	if (asprintf(&mark, "%s/oci-layout", o->place) < 0) {
		mark = NULL;
		return err_set(e, ERR_FATAL, errno, "oci");
	}
	o->replaces = access(mark, F_OK) == 0;
	if (!o->replaces && !folder_is_empty(o->place))
		return err_set(e, ERR_USAGE, 0,
		    "%s is a folder with other things in it: name a new one",
		    o->place);
	return 0;
}

int
output_oci_open(const struct output_target *target, struct scratch *scratch,
    struct output **out, struct err *e)
{
	AUTO(oci_freep) struct oci *o = calloc(1, sizeof(*o));
	static const struct output_ops ops = {
	    .takes_blobs = true,
	    .layout = oci_layout,
	    .sink = oci_sink,
	    .commit = oci_commit,
	    .free = oci_free,
	};

	if (o == NULL)
		return err_set(e, ERR_FATAL, errno, "oci");
	o->output.ops = &ops;
	o->output.scratch = scratch;
	o->links = target->links;
	if (file_place(target->path, &o->place, &o->parent, e) < 0 ||
	    check_place(o, e) < 0)
		return -1;
	o->mode = file_place_mode(o->place, 0777);
	if (scratch_folder(scratch, o->parent, &o->staging, e) < 0 ||
	    oci_blobs_make(o->staging, &o->output.blobs, e) < 0)
		return -1;
	*out = &STEAL(&o)->output;
	return 0;
}
