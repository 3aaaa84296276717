/*
 * `quarry batch`: many images in one run.  All are planned first, one after
 * the other; a layer that several want is made once, into the layer cache; an
 * image is published as soon as its last layer is there; and what is wrong
 * with one image is its own.
 */
#ifndef BATCH_H
#define BATCH_H

struct err;
struct options;

/*
 * ERR_USAGE: the file of requests is wrong, or no image could be made and all
 * for what is wrong with its input.  ERR_FATAL: images failed.
 */
int batch_run(const struct options *options, struct err *e);

#endif
