/* The command of --launch: what it is told, how it ends, and that it does. */
#include "dispatch/launch.h"

#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "curve_key.h"
#include "err.h"
#include "monotime.h"
#include "process/scratch.h"

#define SERVER "0123456789012345678901234567890123456789"
#define PATIENCE_MS 20000

static char folder[] = "/tmp/test-launch-XXXXXX";

static int
make_folder(void **state)
{
	(void)state;
	return mkdtemp(folder) == NULL || setenv("TMPDIR", folder, 1) < 0 ||
		chdir(folder) < 0
	    ? -1
	    : 0;
}

static int
remove_folder(void **state)
{
	(void)state;
	return chdir("/") < 0 || rmdir(folder) < 0 ? -1 : 0;
}

/* Starts the command; it runs in the test's folder. */
static struct launch *
start(struct scratch *s, const char *command)
{
	const struct launch_config config = {
	    .command = command, .advertise = "here", .server = SERVER};
	struct launch *l = NULL;
	struct err e = ERR_INIT;

	if (launch_new(&config, s, &l, &e) < 0 ||
	    launch_start(l, "tcp://0.0.0.0:81", &e) < 0)
		fail_msg("%s", e.text);
	return l;
}

static enum launch_state
ended(struct launch *l, const char **why)
{
	int64_t until = monotime_ms() + PATIENCE_MS;
	enum launch_state state;

	while ((state = launch_state(l, why)) == LAUNCH_RUNS &&
	    monotime_ms() < until)
		poll(NULL, 0, 5);
	return state;
}

static bool
appears(const char *name)
{
	int64_t until = monotime_ms() + PATIENCE_MS;

	while (access(name, F_OK) < 0 && monotime_ms() < until)
		poll(NULL, 0, 5);
	return access(name, F_OK) == 0;
}

/* The pid that is in the file. */
static pid_t
pid_in(const char *name)
{
	FILE *f = fopen(name, "r");
	int pid = 0;

	assert_non_null(f);
	assert_int_equal(fscanf(f, "%d", &pid), 1);
	fclose(f);
	unlink(name);
	return pid;
}

static bool
dies(pid_t pid)
{
	int64_t until = monotime_ms() + PATIENCE_MS;

	while (kill(pid, 0) == 0 && monotime_ms() < until)
		poll(NULL, 0, 5);
	return kill(pid, 0) < 0 && errno == ESRCH;
}

static void
address_is(const char *endpoint, const char *advertise, const char *want)
{
	struct err e = ERR_INIT;
	char *address = NULL;

	if (launch_address(endpoint, advertise, &address, &e) < 0)
		fail_msg("%s", e.text);
	assert_string_equal(address, want);
	free(address);
}

static void
addresses(void **state)
{
	char name[256] = "", want[300], *address = NULL;
	struct err e = ERR_INIT;

	(void)state;
	address_is("tcp://127.0.0.1:80", NULL, "tcp://127.0.0.1:80");
	address_is("tcp://[::1]:80", NULL, "tcp://[::1]:80");
	address_is("tcp://[::]:80", "a.b", "tcp://a.b:80");
	address_is("tcp://10.0.0.1:80", "a.b", "tcp://a.b:80");
	address_is("tcp://0.0.0.0:80", "fe80::1", "tcp://[fe80::1]:80");
	address_is("tcp://0.0.0.0:80", "[fe80::1]", "tcp://[fe80::1]:80");
	assert_int_equal(gethostname(name, sizeof(name) - 1), 0);
	snprintf(want, sizeof(want), "tcp://%s:80", name);
	address_is("tcp://0.0.0.0:80", NULL, want);
	address_is("tcp://[::]:80", NULL, want);
	assert_int_equal(
	    launch_address("tcp://0.0.0.0:80", "a/b", &address, &e), -1);
	assert_int_equal(e.kind, ERR_USAGE);
	assert_non_null(strstr(e.text, "--advertise"));
}

