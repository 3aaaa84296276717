/* What a cache may say of a store path, and what is refused. */
#include "narinfo.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "err.h"
#include "trusted_key.h"

/* As Nix 2.8 wrote and signed it. */
#define KEY "test-1:ZadmLjsF7VmAuWnrWGCdOI/QGU/n/wKNXu8xpODiWjM="
#define PATH "StorePath: /nix/store/3c91g8bgddj7b7f5v68srss73nzggds5-top\n"
#define URL                                                                    \
	"URL: nar/"                                                            \
	"1pikcfwg1rs89hdmr6lj7zz6gmbm20xjsqf19n9wdvfha1d125v4.nar.xz\n"
#define HASH                                                                   \
	"NarHash: "                                                            \
	"sha256:00qv6ksfpvga19lr72dh6fvrjhbjcfk6m4nfd1axcafmmrzms5l2\n"
#define SIZE "NarSize: 288\n"
#define REF(n) "bkrl42k322h78giikhk1w0p1qxh6sjfr-" n
#define REFS                                                                   \
	"References: bkrl42k322h78giikhk1w0p1qxh6sjfr-traps "                  \
	"cq1iwx3x42z95hzqz16apmdrrxqlxmfb-a-link "                             \
	"nsfn5k7kq5f7gjmssgh0h1ynnybn4vh2-a-file.txt "                         \
	"qbvf783q7ckzc0v8spfcqly6b5n90hkj-exe "                                \
	"y2zv4jbxa62f6z80wx50l9pjsl5v9y7k-empty\n"
#define SIG                                                                    \
	"Sig: test-1:vxnLKlRqo3f7C2uZzu1Hyial4WUVeTEm3tcVD/"                   \
	"BhV76bwXvnvdxsPAu5lXDBb2GEhNW0pnIfxicGCbGbYO9wBw==\n"
#define LEAST PATH URL HASH SIZE

static char *held; /* what the last narinfo borrows from */

static int
parse(const char *text, size_t len, struct narinfo *info, struct err *e)
{
	free(held);
	if ((held = malloc(len + 1)) == NULL)
		return -1;
	memcpy(held, text, len);
	held[len] = '\0';
	*e = (struct err)ERR_INIT;
	return narinfo_parse(held, len, info, e);
}

static struct narinfo
good(const char *text)
{
	struct narinfo info;
	struct err e;

	if (parse(text, strlen(text), &info, &e) < 0)
		fail_msg("%s", e.text);
	return info;
}

static void
bad(const char *text, const char *why)
{
	struct narinfo info;
	struct err e;

	if (parse(text, strlen(text), &info, &e) == 0)
		fail_msg("taken: %s", text);
	assert_int_equal(e.kind, ERR_RETRY);
	assert_memory_equal(e.text, "narinfo: ", 9);
	if (strstr(e.text, why) == NULL)
		fail_msg("'%s' is not in: %s", why, e.text);
}

static void
test_parse(void **state)
{
	struct narinfo info;

	(void)state;
	info =
	    good(PATH URL "Compression: xz\n"
			  "FileHash: sha256:x\nFileSize: 164\n" HASH SIZE REFS
			  "Deriver: unknown-deriver\nSystem: x\nCA: x\n" SIG
			  "Other: a: b\nOther: again\nEmpty:\n");
	assert_string_equal(
	    info.store_path, "/nix/store/3c91g8bgddj7b7f5v68srss73nzggds5-top");
	assert_memory_equal(info.url, "nar/1pik", 8);
	assert_int_equal(info.compression, NAR_XZ);
	assert_int_equal(info.nar_size, 288);
	assert_int_equal(info.nar_hash.b[0], 0x82);
	assert_memory_equal(info.references, "bkrl", 4);
	assert_int_equal(info.n_sigs, 1);
	info = good(LEAST);
	assert_int_equal(info.compression, NAR_BZIP2);
	assert_string_equal(info.references, "");
	assert_int_equal(info.n_sigs, 0);
	/* No newline at the end; the hash in base 16. */
	info = good(PATH URL SIZE
	    "References:\nCompression:\nNarHash: sha256:"
	    "a216fbd7d4a61b57d54a7c4d9a59ce2de8b0b7c3b0d5a4f3c2b1a09f8e7d6c5b");
	assert_int_equal(info.nar_hash.b[0], 0xa2);
}

