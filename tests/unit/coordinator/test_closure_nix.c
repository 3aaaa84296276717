/*
 * Asking Nix, with scripts in its place that say what various versions of it
 * say, and with the real one where it is installed.
 */
#include "closure/closure_file.h"

#include <dirent.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "closure/closure.h"
#include "err.h"
#include "own.h"
#include "store_path.h"

#define S "/nix/store/"
#define A S "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa-a"
#define B S "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb-b"
#define HEX "0000000000000000000000000000000000000000000000000000000000000000"
#define ENTRY(path, refs)                                                      \
	"{\"path\":\"" path "\",\"narHash\":\"sha256:" HEX                     \
	"\",\"narSize\":9,\"references\":[" refs "]}"
#define CLOSURE "[" ENTRY(A, "\"" B "\"") "," ENTRY(B, "") "]"

/* A folder that is all of PATH but the system's own tools. */
struct fake {
	char dir[64];
	char *old_path;
};

static int
setup(void **state)
{
	struct fake *f = calloc(1, sizeof(*f));

	assert_non_null(f);
	strcpy(f->dir, "/tmp/test_closure_nix.XXXXXX");
	assert_non_null(mkdtemp(f->dir));
	f->old_path = strdup(getenv("PATH"));
	setenv("PATH", f->dir, 1);
	*state = f;
	return 0;
}

static void
remove_all(const char *dir)
{
	char cmd[256];

	snprintf(
	    cmd, sizeof(cmd), "/bin/chmod -R u+w %s; /bin/rm -rf %s", dir, dir);
	if (system(cmd) != 0)
		print_message("%s is left\n", dir);
}

static int
teardown(void **state)
{
	struct fake *f = *state;

	setenv("PATH", f->old_path, 1);
	remove_all(f->dir);
	free(f->old_path);
	free(f);
	return 0;
}

static void
script(const struct fake *f, const char *name, const char *text)
{
	char path[128];
	FILE *out;

	snprintf(path, sizeof(path), "%s/%s", f->dir, name);
	assert_non_null(out = fopen(path, "we"));
	fprintf(out, "#!/bin/sh\nPATH=/usr/bin:/bin\nD=%s\n%s\n", f->dir, text);
	assert_int_equal(fclose(out), 0);
	assert_int_equal(chmod(path, 0755), 0);
}

/* What a script wrote. */
static void
written(const struct fake *f, const char *name, char out[static 4096])
{
	char path[128];
	FILE *in;

	snprintf(path, sizeof(path), "%s/%s", f->dir, name);
	assert_non_null(in = fopen(path, "re"));
	out[fread(out, 1, 4095, in)] = '\0';
	fclose(in);
}

static struct closure *
query(const char *path, const char *root)
{
	struct closure *c = NULL;
	struct err e = ERR_INIT;

	if (closure_nix_query(&path, 1, STORE_DIR_DEFAULT, root, &c, &e) < 0)
		fail_msg("%s", e.text);
	return c;
}

static void
query_fails(const char *path, const char *want)
{
	struct closure *c = NULL;
	struct err e = ERR_INIT;

	if (closure_nix_query(&path, 1, STORE_DIR_DEFAULT, "", &c, &e) == 0)
		fail_msg("taken; wanted was: %s", want);
	assert_null(c);
	if (strstr(e.text, want) == NULL)
		fail_msg("'%s', not '%s'", e.text, want);
	assert_null(strchr(e.text, '\n'));
	/* No child is left. */
	assert_int_equal(waitpid(-1, NULL, WNOHANG), -1);
}

static void
asks_nix(void **state)
{
	AUTO(closure_freep) struct closure *c = NULL;
	char args[4096];

	script(*state, "nix",
	    "echo \"$@\" >$D/args\necho warning: no nixbld >&2\n"
	    "echo '" CLOSURE "'");
	c = query(A, "");
	assert_int_equal(c->n, 2);
	assert_string_equal(c->path[0], A);
	assert_int_equal(c->ref[0], 1);
	written(*state, "args", args);
	assert_string_equal(args,
	    "--extra-experimental-features nix-command --offline path-info "
	    "--json --recursive " A "\n");
}

static void
names_the_store_root(void **state)
{
	AUTO(closure_freep) struct closure *c = NULL;
	char root[128], args[4096], want[256];
	const struct fake *f = *state;

	snprintf(root, sizeof(root), "%s/a b?&%%", f->dir);
	assert_int_equal(mkdir(root, 0755), 0);
	script(f, "nix", "echo \"$@\" >$D/args\necho '" CLOSURE "'");
	c = query(A, root);
	written(f, "args", args);
	snprintf(want, sizeof(want),
	    " --store local?root=%s/a%%20b%%3F%%26%%25 " A "\n", f->dir);
	assert_non_null(strstr(args, want));
}

