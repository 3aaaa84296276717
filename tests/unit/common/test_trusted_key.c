/* Keys and signatures as Nix 2.8 made them, and what is none. */
#include "trusted_key.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include "cache_list.h"
#include "err.h"

#define KEY "test-1:ZadmLjsF7VmAuWnrWGCdOI/QGU/n/wKNXu8xpODiWjM="
#define DATA                                                                   \
	"1;/nix/store/qbvf783q7ckzc0v8spfcqly6b5n90hkj-exe;"                   \
	"sha256:0m35wabrvlzjvv71f2xvca3vd91gh9mwvh4mm38h7yb0h9kc30v2;160;"
#define SIG                                                                    \
	"v4BO876vN5mSGovFnaqdX34xyX+9TzJl+9mlKL3UxgD/k4e2iMaYR5amgg1/"         \
	"Uw0XTnRmcq/c1P2UK8nyXMooAg=="

static bool
signs(const char *sig, const char *data)
{
	struct err e = ERR_INIT;
	struct trusted_key key;

	assert_int_equal(trusted_key_parse(KEY, &key, &e), 0);
	assert_int_equal(key.name_len, 6);
	return trusted_key_signed(&key, sig, data, strlen(data));
}

static void
test_signed(void **state)
{
	(void)state;
	assert_true(signs("test-1:" SIG, DATA));
	assert_false(signs("test-1:" SIG, DATA ";"));
	assert_false(signs("test-1:" SIG, ""));
	assert_false(signs("test-2:" SIG, DATA));
	assert_false(signs("test-11:" SIG, DATA));
	assert_false(signs("test-:" SIG, DATA));
	assert_false(signs(":" SIG, DATA));
	assert_false(signs(SIG, DATA));
	assert_false(signs("test-1", DATA));
	assert_false(signs("test-1:", DATA));
	assert_false(signs("test-1:" SIG "=", DATA));
	assert_false(signs("test-1: " SIG, DATA));
	/* Bits of the last digit that no byte has. */
	assert_false(signs("test-1:v4BO876vN5mSGovFnaqdX34xyX+9TzJl+9mlKL3UxgD/"
			   "k4e2iMaYR5amgg1/Uw0XTnRmcq/c1P2UK8nyXMooAh==",
	    DATA));
	/* One bit of the signature. */
	assert_false(signs("test-1:w4BO876vN5mSGovFnaqdX34xyX+9TzJl+9mlKL3UxgD/"
			   "k4e2iMaYR5amgg1/Uw0XTnRmcq/c1P2UK8nyXMooAg==",
	    DATA));
}

static void
test_no_key(void **state)
{
	static const char *const texts[] = {"", ":", "test-1",
	    "test-1:", ":ZadmLjsF7VmAuWnrWGCdOI/QGU/n/wKNXu8xpODiWjM=",
	    "a:ZadmLjsF7VmAuWnrWGCdOI/QGU/n/wKNXu8xpODiWjM",
	    "a:ZadmLjsF7VmAuWnrWGCdOI/QGU/n/wKNXu8xpODiWjMA",
	    "a:ZadmLjsF7VmAuWnrWGCdOI/QGU/n/wKNXu8xpODiWj==",
	    "a:ZadmLjsF7VmAuWnrWGCdOI/QGU/n/wKNXu8xpODiWjN=",
	    "a: ZadmLjsF7VmAuWnrWGCdOI/QGU/n/wKNXu8xpODiWjM=",
	    "a:-adm_jsF7VmAuWnrWGCdOI/QGU/n/wKNXu8xpODiWjM=", "a:" SIG};

	(void)state;
	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
		struct err e = ERR_INIT;
		struct trusted_key key;

		if (trusted_key_parse(texts[i], &key, &e) == 0)
			fail_msg("'%s' is taken", texts[i]);
		assert_int_equal(e.kind, ERR_USAGE);
	}
}

static void
test_list(void **state)
{
	static struct cache_list l;
	struct err e = ERR_INIT;

	(void)state;
	assert_int_equal(cache_list_check(&l, &e), 0);
	for (size_t i = 0; i < CACHE_URLS_MAX; i++)
		assert_int_equal(cache_list_add_url(&l, "http://a", &e), 0);
	assert_int_equal(cache_list_check(&l, &e), -1);
	assert_non_null(strstr(e.text, "--no-require-sigs"));
	err_clear(&e);
	assert_int_equal(cache_list_add_url(&l, "http://a", &e), -1);
	assert_non_null(strstr(e.text, "--substituter: no more than 16"));
	err_clear(&e);
	for (size_t i = 0; i < TRUSTED_KEYS_MAX; i++)
		assert_int_equal(cache_list_add_key(&l, KEY, &e), 0);
	assert_int_equal(cache_list_add_key(&l, KEY, &e), -1);
	assert_non_null(strstr(e.text, "--trusted-key: no more than 64"));
	err_clear(&e);
	assert_int_equal(cache_list_check(&l, &e), 0);
	l.n_keys = 0;
	l.no_require_sigs = true;
	assert_int_equal(cache_list_check(&l, &e), 0);
	l.n_urls = 0;
	assert_int_equal(cache_list_add_url(&l, "ftp://a", &e), -1);
	assert_memory_equal(e.text, "--substituter: ", 15);
	err_clear(&e);
	assert_int_equal(cache_list_add_key(&l, "a", &e), -1);
	assert_memory_equal(e.text, "--trusted-key: ", 15);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_signed),
	    cmocka_unit_test(test_no_key),
	    cmocka_unit_test(test_list),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
