/*
 * NARs in pieces of every size: what comes of good ones, and what is said of
 * each bad one.
 */
#include "nar_reader.h"

#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>

#include <cmocka.h>

#include "err.h"
#include "nar_maker.h"
#include "tree_walk.h"

#define PATH "/nix/store/00000000000000000000000000000000-x"
#define START "nix-archive-1 ( type "

static struct nar_reader *reader;

/* Reads all of the NAR, step bytes at a time; out tells what came. */
static int
read_nar(
    const struct nar *n, size_t step, uint64_t size, FILE *out, struct err *e)
{
	struct tree_entry entry = {.fd = -1};
	enum nar_event event;
	size_t at = 0, given = 0, used, content = 0;

	nar_reader_start(reader, PATH, size);
	for (;;) {
		/* A copy of exactly so many bytes: ASan sees the next one. */
		uint8_t *piece = malloc(given - at + 1);
		int rc;

		if (given > at)
			memcpy(piece + 1, n->data + at, given - at);
		rc = nar_reader_next(
		    reader, piece + 1, given - at, &used, &event, &entry, e);
		free(piece);
		if (rc < 0)
			return -1;
		assert_true(used <= given - at);
		at += used;
		if (content > 0)
			assert_true(
			    event == NAR_CONTENT || event == NAR_NEED_MORE);
		switch (event) {
		case NAR_END:
			fprintf(out, "end");
			if (given == n->len)
				return 0;
			given = n->len; /* it will not have that */
			continue;
		case NAR_CONTENT:
			content -= used;
			continue;
		case NAR_ENTRY:
			content = entry.size;
			fprintf(out, "%zu %s%s%s %o %" PRIu64 "\n", entry.depth,
			    entry.name + strlen("/nix/store/"),
			    entry.type == TAR_SYMLINK ? " -> " : "",
			    entry.target, entry.mode, entry.size);
			assert_true(entry.name[entry.base - 1] == '/');
			assert_null(strchr(entry.name + entry.base, '/'));
			assert_int_equal(entry.fd, -1);
			continue;
		case NAR_NEED_MORE:
			assert_int_equal(at, given);
			break;
		}
		if (given == n->len) {
			fprintf(out, "more");
			return 0;
		}
		given += n->len - given < step ? n->len - given : step;
	}
}

static void
check(const struct nar *n, uint64_t size, bool good, const char *want)
{
	static const size_t steps[] = {1, 3, 7, 8, 64, 4096, SIZE_MAX};

	for (size_t i = 0; i < sizeof(steps) / sizeof(steps[0]); i++) {
		struct err e = ERR_INIT;
		char *text = NULL;
		size_t len;
		FILE *f = open_memstream(&text, &len);
		int rc = read_nar(n, steps[i], size, f, &e);

		fclose(f);
		if ((rc == 0) != good)
			fail_msg("%s: %s", want, rc == 0 ? text : e.text);
		if (rc < 0)
			assert_int_equal(e.kind, ERR_RETRY);
		assert_string_equal(rc == 0 ? text : e.text, want);
		free(text);
	}
}

static void
good(struct nar *n, const char *want)
{
	check(n, n->len, true, want);
	nar_clear(n);
}

static void
bad(struct nar *n, const char *want)
{
	check(n, n->len + (1 << 20), false, want);
	nar_clear(n);
}

static void
bad_words(const char *words, const char *want)
{
	struct nar n = {0};

	nar_words(&n, words);
	bad(&n, want);
}

static void
test_leaves(void **state)
{
	struct nar n = {0};

	(void)state;
	nar_words(&n, START "regular contents '' )");
	good(&n, "0 00000000000000000000000000000000-x 444 0\nend");
	nar_words(&n, START "regular executable '' contents 12345 )");
	good(&n, "0 00000000000000000000000000000000-x 555 5\nend");
	nar_words(&n, START "regular contents 12345678 )");
	good(&n, "0 00000000000000000000000000000000-x 444 8\nend");
	nar_words(&n, START "symlink target /a )");
	good(&n, "0 00000000000000000000000000000000-x -> /a 777 0\nend");
	nar_words(&n, START "directory )");
	good(&n, "0 00000000000000000000000000000000-x 555 0\nend");
}

#define ENTRY(name, node) "entry ( name " name " node ( type " node " ) )"

static void
test_tree(void **state)
{
	struct nar n = {0};

	(void)state;
	nar_words(&n,
	    START "directory " ENTRY("...", "directory") " " ENTRY("a",
		"directory " ENTRY("b", "directory") " " ENTRY(
		    "c", "regular contents xyz")) " " ENTRY("a.b",
		"regular executable '' contents ''") " " ENTRY("b",
		"symlink target a/c") " " ENTRY("\xff",
		"regular contents 1") " )");
	good(&n,
	    "0 00000000000000000000000000000000-x 555 0\n"
	    "1 00000000000000000000000000000000-x/... 555 0\n"
	    "1 00000000000000000000000000000000-x/a 555 0\n"
	    "2 00000000000000000000000000000000-x/a/b 555 0\n"
	    "2 00000000000000000000000000000000-x/a/c 444 3\n"
	    "1 00000000000000000000000000000000-x/a.b 555 0\n"
	    "1 00000000000000000000000000000000-x/b -> a/c 777 0\n"
	    "1 00000000000000000000000000000000-x/\xff 444 1\n"
	    "end");
}

