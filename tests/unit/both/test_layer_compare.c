/* What is said of two copies of a layer: first differences of every kind. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "encoder.h"
#include "encoding.h"
#include "err.h"
#include "image/layer_compare.h"
#include "image/layer_copy.h"
#include "tar_header.h"

enum { ROOM = 1 << 20, BEFORE = 1536 };

static const struct tar_entry file = {.type = TAR_REGULAR,
    .name = "store/a/f",
    .link = "",
    .mode = 0444,
    .uname = "root",
    .gname = "root",
    .size = 70000,
    .mtime = 1};

struct tar {
	uint8_t bytes[ROOM];
	size_t n;
};

static void
put(struct tar *t, const struct tar_entry *entry, const char *content)
{
	t->n += tar_header_put(TAR_PAX, entry, t->bytes + t->n);
	for (size_t i = 0; i < entry->size; i++)
		t->bytes[t->n + i] = (uint8_t)content[i % strlen(content)];
	t->n += entry->size;
	memset(t->bytes + t->n, 0, tar_padding(entry->size));
	t->n += tar_padding(entry->size);
}

static void
end(struct tar *t)
{
	size_t n = tar_end(t->n);

	memset(t->bytes + t->n, 0, n);
	t->n += n;
}

/* Behind BEFORE other bytes, as in an archive. */
static void
write_at(const char *path, size_t before, const void *data, size_t n)
{
	static const uint8_t other[BEFORE] = {1, 2, 3};
	FILE *f = fopen(path, "w");

	assert_non_null(f);
	assert_int_equal(fwrite(other, 1, before, f), before);
	assert_int_equal(fwrite(data, 1, n, f), n);
	assert_int_equal(fwrite("more", 1, 4, f), 4);
	fclose(f);
}

/* All that a decoder gets; so encoded copies have nothing behind them. */
static size_t
encode(const struct tar *t, const char *path, enum encoding_kind kind)
{
	const struct encoding encoding = {kind, 1};
	struct err e = ERR_INIT;
	struct encoder *enc;
	FILE *f = fopen(path, "w");
	size_t sum = 0, len;

	assert_non_null(f);
	assert_int_equal(encoder_new(&encoding, &enc, &e), 0);
	/* Several members or frames. */
	for (size_t at = 0; at < t->n; at += len) {
		const void *out;
		size_t n;

		len = t->n - at < 33333 ? t->n - at : 33333;
		assert_int_equal(
		    encoder_run(enc, t->bytes + at, len, &out, &n, &e), 0);
		assert_int_equal(fwrite(out, 1, n, f), n);
		sum += n;
	}
	encoder_free(enc);
	fclose(f);
	return sum;
}

struct fixture {
	char a[64], b[64];
	struct tar *first, *second;
};

static int
setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	assert_non_null(f);
	snprintf(f->a, sizeof(f->a), "/tmp/test_layer_compare.%d.a", getpid());
	snprintf(f->b, sizeof(f->b), "/tmp/test_layer_compare.%d.b", getpid());
	f->first = calloc(1, sizeof(*f->first));
	f->second = calloc(1, sizeof(*f->second));
	assert_non_null(f->first);
	assert_non_null(f->second);
	*state = f;
	return 0;
}

static int
teardown(void **state)
{
	struct fixture *f = *state;

	unlink(f->a);
	unlink(f->b);
	free(f->first);
	free(f->second);
	free(f);
	return 0;
}

/* Plain, and either of them encoded: the same must be said. */
static void
said(struct fixture *f, const char *want)
{
	for (int kind = ENCODING_NONE; kind <= ENCODING_ZSTD; kind++) {
		struct layer_place a = {.worker = "ant",
		    .path = f->a,
		    .offset = BEFORE,
		    .size = f->first->n,
		    .most = ROOM};
		struct layer_place b = {.worker = "bee",
		    .path = f->b,
		    .size = f->second->n,
		    .most = ROOM};
		char out[LAYER_COMPARE_MAX];
		struct err e = ERR_INIT;

		write_at(f->a, BEFORE, f->first->bytes, f->first->n);
		if (kind == ENCODING_NONE)
			write_at(f->b, 0, f->second->bytes, f->second->n);
		else {
			b.encoded = true;
			b.size =
			    encode(f->second, f->b, (enum encoding_kind)kind);
		}
		assert_int_equal(layer_compare(&a, &b, out, &e), 0);
		assert_string_equal(out, want);
	}
}

