/*
 * Inside of build: build.c runs one build from its beginning to its end,
 * build_jobs.c makes jobs of the image's layers, build_client.c has a server do
 * them.  For these alone.
 */
#ifndef BUILD_STATE_H
#define BUILD_STATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "build/build_workers.h"
#include "build/image_build.h"
#include "options/options.h"

struct build_cache;
struct build_shared;
struct client;
struct dispatch_job;
struct dispatch_made;
struct err;
struct image_layers;
struct layer_spec;
struct metrics;
struct output;
struct progress;
struct push;
struct scratch;

/* One build; the parts are made in this order and freed in the reverse. */
struct build {
	const struct options *options;
	int64_t start; /* ms */
	struct scratch *scratch;
	struct progress *progress;
	struct metrics *metrics; /* or NULL */
	struct output *output[OPTIONS_OUTPUTS_MAX];
	size_t n_outputs;
	struct push
	    *pushes[OPTIONS_OUTPUTS_MAX + 1]; /* those of workers, too */
	struct output *blobs;	   /* the output that workers write blobs to */
	struct build_cache *cache; /* or NULL */
	struct output *to_cache;   /* or NULL */
	struct build_shared *shared; /* or NULL */
	size_t known;		     /* layers that were made before */
	struct image_layers *layers;
	char *base_blobs; /* fetched layers of the base; or NULL */
	struct build_workers workers;

	/* One job and spec a layer that is not the base's. */
	struct dispatch_job *job;
	struct dispatch_made *made;
	struct layer_spec *spec;
	char (*label)[IMAGE_BUILD_LABEL_MAX];
	size_t *layer;	      /* that it makes */
	size_t n_jobs, first; /* first: of the layers that are not the base's */
};

/* What all jobs have in common. */
void build_spec(const struct build *b, struct layer_spec *out);

/* One job for each layer that is to be made; layers are known then. */
int build_describe_jobs(struct build *b, struct err *e);

/* Tells each job where its layer goes. */
int build_place(struct build *b, struct err *e);

/*
 * Has the server of --coordinator make all store layers; the root layer is made
 * here.  In place of workers, measuring and build_place.
 */
int build_by_server(struct build *b, struct err *e);

/*
 * build_pushed.c: layers that workers have put into all registries, and that
 * are nowhere else.  _only: whether the build may have such.  _check: what was
 * lost there is made again, by the server if there is one.  build_pushes: fills
 * in the outputs that others than we may push to, and counts them.
 */
size_t build_pushes(struct build *b);
bool build_pushed_only(const struct build *b, size_t n_pushes);
int build_pushed_check(struct build *b, struct client *client, struct err *e);

/* A job is done and verified: arg is the build. */
int build_job_done(void *arg, const struct dispatch_job *job, struct err *e);

#endif
