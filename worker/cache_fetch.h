/*
 * What a Nix binary cache holds, by http(s) or from a folder: small files
 * whole, and NARs as a stream that is decompressed as it comes.  One of them
 * at a time, with buffers of a fixed size.  One thread each.
 */
#ifndef CACHE_FETCH_H
#define CACHE_FETCH_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "narinfo.h"

struct cache_fetch;
struct err;

/* cancel is borrowed: once true, calls fail soon with ERR_RETRY, ECANCELED. */
int cache_fetch_new(
    const atomic_bool *cancel, struct cache_fetch **out, struct err *e);
void cache_fetch_free(struct cache_fetch *f);
void cache_fetch_freep(struct cache_fetch **f);

/*
 * url is one that cache_url_resolve made, borrowed until close.  *found false:
 * the cache has no such thing.  ERR_RETRY says what went wrong, without the
 * URL.
 *
 * cache_fetch_text: the whole of at most max bytes, and a NUL after them.
 */
int cache_fetch_text(struct cache_fetch *f, const char *url, char *text,
    size_t max, size_t *len, bool *found, struct err *e);
int cache_fetch_open(struct cache_fetch *f, const char *url,
    enum nar_compression compression, uint64_t nar_size, bool *found,
    struct err *e);

/*
 * The open NAR's next bytes, decompressed, which hold until the next call;
 * *len 0 at its end.  Fails where there are more than nar_size.
 */
int cache_fetch_read(
    struct cache_fetch *f, const uint8_t **data, size_t *len, struct err *e);

/* Ends what is open, if anything. */
void cache_fetch_close(struct cache_fetch *f);

#endif
