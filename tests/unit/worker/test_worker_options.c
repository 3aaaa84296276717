/* The worker's command line: what is taken, and what is said otherwise. */
#include "worker_options.h"

#include <getopt.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "err.h"

#define PARSE(o, ...) parse(o, (char *[]){"quarry-worker", __VA_ARGS__, NULL})

/* "" if the line is taken, else what is said. */
static const char *
parse(struct worker_options *o, char **argv)
{
	static char text[ERR_TEXT_MAX];
	struct err e = ERR_INIT;
	int argc = 0;

	while (argv[argc] != NULL)
		argc++;
	memset(o, 0, sizeof(*o));
	optind = 0; /* getopt starts anew */
	if (worker_options_parse(argc, argv, o, &e) < 0)
		assert_int_equal(e.kind, ERR_USAGE);
	snprintf(text, sizeof(text), "%s", e.text);
	return text;
}

static void
test_taken(void **state)
{
	struct worker_options o;

	(void)state;
	assert_string_equal(PARSE(&o, "--connect", "ipc:///s"), "");
	assert_string_equal(o.agent.endpoint, "ipc:///s");
	assert_in_range(o.agent.slots, 1, 1024);
	assert_int_equal(o.parent, 0);
	assert_null(o.print);
	assert_string_equal(PARSE(&o, "--connect=ipc:///s", "--slots=1024",
				"--parent", "2147483647"),
	    "");
	assert_int_equal(o.agent.slots, 1024);
	assert_null(o.agent.spool);
	assert_int_equal(o.parent, 2147483647);
	assert_string_equal(
	    PARSE(&o, "--connect=ipc:///s", "--spool", "/srv/a"), "");
	assert_string_equal(o.agent.spool, "/srv/a");
	assert_string_equal(PARSE(&o, "--connect=ipc:///s", "--spool="),
	    "--spool: a folder is wanted");
	assert_string_equal(PARSE(&o, "--version"), "");
	assert_string_equal(o.print, "quarry-worker " QUARRY_VERSION "\n");
	assert_string_equal(PARSE(&o, "--help"), "");
	assert_memory_equal(o.print, "Usage: quarry-worker ", 21);
}

#define KEY "a-1:ZadmLjsF7VmAuWnrWGCdOI/QGU/n/wKNXu8xpODiWjM="

static void
test_caches(void **state)
{
	struct worker_options o;

	(void)state;
	assert_string_equal(PARSE(&o, "--connect", "ipc:///s"), "");
	assert_null(o.agent.inputs);
	assert_string_equal(
	    PARSE(&o, "--connect", "ipc:///s", "--substituter", "https://a",
		"--trusted-key", KEY, "--substituter=file:///b"),
	    "");
	assert_ptr_equal(o.agent.inputs, &o.inputs);
	assert_int_equal(o.inputs.caches.n_urls, 2);
	assert_string_equal(o.inputs.caches.url[1].text, "file:///b");
	assert_int_equal(o.inputs.caches.n_keys, 1);
	assert_false(o.inputs.caches.no_require_sigs);
	assert_string_equal(PARSE(&o, "--connect", "ipc:///s", "--substituter",
				"http://a", "--no-require-sigs"),
	    "");
	assert_true(o.inputs.caches.no_require_sigs);
	/* Keys without caches are no fault: nothing is asked. */
	assert_string_equal(
	    PARSE(&o, "--connect", "ipc:///s", "--trusted-key", KEY), "");
	assert_null(o.agent.inputs);
	assert_memory_equal(
	    PARSE(&o, "--connect", "ipc:///s", "--substituter", "http://a"),
	    "--substituter: --trusted-key NAME:BASE64", 40);
	assert_memory_equal(
	    PARSE(&o, "--connect", "ipc:///s", "--substituter", "ftp://a"),
	    "--substituter: 'ftp://a': ", 26);
	assert_memory_equal(
	    PARSE(&o, "--connect", "ipc:///s", "--trusted-key", "a"),
	    "--trusted-key: 'a': ", 20);
}

/* A worker of its own stays and drains; a coordinator's child does neither. */
static void
test_lives(void **state)
{
	struct worker_options o;

	(void)state;
	assert_string_equal(PARSE(&o, "--connect", "tcp://127.0.0.1:1"), "");
	assert_true(o.agent.stays);
	assert_int_equal(o.agent.drain_ms, 10000);
	assert_string_equal(PARSE(&o, "--connect", "tcp://127.0.0.1:1",
				"--once", "--drain", "3"),
	    "");
	assert_false(o.agent.stays);
	assert_int_equal(o.agent.drain_ms, 3000);
	assert_string_equal(
	    PARSE(&o, "--connect", "ipc:///s", "--parent", "7"), "");
	assert_false(o.agent.stays);
	assert_int_equal(o.agent.drain_ms, 0);
}

