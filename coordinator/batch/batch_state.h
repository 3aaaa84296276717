/*
 * Inside of a batch: its state, and what its files call of each other.
 * batch.c runs it from its beginning to its end; batch_requests.c reads what
 * is wanted, batch_places.c where it goes; batch_plan.c plans image by image,
 * out of batch_sources.c's graphs and batch_bases.c's base images, and
 * batch_shared.c looks for what others have made, and gives them what is made
 * here, batch_sharer.c soon; batch_jobs.c
 * has the layers made, which workers push as batch_push.c has it;
 * batch_publish.c puts images where they go, in threads of
 * its own; batch_summary.c says what came of it.  For these alone.
 */
#ifndef BATCH_STATE_H
#define BATCH_STATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "batch/batch_file.h"
#include "batch/batch_layers.h"
#include "build/build_workers.h"
#include "encoding.h"
#include "err.h"
#include "build/image_build.h"
#include "dispatch/dispatch.h"
#include "output/output.h"
#include "output/push.h"

struct base_image;
struct base_source;
struct batch_bases;
struct batch_homes;
struct batch_paths;
struct batch_publisher;
struct batch_sharer;
struct batch_sources;
struct blob_places;
struct closure;
struct layer_cache;
struct metrics;
struct options;
struct output;
struct progress;
struct registry_places;
struct request;
struct root_layer;
struct scratch;
struct shared_cache;

/*
 * An image belongs to the main thread until its last layer is there, then to
 * the publisher, and when that has ended to the main thread again.
 */
struct batch_image {
	char *where; /* its request is: "FILE: line 3" */
	char *title; /* its name and tag, or where its request is */
	struct batch_extra extra;
	struct request *request; /* until it is published */
	struct encoding encoding;
	const struct base_image *base; /* or NULL */
	char *root_file;	       /* the reference's layer.tar, or NULL */
	struct digest root_digest;     /* what its checksum file says */
	uint32_t *layer; /* those of the store, bottom first, and the root */
	size_t n_layers;
	size_t missing; /* layers that are not there yet, or being pushed */

	bool done, failed;
	enum err_kind kind; /* failed: why */
	char *error;

	/* Done: what came of it. */
	char *name, *tag;
	struct digest id, manifest_digest;
	struct push_counts pushed;
	uint64_t tar_size, size; /* of all layers, also the base's */
	double seconds;		 /* from the beginning of the batch */
};

/* What layers have in common; owns its strings. */
struct batch_spec {
	struct layer_spec spec;
	char *store_dir, *uname, *gname, *file;
	struct batch_paths *paths; /* of that store_dir; borrowed */
};

struct batch {
	const struct options *options;
	int64_t start; /* ms */
	struct scratch *scratch;
	struct progress *progress;
	struct batch_image *image;
	size_t n;

	char *temp; /* the folder of a cache for this run alone, or NULL */
	struct layer_cache *cache;
	struct output *to_cache;
	struct registry_options push; /* the options', and: */
	struct blob_places *places;
	struct registry_places *opened;
	struct metrics *metrics; /* or NULL */
	/* Or NULL; layers that were found, and put there. */
	struct shared_cache *shared;
	size_t shared_found, shared_put;
	/* Bytes of files, and from binary caches, that workers took in. */
	uint64_t read, fetched;

	/* Planned. */
	struct batch_sources *sources;
	struct batch_bases *bases;
	struct batch_paths **paths; /* one a store directory */
	size_t n_paths;
	struct batch_spec *spec;
	size_t n_specs;
	struct batch_layers layers;
	struct encoding encoding; /* of what is encoded at all */

	/* At work. */
	struct build_workers workers;
	struct dispatch_job *job;
	char (*label)[IMAGE_BUILD_LABEL_MAX];
	uint32_t *layer_of;	/* each job's */
	size_t n_jobs, n_store; /* those of the store come first */
	size_t first;		/* of the jobs that are run */
	bool running;
	struct root_layer *loaded; /* of the job that is being sent */
	struct batch_homes *homes; /* or NULL: workers push nothing */
	struct batch_publisher *publisher;
	struct batch_sharer *sharer; /* or NULL */
};

/* An image's outputs, with the texts that they borrow. */
struct batch_targets {
	char *text[BATCH_OUTPUTS_MAX];
	struct output_target target[BATCH_OUTPUTS_MAX];
	size_t n;
};

/* tag NULL: not known yet, and "{tag}" stays. */
int batch_targets_make(const struct batch *b, const struct batch_image *image,
    const char *tag, struct batch_targets *out, struct err *e);
void batch_targets_clear(struct batch_targets *t);

/*
 * The file that --image-metadata names for it, the caller's; NULL: none.  tag
 * as above.
 */
int batch_metadata_make(const struct batch *b, const struct batch_image *image,
    const char *tag, char **out, struct err *e);

/* The image's tag; until it is known another one has to do. */
const char *batch_some_tag(const struct batch_image *image);

/*
 * Reads all requests; one that is wrong has failed then.  ERR_USAGE: the file
 * is, or two images have one name or one place.
 */
int batch_requests_read(struct batch *b, struct err *e);

