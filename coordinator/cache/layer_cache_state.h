/* Inside of the layer cache: what layer_cache.c and cache_*.c share. */
#ifndef LAYER_CACHE_STATE_H
#define LAYER_CACHE_STATE_H

#include <stdbool.h>
#include <stddef.h>

#include "digest.h"
#include "layer_spec.h"

struct err;

/* The folders of a cache, open, and the locks. */
struct layer_cache_folders {
	char *folder; /* absolute */
	int blobs, layers, pins, trash;
	int lock; /* shared */
};

/* As layer_cache_open; shared: waits for nobody but a prune. */
int layer_cache_folders_open(
    const char *folder, struct layer_cache_folders *out, struct err *e);
void layer_cache_folders_close(struct layer_cache_folders *f);

#define LAYER_CACHE_NAME_MAX 64 /* of a build's pins */
#define LAYER_CACHE_LOCK ".lock"

/* Reads a record; false: it is none. */
bool layer_record_parse(
    const char *data, size_t len, bool *verified, struct layer_result *out);

/* Into out, with its newline; the length. */
size_t layer_record_print(
    const struct layer_result *result, bool verified, char *out, size_t size);

/* Makes pins of our own: name, folder and lock. */
int layer_cache_pin_new(const struct layer_cache_folders *f,
    char name[LAYER_CACHE_NAME_MAX], int *folder, int *lock, struct err *e);

/* Removes the pins of builds that are no more. */
void layer_cache_sweep(const struct layer_cache_folders *f);

/* Removes what a killed build had not named yet. */
void layer_cache_sweep_temps(int folder);

/* Removes a build's pins and their lock, as far as they are there. */
void layer_cache_unpin(int pins, const char *name);

/* Reads at most size bytes of a file in a folder; -1: errno. */
long layer_cache_read(int folder, const char *name, char *out, size_t size);

#endif