static void
fill(struct fixture *f, const struct tar_entry *second, const char *content)
{
	const struct tar_entry top = {.type = TAR_DIRECTORY,
	    .name = "store",
	    .link = "",
	    .mode = 0555,
	    .uname = "root",
	    .gname = "root"};

	f->first->n = f->second->n = 0;
	put(f->first, &top, "");
	put(f->second, &top, "");
	put(f->first, &file, "abc");
	put(f->second, second, content);
	end(f->first);
	end(f->second);
}

static void
test_contents(void **state)
{
	struct fixture *f = *state;

	fill(f, &file, "abc");
	said(f, "the tars are the same, but not what they were compressed to");
	for (size_t at = 0; at < 70000; at = 2 * at + 1) {
		char want[80];

		fill(f, &file, "abc");
		f->second->bytes[1024 + at] ^= 1;
		snprintf(want, sizeof(want),
		    "store/a/f: content differs from byte %zu on", at);
		said(f, want);
	}
	fill(f, &file, "abc");
	f->second->bytes[1024 + 70000] = 1;
	said(f, "store/a/f: the padding after it differs");
	fill(f, &file, "abc");
	f->second->bytes[f->second->n - 1] = 1;
	said(f, "what follows the last entry differs");
}

/* What lies behind the limit is no difference, and not called the same. */
static void
test_limits(void **state)
{
	static const struct {
		uint64_t most;
		const char *want;
	} cases[] = {
	    {512, "the first 0 MiB do not differ, and more was not compared"},
	    {1024, "the first 0 MiB do not differ, and more was not compared"},
	    {61024, "the first 0 MiB do not differ, and more was not compared"},
	    {61025, "store/a/f: content differs from byte 60000 on"}};
	struct fixture *f = *state;

	fill(f, &file, "abc");
	f->second->bytes[1024 + 60000] ^= 1;
	write_at(f->a, 0, f->first->bytes, f->first->n);
	write_at(f->b, 0, f->second->bytes, f->second->n);
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct layer_place a = {.worker = "ant",
		    .path = f->a,
		    .size = f->first->n,
		    .most = cases[i].most};
		struct layer_place b = a;
		char out[LAYER_COMPARE_MAX];
		struct err e = ERR_INIT;

		b.worker = "bee";
		b.path = f->b;
		assert_int_equal(layer_compare(&a, &b, out, &e), 0);
		assert_string_equal(out, cases[i].want);
	}
}

static void
test_headers(void **state)
{
	struct fixture *f = *state;
	struct tar_entry other = file;

	other.mode = 0555;
	fill(f, &other, "abc");
	said(f, "store/a/f: mode is 0444 of worker ant, 0555 of worker bee");
	other = file;
	other.mtime = 77;
	fill(f, &other, "abc");
	said(f, "store/a/f: mtime is 1 of worker ant, 77 of worker bee");
	other = file;
	other.size = 70001;
	fill(f, &other, "abc");
	said(f, "store/a/f: size is 70000 of worker ant, 70001 of worker bee");
	other = file;
	other.uname = "rooï";
	fill(f, &other, "abc");
	said(f, "store/a/f: uname is root of worker ant, rooï of worker bee");
	other = file;
	other.type = TAR_SYMLINK;
	other.size = 0;
	other.link = "x";
	fill(f, &other, "");
	said(f, "store/a/f: type is 0 of worker ant, 2 of worker bee");
}