static void
test_keys(void **state)
{
	char folder[] = "/tmp/test-worker-options-XXXXXX", file[64], pub[64];
	struct worker_options o;
	struct curve_key key;
	struct err e = ERR_INIT;

	(void)state;
	assert_non_null(mkdtemp(folder));
	snprintf(file, sizeof(file), "%s/w", folder);
	snprintf(pub, sizeof(pub), "%s/w.pub", folder);
	assert_int_equal(curve_key_make(&key, &e), 0);
	assert_int_equal(curve_key_write(&key, file, "w", &e), 0);
	assert_string_equal(PARSE(&o, "--connect", "tcp://10.0.0.1:1", "--key",
				file, "--server-key", pub),
	    "");
	assert_ptr_equal(o.agent.keys, &o.keys);
	assert_string_equal(o.keys.own->secret, key.secret);
	assert_string_equal(o.keys.server, key.public);
	assert_string_equal(PARSE(&o, "--connect", "tcp://10.0.0.1:1", "--key",
				file, "--server-key", key.public),
	    "");
	assert_string_equal(o.keys.server, key.public);
	assert_non_null(
	    strstr(PARSE(&o, "--connect", "tcp://10.0.0.1:1", "--key", file),
		"go together"));
	assert_non_null(strstr(PARSE(&o, "--connect", "tcp://10.0.0.1:1",
				   "--key", pub, "--server-key", pub),
	    "others may read"));
	assert_non_null(
	    strstr(PARSE(&o, "--connect", "tcp://10.0.0.1:1", "--key", file,
		       "--server-key", pub, "--connect-without-keys"),
		"there are keys"));
	unlink(file);
	unlink(pub);
	assert_int_equal(rmdir(folder), 0);
}

/* What quarry build --launch tells; options win. */
static void
test_environment(void **state)
{
	struct curve_key pair, server;
	char word[CURVE_KEY_PAIR_LEN + 1], file[] = "/tmp/test-key-XXXXXX";
	struct err e = ERR_INIT;
	struct worker_options o;

	(void)state;
	assert_int_equal(curve_key_make(&pair, &e), 0);
	assert_int_equal(curve_key_make(&server, &e), 0);
	curve_key_pair(&pair, word);
	setenv("QUARRY_CONNECT", "tcp://a:1", 1);
	setenv("QUARRY_SERVER_KEY", server.public, 1);
	setenv("QUARRY_WORKER_KEY", word, 1);
	setenv("QUARRY_KEY", "/no/such/file", 1);
	assert_string_equal(PARSE(&o, "--slots", "3"), "");
	assert_string_equal(o.agent.endpoint, "tcp://a:1");
	assert_true(o.once);
	assert_false(o.agent.stays);
	assert_ptr_equal(o.keys.own, &o.key);
	assert_string_equal(o.key.public, pair.public);
	assert_string_equal(o.key.secret, pair.secret);
	assert_string_equal(o.keys.server, server.public);

	/* Who is told where to connect is not told anything else. */
	assert_string_equal(PARSE(&o, "--connect", "tcp://127.0.0.1:1"), "");
	assert_string_equal(o.agent.endpoint, "tcp://127.0.0.1:1");
	assert_false(o.once);
	assert_null(o.keys.own);
	assert_string_equal(PARSE(&o, "--connect-without-keys"), "");
	assert_null(o.keys.own);

	word[CURVE_KEY_LEN] ^= 1;
	setenv("QUARRY_WORKER_KEY", word, 1);
	assert_memory_equal(PARSE(&o, "--once"), "QUARRY_WORKER_KEY: not", 22);
	setenv("QUARRY_WORKER_KEY", "", 1); /* as good as none */
	assert_non_null(strstr(PARSE(&o, "--once"), "/no/such/file"));
	assert_int_equal(mkstemp(file) < 0, 0);
	unlink(file);
	assert_int_equal(curve_key_write(&pair, file, "w", &e), 0);
	assert_string_equal(PARSE(&o, "--key", file), "");
	setenv("QUARRY_KEY", file, 1);
	assert_string_equal(PARSE(&o, "--once"), "");
	assert_string_equal(o.key.secret, pair.secret);
	unlink(file);
	unlink(strcat(strcpy(word, file), ".pub"));
	unsetenv("QUARRY_KEY");
	assert_memory_equal(PARSE(&o, "--once"), "--key and --server-key", 22);
	unsetenv("QUARRY_SERVER_KEY");
	assert_string_equal(PARSE(&o, "--slots", "1"), "");
	assert_null(o.keys.own);
	unsetenv("QUARRY_CONNECT");
	unsetenv("QUARRY_WORKER_KEY");
}

static void
test_refused(void **state)
{
	static char *const numbers[] = {
	    "0", "-1", "1025", "", " 1", "1x", "+1", "99999999999999999999"};
	struct worker_options o;

	(void)state;
	for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++)
		assert_non_null(strstr(
		    PARSE(&o, "--connect", "ipc:///s", "--slots", numbers[i]),
		    ": a number from 1 to 1024 is wanted"));
	assert_string_equal(PARSE(&o, "--connect", "ipc:///s", "--parent", "x"),
	    "--parent x: a number from 1 to 2147483647 is wanted");
	assert_string_equal(PARSE(&o, "--slots", "1"),
	    "--connect ENDPOINT is needed (or QUARRY_CONNECT in the "
	    "environment); see quarry-worker --help");
	assert_string_equal(PARSE(&o, "--connect", "ipc:///s", "more"),
	    "more is no option; see quarry-worker --help");
	assert_string_equal(PARSE(&o, "--conect", "ipc:///s"),
	    "--conect is no option; see quarry-worker --help");
	assert_string_equal(PARSE(&o, "--connect"),
	    "--connect needs a value; see quarry-worker --help");
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_taken),
	    cmocka_unit_test(test_caches),
	    cmocka_unit_test(test_lives),
	    cmocka_unit_test(test_keys),
	    cmocka_unit_test(test_environment),
	    cmocka_unit_test(test_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
