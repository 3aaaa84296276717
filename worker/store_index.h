/*
 * What a store directory holds, as store_path_keys: the names in it, looked at
 * once and no more often than the directory changes.  One thread at a time.
 */
#ifndef STORE_INDEX_H
#define STORE_INDEX_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct err;
struct store_index;

#define STORE_INDEX_MAX ((size_t)64 << 20) /* names in a directory */

/*
 * Reads the directory folder, unless *index (NULL at first) is of it as it is
 * now.  A folder that is not there holds nothing.  ERR_RETRY, also once *stop
 * is true; then *index stays as it was.
 */
int store_index_read(struct store_index **index, const char *folder,
    const atomic_bool *stop, struct err *e);
void store_index_free(struct store_index *index);

/* Bit i of bits (lowest first; zeroed by the caller): is key[i] in there? */
void store_index_match(const struct store_index *index, const uint64_t *key,
    size_t n, uint8_t *bits);

#endif
