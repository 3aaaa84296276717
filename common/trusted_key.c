#include "trusted_key.h"

#include <string.h>

#include <openssl/evp.h>

#include "err.h"

/* Of size bytes in base 64, '=' included. */
#define BASE64_LEN(size) (((size) + 2) / 3 * 4)

/* Exactly size bytes, not a multiple of three, in canonical base 64. */
static bool
from_base64(const char *s, uint8_t *out, size_t size)
{
	unsigned char bytes[BASE64_LEN(TRUSTED_KEY_SIGNATURE_SIZE)];
	unsigned char again[BASE64_LEN(TRUSTED_KEY_SIGNATURE_SIZE) + 1];
	size_t len = BASE64_LEN(size);

	if (strlen(s) != len ||
	    EVP_DecodeBlock(bytes, (const unsigned char *)s, (int)len) < 0)
		return false;
	/* A decoder forgives; what was meant is what is spelled so. */
	EVP_EncodeBlock(again, bytes, (int)size);
	if (memcmp(again, s, len) != 0)
		return false;
	memcpy(out, bytes, size);
	return true;
}

int
trusted_key_parse(const char *text, struct trusted_key *out, struct err *e)
{
	struct trusted_key key = {.name = text};

	key.name_len = strcspn(text, ":");
	if (key.name_len == 0 || text[key.name_len] != ':' ||
	    !from_base64(text + key.name_len + 1, key.key, sizeof(key.key)))
		return err_set(e, ERR_USAGE, 0,
		    "'%.120s': NAME:BASE64 of a public ed25519 key is wanted, "
		    "as in nix.conf's trusted-public-keys",
		    text);
	*out = key;
	return 0;
}

bool
trusted_key_signed(const struct trusted_key *key, const char *sig,
    const void *data, size_t len)
{
	uint8_t raw[TRUSTED_KEY_SIGNATURE_SIZE];
	EVP_MD_CTX *ctx;
	EVP_PKEY *pkey;
	bool good;

	if (strcspn(sig, ":") != key->name_len || sig[key->name_len] != ':' ||
	    memcmp(sig, key->name, key->name_len) != 0 ||
	    !from_base64(sig + key->name_len + 1, raw, sizeof(raw)))
		return false;
	pkey = EVP_PKEY_new_raw_public_key(
	    EVP_PKEY_ED25519, NULL, key->key, sizeof(key->key));
	ctx = EVP_MD_CTX_new();
	good = pkey != NULL && ctx != NULL &&
	    EVP_DigestVerifyInit(ctx, NULL, NULL, NULL, pkey) == 1 &&
	    EVP_DigestVerify(ctx, raw, sizeof(raw), data, len) == 1;
	EVP_MD_CTX_free(ctx);
	EVP_PKEY_free(pkey);
	return good;
}
