#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "digest.h"
#include "err.h"

/* SHA-256 of "abc": FIPS 180-2, and what nix-hash and nix hash to-sri say. */
#define HEX "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
#define UPPER "BA7816BF8F01CFEA414140DE5DAE2223B00361A396177A9CB410FF61F20015AD"
#define NIX32 "1b8m03r63zqhnjf7l5wnldhh7c134ap5vpj0850ymkq1iyzicy5s"
#define BASE64 "ungWv48Bz+pBQUDeXa4iI7ADYaOWF3qctBD/YfIAFa0="

static struct digest abc;

static void
hashes(void **state)
{
	char hex[DIGEST_HEX_LEN + 1], text[DIGEST_TEXT_SIZE];
	struct digest d;
	struct sha256 *h;
	struct err e = ERR_INIT;

	(void)state;
	digest_hex(&abc, hex);
	assert_string_equal(hex, HEX);
	digest_text(&abc, text);
	assert_string_equal(text, "sha256:" HEX);
	assert_int_equal(sha256_new(&h, &e), 0);
	for (int i = 0; i < 2; i++) {
		sha256_update(h, "a", 1);
		sha256_update(h, "bc", 2);
		sha256_final(h, &d);
		assert_true(digest_equal(&d, &abc));
		sha256_init(h);
	}
	sha256_freep(&h);
	assert_null(h);
}

static void
texts(void **state)
{
	static const char *const bad[] = {"", "sha256", "sha256:", HEX,
	    "sha512:" HEX, "sha256:" HEX "0", "sha256: " HEX, "SHA256:" HEX,
	    "sha256:sha256:" HEX};
	struct digest d;

	(void)state;
	assert_true(digest_from_text("sha256:" HEX, &d));
	assert_true(digest_equal(&d, &abc));
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_false(digest_from_text(bad[i], &d));
	assert_true(digest_from_hex(UPPER, 64, &d));
	assert_true(digest_equal(&d, &abc));
	assert_false(digest_from_hex(HEX, 63, &d));
	assert_false(digest_from_hex("g" HEX, 64, &d));
}

static void
nix_spellings(void **state)
{
	static const char *const good[] = {
	    HEX, "sha256:" HEX, NIX32, "sha256:" NIX32, "sha256-" BASE64};
	/* Cut; a letter that is none; bits past the last; not padded so. */
	static const char *const bad[] = {"", "sha256-", "sha256:", BASE64,
	    "sha256-" HEX, "md5:" HEX,
	    "1b8m03r63zqhnjf7l5wnldhh7c134ap5vpj0850ymkq1iyzicy5",
	    "eb8m03r63zqhnjf7l5wnldhh7c134ap5vpj0850ymkq1iyzicy5s",
	    "zb8m03r63zqhnjf7l5wnldhh7c134ap5vpj0850ymkq1iyzicy5s",
	    "sha256-ungWv48Bz+pBQUDeXa4iI7ADYaOWF3qctBD/YfIAFa1=",
	    "sha256-ungWv48Bz+pBQUDeXa4iI7ADYaOWF3qctBD/YfIAFa==",
	    "sha256-ungWv48Bz+pBQUDeXa4iI7ADYaOWF3qctBD/YfIAFa00"};
	struct digest d;

	(void)state;
	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
		memset(&d, 0, sizeof(d));
		assert_true(digest_from_nix(good[i], strlen(good[i]), &d));
		assert_true(digest_equal(&d, &abc));
	}
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_false(digest_from_nix(bad[i], strlen(bad[i]), &d));
}

static void
nix32_there_and_back(void **state)
{
	char text[DIGEST_NIX32_LEN + 1];
	struct digest d = abc, again;

	(void)state;
	digest_nix32(&abc, text);
	assert_string_equal(text, NIX32);
	for (size_t i = 0; i < DIGEST_SIZE; i++) {
		memset(&d, 0, sizeof(d));
		d.b[i] = 0xff;
		digest_nix32(&d, text);
		assert_true(digest_from_nix(text, DIGEST_NIX32_LEN, &again));
		assert_true(digest_equal(&d, &again));
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(hashes),
	    cmocka_unit_test(texts),
	    cmocka_unit_test(nix_spellings),
	    cmocka_unit_test(nix32_there_and_back),
	};

	digest_of("abc", 3, &abc);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
