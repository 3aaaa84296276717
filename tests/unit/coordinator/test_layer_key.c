/* The layer key: a known value, and that each field counts. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "digest.h"
#include "err.h"
#include "graph_closure.h"
#include "cache/layer_key.h"
#include "plan/layer_plan.h"
#include "layer_spec.h"

#define HASH "0123456789abcdfghijklmnpqrsvwxy"

static struct closure *
three(void)
{
	static const char *const base[] = {
	    HASH "1-one", HASH "2-two", HASH "3-three"};
	char *path[3];
	struct closure *c;

	for (size_t i = 0; i < 3; i++)
		if (asprintf(&path[i], "/nix/store/%s", base[i]) < 0)
			abort();
	c = graph_closure("/nix/store", path, 3, NULL, 0);
	c->nar_hash = calloc(3, sizeof(*c->nar_hash));
	for (size_t i = 0; i < 3; i++)
		memset(c->nar_hash[i].b, (int)i + 1, DIGEST_SIZE);
	return c;
}

static struct layer_spec
defaults(void)
{
	return (struct layer_spec){.dialect = TAR_PAX,
	    .store_dir = "/nix/store",
	    .store_root = "",
	    .mtime = 1,
	    .uname = "root",
	    .gname = "root",
	    .file = ""};
}

static struct digest
key(const struct layer_spec *spec, const struct closure *c, uint32_t first,
    size_t n)
{
	uint32_t path[] = {0, 1, 2, 0, 2, 1};
	struct layer layer = {.path = path + first, .n = n};
	struct err e = ERR_INIT;
	struct digest d;

	assert_int_equal(layer_key(spec, c, &layer, &d, &e), 1);
	return d;
}

/* From Python: hashlib.sha256 over len.to_bytes(8, "big") + field. */
static void
test_known(void **state)
{
	struct closure *c = three();
	struct layer_spec spec = defaults();
	struct digest d = key(&spec, c, 0, 2);
	char hex[DIGEST_HEX_LEN + 1];

	(void)state;
	digest_hex(&d, hex);
	assert_string_equal(hex,
	    "e51a9ef8a6f8dacbc8f85f50589ed61ab6ab8f28221da496068cd5258448ad1e");
	graph_closure_free(c);
}

static void
differs(const struct layer_spec *spec, const struct closure *c)
{
	struct layer_spec plain = defaults();
	struct digest a = key(spec, c, 0, 3), b = key(&plain, c, 0, 3);

	assert_false(digest_equal(&a, &b));
}

static void
test_fields(void **state)
{
	struct closure *c = three();
	struct layer_spec s;
	struct digest a, b;

	(void)state;
	s = defaults(), s.dialect = TAR_GNU, differs(&s, c);
	s = defaults(), s.store_dir = "/nix/stor", differs(&s, c);
	s = defaults(), s.mtime = -1, differs(&s, c);
	s = defaults(), s.uid = 1, differs(&s, c);
	s = defaults(), s.gid = 1, differs(&s, c);
	s = defaults(), s.uname = "r", differs(&s, c);
	s = defaults(), s.gname = "r", differs(&s, c);
	s = defaults(), s.uname = "rootr", s.gname = "oot", differs(&s, c);
	s = defaults();
	a = key(&s, c, 0, 3), b = key(&s, c, 3, 3);
	assert_false(digest_equal(&a, &b)); /* order */
	a = key(&s, c, 0, 3), b = key(&s, c, 0, 2);
	assert_false(digest_equal(&a, &b));
	a = key(&s, c, 0, 3);
	c->nar_hash[1].b[31] ^= 1;
	b = key(&s, c, 0, 3);
	assert_false(digest_equal(&a, &b));
	graph_closure_free(c);
}

/* What says nothing of the tar's bytes changes nothing. */
static void
test_not_fields(void **state)
{
	struct closure *c = three();
	struct layer_spec plain = defaults(), s = defaults();
	struct digest a, b;

	(void)state;
	s.store_root = "/elsewhere";
	s.encoding = (struct encoding){ENCODING_ZSTD, 9};
	s.verify = true;
	s.n_outputs = 1;
	a = key(&plain, c, 0, 3), b = key(&s, c, 0, 3);
	assert_true(digest_equal(&a, &b));
	graph_closure_free(c);
}

static void
test_no_hashes(void **state)
{
	struct closure *c = three();
	struct layer_spec spec = defaults();
	struct layer layer = {0};
	struct err e = ERR_INIT;
	struct digest d;

	(void)state;
	free(c->nar_hash);
	c->nar_hash = NULL;
	assert_int_equal(layer_key(&spec, c, &layer, &d, &e), 0);
	graph_closure_free(c);
}

/* A list of store paths has the key that they have in their closure. */
static void
test_items(void **state)
{
	struct closure *c = three();
	struct layer_spec spec = defaults();
	struct layer_item item[3];
	struct err e = ERR_INIT;
	struct digest a = key(&spec, c, 0, 3), b;

	(void)state;
	for (size_t i = 0; i < 3; i++)
		item[i] = (struct layer_item){.path = c->path[i],
		    .has_hash = true,
		    .nar_hash = c->nar_hash[i]};
	assert_int_equal(layer_key_items(&spec, item, 3, &b, &e), 1);
	assert_true(digest_equal(&a, &b));
	item[1].has_hash = false;
	assert_int_equal(layer_key_items(&spec, item, 3, &b, &e), 0);
	graph_closure_free(c);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_known),
	    cmocka_unit_test(test_fields),
	    cmocka_unit_test(test_not_fields),
	    cmocka_unit_test(test_no_hashes),
	    cmocka_unit_test(test_items),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