static void
test_compressions(void **state)
{
	static const char *const names[] = {
	    "none", "xz", "zstd", "gzip", "bzip2"};
	char text[1000];

	(void)state;
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		snprintf(
		    text, sizeof(text), LEAST "Compression: %s\n", names[i]);
		assert_int_equal(good(text).compression, i);
	}
	bad(LEAST "Compression: br\n", "'br' is none of");
	bad(LEAST "Compression: XZ\n", "'XZ' is none of");
	bad(LEAST "Compression: xz \n", "'xz ' is none of");
}

static void
test_fields(void **state)
{
	(void)state;
	bad("", "no StorePath");
	bad(URL HASH SIZE, "no StorePath");
	bad(PATH HASH SIZE, "no URL");
	bad(PATH URL SIZE, "no NarHash");
	bad(PATH URL HASH, "no NarSize");
	bad(LEAST PATH, "StorePath comes twice");
	bad(LEAST URL, "URL comes twice");
	bad(LEAST HASH, "NarHash comes twice");
	bad(LEAST SIZE, "NarSize comes twice");
	bad(LEAST REFS REFS, "References comes twice");
	bad(LEAST "Compression: xz\nCompression: xz\n", "comes twice");
	bad(LEAST "Deriver: x\nDeriver: x\n", "Deriver comes twice");
	bad(LEAST "CA: x\nCA: x\n", "CA comes twice");
	bad(LEAST "FileSize: 1\nFileSize: 1\n", "FileSize comes twice");
	bad(LEAST "\n", "is no line of NAME: VALUE");
	bad(LEAST "Deriver\n", "'Deriver' is no line of NAME: VALUE");
	bad(LEAST ": x\n", "is no line of NAME: VALUE");
	bad(LEAST "Deriver:x\n", "no space after 'Deriver:'");
	bad(LEAST "Deriver: x\r\n", "not plain text");
	bad(LEAST "Deriver: \x1b[2J\n", "not plain text");
	bad(LEAST "Deriver: \xc3\xa9\n", "not plain text");
	bad(LEAST "Deriver: \x7f\n", "not plain text");
	bad("<html><body>Sign in</body></html>", "is no line of NAME: VALUE");
}

static void
test_values(void **state)
{
	static const char *const sizes[] = {"0", "-1", "+1", " 1", "1x", "",
	    "9223372036854775808", "18446744073709551616", "0x10", "1e3"};
	static const char *const refs[] = {"x", " " REF("a"), REF("a") " ",
	    REF("a") "  " REF("b"), REF(""), REF("a/b"), REF("a") "," REF("b"),
	    "/nix/store/" REF("a"), REF(".a")};
	char text[1000];

	(void)state;
	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		snprintf(text, sizeof(text), PATH URL HASH "NarSize: %s\n",
		    sizes[i]);
		bad(text, "is no size of a NAR");
	}
	for (size_t i = 0; i < sizeof(refs) / sizeof(refs[0]); i++) {
		snprintf(text, sizeof(text), LEAST "References: %s\n", refs[i]);
		bad(text, "is no store path's name");
	}
	bad(PATH URL SIZE "NarHash: md5:x\n", "is no SHA-256");
	bad(PATH URL SIZE "NarHash: \n", "is no SHA-256");
	assert_int_equal(
	    good(PATH URL HASH "NarSize: 9223372036854775807\n").nar_size,
	    INT64_MAX);
}

