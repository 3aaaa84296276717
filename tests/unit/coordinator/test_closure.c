#include "closure/closure.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "err.h"
#include "own.h"

#define DIR "/nix/store"
#define A "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa-a"
#define B "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb-b"
#define C "cccccccccccccccccccccccccccccccc-c"
#define D "dddddddddddddddddddddddddddddddd-d"

static struct closure_text
text(const char *s)
{
	return (struct closure_text){s, strlen(s)};
}

/* Adds path with its references, NULL at the end; no hash, no size. */
__attribute__((sentinel)) static int
add(struct closure_builder *b, struct err *e, const char *path, ...)
{
	struct closure_text refs[8];
	struct closure_entry entry = {.path = text(path), .refs = refs};
	const char *ref;
	va_list ap;

	va_start(ap, path);
	while ((ref = va_arg(ap, const char *)) != NULL)
		refs[entry.n_refs++] = text(ref);
	va_end(ap);
	return closure_add(b, &entry, e);
}

static struct closure_builder *
builder(const char *dir)
{
	struct closure_builder *b;
	struct err e = ERR_INIT;

	assert_int_equal(closure_builder_new(dir, &b, &e), 0);
	return b;
}

static struct closure *
finish(struct closure_builder *b)
{
	struct closure *c;
	struct err e = ERR_INIT;

	if (closure_finish(&b, &c, &e) < 0)
		fail_msg("%s", e.text);
	assert_null(b);
	return c;
}

static void
assert_refs(const struct closure *c, size_t i, size_t n, const uint32_t *refs)
{
	assert_int_equal(c->ref_start[i + 1] - c->ref_start[i], n);
	if (n > 0)
		assert_memory_equal(
		    c->ref + c->ref_start[i], refs, n * sizeof(*refs));
}

static void
sorts_and_renumbers(void **state)
{
	AUTO(closure_freep) struct closure *c = NULL;
	struct closure_builder *b = builder(DIR);
	struct err e = ERR_INIT;

	(void)state;
	/* Doubles, self, with and without directory, before they are added. */
	assert_int_equal(
	    add(b, &e, DIR "/" D, B, DIR "/" C, B, DIR "/" D, A, NULL), 0);
	assert_int_equal(add(b, &e, B, C, NULL), 0);
	assert_int_equal(add(b, &e, DIR "/" A, B, NULL), 0);
	assert_int_equal(add(b, &e, C, C, NULL), 0);
	c = finish(b);
	assert_int_equal(c->n, 4);
	assert_string_equal(c->store_dir, DIR);
	assert_string_equal(c->path[0], DIR "/" A);
	assert_string_equal(c->path[1], DIR "/" B);
	assert_string_equal(c->path[2], DIR "/" C);
	assert_string_equal(c->path[3], DIR "/" D);
	assert_null(c->nar_hash);
	assert_null(c->nar_size);
	assert_refs(c, 0, 1, (uint32_t[]){1});
	assert_refs(c, 1, 1, (uint32_t[]){2});
	assert_refs(c, 2, 0, NULL);
	assert_refs(c, 3, 3, (uint32_t[]){0, 1, 2});
	for (size_t i = 0; i < c->n; i++) {
		assert_int_equal(closure_find(c, c->path[i]), i);
		assert_int_equal(closure_find_hash(c, c->path[i] + 11), i);
	}
	assert_true(closure_find(c, DIR "/" A "a") == SIZE_MAX);
	assert_true(closure_find(c, "") == SIZE_MAX);
	assert_true(closure_find_hash(c, "dddddddddddddddddddddddddddddddc") ==
	    SIZE_MAX);
}

static void
empty(void **state)
{
	AUTO(closure_freep) struct closure *c = finish(builder(DIR));
	struct err e = ERR_INIT;

	(void)state;
	assert_int_equal(c->n, 0);
	assert_int_equal(c->ref_start[0], 0);
	assert_true(closure_find(c, DIR "/" A) == SIZE_MAX);
	assert_int_equal(closure_retain(&c, NULL, 0, &e), 0);
	assert_int_equal(c->n, 0);
}

