/*
 * SHA-256 digests: the value, its spellings, and hashing.  A struct digest is
 * a plain value.  A struct sha256 belongs to one thread at a time.
 */
#ifndef DIGEST_H
#define DIGEST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct err;

#define DIGEST_SIZE 32
#define DIGEST_HEX_LEN 64

struct digest {
	uint8_t b[DIGEST_SIZE];
};

bool digest_equal(const struct digest *a, const struct digest *b);

/* Lower-case hexadecimal, with its NUL. */
void digest_hex(const struct digest *d, char out[static DIGEST_HEX_LEN + 1]);

/* As OCI spells it, "sha256:" and lower-case hexadecimal, with its NUL. */
#define DIGEST_TEXT_SIZE (sizeof("sha256:") + DIGEST_HEX_LEN)
void digest_text(const struct digest *d, char out[static DIGEST_TEXT_SIZE]);
bool digest_from_text(const char *s, struct digest *out);

/* Exactly 64 lower- or upper-case hexadecimal digits. */
bool digest_from_hex(const char *s, size_t len, struct digest *out);

/*
 * A hash as Nix spells it: "sha256-" and base 64 (SRI), "sha256:" or nothing
 * and 52 digits of Nix's base 32 or 64 of base 16.  *s need not end in NUL.
 */
bool digest_from_nix(const char *s, size_t len, struct digest *out);

/* In Nix's base 32, with its NUL. */
#define DIGEST_NIX32_LEN 52
void digest_nix32(
    const struct digest *d, char out[static DIGEST_NIX32_LEN + 1]);

/* Incremental hashing; OpenSSL underneath. */
struct sha256;
int sha256_new(struct sha256 **out, struct err *e);
void sha256_free(struct sha256 *h);
void sha256_freep(struct sha256 **h);
/* Starts anew, as a new one has; needed after each final. */
void sha256_init(struct sha256 *h);
void sha256_update(struct sha256 *h, const void *data, size_t len);
void sha256_final(struct sha256 *h, struct digest *out);

/* The digest of one buffer. */
void digest_of(const void *data, size_t len, struct digest *out);

#endif
