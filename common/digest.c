#include "digest.h"

#include <stdlib.h>
#include <string.h>

#include <openssl/evp.h>

#include "err.h"

#define SCHEME "sha256:"
#define SCHEME_LEN (sizeof(SCHEME) - 1)

struct sha256 {
	EVP_MD_CTX *ctx;
};

/* A failure of OpenSSL's own hashing leaves nothing sane to do. */
static void
must(int ok)
{
	if (ok != 1)
		abort();
}

bool
digest_equal(const struct digest *a, const struct digest *b)
{
	return memcmp(a->b, b->b, DIGEST_SIZE) == 0;
}

void
digest_hex(const struct digest *d, char out[static DIGEST_HEX_LEN + 1])
{
	static const char hex[] = "0123456789abcdef";

	for (size_t i = 0; i < DIGEST_SIZE; i++) {
		out[2 * i] = hex[d->b[i] >> 4];
		out[2 * i + 1] = hex[d->b[i] & 15];
	}
	out[DIGEST_HEX_LEN] = '\0';
}

static int
hex_value(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	return -1;
}

bool
digest_from_hex(const char *s, size_t len, struct digest *out)
{
	struct digest d;

	if (len != DIGEST_HEX_LEN)
		return false;
	for (size_t i = 0; i < DIGEST_SIZE; i++) {
		int hi = hex_value(s[2 * i]), lo = hex_value(s[2 * i + 1]);

		if (hi < 0 || lo < 0)
			return false;
		d.b[i] = (uint8_t)(hi << 4 | lo);
	}
	*out = d;
	return true;
}

void
digest_text(const struct digest *d, char out[static DIGEST_TEXT_SIZE])
{
	memcpy(out, SCHEME, SCHEME_LEN);
	digest_hex(d, out + SCHEME_LEN);
}

bool
digest_from_text(const char *s, struct digest *out)
{
	return strncmp(s, SCHEME, SCHEME_LEN) == 0 &&
	    digest_from_hex(s + SCHEME_LEN, strlen(s + SCHEME_LEN), out);
}

static const char nix32[] = "0123456789abcdfghijklmnpqrsvwxyz";

void
digest_nix32(const struct digest *d, char out[static DIGEST_NIX32_LEN + 1])
{
	for (size_t n = 0; n < DIGEST_NIX32_LEN; n++) {
		size_t bit = n * 5, byte = bit / 8;
		unsigned v = d->b[byte];

		if (byte + 1 < DIGEST_SIZE)
			v |= (unsigned)d->b[byte + 1] << 8;
		out[DIGEST_NIX32_LEN - n - 1] = nix32[v >> (bit % 8) & 31];
	}
	out[DIGEST_NIX32_LEN] = '\0';
}

/* Nix's base 32: least significant digit last, so read from the end. */
static bool
from_nix32(const char *s, size_t len, struct digest *out)
{
	struct digest d = {{0}};

	if (len != DIGEST_NIX32_LEN)
		return false;
	for (size_t n = 0; n < len; n++) {
		const char *at = memchr(nix32, s[len - n - 1], 32);
		size_t bit = n * 5, byte = bit / 8;
		unsigned digit;

		if (at == NULL)
			return false;
		digit = (unsigned)(at - nix32) << (bit % 8);
		d.b[byte] |= (uint8_t)digit;
		if (byte + 1 < DIGEST_SIZE)
			d.b[byte + 1] |= (uint8_t)(digit >> 8);
		else if (digit >> 8 != 0)
			return false;
	}
	*out = d;
	return true;
}

/* 32 bytes are 43 digits and one '='. */
static bool
from_base64(const char *s, size_t len, struct digest *out)
{
	unsigned char in[45], bytes[DIGEST_SIZE + 4];

	if (len != 44 || s[43] != '=' || s[42] == '=')
		return false;
	memcpy(in, s, 44);
	in[44] = '\0';
	if (EVP_DecodeBlock(bytes, in, 44) != 33 || bytes[32] != 0)
		return false;
	memcpy(out->b, bytes, DIGEST_SIZE);
	return true;
}

bool
digest_from_nix(const char *s, size_t len, struct digest *out)
{
	if (len > 7 && memcmp(s, "sha256-", 7) == 0)
		return from_base64(s + 7, len - 7, out);
	if (len > SCHEME_LEN && memcmp(s, SCHEME, SCHEME_LEN) == 0) {
		s += SCHEME_LEN;
		len -= SCHEME_LEN;
	}
	return digest_from_hex(s, len, out) || from_nix32(s, len, out);
}

int
sha256_new(struct sha256 **out, struct err *e)
{
	struct sha256 *h;

	if ((h = malloc(sizeof(*h))) == NULL ||
	    (h->ctx = EVP_MD_CTX_new()) == NULL) {
		free(h);
		return err_set(e, ERR_FATAL, 0, "sha256: out of memory");
	}
	sha256_init(h);
	*out = h;
	return 0;
}

void
sha256_free(struct sha256 *h)
{
	if (h == NULL)
		return;
	EVP_MD_CTX_free(h->ctx);
	free(h);
}

void
sha256_freep(struct sha256 **h)
{
	sha256_free(*h);
	*h = NULL;
}

void
sha256_init(struct sha256 *h)
{
	must(EVP_DigestInit_ex(h->ctx, EVP_sha256(), NULL));
}

void
sha256_update(struct sha256 *h, const void *data, size_t len)
{
	must(EVP_DigestUpdate(h->ctx, data, len));
}

void
sha256_final(struct sha256 *h, struct digest *out)
{
	must(EVP_DigestFinal_ex(h->ctx, out->b, NULL));
}

void
digest_of(const void *data, size_t len, struct digest *out)
{
	must(EVP_Digest(data, len, out->b, NULL, EVP_sha256(), NULL));
}