static void
retains_what_is_reached(void **state)
{
	AUTO(closure_freep) struct closure *c = NULL;
	struct closure_builder *b = builder("/s");
	struct err e = ERR_INIT;
	uint32_t roots[] = {1, 1};

	(void)state;
	/* B and D refer to each other; A is above, C is apart. */
	assert_int_equal(add(b, &e, A, B, C, NULL), 0);
	assert_int_equal(add(b, &e, B, D, NULL), 0);
	assert_int_equal(add(b, &e, C, D, NULL), 0);
	assert_int_equal(add(b, &e, D, B, NULL), 0);
	c = finish(b);
	assert_int_equal(closure_retain(&c, roots, 2, &e), 0);
	assert_int_equal(c->n, 2);
	assert_string_equal(c->path[0], "/s/" B);
	assert_string_equal(c->path[1], "/s/" D);
	assert_refs(c, 0, 1, (uint32_t[]){1});
	assert_refs(c, 1, 1, (uint32_t[]){0});
	assert_int_equal(closure_find(c, "/s/" D), 1);
	assert_true(closure_find(c, "/s/" A) == SIZE_MAX);
	assert_int_equal(closure_retain(&c, roots, 0, &e), 0);
	assert_int_equal(c->n, 0);
}

/* The same as retain, beside what it is made of, whose strings it has. */
static void
reaches_beside_the_graph(void **state)
{
	AUTO(closure_freep) struct closure *c = NULL;
	AUTO(closure_freep) struct closure *part = NULL;
	struct closure_builder *b = builder("/s");
	struct err e = ERR_INIT;
	uint32_t root = 1;

	(void)state;
	assert_int_equal(add(b, &e, A, B, C, NULL), 0);
	assert_int_equal(add(b, &e, B, D, NULL), 0);
	assert_int_equal(add(b, &e, C, D, NULL), 0);
	assert_int_equal(add(b, &e, D, B, NULL), 0);
	c = finish(b);
	assert_int_equal(closure_reach(c, &root, 1, &part, &e), 0);
	assert_int_equal(part->n, 2);
	assert_ptr_equal(part->path[0], c->path[1]);
	assert_ptr_equal(part->path[1], c->path[3]);
	assert_string_equal(part->store_dir, "/s");
	assert_refs(part, 0, 1, (uint32_t[]){1});
	assert_refs(part, 1, 1, (uint32_t[]){0});
	assert_null(part->nar_hash);
	assert_int_equal(c->n, 4);
	closure_freep(&part);
	assert_int_equal(closure_reach(c, NULL, 0, &part, &e), 0);
	assert_int_equal(part->n, 0);
}

static void
undefined_names_both(void **state)
{
	struct closure_builder *b = builder(DIR);
	struct closure *c = NULL;
	struct err e = ERR_INIT;

	(void)state;
	assert_int_equal(add(b, &e, A, B, NULL), 0);
	assert_int_equal(add(b, &e, B, C, NULL), 0);
	assert_int_equal(closure_finish(&b, &c, &e), -1);
	assert_int_equal(e.kind, ERR_USAGE);
	assert_string_equal(e.text,
	    DIR "/" B " refers to " DIR "/" C ", which is not in the closure");
	assert_null(c);
	assert_non_null(b);
	closure_builder_freep(&b);
}

static void
expect_refused(const char *path, const char *want)
{
	struct closure_builder *b = builder(DIR);
	struct err e = ERR_INIT;

	assert_int_equal(add(b, &e, A, NULL), 0);
	assert_int_equal(add(b, &e, path, NULL), -1);
	assert_int_equal(e.kind, ERR_USAGE);
	if (strstr(e.text, want) == NULL)
		fail_msg("'%s' lacks '%s'", e.text, want);
	closure_builder_freep(&b);
}

