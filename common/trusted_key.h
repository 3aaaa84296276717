/*
 * A public key of a Nix binary cache, as nix.conf's trusted-public-keys spell
 * it: NAME:BASE64, ed25519.  Pure; the name is borrowed from the parsed text.
 */
#ifndef TRUSTED_KEY_H
#define TRUSTED_KEY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct err;

/* Keys that a worker may be given. */
#define TRUSTED_KEYS_MAX 64

#define TRUSTED_KEY_SIZE 32
#define TRUSTED_KEY_SIGNATURE_SIZE 64

struct trusted_key {
	const char *name;
	size_t name_len;
	uint8_t key[TRUSTED_KEY_SIZE];
};

/* ERR_USAGE says what is wrong. */
int trusted_key_parse(const char *text, struct trusted_key *out, struct err *e);

/* Whether sig ("NAME:BASE64") names this key and is its signature of data. */
bool trusted_key_signed(const struct trusted_key *key, const char *sig,
    const void *data, size_t len);

#endif
