/*
 * In which repository of a registry each blob is, as far as pushes of this run
 * have seen: a registry can mount it from there into another one.  A blob that
 * several images have is so sent to a registry once.  Any thread.
 */
#ifndef BLOB_PLACES_H
#define BLOB_PLACES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "registry.h"

struct blob_places;
struct digest;
struct err;

int blob_places_new(struct blob_places **out, struct err *e);
void blob_places_free(struct blob_places *p);

/*
 * Before the blob is put into repo: *from is another repository of the
 * registry base that has it, or NULL; valid as long as p.  Where another
 * thread puts it to that registry for the first time, that is waited for.
 * true: whoever asks is the first, and others wait until blob_places_end.  A
 * thread is the first for one blob at a time, so none waits for ever.  p NULL:
 * nothing is known.
 */
bool blob_places_begin(struct blob_places *p, const char *base,
    const char *repo, const struct digest *blob, const char **from);

/*
 * It was in that repository when another run looked: begin says so to the first
 * who asks, who does not rely on it.  Of several hints the last one counts.
 * False: no memory.
 */
bool blob_places_hint(struct blob_places *p, const char *base, const char *repo,
    const struct digest *blob);

/*
 * Calls each, with p locked, for blobs that are in a repository, or for hints
 * of which nothing was seen, the last ones first; how many.  each may be NULL.
 */
size_t blob_places_all(struct blob_places *p, bool hints, size_t most,
    void (*each)(void *arg, const char *base, const char *repo,
	const struct digest *blob),
    void *arg);

/*
 * Another repository than repo that a run before has seen it in, and none of
 * this run has; NULL: there is none, or p is.  Valid as long as p.
 */
const char *blob_places_hinted(struct blob_places *p, const char *base,
    const char *repo, const struct digest *blob);

/* Where the next run is told of them; before other threads know p. */
void blob_places_set_file(struct blob_places *p, const char *path);
/*
 * Whether the blob is in a repository, as the file does not say yet: true once,
 * to who then writes it there.  Both are valid as long as p, which may be NULL.
 */
bool blob_places_keep(struct blob_places *p, const char *base,
    const struct digest *blob, const char **repo, const char **file);

/* A repository that has it, or NULL; valid as long as p. */
const char *blob_places_find(
    struct blob_places *p, const char *base, const struct digest *blob);

/*
 * The blob is not, or no more, in repo, though it was said to be: nobody is
 * sent there for it any more.  p may be NULL.
 */
void blob_places_lost(struct blob_places *p, const char *base, const char *repo,
    const struct digest *blob);

/* After begin said true: whether the blob is there now. */
void blob_places_end(struct blob_places *p, const char *base,
    const struct digest *blob, bool there);

/*
 * The blob is in repo, and got there so, by somebody else's doing; where it is
 * in no other repository of the registry it is mounted from there.  p may be
 * NULL.
 */
void blob_places_note(struct blob_places *p, const char *base, const char *repo,
    const struct digest *blob, enum registry_way way);
/*
 * A push of this process has uploaded a blob of so many bytes; and how many
 * have been, in all.
 */
void blob_places_count(struct blob_places *p, uint64_t size);
void blob_places_uploaded(
    struct blob_places *p, uint64_t *blobs, uint64_t *bytes);

/* What was noted, once; then, and of all others, REGISTRY_THERE. */
enum registry_way blob_places_noted(struct blob_places *p, const char *base,
    const char *repo, const struct digest *blob);

#endif