static void
refuses_bad_paths(void **state)
{
	char name[512];

	(void)state;
	expect_refused(A, DIR "/" A ": here for the second time");
	expect_refused(DIR "/" A "2", "two names for one hash part");
	expect_refused("aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa-b",
	    DIR "/" A " and aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa-b: two names");
	expect_refused("", "an empty store path");
	expect_refused("/", "/: not in the store directory");
	expect_refused(DIR, "not in the store directory");
	expect_refused(DIR "/", "not a store path");
	expect_refused("/nix/storf/" B, "not in the store directory");
	expect_refused("/nix/store//" B, "not a store path");
	expect_refused(DIR "/" A "/bin", "not a store path");
	expect_refused(B "/bin", "not a store path");
	expect_refused("bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb", "not a store path");
	expect_refused("bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb-", "not a store path");
	expect_refused(
	    "Bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb-b", "not a store path");
	expect_refused(
	    "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb-.b", "not a store path");
	expect_refused("../" B, "not a store path");
	expect_refused("\x1b[31m" B, "*[31mbbb");
	memset(name, 'n', sizeof(name));
	memcpy(name, B, 33);
	name[33 + 212] = '\0';
	expect_refused(name, "not a store path");
}

static void
longest_name(void **state)
{
	AUTO(closure_freep) struct closure *c = NULL;
	struct closure_builder *b = builder(DIR);
	struct err e = ERR_INIT;
	char name[33 + 211 + 1];

	(void)state;
	memset(name, 'n', sizeof(name));
	memcpy(name, B, 33);
	name[33 + 211] = '\0';
	assert_int_equal(add(b, &e, A, name, NULL), 0);
	assert_int_equal(add(b, &e, name, A, NULL), 0);
	c = finish(b);
	assert_string_equal(c->path[1] + 11, name);
}

static struct closure_entry
sized(const char *path, uint64_t size)
{
	return (struct closure_entry){
	    .path = text(path), .has_size = true, .nar_size = size};
}

static void
hashes_and_sizes(void **state)
{
	AUTO(closure_freep) struct closure *c = NULL;
	struct closure_builder *b = builder(DIR);
	struct closure_entry entry = sized(B, 7);
	struct err e = ERR_INIT;

	(void)state;
	entry.has_hash = true;
	memset(&entry.nar_hash, 0xb, sizeof(entry.nar_hash));
	assert_int_equal(closure_add(b, &entry, &e), 0);
	entry = sized(A, CLOSURE_NAR_SIZE_MAX);
	entry.has_hash = true;
	memset(&entry.nar_hash, 0xa, sizeof(entry.nar_hash));
	assert_int_equal(closure_add(b, &entry, &e), 0);
	c = finish(b);
	assert_true(c->nar_size[0] == CLOSURE_NAR_SIZE_MAX);
	assert_true(c->nar_size[1] == 7);
	assert_int_equal(c->nar_hash[0].b[31], 0xa);
	assert_int_equal(c->nar_hash[1].b[0], 0xb);
	assert_int_equal(closure_retain(&c, &(uint32_t){1}, 1, &e), 0);
	assert_int_equal(c->n, 1);
	assert_true(c->nar_size[0] == 7);
	assert_int_equal(c->nar_hash[0].b[0], 0xb);
}

