/*
 * The layers that the images of a batch want, each once: which are known,
 * which have to be made, and which images wait for them.  A state machine
 * without files or sockets.  One thread changes it; a result may be read by
 * any once it is there.
 *
 *	wanted -> made | failed | left		(left: nobody waits any more)
 *	known
 */
#ifndef BATCH_LAYERS_H
#define BATCH_LAYERS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "digest.h"
#include "closure/hash_index.h"
#include "dispatch/dispatch.h"

struct err;

#define BATCH_NONE UINT32_MAX

enum batch_layer_state {
	BATCH_WANTED,
	BATCH_KNOWN, /* from the cache */
	BATCH_MADE,
	BATCH_FAILED,
	BATCH_LEFT
};

struct batch_layer {
	enum batch_layer_state state;
	bool has_key;
	bool shared;	   /* the shared cache has it */
	bool remote;	   /* it alone has, or registries that it was put to */
	bool pushing;	   /* it is made, and workers put it there */
	struct digest key; /* of the blob in the cache */
	uint32_t image;	   /* that wanted it first: it is made for that one */
	uint32_t waiting;  /* images that do, and have not failed */
	uint32_t wait;	   /* the first of all that ever did */
	/* What it is made of; paths are indices into the batch's. */
	uint32_t *path;
	size_t n;
	uint32_t spec;
	uint64_t weight;
	uint32_t job;		   /* once there are jobs */
	struct dispatch_made made; /* result: wherever it is from */
};

struct batch_wait {
	uint32_t image, next;
};

struct batch_layers {
	struct batch_layer *layer;
	size_t n, room;
	struct batch_wait *wait;
	size_t n_waits, room_waits;
	struct hash_index by_key;
};

void batch_layers_clear(struct batch_layers *t);

/*
 * The image wants the layer with this key, or one that has none (NULL) and so
 * is its own.  *fresh: nobody did before; the caller says what it is made of,
 * and the state where it is known.
 */
int batch_layers_want(struct batch_layers *t, uint32_t image,
    const struct digest *key, uint32_t *out, bool *fresh, struct err *e);

/* A walk over all images that want it: *at is 0 at first; BATCH_NONE: over. */
uint32_t batch_layers_next(
    const struct batch_layers *t, uint32_t layer, uint64_t *at);

/* The image failed: true if nobody else waits for a layer to be made. */
bool batch_layers_leave(struct batch_layers *t, uint32_t layer);

/* How many there are, and of what. */
struct batch_counts {
	size_t wanted; /* by images, in all */
	size_t distinct, known, made, failed;
	uint64_t made_bytes; /* of tars */
};
void batch_layers_count(const struct batch_layers *t, struct batch_counts *out);

#endif
