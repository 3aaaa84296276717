/*
 * What one run has seen of registries, for the next: a file in the folder of
 * the layer cache.  An image of another repository then has its layers mounted
 * there, and not uploaded once more.  It is of use and never relied on: what is
 * wrong in it, or lost, costs an upload, and who writes last wins.
 *
 *	quarry-registry-places 1
 *	HEX BASE REPOSITORY
 *
 * HEX is the blob's SHA-256, BASE as in push_base.  One thread.
 */
#ifndef BLOB_PLACES_FILE_H
#define BLOB_PLACES_FILE_H

struct blob_places;

#define BLOB_PLACES_FILE "registry-places"
#define BLOB_PLACES_FILE_MAX 65536 /* blobs; about 10 MB */

void blob_places_load(struct blob_places *p, const char *folder);
/* What is in p, newest first; nothing if no blob was seen anywhere. */
void blob_places_save(struct blob_places *p, const char *folder);

#endif