/*
 * ERR_USAGE: two images have one name or one place, or one is in a folder that
 * another one replaces as a whole.
 */
int batch_places_check(const struct batch *b, struct err *e);

/* Whether it goes to a file or folder. */
bool batch_place_is_file(const struct output_target *t);

/*
 * What a request chooses of a path stays in the folder that the path's template
 * names, also where symlinks lead.  ERR_USAGE.
 */
int batch_place_inside(const char *template, const char *path, struct err *e);

/* Graphs, each read once. */
int batch_sources_new(struct batch_sources **out, struct err *e);
void batch_sources_free(struct batch_sources *s);
/* Graphs are of no use once all is planned. */
void batch_sources_drop_graphs(struct batch_sources *s);
/* The image's closure, the caller's, with strings of a graph that stays. */
int batch_sources_closure(struct batch_sources *s, const struct options *o,
    const struct batch_image *image, struct closure **out, struct err *e);

/*
 * Base images, each opened once; valid until freed.  One of a registry has its
 * layers there only, until they are fetched.
 */
int batch_bases_new(struct batch_bases **out, struct err *e);
void batch_bases_free(struct batch_bases *all);
int batch_bases_open(struct batch_bases *all, const struct base_source *from,
    struct scratch *scratch, const struct base_image **out, struct err *e);
/* Fetches what images need; those whose base is not to be had have failed. */
void batch_bases_fetch(struct batch *b);

/*
 * Whether no output of the image needs the bytes of what is in this registry
 * ("https://HOST[:PORT]").
 */
bool batch_image_stays(const struct batch *b, const struct batch_image *image,
    const char *registry);

/* Plans all images.  ERR_FATAL only: what is wrong with one is its own. */
int batch_plan(struct batch *b, struct err *e);

/*
 * The shared cache: which layers others have made, and which are put there, the
 * last when all is published.  That it cannot help is a warning; ERR_USAGE: the
 * way there is no good.  _look_up: what is found is known then, and fetched
 * where an image needs its bytes.
 */
int batch_shared_open(struct batch *b, struct err *e);
int batch_shared_look_up(struct batch *b, struct err *e);
void batch_shared_put(struct batch *b);
/*
 * Some, each of which has a key; *there: which are there now.  Not two threads
 * at once.
 */
int batch_shared_put_these(struct batch *b, const uint32_t *layer, size_t n,
    bool *there, struct err *e);

/*
 * Puts layers into the shared cache as they are made, in a thread of its own;
 * NULL, here and below: there is none.  One that its own registry is to get in
 * another way first is left to batch_shared_put.  _finish: waits for all, -1:
 * they are not all there.  _free: leaves what it has not begun.
 */
int batch_sharer_new(struct batch *b, struct batch_sharer **out, struct err *e);
void batch_sharer_add(struct batch_sharer *s, uint32_t layer);
int batch_sharer_finish(struct batch_sharer **s, struct err *e);
void batch_sharer_free(struct batch_sharer *s);

/*
 * Where workers put layers, as they are made, so that images find them there,
 * or in another repository of the registry.  _find: asks the registries
 * whether they are there; _tell: the jobs, and whoever has them made.
 */
int batch_homes_find(struct batch *b, struct err *e);
void batch_homes_tell(
    struct batch *b, struct push *const **pushes, size_t *n_pushes);
void batch_homes_free(struct batch_homes *h);
/* Whether an image puts the layer into that registry, as far as is known. */
bool batch_homes_may_be_at(
    const struct batch *b, uint32_t layer, const char *base);

void batch_spec_clear(struct batch_spec *s);

/* Makes the jobs, in their order, and runs them. */
int batch_jobs_make(struct batch *b, struct err *e);
int batch_jobs_run(struct batch *b, struct err *e);

/* What these tell of, and the jobs of a server (--coordinator) likewise. */
struct dispatch_hooks batch_jobs_hooks(struct batch *b);
/*
 * Has the server make what is of the store; root layers are made here.  -1 and
 * e: it could not begin; else why is what ended it, if anything did.
 */
int batch_jobs_by_server(struct batch *b, struct err *why, struct err *e);

/*
 * The image cannot be made, and says so; layers that nobody else wants are
 * left.  Where its request is stands before the reason.
 */
void batch_image_fail(struct batch *b, uint32_t image, const struct err *why);
/* The same of one that has all its layers; in any thread. */
void batch_image_failed(
    const struct batch *b, struct batch_image *image, const struct err *why);

/* Starts its threads. */
int batch_publisher_new(
    struct batch *b, struct batch_publisher **out, struct err *e);
/* All layers of the image are there; never waits. */
void batch_publisher_add(struct batch_publisher *p, uint32_t image);
/* Nothing comes any more: waits for what is left. */
void batch_publisher_finish(
    struct batch_publisher *p, struct progress *progress);
void batch_publisher_free(struct batch_publisher *p);

/* Says that an image is done or failed, as --progress has it; any thread. */
void batch_tell(const struct batch *b, const struct batch_image *image);

/* As --json, --metadata-file and the table have it. */
int batch_summary(const struct batch *b, struct err *e);

#endif
