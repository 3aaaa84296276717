/*
 * The NAR hash of a store path, from its entries in the order of a layer
 * (which is the NAR's): no NAR is ever made.  One thread at a time.
 */
#ifndef NAR_HASH_H
#define NAR_HASH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct digest;
struct err;
struct nar_hash;

int nar_hash_new(struct nar_hash **out, struct err *e);
void nar_hash_free(struct nar_hash *h);
void nar_hash_freep(struct nar_hash **h);

/* A store path begins. */
void nar_hash_start(struct nar_hash *h);

/*
 * The next entry: depth 0 is the store path itself, which has no name in the
 * NAR; a directory's entries have its depth + 1, sorted by bytes.
 */
void nar_hash_directory(struct nar_hash *h, size_t depth, const char *name);
void nar_hash_symlink(
    struct nar_hash *h, size_t depth, const char *name, const char *target);
/* Exactly size bytes of content must follow, in any number of pieces. */
void nar_hash_regular(struct nar_hash *h, size_t depth, const char *name,
    bool executable, uint64_t size);
void nar_hash_content(struct nar_hash *h, const void *data, size_t len);

/* The store path ends: hash and size of its NAR. */
void nar_hash_finish(struct nar_hash *h, struct digest *hash, uint64_t *size);

/* "sha256-" and base 64, as nix path-info prints it. */
#define NAR_HASH_TEXT_MAX 56
void nar_hash_print(
    const struct digest *hash, char out[static NAR_HASH_TEXT_MAX]);

#endif
