/*
 * In which order the layers of a batch are made.  Pure.
 *
 * Longest first ends soonest, but nearly all images would be whole only at the
 * end, and be published then, one after the other.  Image by image, an image
 * is whole early and often, but a large layer that begins late is waited for.
 * So:
 *
 *   1. image by image, until an eighth of all bytes is taken: the first images
 *      come soon;
 *   2. then what is larger than 1/1024 of all, longest first: nothing that is
 *      left can hold up the end for long;
 *   3. then image by image.
 *
 * The next image is always the one with the fewest bytes left to make, as
 * layers that others share are taken already; of equals, the first.
 */
#ifndef BATCH_ORDER_H
#define BATCH_ORDER_H

#include <stddef.h>
#include <stdint.h>

struct err;

#define BATCH_ORDER_FIRST 8    /* 1/8 of the bytes */
#define BATCH_ORDER_LARGE 1024 /* 1/1024 of the bytes */

struct batch_order_image {
	const uint32_t *job; /* that it waits for */
	size_t n;
};

/*
 * order[j]: n_jobs for the job that goes first, down to 1.  Every job is some
 * image's.
 */
int batch_order_make(const struct batch_order_image *image, size_t n_images,
    const uint64_t *weight, size_t n_jobs, uint64_t *order, struct err *e);

#endif
