#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "registry/auth_file.h"
#include "registry/auth_helpers.h"
#include "err.h"

/* Link seam: of what is waited for only a part. */
static int hurry = 1;

int
poll(struct pollfd *fds, nfds_t n, int ms)
{
	return (int)syscall(SYS_poll, fds, n, ms > 0 ? ms / hurry : ms);
}

static char top[64];

static void
write_at(const char *name, const char *text, mode_t mode)
{
	char path[300];
	FILE *f;

	snprintf(path, sizeof(path), "%s/%s", top, name);
	for (char *p = path + strlen(top) + 1; *p != '\0'; p++)
		if (*p == '/') {
			*p = '\0';
			mkdir(path, 0700);
			*p = '/';
		}
	assert_non_null(f = fopen(path, "w"));
	fputs(text, f);
	fclose(f);
	assert_int_equal(chmod(path, mode), 0);
}

static const char *
at(const char *name)
{
	static char path[300];

	snprintf(path, sizeof(path), "%s/%s", top, name);
	return path;
}

/* What is said on standard error while auth_file_find asks for that host. */
static void
says(const char *file, const char *host, char *said, size_t size)
{
	struct err e = ERR_INIT;
	int old = dup(STDERR_FILENO), pipes[2];
	struct auth a;
	ssize_t n;

	assert_int_equal(pipe2(pipes, O_CLOEXEC | O_NONBLOCK), 0);
	fflush(stderr);
	assert_int_equal(dup2(pipes[1], STDERR_FILENO), STDERR_FILENO);
	assert_int_equal(auth_file_find(file, NULL, host, "a", &a, &e), 0);
	assert_null(a.password);
	dup2(old, STDERR_FILENO);
	n = read(pipes[0], said, size - 1);
	said[n > 0 ? n : 0] = '\0';
	close(old);
	close(pipes[0]);
	close(pipes[1]);
}

/* alice:secret, bob:pass:word */
#define ALICE "YWxpY2U6c2VjcmV0"
#define BOB "Ym9iOnBhc3M6d29yZA=="

static void
finds(const char *file, const char *host, const char *repo, const char *user,
    const char *password)
{
	struct auth a;
	struct err e = ERR_INIT;

	if (auth_file_find(file, NULL, host, repo, &a, &e) < 0)
		fail_msg("%s", e.text);
	if (user == NULL) {
		assert_null(a.user);
		assert_null(a.password);
	} else {
		assert_string_equal(a.user, user);
		assert_string_equal(a.password, password);
	}
	auth_clear(&a);
}

static void
test_entries(void **state)
{
	(void)state;
	write_at("a.json",
	    "{\"auths\": {\"h.x:5\": {\"auth\": \"" ALICE "\"},"
	    "\"h.x:5/team\": {\"auth\": \"" BOB "\"},"
	    "\"https://old.x/v1/\": {\"auth\": \"" BOB "\"},"
	    "\"https://index.docker.io/v1/\": {\"auth\": \"" ALICE "\"},"
	    "\"empty.x\": {}}}",
	    0600);
	finds(at("a.json"), "h.x:5", "a", "alice", "secret");
	finds(at("a.json"), "h.x:5", "team/a", "bob", "pass:word");
	finds(at("a.json"), "h.x:5", "teams/a", "alice", "secret");
	finds(at("a.json"), "h.x", "a", NULL, NULL);
	finds(at("a.json"), "x:5", "a", NULL, NULL);
	finds(at("a.json"), "old.x", "a", "bob", "pass:word");
	finds(at("a.json"), "docker.io", "library/a", "alice", "secret");
	finds(at("a.json"), "empty.x", "a", NULL, NULL);
}

