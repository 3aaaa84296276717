#include "build/image_build.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "closure/closure.h"
#include "digest.h"
#include "dispatch/dispatch.h"
#include "err.h"
#include "process/file_place.h"
#include "image/image.h"
#include "options/options.h"
#include "output/output.h"
#include "own.h"
#include "request/request.h"
#include "root/root_layer.h"
#include "store_path.h"

void
image_build_label(const struct image_layer *l, size_t i,
    char out[static IMAGE_BUILD_LABEL_MAX])
{
	const size_t size = IMAGE_BUILD_LABEL_MAX;

	if (l->kind == IMAGE_ROOT)
		snprintf(out, size, "layer %zu (root)", i + 1);
	else if (l->n_paths == 0)
		snprintf(out, size, "layer %zu (empty)", i + 1);
	else if (l->n_paths == 1)
		snprintf(out, size, "layer %zu (%.80s)", i + 1,
		    store_path_name(l->paths[0]));
	else
		snprintf(out, size, "layer %zu (%.60s and %zu more)", i + 1,
		    store_path_name(l->paths[0]), l->n_paths - 1);
}

static int
check_outside_store(const struct options *options,
    const struct closure *closure, const char *target, struct err *e)
{
	const char *store_dir = closure->store_dir;
	AUTO(own_freep) char *given = NULL;
	AUTO(own_freep) char *store = NULL;
	AUTO(own_freep) char *place = NULL;
	AUTO(own_freep) char *path = NULL;
	const char *rest;

	if (asprintf(&given, "%s%s", options->store_root, store_dir) < 0) {
		given = NULL;
		return err_set(e, ERR_FATAL, errno, "output");
	}
	if ((store = realpath(given, NULL)) == NULL ||
	    (place = file_place_real(target)) == NULL ||
	    strncmp(place, store, strlen(store)) != 0)
		return 0;
	rest = place + strlen(store);
	if (asprintf(&path, "%s/%.*s", store_dir,
		(int)strcspn(rest + (*rest == '/'), "/"),
		rest + (*rest == '/')) < 0) {
		path = NULL;
		return err_set(e, ERR_FATAL, errno, "output");
	}
	if (*rest == '/' && closure_find(closure, path) != SIZE_MAX)
		return err_set(e, ERR_USAGE, 0,
		    "output %s is inside of %s, which is in the image: name "
		    "another place",
		    target, path);
	return 0;
}

int
image_build_check_outside(const struct options *options,
    const struct request *request, const struct closure *closure,
    const char *target, struct err *e)
{
	if (strcmp(target, "-") == 0)
		return 0;
	if (request->root_tree != NULL &&
	    file_place_below(target, request->root_tree))
		return err_set(e, ERR_USAGE, 0,
		    "output %s is inside of rootTree %s, which is copied into "
		    "the image: name another place",
		    target, request->root_tree);
	return check_outside_store(options, closure, target, e);
}

void
image_build_root(const struct root_layer *root, const char *file,
    struct layer_spec *spec, struct dispatch_job *job)
{
	if (root != NULL) {
		spec->source = LAYER_FROM_ENTRIES;
		job->entry = root->entry;
		job->n = (uint32_t)root->n;
		job->weight = root->n * TAR_BLOCK;
	} else {
		spec->source = LAYER_FROM_FILE;
		spec->file = file;
	}
}

int
image_build_check_root(const char *file, const struct digest *want,
    const struct layer_result *result, struct err *e)
{
	if (file == NULL || digest_equal(&result->diff_id, want))
		return 0;
	return err_set(e, ERR_USAGE, 0,
	    "%s: its SHA-256 is not what 'checksum' beside it says", file);
}

int
image_build_commit(const struct image *image, struct output *const *output,
    size_t n, const struct output *blobs, struct err *e)
{
	for (size_t i = 0; i < n; i++)
		if (output_commit(output[i], image,
			output[i] == blobs ? NULL : blobs, e) < 0)
			return -1;
	return 0;
}