/* Random graphs: beside and in place come to the same. */
static void
reaches_what_retain_keeps(void **state)
{
	static const char digits[] = "0123456789abcdfghijklmnpqrsvwxyz";
	uint64_t seed = 1;

	(void)state;
	for (int round = 0; round < 200; round++) {
		AUTO(closure_freep) struct closure *all = NULL;
		AUTO(closure_freep) struct closure *part = NULL;
		struct closure_builder *b = builder("/s");
		struct err e = ERR_INIT;
		char path[24][sizeof(A)];
		uint32_t roots[3];

		for (size_t i = 0; i < 24; i++) {
			memcpy(path[i], A, sizeof(A));
			path[i][5] = digits[i];
		}
		for (size_t i = 0; i < 24; i++) {
			struct closure_entry entry = sized(path[i], i + 1);
			struct closure_text ref[2];

			for (int k = 0; k < 2; k++) {
				seed = seed * 6364136223846793005 + 11;
				ref[k].s = path[(seed >> 40) % 24];
				ref[k].len = sizeof(A) - 1;
			}
			entry.refs = ref;
			entry.n_refs = seed >> 62;
			if (entry.n_refs > 2)
				entry.n_refs = 0;
			assert_int_equal(closure_add(b, &entry, &e), 0);
		}
		all = finish(b);
		for (size_t i = 0; i < 3; i++)
			roots[i] = (uint32_t)((seed >> (8 + 8 * i)) % 24);
		assert_int_equal(closure_reach(all, roots, 3, &part, &e), 0);
		assert_int_equal(closure_retain(&all, roots, 3, &e), 0);
		assert_int_equal(part->n, all->n);
		assert_memory_equal(part->ref_start, all->ref_start,
		    (all->n + 1) * sizeof(*all->ref_start));
		assert_memory_equal(part->ref, all->ref,
		    all->ref_start[all->n] * sizeof(*all->ref));
		assert_memory_equal(
		    part->path, all->path, all->n * sizeof(*all->path));
		assert_memory_equal(part->nar_size, all->nar_size,
		    all->n * sizeof(*all->nar_size));
	}
}

static void
refuses_unlike_entries(void **state)
{
	struct closure_builder *b = builder(DIR);
	struct closure_entry entry = sized(B, 7);
	struct err e = ERR_INIT;

	(void)state;
	assert_int_equal(closure_add(b, &entry, &e), 0);
	assert_int_equal(add(b, &e, A, NULL), -1);
	assert_string_equal(
	    e.text, A ": lacks a narSize, unlike the paths before it");
	err_clear(&e);
	entry = sized(A, 1);
	entry.has_hash = true;
	assert_int_equal(closure_add(b, &entry, &e), -1);
	assert_string_equal(
	    e.text, A ": has a narHash, unlike the paths before it");
	err_clear(&e);
	entry = sized(A, CLOSURE_NAR_SIZE_MAX + 1);
	assert_int_equal(closure_add(b, &entry, &e), -1);
	assert_non_null(strstr(e.text, "narSize 1125899906842625 is more"));
	closure_builder_freep(&b);
}

static void
refuses_sum_of_sizes(void **state)
{
	static const char digits[] = "0123456789abcdfghijklmnpqrsvwxyz";
	struct closure_builder *b = builder(DIR);
	struct err e = ERR_INIT;
	char path[] = A;
	int rc = 0, i;

	(void)state;
	for (i = 0; i <= 4096 && rc == 0; i++) {
		struct closure_entry entry = sized(path, CLOSURE_NAR_SIZE_MAX);

		path[0] = digits[i % 32];
		path[1] = digits[i / 32 % 32];
		path[2] = digits[i / 1024];
		rc = closure_add(b, &entry, &e);
	}
	assert_int_equal(rc, -1);
	assert_int_equal(i, 4097);
	assert_non_null(strstr(e.text, "the narSizes up to here are more"));
	closure_builder_freep(&b);
}

static void
several_graphs(void **state)
{
	AUTO(closure_freep) struct closure *c = NULL;
	struct closure_builder *b = builder(DIR);
	struct err e = ERR_INIT;

	(void)state;
	closure_builder_next_graph(b);
	assert_int_equal(add(b, &e, A, B, C, NULL), 0);
	assert_int_equal(add(b, &e, C, NULL), 0);
	closure_builder_next_graph(b);
	assert_int_equal(add(b, &e, A, C, B, C, A, NULL), 0);
	assert_int_equal(add(b, &e, B, NULL), 0);
	assert_int_equal(add(b, &e, A, B, C, NULL), -1);
	assert_string_equal(e.text, DIR "/" A ": here for the second time");
	err_clear(&e);
	closure_builder_next_graph(b);
	assert_int_equal(add(b, &e, A, B, NULL), -1);
	assert_string_equal(
	    e.text, DIR "/" A ": two graphs give it different references");
	err_clear(&e);
	c = finish(b);
	assert_int_equal(c->n, 3);
	assert_refs(c, 0, 2, (uint32_t[]){1, 2});
	assert_refs(c, 1, 0, NULL);
}