static void
test_places(void **state)
{
	(void)state;
	unsetenv("REGISTRY_AUTH_FILE");
	unsetenv("DOCKER_CONFIG");
	unsetenv("XDG_CONFIG_HOME");
	setenv("XDG_RUNTIME_DIR", at("run"), 1);
	setenv("HOME", at("home"), 1);
	finds(NULL, "h.x", "a", NULL, NULL);
	write_at("home/.docker/config.json",
	    "{\"auths\": {\"h.x\": {\"auth\": \"" BOB "\"}}}", 0600);
	finds(NULL, "h.x", "a", "bob", "pass:word");
	/* A file without an entry is not the last word. */
	write_at("run/containers/auth.json", "{\"auths\": {}}", 0600);
	finds(NULL, "h.x", "a", "bob", "pass:word");
	write_at("run/containers/auth.json",
	    "{\"auths\": {\"h.x\": {\"auth\": \"" ALICE "\"}}}", 0600);
	finds(NULL, "h.x", "a", "alice", "secret");
	setenv("REGISTRY_AUTH_FILE", at("home/.docker/config.json"), 1);
	finds(NULL, "h.x", "a", "bob", "pass:word");
	unsetenv("REGISTRY_AUTH_FILE");
}

static void
breaks(const char *text, const char *why)
{
	struct auth a;
	struct err e = ERR_INIT;

	write_at("bad.json", text, 0600);
	if (auth_file_find(at("bad.json"), NULL, "h.x", "a", &a, &e) == 0)
		fail_msg("taken: %s", text);
	auth_clear(&a);
	assert_int_equal(e.kind, ERR_USAGE);
	if (strstr(e.text, why) == NULL || strstr(e.text, "c2Vj") != NULL)
		fail_msg("%s", e.text);
}

static void
test_broken(void **state)
{
	struct auth a;
	struct err e = ERR_INIT;

	(void)state;
	breaks("", "bad.json");
	breaks("{", "bad.json");
	breaks("{\"auths\": {\"h.x\": {\"auth\": \"c2VjcmV0\"}}}", "base 64");
	breaks("{\"auths\": {\"h.x\": {\"auth\": \"c2Vj?\"}}}", "base 64");
	breaks("{\"auths\": {\"h.x\": {\"auth\": 5}}}", "a whole number");
	breaks("{\"credsStore\": \"../../bin/sh\"}", "no name");
	breaks(
	    "{\"credsStore\": \"not-there\"}", "docker-credential-not-there");
	assert_int_equal(
	    auth_file_find(at("missing.json"), NULL, "h.x", "a", &a, &e), -1);
}

static void
test_helpers(void **state)
{
	char path[400], said[1000];
	struct auth a;
	struct err e = ERR_INIT;

	(void)state;
	write_at("bin/docker-credential-one",
	    "#!/bin/sh\nread -r host\n[ \"$1\" = get ] || exit 9\n"
	    "case $host in\n"
	    "h.x:5) echo '{\"Username\": \"carol\", \"Secret\": \"s3\"}' ;;\n"
	    "t.x) echo '{\"Username\": \"<token>\", \"Secret\": \"tok\"}' ;;\n"
	    "odd.x) echo hello ;;\n"
	    "locked.x) echo the keychain is locked; exit 1 ;;\n"
	    "pipe.x) kill -PIPE $$; "
	    "echo '{\"Username\": \"carol\", \"Secret\": \"s3\"}' ;;\n"
	    "stays.x) exec <&- >&-; exec sleep 600 ;;\n"
	    "*) echo credentials not found; exit 1 ;;\nesac\n",
	    0700);
	snprintf(path, sizeof(path), "%s/bin:%s", top, getenv("PATH"));
	setenv("PATH", path, 1);
	write_at("h.json",
	    "{\"auths\": {\"h.x:5\": {}}, \"credsStore\": \"one\"}", 0600);
	finds(at("h.json"), "h.x:5", "a", "carol", "s3");
	finds(at("h.json"), "other.x", "a", NULL, NULL);
	assert_int_equal(
	    auth_file_find(at("h.json"), NULL, "t.x", "a", &a, &e), 0);
	assert_string_equal(a.identity, "tok");
	auth_clear(&a);
	assert_int_equal(
	    auth_file_find(at("h.json"), NULL, "odd.x", "a", &a, &e), -1);
	assert_non_null(strstr(e.text, "docker-credential-one"));
	auth_clear(&a);
	says(at("h.json"), "other.x", said, sizeof(said));
	assert_string_equal(said, "");
	says(at("h.json"), "locked.x", said, sizeof(said));
	assert_non_null(strstr(said, "docker-credential-one failed"));
	assert_non_null(strstr(said, "locked.x"));
	assert_null(strstr(said, "keychain"));
	/* One that has said nothing, and does not end, is ended. */
	hurry = 30;
	says(at("h.json"), "stays.x", said, sizeof(said));
	hurry = 1;
	assert_non_null(strstr(said, "docker-credential-one failed"));
	/* What this program ignores it does not. */
	signal(SIGPIPE, SIG_IGN);
	says(at("h.json"), "pipe.x", said, sizeof(said));
	assert_non_null(strstr(said, "failed"));
	/* A helper for one registry; others have entries. */
	write_at("h.json",
	    "{\"auths\": {\"h.x\": {\"auth\": \"" ALICE "\"}},"
	    "\"credHelpers\": {\"h.x:5\": \"one\"}}",
	    0600);
	finds(at("h.json"), "h.x:5", "a", "carol", "s3");
	finds(at("h.json"), "h.x", "a", "alice", "secret");
}

