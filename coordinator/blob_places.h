/*
 * In which repository of a registry each blob is, as far as pushes of this run
 * have seen: a registry can mount it from there into another one.  Any thread.
 */
#ifndef BLOB_PLACES_H
#define BLOB_PLACES_H

struct blob_places;
struct digest;
struct err;

int blob_places_new(struct blob_places **out, struct err *e);
void blob_places_free(struct blob_places *p);

/*
 * Another repository than repo at the registry base that has the blob, or
 * NULL; valid as long as p.  p NULL: nothing is known.
 */
const char *blob_places_find(struct blob_places *p, const char *base,
    const char *repo, const struct digest *blob);

/* The blob is in repo.  What is not remembered is uploaded once more. */
void blob_places_put(struct blob_places *p, const char *base, const char *repo,
    const struct digest *blob);

#endif