/* References in falling order, each twice. */
static void
many_references(void **state)
{
	enum { N = 1000 };
	static const char digits[] = "0123456789abcdfghijklmnpqrsvwxyz";
	AUTO(closure_freep) struct closure *c = NULL;
	struct closure_builder *b = builder(DIR);
	struct closure_text refs[2 * N];
	struct closure_entry entry = {.path = text(A), .refs = refs};
	struct err e = ERR_INIT;
	static char name[N][sizeof(B)];

	(void)state;
	for (size_t i = 0; i < N; i++) {
		memcpy(name[i], B, sizeof(B));
		name[i][1] = digits[i / 32];
		name[i][2] = digits[i % 32];
		assert_int_equal(add(b, &e, name[i], NULL), 0);
		refs[N - 1 - i] = refs[2 * N - 1 - i] = text(name[i]);
	}
	entry.n_refs = 2 * (size_t)N;
	assert_int_equal(closure_add(b, &entry, &e), 0);
	c = finish(b);
	assert_int_equal(c->ref_start[1], N);
	for (uint32_t i = 0; i < N; i++)
		assert_int_equal(c->ref[i], i + 1);
}

/* Many paths in a shuffled order, against what they must be. */
static void
many(void **state)
{
	enum { N = 20000 };
	static const char digits[] = "0123456789abcdfghijklmnpqrsvwxyz";
	AUTO(closure_freep) struct closure *c = NULL;
	struct closure_builder *b = builder(DIR);
	struct err e = ERR_INIT;
	char(*name)[40] = calloc(N, sizeof(*name));

	(void)state;
	assert_non_null(name);
	for (uint32_t i = 0; i < N; i++) {
		memcpy(name[i], A, sizeof(A));
		/* The same first 8 digits, so that ties are broken too. */
		for (int d = 0; d < 4; d++)
			name[i][31 - d] = digits[i >> (5 * d) & 31];
	}
	for (uint32_t k = 0; k < N; k++) {
		uint32_t i = k * 7919 % N;

		assert_int_equal(add(b, &e, name[i], name[(i + 1) % N],
				     name[i / 2], name[i], NULL),
		    0);
	}
	c = finish(b);
	assert_int_equal(c->n, N);
	for (uint32_t i = 0; i < N; i++) {
		uint32_t next = (i + 1) % N, half = i / 2;
		uint32_t want[2] = {
		    half < next ? half : next, half < next ? next : half};

		assert_string_equal(c->path[i] + 11, name[i]);
		if (half == i || half == next)
			assert_refs(c, i, 1, &next);
		else
			assert_refs(c, i, 2, want);
		assert_int_equal(closure_find_hash(c, name[i]), i);
	}
	free(name);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(sorts_and_renumbers),
	    cmocka_unit_test(empty),
	    cmocka_unit_test(retains_what_is_reached),
	    cmocka_unit_test(reaches_beside_the_graph),
	    cmocka_unit_test(reaches_what_retain_keeps),
	    cmocka_unit_test(undefined_names_both),
	    cmocka_unit_test(refuses_bad_paths),
	    cmocka_unit_test(longest_name),
	    cmocka_unit_test(hashes_and_sizes),
	    cmocka_unit_test(refuses_unlike_entries),
	    cmocka_unit_test(refuses_sum_of_sizes),
	    cmocka_unit_test(several_graphs),
	    cmocka_unit_test(many_references),
	    cmocka_unit_test(many),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
