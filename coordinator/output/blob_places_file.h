/*
 * What one run has seen of registries, for the next: a file in the folder of
 * the layer cache.  An image of another repository then has its layers mounted
 * there, and not uploaded once more.  It is of use and never relied on: what is
 * wrong in it, or lost, costs an upload, and who writes last wins.
 *
 *	quarry-registry-places 1
 *	HEX BASE REPOSITORY
 *
 * HEX is the blob's SHA-256, BASE as in push_base.  What is seen is added to it
 * at once, so that a run that is killed has not seen it in vain; at its end the
 * file is written anew, newest first.  Of two lines of a blob the last counts.
 */
#ifndef BLOB_PLACES_FILE_H
#define BLOB_PLACES_FILE_H

struct blob_places;
struct digest;

#define BLOB_PLACES_FILE "registry-places"
#define BLOB_PLACES_FILE_MAX 65536 /* blobs; about 10 MB */

/* One thread; also where blobs are added to from now on. */
void blob_places_load(struct blob_places *p, const char *folder);
/* The blob is in a repository of that registry, maybe; any thread. */
void blob_places_add(
    struct blob_places *p, const char *base, const struct digest *blob);
/* What is in p; nothing if no blob was seen anywhere.  One thread. */
void blob_places_save(struct blob_places *p, const char *folder);

#endif