static void
children_start_clean(void **state)
{
	AUTO(closure_freep) struct closure *c = NULL;
	int leak = open("/dev/null", O_RDONLY); /* on purpose not CLOEXEC */
	unsigned long long blocked, ignored;
	sigset_t all, old;
	char s[4096];

	sigfillset(&all);
	sigprocmask(SIG_BLOCK, &all, &old);
	signal(SIGPIPE, SIG_IGN);
	script(*state, "nix",
	    "ls /proc/self/fd | wc -l >$D/fds\n"
	    "grep -E 'Sig(Blk|Ign)' /proc/self/status >$D/signals\n"
	    "cat >$D/input\necho '" CLOSURE "'");
	c = query(A, "");
	signal(SIGPIPE, SIG_DFL);
	sigprocmask(SIG_SETMASK, &old, NULL);
	close(leak);
	written(*state, "fds", s);
	assert_string_equal(s, "4\n"); /* and the one that ls has open */
	written(*state, "signals", s);
	assert_int_equal(
	    sscanf(s, "SigBlk: %llx SigIgn: %llx", &blocked, &ignored), 2);
	assert_true(blocked == 0);
	/* The C library keeps 32 and 33 for itself. */
	assert_true((ignored & 0x7fffffff) == 0);
	written(*state, "input", s);
	assert_string_equal(s, "");
}

/* nix path-info is not there: requisites, then the registration of each. */
#define NIX_STORE                                                              \
	"case $1 in\n"                                                         \
	"--query) test \"$2\" = --requisites || exit 1; echo " B "; echo " A   \
	";;\n"                                                                 \
	"--dump-db) shift; for p; do echo $p; echo " HEX "; echo 9; echo;\n"   \
	"  if [ $p = " A " ]; then echo 1; echo " B "; else echo 0; fi\n"      \
	"  done;;\nesac"

static void
falls_back_when_missing(void **state)
{
	AUTO(closure_freep) struct closure *c = NULL;

	script(*state, "nix-store", NIX_STORE);
	c = query(A, "");
	assert_int_equal(c->n, 2);
	assert_string_equal(c->path[1], B);
	assert_int_equal(c->nar_size[0], 9);
}

static void
falls_back_when_off(void **state)
{
	AUTO(closure_freep) struct closure *c = NULL;

	script(*state, "nix",
	    "echo \"error: unrecognised flag '$1'\" >&2; exit 1");
	script(*state, "nix-store", NIX_STORE);
	c = query(A, "");
	assert_int_equal(c->n, 2);
}

static void
tells_what_nix_says(void **state)
{
	script(*state, "nix",
	    "echo first >&2; echo \"error: path '" A "' is not valid\" >&2\n"
	    "echo '(use --show-trace to see more)' >&2; exit 1");
	query_fails(
	    A, "closure from Nix: nix: error: path '" A "' is not valid");
	script(*state, "nix", "exit 3");
	query_fails(A, "closure from Nix: nix: (it said nothing)");
	script(*state, "nix", "printf '\\033[31;1mred\\033[0m' >&2; exit 1");
	query_fails(A, "nix: *[31;1mred*[0m");
	script(*state, "nix", "kill -9 $$");
	query_fails(A, "nix was killed by signal 9");
	script(*state, "nix-store", "echo 'error: older' >&2; exit 1");
	query_fails(A, "closure from Nix: nix-store: error: older");
}

static void
without_nix(void **state)
{
	(void)state;
	query_fails(A, "give the closure as a file with --closure");
}

static void
output_that_is_wrong(void **state)
{
	script(*state, "nix", "echo '[{'");
	query_fails(A, "what nix printed: byte 3: the file ends");
	script(*state, "nix", "true");
	query_fails(A, "what nix printed: byte 0: the file ends");
	script(*state, "nix", "echo '[" ENTRY(B, "") "]'");
	query_fails(A, "closure from Nix: it left out " A);
	/* What follows the error does not fit into a pipe. */
	script(*state, "nix", "echo '[}'; head -c 1000000 /dev/zero");
	query_fails(A, "what nix printed: byte 1:");
	/* Nix's own reason counts more. */
	script(*state, "nix", "echo '['; echo 'error: disk' >&2; exit 1");
	query_fails(A, "nix: error: disk");
	/* A log that does not fit into a pipe either. */
	script(*state, "nix",
	    "head -c 1000000 /dev/zero >&2; echo >&2; echo error: x >&2\n"
	    "exit 1");
	query_fails(A, "nix: error: x");
}

