#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/utsname.h>

#include <cmocka.h>

#include "image/architecture.h"

static void
names(void **state)
{
	static const char *const same[] = {"ppc64le", "s390x", "riscv64", ""};

	(void)state;
	assert_string_equal(architecture_of("x86_64"), "amd64");
	assert_string_equal(architecture_of("aarch64"), "arm64");
	assert_string_equal(architecture_of("armv7l"), "arm");
	assert_string_equal(architecture_of("i486"), "386");
	for (size_t i = 0; i < sizeof(same) / sizeof(same[0]); i++)
		assert_string_equal(architecture_of(same[i]), same[i]);
}

static void
here(void **state)
{
	char name[ARCHITECTURE_HERE_SIZE];
	struct utsname host;

	(void)state;
	assert_int_equal(uname(&host), 0);
	architecture_here(name);
	assert_string_equal(name, architecture_of(host.machine));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(names),
	    cmocka_unit_test(here),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