/* Names that no header block has room for, and links. */
static void
test_long_names(void **state)
{
	struct fixture *f = *state;
	char name[TAR_NAME_MAX], a[TAR_NAME_MAX], b[TAR_NAME_MAX];
	struct tar_entry entry = {.type = TAR_SYMLINK,
	    .name = name,
	    .link = a,
	    .uname = "",
	    .gname = ""};

	memset(name, 'n', sizeof(name) - 1);
	name[sizeof(name) - 1] = '\0';
	name[3] = '\n';
	memset(a, 'l', sizeof(a) - 1);
	a[sizeof(a) - 1] = '\0';
	memcpy(b, a, sizeof(b));
	b[TAR_NAME_MAX - 2] = '!';
	for (int dialect = TAR_PAX; dialect <= TAR_GNU; dialect++) {
		char out[LAYER_COMPARE_MAX];
		struct layer_place at[] = {
		    {.worker = "ant", .path = f->a, .most = ROOM},
		    {.worker = "bee", .path = f->b, .most = ROOM}};
		struct err e = ERR_INIT;

		entry.link = a;
		f->first->n = tar_header_put(
		    (enum tar_dialect)dialect, &entry, f->first->bytes);
		entry.link = b;
		f->second->n = tar_header_put(
		    (enum tar_dialect)dialect, &entry, f->second->bytes);
		end(f->first);
		end(f->second);
		write_at(f->a, 0, f->first->bytes, f->first->n);
		write_at(f->b, 0, f->second->bytes, f->second->n);
		at[0].size = f->first->n;
		at[1].size = f->second->n;
		assert_int_equal(layer_compare(&at[0], &at[1], out, &e), 0);
		assert_memory_equal(out, "nnn?nnn", 7);
		assert_non_null(strstr(out, ": it links to lll"));
	}
}

static void
names(struct tar *t, const char *list)
{
	t->n = 0;
	for (; *list != '\0'; list++) {
		const char name[] = {*list, '\0'};
		struct tar_entry entry = file;

		entry.name = name;
		entry.size = 1000;
		put(t, &entry, "x");
	}
	end(t);
}

static void
test_missing_and_order(void **state)
{
	struct fixture *f = *state;
	const struct {
		const char *a, *b, *want;
	} cases[] = {
	    {"abc", "ac", "b is not in the copy of worker bee"},
	    {"ab", "abc", "c is not in the copy of worker ant"},
	    {"abc", "ab", "c is not in the copy of worker bee"},
	    {"acd", "abcd", "b is not in the copy of worker ant"},
	    {"ax", "ay", "y is not in the copy of worker ant"},
	    {"abcd", "adcb",
		"the order: worker ant has b where worker bee has d"},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		names(f->first, cases[i].a);
		names(f->second, cases[i].b);
		said(f, cases[i].want);
	}
}

static void
test_no_tar(void **state)
{
	struct fixture *f = *state;

	fill(f, &file, "abc");
	f->second->n = 1024 + 512;
	said(f, "store/a/f: content differs from byte 512 on");
	fill(f, &file, "abc");
	f->second->bytes[512] ^= 1; /* the sum no longer holds */
	said(f,
	    "worker bee's copy is no tar from byte 512 on: a header is "
	    "none");
	f->second->n = 700;
	said(f, "worker bee's copy is no tar from byte 512 on: it ends");
}

/* A bomb's bytes are not read on and on. */
static void
test_no_more_than_allowed(void **state)
{
	struct fixture *f = *state;
	struct layer_place place = {
	    .worker = "ant", .path = f->a, .size = ROOM, .most = 100};
	struct layer_copy *c;
	struct err e = ERR_INIT;
	uint8_t out[200];
	size_t n;

	write_at(f->a, 0, f->first->bytes, 1000);
	assert_int_equal(layer_copy_open(&place, &c, &e), 0);
	assert_int_equal(layer_copy_read(c, out, sizeof(out), &n, &e), 0);
	assert_int_equal(n, 100);
	assert_int_equal(layer_copy_read(c, out, sizeof(out), &n, &e), 0);
	assert_int_equal(n, 0);
	layer_copy_free(c);
}

static void
test_not_there(void **state)
{
	struct fixture *f = *state;
	struct layer_place place = {
	    .worker = "ant", .path = f->a, .size = ROOM, .most = 100};
	char out[LAYER_COMPARE_MAX];
	struct err e = ERR_INIT;

	assert_int_equal(layer_compare(&place, &place, out, &e), -1);
	assert_int_equal(e.kind, ERR_FATAL);
	assert_non_null(strstr(e.text, "worker ant's copy, /tmp/"));
	write_at(f->a, 0, "not compressed", 14);
	place.encoded = true;
	place.size = 0;
	err_clear(&e);
	assert_int_equal(layer_compare(&place, &place, out, &e), -1);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(test_contents, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_limits, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_headers, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_long_names, setup, teardown),
	    cmocka_unit_test_setup_teardown(
		test_missing_and_order, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_no_tar, setup, teardown),
	    cmocka_unit_test_setup_teardown(
		test_no_more_than_allowed, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_not_there, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
