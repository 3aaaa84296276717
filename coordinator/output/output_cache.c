#include "output/output_ops.h"

#include <errno.h>
#include <stdlib.h>

#include "err.h"
#include "cache/layer_cache.h"
#include "layer_spec.h"
#include "output/output.h"

/* Has workers write blobs into the layer cache, from which others copy. */
struct to_cache {
	struct output output;
	const struct layer_cache *cache;
};

static bool
cache_sink(struct output *o, size_t i, struct layer_output *out)
{
	const struct to_cache *c = (const struct to_cache *)o;

	(void)i;
	*out = (struct layer_output){.kind = LAYER_TO_BLOB,
	    .path = layer_cache_blobs(c->cache),
	    .size = LAYER_SIZE_UNKNOWN};
	return true;
}

static void
cache_free(struct output *o)
{
	free(o);
}

int
output_cache_open(
    const struct layer_cache *cache, struct output **out, struct err *e)
{
	struct to_cache *c = calloc(1, sizeof(*c));
	static const struct output_ops ops = {
	    .takes_blobs = true,
	    .sink = cache_sink,
	    .free = cache_free,
	};

	if (c == NULL)
		return err_set(e, ERR_FATAL, errno, "layer cache");
	c->output.ops = &ops;
	c->cache = cache;
	c->output.blobs = layer_cache_pins(cache);
	*out = &c->output;
	return 0;
}