/* Its shell checks all that it was told. */
static void
told(void **state)
{
	struct curve_key key;
	struct scratch *s = NULL;
	struct err e = ERR_INIT;
	const char *why;
	struct launch *l;

	(void)state;
	assert_int_equal(scratch_new(&s, &e), 0);
	setenv("QUARRY_KEY", "/of/another/build", 1);
	l = start(s,
	    "test \"$QUARRY_CONNECT\" = tcp://here:81 || exit 11\n"
	    "test \"$QUARRY_SERVER_KEY\" = " SERVER " || exit 12\n"
	    "dir=${QUARRY_KEY%/worker}\n"
	    "test \"$(stat -c %a \"$dir\" \"$QUARRY_KEY\")\" = '700\n600' ||"
	    " exit 13\n"
	    "test \"$(cat \"$dir/coordinator.pub\")\" ="
	    " '" SERVER " coordinator' || exit 14\n"
	    "pair=$(sed -n 's/^public //p; s/^secret //p' \"$QUARRY_KEY\")\n"
	    "test \"$(echo \"$pair\" | tr -d '\\n')\" ="
	    " \"$QUARRY_WORKER_KEY\" || exit 15\n"
	    "test \"$(env | grep -c ^QUARRY_KEY=)\" = 1 || exit 16\n"
	    "cp -p \"$QUARRY_KEY\" key && read x || exit 17");
	unsetenv("QUARRY_KEY");
	assert_true(curve_key_valid(launch_public_key(l)));
	assert_int_equal(ended(l, &why), LAUNCH_FAILED);
	assert_string_equal(why, "exit status 17"); /* nothing to read */
	if (curve_key_read("key", &key, &e) < 0)
		fail_msg("%s", e.text);
	unlink("key");
	assert_string_equal(key.public, launch_public_key(l));
	launch_free(l);
	scratch_free(s);
}

static void
ends(void **state)
{
	struct scratch *s = NULL;
	struct err e = ERR_INIT;
	const char *why;
	struct launch *l;

	(void)state;
	assert_int_equal(scratch_new(&s, &e), 0);
	l = start(s, "exit 0");
	assert_int_equal(ended(l, &why), LAUNCH_DONE);
	assert_int_equal(launch_state(l, &why), LAUNCH_DONE);
	launch_end(l);
	launch_free(l);
	l = start(s, "kill -9 $$");
	assert_int_equal(ended(l, &why), LAUNCH_FAILED);
	assert_string_equal(why, "killed by signal 9");
	launch_free(l);
	scratch_free(s);
}

/* What its shell has left in its group is ended, too, as gently as may be. */
static void
is_ended(void **state)
{
	struct scratch *s = NULL;
	struct err e = ERR_INIT;
	const char *why;
	struct launch *l;

	(void)state;
	assert_int_equal(scratch_new(&s, &e), 0);
	l = start(s,
	    "(trap 'exec rm told' TERM; : >told; while :; do sleep 0.01; done)"
	    " & exec sleep 1000 & echo $! >p; mv p pid");
	assert_int_equal(ended(l, &why), LAUNCH_DONE);
	assert_true(appears("told"));
	assert_true(appears("pid"));
	launch_free(l);
	assert_int_equal(access("told", F_OK), -1);
	assert_true(dies(pid_in("pid")));
	scratch_free(s);
}

static void
deaf_is_killed(void **state)
{
	struct scratch *s = NULL;
	struct err e = ERR_INIT;
	struct launch *l;

	(void)state;
	assert_int_equal(scratch_new(&s, &e), 0);
	l = start(s, "trap '' TERM; echo $$ >p; mv p pid; sleep 1000; :");
	assert_true(appears("pid"));
	launch_free(l);
	assert_true(dies(pid_in("pid")));
	scratch_free(s);
}

/* Killed, its parent leaves neither keys nor processes. */
static void
outlives_nobody(void **state)
{
	struct scratch *s = NULL;
	struct err e = ERR_INIT;
	pid_t child;
	int status;

	(void)state;
	if ((child = fork()) == 0) {
		if (scratch_new(&s, &e) < 0)
			_exit(1);
		start(s, "echo $$ >p; mv p pid; sleep 1000; :");
		for (;;)
			pause();
	}
	assert_true(child > 0);
	assert_true(appears("pid"));
	kill(child, SIGKILL);
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(dies(pid_in("pid")));
	for (int i = 0; i < PATIENCE_MS / 5 && rmdir(folder) < 0; i++)
		poll(NULL, 0, 5);
	assert_int_equal(mkdir(folder, 0700), 0); /* so it was empty */
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(addresses),
	    cmocka_unit_test(told),
	    cmocka_unit_test(ends),
	    cmocka_unit_test(is_ended),
	    cmocka_unit_test(deaf_is_killed),
	    cmocka_unit_test(outlives_nobody),
	};

	return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
