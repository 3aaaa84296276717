#include "output/oci_blobs.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "digest.h"
#include "err.h"
#include "image/image.h"
#include "own.h"

int
oci_blobs_make(const char *folder, char **blobs, struct err *e)
{
	AUTO(own_freep) char *path = NULL;
	char *end;

	if (asprintf(&path, "%s/blobs/sha256", folder) < 0) {
		path = NULL;
		return err_set(e, ERR_FATAL, errno, "blobs");
	}
	end = strrchr(path, '/');
	*end = '\0';
	if (mkdir(path, 0777) < 0)
		return err_set(e, ERR_FATAL, errno, "make folder %s", path);
	*end = '/';
	if (mkdir(path, 0777) < 0)
		return err_set(e, ERR_FATAL, errno, "make folder %s", path);
	*blobs = STEAL(&path);
	return 0;
}

int
oci_blobs_path(
    const char *blobs, const struct digest *digest, char **path, struct err *e)
{
	char hex[DIGEST_HEX_LEN + 1];

	digest_hex(digest, hex);
	if (asprintf(path, "%s/%s", blobs, hex) < 0) {
		*path = NULL;
		return err_set(e, ERR_FATAL, errno, "blobs");
	}
	return 0;
}

int
oci_blobs_find(const struct image_layer *layer, const char *blobs, char **path,
    struct err *e)
{
	AUTO(own_freep) char *found = NULL;
	struct stat st;

	if (layer->file != NULL) {
		if ((found = strdup(layer->file)) == NULL)
			return err_set(e, ERR_FATAL, errno, "blobs");
	} else if (oci_blobs_path(blobs, &layer->result.digest, &found, e) <
	    0) {
		return -1;
	}
	if (stat(found, &st) < 0)
		return err_set(e, ERR_FATAL, errno, "layer blob %s", found);
	if (!S_ISREG(st.st_mode) || (uint64_t)st.st_size != layer->result.size)
		return err_set(e, ERR_FATAL, 0,
		    "layer blob %s has %llu bytes instead of %llu", found,
		    (unsigned long long)st.st_size,
		    (unsigned long long)layer->result.size);
	*path = STEAL(&found);
	return 0;
}
