/*
 * Store paths out of binary caches, entry by entry as tree_walk gives those of
 * the store, and with the same modes; nothing is written anywhere.  Caches are
 * asked in order, but one that has failed lately comes last.  One of these
 * belongs to one job's thread and lasts as long as the job.
 *
 * What is wrong with a NAR may be seen only at its end, when the layer has
 * most of it: then source_nar_again says whether another cache has the store
 * path, and the layer has to be started anew.
 */
#ifndef SOURCE_NAR_H
#define SOURCE_NAR_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct err;
struct layer_inputs;
struct layer_item;
struct layer_spec;
struct source_nar;
struct tree_entry;

/* All are borrowed; cancel as in cache_fetch_new. */
int source_nar_new(struct layer_inputs *inputs, const struct layer_spec *spec,
    const atomic_bool *cancel, struct source_nar **out, struct err *e);
void source_nar_free(struct source_nar *s);
void source_nar_freep(struct source_nar **s);

/*
 * Finds a cache that has the item (the layer's index'th) and may be believed.
 * ERR_RETRY, as all failures here: another worker may have it; the text says
 * where it was looked for, and why it was not taken from there.
 */
int source_nar_open(struct source_nar *s, const struct layer_item *item,
    size_t index, struct err *e);

/*
 * 1 and the next entry, whose strings hold until the next call; 0 once the NAR
 * is complete and what it should be; -1.  A file's content has to be read
 * before the next entry.
 */
int source_nar_next(
    struct source_nar *s, struct tree_entry *out, struct err *e);

/*
 * Some of the file's content, at least one byte; len is no more than is left.
 */
int source_nar_read(
    struct source_nar *s, void *data, size_t len, size_t *n, struct err *e);

/* After a failure of next or read; true once for each. */
bool source_nar_again(struct source_nar *s);

/* The first thing that was wrong with a cache, or ""; borrowed. */
const char *source_nar_notice(const struct source_nar *s);

/* Bytes of NARs that came so far, all tries; *us: how long they took. */
uint64_t source_nar_fetched(const struct source_nar *s, uint64_t *us);

#endif