/* A helper need not read what it is asked, nor be there when it is. */
static void
test_deaf_helper(void **state)
{
	(void)state;
	write_at("bin/docker-credential-deaf",
	    "#!/bin/sh\nexec <&-\n"
	    "echo '{\"Username\": \"carol\", \"Secret\": \"s3\"}'\n",
	    0700);
	write_at("deaf.json", "{\"credsStore\": \"deaf\"}", 0600);
	for (int i = 0; i < 20; i++)
		finds(at("deaf.json"), "h.x", "a", "carol", "s3");
}

static size_t
lines_of(const char *name)
{
	FILE *f = fopen(at(name), "r");
	size_t n = 0;

	assert_non_null(f);
	for (int c; (c = getc(f)) != EOF;)
		n += c == '\n';
	fclose(f);
	return n;
}

/* Each server once, whatever the answer; without a memory each time. */
static void
test_helpers_once(void **state)
{
	struct auth_helpers *all;
	char script[400];
	struct auth a;
	struct err e = ERR_INIT;

	(void)state;
	snprintf(script, sizeof(script),
	    "#!/bin/sh\nread -r host\necho $host >> %s/log\n"
	    "case $host in\n"
	    "h.x) echo '{\"Username\": \"carol\", \"Secret\": \"s3\"}' ;;\n"
	    "odd.x) echo hello ;;\n"
	    "*) echo credentials not found; exit 1 ;;\nesac\n",
	    top);
	write_at("bin/docker-credential-counts", script, 0700);
	write_at("h.json", "{\"credsStore\": \"counts\"}", 0600);
	assert_int_equal(auth_helpers_new(&all, &e), 0);
	for (int i = 0; i < 3; i++) {
		assert_int_equal(
		    auth_file_find(at("h.json"), all, "h.x", "a", &a, &e), 0);
		assert_string_equal(a.user, "carol");
		assert_string_equal(a.password, "s3");
		auth_clear(&a);
		assert_int_equal(
		    auth_file_find(at("h.json"), all, "no.x", "a", &a, &e), 0);
		assert_null(a.password);
		assert_int_equal(
		    auth_file_find(at("h.json"), all, "odd.x", "a", &a, &e),
		    -1);
		assert_non_null(strstr(e.text, "docker-credential-counts"));
		err_clear(&e);
	}
	auth_helpers_free(all);
	assert_int_equal(lines_of("log"), 3);
	for (int i = 0; i < 2; i++) {
		assert_int_equal(
		    auth_file_find(at("h.json"), NULL, "h.x", "a", &a, &e), 0);
		auth_clear(&a);
	}
	assert_int_equal(lines_of("log"), 5);
}

static int
set_up(void **state)
{
	(void)state;
	strcpy(top, "/tmp/test_auth_file-XXXXXX");
	return mkdtemp(top) == NULL;
}

static int
tear_down(void **state)
{
	char command[100];

	(void)state;
	snprintf(command, sizeof(command), "rm -rf %s", top);
	return system(command);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_entries),
	    cmocka_unit_test(test_places),
	    cmocka_unit_test(test_broken),
	    cmocka_unit_test(test_helpers),
	    cmocka_unit_test(test_deaf_helper),
	    cmocka_unit_test(test_helpers_once),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