static void
test_cut(void **state)
{
	struct nar n = {0};
	size_t len;

	(void)state;
	nar_words(
	    &n, START "directory " ENTRY("a", "regular contents 123") " )");
	len = n.len;
	for (n.len = 0; n.len < len; n.len++) {
		struct err e = ERR_INIT;
		char *text = NULL;
		size_t size;
		FILE *f = open_memstream(&text, &size);

		assert_int_equal(read_nar(&n, 5, len, f, &e), 0);
		fclose(f);
		assert_non_null(strstr(text, "more"));
		free(text);
	}
	nar_put(&n, "", 1);
	bad(&n, "NAR: more follows it");
}

#define FORM "NAR: is not as a NAR is"

static void
test_words(void **state)
{
	struct nar n = {0};

	(void)state;
	bad_words("nix-archive-2", FORM);
	bad_words("nix-archive-1 [", FORM);
	bad_words("nix-archive-1 ( typ", FORM);
	bad_words(START "fifo", "NAR: is of an unknown type");
	bad_words(START "regular ''", FORM);
	bad_words(START "regular )", FORM);
	bad_words(START "regular executable x", FORM);
	bad_words(START "regular executable '' executable", FORM);
	bad_words(START "regular contents '' (", FORM);
	bad_words(START "symlink contents", FORM);
	bad_words(START "directory entry [", FORM);
	bad_words(START "directory entries", FORM);
	bad_words(START "directory entry ( node", FORM);
	bad_words(START "directory entry ( name a name",
	    "NAR: /a: is not as a "
	    "NAR is");
	bad_words(START "directory ) )", "NAR: more follows it");
	bad_words(START "directory 12345678901234567890123456789012", FORM);
	bad_words(START "directory 123456789012345678901234567890123", FORM);
	nar_bytes(&n, "nix-archive-1\0x", 15);
	bad(&n, "NAR: a NUL is in a name");
	nar_words(&n, "nix-archive-1 ( type");
	nar_bytes(&n, "directory\0", 10);
	bad(&n, "NAR: a NUL is in a name");
}

#define DIR START "directory "
#define NONE "NAR: holds an entry whose name is none"

static void
test_names(void **state)
{
	char name[NAR_NAME_MAX + 2];
	struct nar n = {0};

	(void)state;
	bad_words(DIR "entry ( name ''", NONE);
	bad_words(DIR "entry ( name .", NONE);
	bad_words(DIR "entry ( name ..", NONE);
	bad_words(DIR "entry ( name a/b", NONE);
	bad_words(DIR "entry ( name /", NONE);
	nar_words(&n, DIR "entry ( name");
	nar_bytes(&n, "a\0b", 3);
	bad(&n, "NAR: a NUL is in a name");
	memset(name, 'n', sizeof(name));
	nar_words(&n, DIR "entry ( name");
	nar_bytes(&n, name, NAR_NAME_MAX + 1);
	bad(&n, "NAR: an entry's name is too long");
	nar_words(&n, DIR "entry ( name");
	nar_bytes(&n, name, NAR_NAME_MAX);
	check(&n, n.len, true,
	    "0 00000000000000000000000000000000-x 555 0\n"
	    "more");
	nar_clear(&n);
}

static void
test_order(void **state)
{
	struct nar n = {0};

	(void)state;
	bad_words(DIR ENTRY("b", "directory") " entry ( name a",
	    "NAR: /b: the entry after it is out of order");
	bad_words(DIR ENTRY("b", "symlink target x") " entry ( name b",
	    "NAR: /b: the entry after it is out of order");
	bad_words(DIR ENTRY("b",
		      "directory " ENTRY("z", "directory")) " entry ( name b",
	    "NAR: /b: the entry after it is out of order");
	bad_words(DIR ENTRY("\xff", "directory") " entry ( name a",
	    "NAR: /\xff: the entry after it is out of order");
	bad_words(DIR ENTRY("ab", "directory") " entry ( name a",
	    "NAR: /ab: the entry after it is out of order");
	/* A new directory starts anew. */
	nar_words(
	    &n, DIR ENTRY("b", "directory " ENTRY("a", "directory")) " )");
	good(&n,
	    "0 00000000000000000000000000000000-x 555 0\n"
	    "1 00000000000000000000000000000000-x/b 555 0\n"
	    "2 00000000000000000000000000000000-x/b/a 555 0\nend");
}

