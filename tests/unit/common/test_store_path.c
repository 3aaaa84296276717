#include "store_path.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

/* FNV's own test vectors. */
static void
test_key(void **state)
{
	(void)state;
	assert_true(store_path_key("") == UINT64_C(0xcbf29ce484222325));
	assert_true(store_path_key("a") == UINT64_C(0xaf63dc4c8601ec8c));
	assert_true(store_path_key("foobar") == UINT64_C(0x85944171f73967e8));
	/* Bytes are unsigned, whatever char is. */
	assert_true(store_path_key("\xff") == UINT64_C(0xaf64724c8602eb6e));
}

static void
test_keys_on_the_wire(void **state)
{
	const uint64_t keys[] = {UINT64_C(0x0102030405060708), UINT64_MAX, 0};
	uint8_t data[3 * STORE_PATH_KEY_SIZE];
	uint64_t back[3];

	(void)state;
	store_path_keys_put(keys, 3, data);
	assert_memory_equal(data, "\1\2\3\4\5\6\7\10\377", 9);
	store_path_keys_get(data, 3, back);
	assert_memory_equal(back, keys, sizeof(keys));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_key),
	    cmocka_unit_test(test_keys_on_the_wire),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
