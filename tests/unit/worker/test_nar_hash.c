#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "digest.h"
#include "err.h"
#include "nar_hash.h"

static struct nar_hash *h;

/* As nix-hash --type sha256 and nix-store --dump | wc -c say. */
static void
is(const char *hex, uint64_t size)
{
	char got[DIGEST_HEX_LEN + 1];
	struct digest hash;
	uint64_t got_size;

	nar_hash_finish(h, &hash, &got_size);
	digest_hex(&hash, got);
	assert_string_equal(got, hex);
	assert_int_equal(got_size, size);
}

static void
test_leaves(void **state)
{
	(void)state;
	nar_hash_start(h);
	nar_hash_regular(h, 0, "", false, 0);
	is("77ac62e2629d8e45f624589c0c8bf99e24b3a722349bf1e79bc186008534e246",
	    112);
	nar_hash_start(h);
	nar_hash_regular(h, 0, "", true, 5);
	nar_hash_content(h, "he", 2);
	nar_hash_content(h, "llo", 3);
	is("9cf814f912eb9ad467da47702739324302f88f2cc635cb3e49d83c3e01d5a3de",
	    152);
	nar_hash_start(h);
	nar_hash_symlink(h, 0, "", "somewhere");
	is("bc784b0c1a57c8a7732b3de583f761dfcdc2c7651fe33c7b9a554a6e6dd22fe8",
	    128);
	nar_hash_start(h);
	nar_hash_directory(h, 0, "");
	is("a50a5ab6d992f5598edd92105059fae9acfc192981e08bd88534c2167e92526a",
	    96);
}

/* d/{a/{b/{},c},e,f -> t,g/} with content longer than what is gathered. */
static void
test_tree(void **state)
{
	static char content[20000];

	(void)state;
	memset(content, 'c', sizeof(content));
	nar_hash_start(h);
	nar_hash_directory(h, 0, "ignored");
	nar_hash_directory(h, 1, "a");
	nar_hash_directory(h, 2, "b");
	nar_hash_regular(h, 2, "c", false, sizeof(content));
	nar_hash_content(h, content, 3);
	nar_hash_content(h, content, sizeof(content) - 3);
	nar_hash_regular(h, 1, "e", true, 8);
	nar_hash_content(h, "12345678", 8);
	nar_hash_symlink(h, 1, "f", "t");
	nar_hash_directory(h, 1, "g");
	is("061c2dd1173f3aea44f7ada67833bf42b701579d0e85b5ace95d8216c791c063",
	    21200);
}

static void
test_print(void **state)
{
	char text[NAR_HASH_TEXT_MAX];
	struct digest d, again;

	(void)state;
	digest_of("", 0, &d);
	nar_hash_print(&d, text);
	assert_string_equal(
	    text, "sha256-47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=");
	assert_true(digest_from_nix(text, strlen(text), &again));
	assert_true(digest_equal(&d, &again));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_leaves),
	    cmocka_unit_test(test_tree),
	    cmocka_unit_test(test_print),
	};
	struct err e = ERR_INIT;
	int failed;

	if (nar_hash_new(&h, &e) < 0)
		return 1;
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	nar_hash_free(h);
	nar_hash_free(NULL);
	return failed;
}