static void
test_limits(void **state)
{
	static char text[NARINFO_MAX + 2] = LEAST "Deriver: ";
	struct narinfo info;
	struct err e;
	size_t len = strlen(text);

	(void)state;
	memset(text + len, 'd', NARINFO_MAX + 1 - len);
	assert_int_equal(parse(text, NARINFO_MAX, &info, &e), 0);
	assert_int_equal(parse(text, NARINFO_MAX + 1, &info, &e), -1);
	assert_non_null(strstr(e.text, "longer than 65536 bytes"));
	text[100] = '\0';
	assert_int_equal(parse(text, NARINFO_MAX, &info, &e), -1);
	assert_non_null(strstr(e.text, "not plain text"));
	strcpy(text, LEAST);
	for (size_t i = 0; i < NARINFO_SIGS_MAX; i++)
		strcat(text, SIG);
	assert_int_equal(good(text).n_sigs, NARINFO_SIGS_MAX);
	strcat(text, SIG);
	bad(text, "more than 32 signatures");
}

static bool
believed(const char *text, const char *store_dir, const char *why)
{
	struct narinfo info = good(text);
	struct trusted_key key[2];
	struct err e = ERR_INIT;

	assert_int_equal(trusted_key_parse(
			     "other-1:11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHU"
			     "Ro=",
			     &key[0], &e),
	    0);
	assert_int_equal(trusted_key_parse(KEY, &key[1], &e), 0);
	assert_int_equal(narinfo_verify(&info, store_dir, key, 0, &e), -1);
	e = (struct err)ERR_INIT;
	if (narinfo_verify(&info, store_dir, key, 2, &e) == 0)
		return true;
	assert_int_equal(e.kind, ERR_RETRY);
	assert_non_null(strstr(e.text, why));
	return false;
}

#define NO_SIG "no signature of a trusted key"

static void
test_signatures(void **state)
{
	(void)state;
	assert_true(believed(LEAST REFS SIG, "/nix/store", ""));
	assert_true(believed("Sig: other-1:x\nSig: \nSig: :\n" SIG REFS LEAST,
	    "/nix/store", ""));
	/* Sorted, and each once, as Nix signs them. */
	assert_true(believed(LEAST SIG
	    "References: y2zv4jbxa62f6z80wx50l9pjsl5v9y7k-empty "
	    "cq1iwx3x42z95hzqz16apmdrrxqlxmfb-a-link "
	    "bkrl42k322h78giikhk1w0p1qxh6sjfr-traps "
	    "nsfn5k7kq5f7gjmssgh0h1ynnybn4vh2-a-file.txt "
	    "cq1iwx3x42z95hzqz16apmdrrxqlxmfb-a-link "
	    "qbvf783q7ckzc0v8spfcqly6b5n90hkj-exe\n",
	    "/nix/store", ""));
	assert_false(believed(LEAST REFS, "/nix/store", "not signed"));
	assert_false(believed(LEAST SIG, "/nix/store", NO_SIG));
	assert_false(believed(LEAST REFS SIG, "/gnu/store", NO_SIG));
	assert_false(believed(
	    PATH URL HASH "NarSize: 289\n" REFS SIG, "/nix/store", NO_SIG));
	assert_false(believed(PATH URL SIZE REFS SIG
	    "NarHash: "
	    "sha256:10qv6ksfpvga19lr72dh6fvrjhbjcfk6m4nfd1axcafmmrzms5l2\n",
	    "/nix/store", NO_SIG));
	assert_false(believed(URL HASH SIZE REFS SIG
	    "StorePath: /nix/store/3c91g8bgddj7b7f5v68srss73nzggds5-pot\n",
	    "/nix/store", NO_SIG));
}

static int
free_held(void **state)
{
	(void)state;
	free(held);
	return 0;
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_parse),
	    cmocka_unit_test(test_compressions),
	    cmocka_unit_test(test_fields),
	    cmocka_unit_test(test_values),
	    cmocka_unit_test(test_limits),
	    cmocka_unit_test(test_signatures),
	};

	return cmocka_run_group_tests(tests, NULL, free_held);
}
