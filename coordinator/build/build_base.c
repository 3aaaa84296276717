#include "build/build_base.h"

#include <stddef.h>
#include <string.h>

#include "build/base_fetch.h"
#include "build/build_cache.h"
#include "build/build_state.h"
#include "err.h"
#include "build/image_layers.h"
#include "image/base_image.h"
#include "output/output.h"
#include "progress/progress.h"
#include "process/scratch.h"

bool
build_base_stays(const struct build *b, const char *registry)
{
	for (size_t i = 0; i < b->n_outputs; i++) {
		const char *there = output_registry(b->output[i]);

		if (b->options->outputs[i].kind != OUTPUT_NONE &&
		    (there == NULL || strcmp(there, registry) != 0))
			return false;
	}
	return true;
}

/* What is known of the base's layers goes into the image. */
static void
take_layers(struct build *b)
{
	const struct base_image *base = b->layers->own_base;

	for (size_t i = 0; i < base->n; i++) {
		struct image_layer *l = &b->layers->image.layer[i];

		l->result = base->layer[i].result;
		l->media_type = base->layer[i].media_type;
		l->file = base->layer[i].file;
		l->remote = false;
	}
}

int
build_base_fetch(struct build *b, struct err *e)
{
	struct base_image *base = b->layers->own_base;
	struct layer_cache *cache =
	    b->cache != NULL ? build_cache_folder(b->cache) : NULL;

	if (base == NULL || base->registry == NULL ||
	    build_base_stays(b, base->registry))
		return 0;
	progress_phase(b->progress, "fetching the base image");
	if (cache == NULL &&
	    scratch_folder(b->scratch, scratch_temp(), &b->base_blobs, e) < 0)
		return -1;
	if (base_fetch(base, cache, b->base_blobs, e) < 0)
		return -1;
	take_layers(b);
	return 0;
}
