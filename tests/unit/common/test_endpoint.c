/* What may stand after --listen and --connect. */
#include "endpoint.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "err.h"

enum { NO, LISTEN, BOTH };

static void
all(void **state)
{
	static const struct {
		const char *text;
		int good;
		bool loopback;
	} cases[] = {
	    {"ipc:///run/x", BOTH, true},
	    {"tcp://127.0.0.1:4000", BOTH, true},
	    {"tcp://127.9.9.9:1", BOTH, true},
	    {"tcp://[::1]:65535", BOTH, true},
	    {"tcp://[::ffff:127.0.0.1]:4000", BOTH, true},
	    {"tcp://[::ffff:10.0.0.1]:4000", BOTH, false},
	    {"tcp://localhost:4000", BOTH, true},
	    {"tcp://10.0.0.1:4000", BOTH, false},
	    {"tcp://[2001:db8::1]:4000", BOTH, false},
	    {"tcp://[fe80::1%eth0]:4000", BOTH, false},
	    {"tcp://build-1.example.org:4000", BOTH, false},
	    {"tcp://eth0:4000", BOTH, false},
	    {"tcp://*:4000", LISTEN, false},
	    {"tcp://0.0.0.0:4000", BOTH, false},
	    {"tcp://127.0.0.1:*", LISTEN, true},
	    {"tcp://127.0.0.1", NO, false},
	    {"tcp://127.0.0.1:0", NO, false},
	    {"tcp://127.0.0.1:65536", NO, false},
	    {"tcp://127.0.0.1:1x", NO, false},
	    {"tcp://127.0.0.1:+1", NO, false},
	    {"tcp://::1:4000", NO, false},
	    {"tcp://:4000", NO, false},
	    {"tcp://[]:4000", NO, false},
	    {"tcp://a b:4000", NO, false},
	    {"tcp://a;eth1:4000", NO, false},
	    {"ipc://", NO, false},
	    {"udp://127.0.0.1:4000", NO, false},
	    {"inproc://x", NO, false},
	    {"127.0.0.1:4000", NO, false},
	    {"", NO, false},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		for (int listen = 0; listen < 2; listen++) {
			int want = cases[i].good == BOTH ||
				(listen && cases[i].good == LISTEN)
			    ? 0
			    : -1;
			struct err e = ERR_INIT;
			struct endpoint where;

			assert_int_equal(
			    endpoint_check(cases[i].text, listen, &where, &e),
			    want);
			assert_int_equal(
			    e.kind, want == 0 ? ERR_NONE : ERR_USAGE);
			if (want == 0)
				assert_int_equal(
				    where.loopback, cases[i].loopback);
		}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(all)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
