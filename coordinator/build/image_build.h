/*
 * The steps that every image goes through, whether it is built by itself
 * (build.c) or among others (batch*.c): what its layers' jobs are called and
 * made of, where outputs may be, and how config and manifests are put where
 * they go.  Whoever calls owns everything.  Usable in any thread.
 */
#ifndef IMAGE_BUILD_H
#define IMAGE_BUILD_H

#include <stddef.h>

struct closure;
struct digest;
struct dispatch_job;
struct err;
struct image;
struct image_layer;
struct layer_result;
struct layer_spec;
struct options;
struct output;
struct request;
struct root_layer;

#define IMAGE_BUILD_LABEL_MAX 128

/* "layer 7 (glibc-2.38)", "layer 100 (bash-5.2 and 370 more)". */
void image_build_label(const struct image_layer *l, size_t i,
    char out[static IMAGE_BUILD_LABEL_MAX]);

/*
 * A layer that is read while it is written to would be different each time:
 * ERR_USAGE where target, a file or folder, is inside of a store path that is
 * in the image, or of the request's rootTree.
 */
int image_build_check_outside(const struct options *options,
    const struct request *request, const struct closure *closure,
    const char *target, struct err *e);

/* Root layer: of entries, or (NULL) of a file that lies ready. */
void image_build_root(const struct root_layer *root, const char *file,
    struct layer_spec *spec, struct dispatch_job *job);

/* What was made of that file (if any) is what its checksum says. */
int image_build_check_root(const char *file, const struct digest *want,
    const struct layer_result *result, struct err *e);

/*
 * All layers have their results, and config and manifest are made: commits all
 * outputs.  blobs: the one that has the blobs, or NULL.
 */
int image_build_commit(const struct image *image, struct output *const *output,
    size_t n, const struct output *blobs, struct err *e);

#endif
