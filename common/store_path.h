/*
 * Store paths: STOREDIR/HASH-NAME, HASH 32 digits of Nix's base 32, NAME 1 to
 * 211 characters of [0-9A-Za-z+-._?=] (Nix's own grammar).  Pure functions on
 * borrowed strings, usable in any thread.
 */
#ifndef STORE_PATH_H
#define STORE_PATH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct err;

#define STORE_PATH_HASH_LEN 32
#define STORE_PATH_NAME_MAX 211
#define STORE_DIR_DEFAULT "/nix/store"
/* The longest store path taken, its store directory included. */
#define STORE_PATH_MAX 1024

/*
 * How long HASH-NAME at the start of s is: 0 if there is none.  Looks at no
 * more than len bytes; stops before the first character outside the grammar.
 */
size_t store_path_base_len(const char *s, size_t len);

/*
 * Checks that path is store_dir, '/', HASH-NAME and nothing else.  The error
 * (ERR_USAGE) says what is wrong with it.
 */
int store_path_check(const char *path, const char *store_dir, struct err *e);

/*
 * A store directory: absolute, no '//', no '.', '..', no '/' at the end, not
 * '/' itself, no control characters.
 */
int store_dir_check(const char *store_dir, struct err *e);

/* The last component of a checked store path: HASH-NAME. */
const char *store_path_base(const char *path);

/* The NAME of a checked store path. */
const char *store_path_name(const char *path);

/*
 * Store paths in lists that are long: 8 bytes for HASH-NAME.  HASH is random
 * enough that two paths of one key are not met; what is decided by keys must
 * still be no more than a hint.
 */
#define STORE_PATH_KEY_SIZE 8
uint64_t store_path_key(const char *base);
/* n keys, big-endian. */
void store_path_keys_put(const uint64_t *key, size_t n, uint8_t *out);
void store_path_keys_get(const uint8_t *in, size_t n, uint64_t *key);

#endif