static void
refuses_what_is_no_store_path(void **state)
{
	script(*state, "nix", "echo '" CLOSURE "'");
	query_fails("/etc/passwd", "/etc/passwd: not in the store directory");
	query_fails(A "/bin", "not a store path");
	query_fails("--help", "not in the store directory");
}

/* More than one child takes; the answers overlap. */
static void
asks_in_batches(void **state)
{
	enum { N = 20000 };
	static const char digits[] = "0123456789abcdfghijklmnpqrsvwxyz";
	AUTO(closure_freep) struct closure *c = NULL;
	const char **paths = calloc(N, sizeof(*paths));
	struct err e = ERR_INIT;
	char calls[4096];

	assert_non_null(paths);
	for (int i = 0; i < N; i++) {
		char *s = strdup(B "-with-a-name-that-is-rather-long-0123456");

		for (int d = 0; d < 3; d++)
			s[42 - d] = digits[i >> (5 * d) & 31];
		paths[i] = s;
	}
	script(*state, "nix",
	    "echo call >>$D/calls; shift 6\n"
	    "printf '[" ENTRY(
		A, "") "'\n"
		       "for p; do printf "
		       "',{\"path\":\"%s\",\"narHash\":\"sha256:" HEX
		       "\",\"narSize\":1,\"references\":[\"" A
		       "\"]}' $p; done; echo ]");
	if (closure_nix_query(paths, N, STORE_DIR_DEFAULT, "", &c, &e) < 0)
		fail_msg("%s", e.text);
	assert_int_equal(c->n, N + 1);
	written(*state, "calls", calls);
	assert_memory_equal(calls, "call\ncall\n", 10);
	for (int i = 0; i < N; i++)
		free((char *)paths[i]);
	free(paths);
}

static void
nothing_is_nothing(void **state)
{
	AUTO(closure_freep) struct closure *c = NULL;
	struct err e = ERR_INIT;

	(void)state;
	assert_int_equal(
	    closure_nix_query(NULL, 0, STORE_DIR_DEFAULT, "", &c, &e), 0);
	assert_int_equal(c->n, 0);
}

/* The real Nix, on a store of its own. */
static void
real_nix(void **state)
{
	const struct fake *f = *state;
	AUTO(closure_freep) struct closure *c = NULL, *again = NULL;
	struct closure *none = NULL;
	char cmd[1024], path[4096];
	const char *arg = path, *bad = A;
	struct err e = ERR_INIT;

	setenv("PATH", f->old_path, 1);
	if (system("command -v nix-store >/dev/null") != 0) {
		print_message("Nix is not installed\n");
		skip();
	}
	snprintf(cmd, sizeof(cmd),
	    "cd %s && mkdir root && echo hello >hello && nix-store --store "
	    "\"local?root=$PWD/root\" --add hello >path 2>log || { cat log; "
	    "false; }",
	    f->dir);
	assert_int_equal(system(cmd), 0);
	written(f, "path", path);
	path[strcspn(path, "\n")] = '\0';
	snprintf(cmd, sizeof(cmd), "%s/root", f->dir);
	if (closure_nix_query(&arg, 1, STORE_DIR_DEFAULT, cmd, &c, &e) < 0)
		fail_msg("%s", e.text);
	assert_int_equal(c->n, 1);
	assert_string_equal(c->path[0], path);
	assert_true(c->nar_size[0] > 5);
	assert_int_equal(
	    closure_nix_query(&bad, 1, STORE_DIR_DEFAULT, cmd, &none, &e), -1);
	assert_non_null(strstr(e.text, A));
	assert_non_null(strstr(e.text, "is not valid"));
	err_clear(&e);
	/* The older command gives the same. */
	script(f, "nix", "echo 'error: no such command' >&2; exit 1");
	snprintf(path, sizeof(path), "%s:%s", f->dir, f->old_path);
	setenv("PATH", path, 1);
	arg = c->path[0];
	if (closure_nix_query(&arg, 1, STORE_DIR_DEFAULT, cmd, &again, &e) < 0)
		fail_msg("%s", e.text);
	assert_int_equal(again->n, 1);
	assert_true(digest_equal(&again->nar_hash[0], &c->nar_hash[0]));
	assert_int_equal(again->nar_size[0], c->nar_size[0]);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    TEST(asks_nix),
	    TEST(names_the_store_root),
	    TEST(children_start_clean),
	    TEST(falls_back_when_missing),
	    TEST(falls_back_when_off),
	    TEST(tells_what_nix_says),
	    TEST(without_nix),
	    TEST(output_that_is_wrong),
	    TEST(refuses_what_is_no_store_path),
	    TEST(asks_in_batches),
	    TEST(nothing_is_nothing),
	    TEST(real_nix),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