static void
test_links(void **state)
{
	static char target[NAR_TARGET_MAX + 1];
	struct nar n = {0};

	(void)state;
	bad_words(START "symlink target ''", "NAR: links to what is no name");
	nar_words(&n, START "symlink target");
	nar_bytes(&n, "a\0", 2);
	bad(&n, "NAR: a NUL is in a name");
	memset(target, 't', sizeof(target));
	nar_words(&n, START "symlink target");
	nar_bytes(&n, target, sizeof(target));
	bad(&n, "NAR: links to a name too long");
	nar_words(&n, START "symlink target");
	nar_bytes(&n, target, NAR_TARGET_MAX);
	nar_words(&n, ")");
	{
		char *want = NULL;

		assert_true(asprintf(&want,
				"0 00000000000000000000000000000000-x -> %.*s "
				"777 0\nend",
				NAR_TARGET_MAX, target) > 0);
		good(&n, want);
		free(want);
	}
}

static void
nested(struct nar *n, size_t depth)
{
	nar_words(n, START "directory");
	for (size_t i = 1; i < depth; i++)
		nar_words(n, "entry ( name d node ( type directory");
}

static void
test_depth(void **state)
{
	struct nar n = {0};
	struct err e = ERR_INIT;

	(void)state;
	nested(&n, NAR_DEPTH_MAX + 1);
	assert_int_equal(read_nar(&n, 100, n.len, stderr, &e), -1);
	assert_non_null(strstr(e.text, "/d/d/d: is nested too deep"));
	nar_clear(&n);
	nested(&n, NAR_DEPTH_MAX);
	nar_words(&n, "entry ( name f node ( type regular contents 1 ) )");
	for (size_t i = 1; i < NAR_DEPTH_MAX; i++)
		nar_words(&n, ") )");
	nar_words(&n, ")");
	e = (struct err)ERR_INIT;
	assert_int_equal(read_nar(&n, 100, n.len, stderr, &e), 0);
	nar_clear(&n);
}

#define MUCH "NAR: holds more than NarSize says"

static void
test_sizes(void **state)
{
	static const uint64_t sizes[] = {UINT64_MAX, UINT64_MAX - 6,
	    UINT64_MAX - 7, (uint64_t)1 << 63, INT64_MAX, (uint64_t)1 << 32};
	struct nar n = {0};

	(void)state;
	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		nar_words(&n, START "regular contents");
		nar_u64(&n, sizes[i]);
		bad(&n, MUCH);
		nar_u64(&n, sizes[i]);
		bad(&n, MUCH);
		nar_words(&n, DIR "entry ( name");
		nar_u64(&n, sizes[i]);
		bad(&n, MUCH);
	}
	nar_u64(&n, 33);
	bad(&n, FORM);
	/* Of a NAR that is longer than was said each byte is one too many. */
	nar_words(&n, START "regular contents 12345 )");
	for (size_t i = 0; i < n.len; i++)
		check(&n, i, false, MUCH);
	nar_clear(&n);
}

static void
test_padding(void **state)
{
	struct nar n = {0};

	(void)state;
	nar_words(&n, START "regular contents 12345 )");
	for (size_t i = 0; i < n.len; i++) {
		bool word = i >= 16 && n.data[i] == 0 &&
		    (n.data[i - 1] == 'e' || n.data[i - 1] == 'r');

		if (!word)
			continue;
		n.data[i] = 1;
		check(&n, n.len, false, "NAR: padding is not zero");
		n.data[i] = 0;
	}
	/* That of the content; of its three bytes the last. */
	n.data[n.len - 17] = 'x';
	bad(&n, "NAR: padding is not zero");
}

static void
test_whole_name(void **state)
{
	char name[NAR_NAME_MAX + 1];
	struct nar n = {0};

	(void)state;
	memset(name, 'n', sizeof(name));
	nar_words(&n, START "directory");
	for (size_t len = strlen(PATH); len <= TAR_NAME_MAX;
	     len += NAR_NAME_MAX + 1) {
		nar_words(&n, "entry ( name");
		nar_bytes(&n, name, NAR_NAME_MAX);
		nar_words(&n, "node ( type directory");
	}
	{
		struct err e = ERR_INIT;

		assert_int_equal(read_nar(&n, 999, n.len, stderr, &e), -1);
		assert_non_null(strstr(e.text, "whose whole name is too long"));
	}
	nar_clear(&n);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_leaves),
	    cmocka_unit_test(test_tree),
	    cmocka_unit_test(test_cut),
	    cmocka_unit_test(test_words),
	    cmocka_unit_test(test_names),
	    cmocka_unit_test(test_order),
	    cmocka_unit_test(test_links),
	    cmocka_unit_test(test_depth),
	    cmocka_unit_test(test_sizes),
	    cmocka_unit_test(test_padding),
	    cmocka_unit_test(test_whole_name),
	};
	struct err e = ERR_INIT;
	int failed;

	if (nar_reader_new(&reader, &e) < 0)
		return 1;
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	nar_reader_freep(&reader);
	return failed;
}
