#include "process/scratch.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "err.h"
#include "own.h"

static int
setup(void **state)
{
	char name[] = "/tmp/test-scratch-XXXXXX";

	if (mkdtemp(name) == NULL)
		return -1;
	*state = strdup(name);
	return *state == NULL ? -1 : 0;
}

static int
teardown(void **state)
{
	int ret = rmdir(*state); /* fails where a test left something */

	free(*state);
	return ret;
}

static bool
exists(const char *path)
{
	struct stat st;

	return lstat(path, &st) == 0;
}

static bool
gone_within(const char *path, int ms)
{
	struct timespec pause = {.tv_nsec = 5000000};

	for (; ms > 0 && exists(path); ms -= 5)
		nanosleep(&pause, NULL);
	return !exists(path);
}

static void
put(const char *folder, const char *name)
{
	AUTO(own_freep) char *path = NULL;
	int fd;

	assert_true(asprintf(&path, "%s/%s", folder, name) > 0);
	fd = open(path, O_WRONLY | O_CREAT | O_EXCL, 0600);
	assert_true(fd >= 0);
	assert_int_equal(write(fd, "x", 1), 1);
	close(fd);
}

static void
test_orderly(void **state)
{
	AUTO(own_freep) char *folder = NULL;
	AUTO(own_freep) char *file = NULL;
	AUTO(own_freep) char *kept = NULL;
	AUTO(own_freep) char *now = NULL;
	struct scratch *s = NULL;
	struct err e = ERR_INIT;
	struct stat st;
	int fd, fd2;

	assert_int_equal(scratch_new(&s, &e), 0);
	assert_int_equal(scratch_folder(s, *state, &folder, &e), 0);
	assert_int_equal(scratch_file(s, *state, &file, &fd, &e), 0);
	assert_int_equal(scratch_file(s, *state, &kept, &fd2, &e), 0);
	assert_int_equal(scratch_folder(s, folder, &now, &e), 0);
	assert_int_equal(write(fd, "abc", 3), 3);
	close(fd);
	close(fd2);
	assert_int_equal(lstat(folder, &st), 0);
	assert_int_equal(st.st_mode, S_IFDIR | 0700);
	assert_int_equal(lstat(file, &st), 0);
	assert_int_equal(st.st_mode & ~0600u, S_IFREG);
	put(now, "inner");
	scratch_remove(s, now);
	assert_false(exists(now));
	scratch_keep(s, kept);
	scratch_free(s);
	assert_false(exists(folder));
	assert_false(exists(file));
	assert_true(exists(kept));
	unlink(kept);
}

static void
test_symlink_not_followed(void **state)
{
	AUTO(own_freep) char *folder = NULL;
	AUTO(own_freep) char *link = NULL;
	AUTO(own_freep) char *outside = NULL;
	AUTO(own_freep) char *precious = NULL;
	struct scratch *s = NULL;
	struct err e = ERR_INIT;

	assert_int_equal(scratch_new(&s, &e), 0);
	assert_int_equal(scratch_folder(s, *state, &folder, &e), 0);
	assert_true(asprintf(&outside, "%s/outside", (char *)*state) > 0);
	assert_true(asprintf(&precious, "%s/precious", outside) > 0);
	assert_true(asprintf(&link, "%s/link", folder) > 0);
	assert_int_equal(mkdir(outside, 0700), 0);
	put(outside, "precious");
	assert_int_equal(symlink(outside, link), 0);
	/* Not a scratch name: left alone, whoever asks. */
	scratch_remove(s, outside);
	scratch_free(s);
	assert_false(exists(folder));
	assert_true(exists(precious));
	unlink(precious);
	rmdir(outside);
}

static void
test_errors(void **state)
{
	AUTO(own_freep) char *missing = NULL;
	struct scratch *s = NULL;
	struct err e = ERR_INIT;
	char *path = NULL;

	assert_true(asprintf(&missing, "%s/missing", (char *)*state) > 0);
	assert_int_equal(scratch_new(&s, &e), 0);
	assert_int_equal(scratch_folder(s, missing, &path, &e), -1);
	assert_int_equal(e.kind, ERR_USAGE);
	assert_non_null(strstr(e.text, missing));
	assert_null(path);
	scratch_free(s);
	scratch_free(NULL);
}

/* A relative parent is resolved while the working folder is known. */
static void
test_relative(void **state)
{
	AUTO(own_freep) char *cwd = getcwd(NULL, 0);
	AUTO(own_freep) char *path = NULL;
	struct scratch *s = NULL;
	struct err e = ERR_INIT;

	assert_int_equal(chdir(*state), 0);
	assert_int_equal(scratch_new(&s, &e), 0);
	assert_int_equal(scratch_folder(s, ".", &path, &e), 0);
	assert_int_equal(chdir(cwd), 0);
	assert_int_equal(path[0], '/');
	assert_true(exists(path));
	scratch_free(s);
	assert_false(exists(path));
}

struct shared {
	char folder[512], file[512], kept[512];
	pid_t group;
};

/* In a child: makes things, says what, and waits to be killed. */
static void
victim(const char *parent, int out)
{
	AUTO(own_freep) char *folder = NULL;
	AUTO(own_freep) char *file = NULL;
	AUTO(own_freep) char *kept = NULL;
	struct scratch *s = NULL;
	struct shared said = {0};
	struct err e = ERR_INIT;
	int fd;

	setpgid(0, 0);
	if (scratch_new(&s, &e) < 0 ||
	    scratch_folder(s, parent, &folder, &e) < 0 ||
	    scratch_file(s, parent, &file, &fd, &e) < 0 ||
	    scratch_file(s, parent, &kept, &fd, &e) < 0)
		_exit(1);
	put(folder, "blob");
	scratch_keep(s, kept);
	snprintf(said.folder, sizeof(said.folder), "%s", folder);
	snprintf(said.file, sizeof(said.file), "%s", file);
	snprintf(said.kept, sizeof(said.kept), "%s", kept);
	said.group = getpid();
	if (write(out, &said, sizeof(said)) != (ssize_t)sizeof(said))
		_exit(1);
	for (;;)
		pause();
}

static void
kill_with(const char *parent, int signal_no, bool group)
{
	struct shared said;
	int fd[2], status;
	pid_t pid;

	assert_int_equal(pipe(fd), 0);
	assert_true((pid = fork()) >= 0);
	if (pid == 0)
		victim(parent, fd[1]);
	close(fd[1]);
	assert_int_equal(read(fd[0], &said, sizeof(said)), sizeof(said));
	assert_true(exists(said.folder) && exists(said.file));
	assert_int_equal(kill(group ? -said.group : pid, signal_no), 0);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(gone_within(said.folder, 5000));
	assert_true(gone_within(said.file, 5000));
	assert_true(exists(said.kept));
	unlink(said.kept);
	/* The reaper held the pipe's other end shut and has ended: EOF. */
	assert_int_equal(read(fd[0], &said, 1), 0);
	close(fd[0]);
}

static void
test_killed(void **state)
{
	kill_with(*state, SIGKILL, false);
}

/* ^C reaches every process of the group. */
static void
test_interrupted(void **state)
{
	kill_with(*state, SIGINT, true);
	kill_with(*state, SIGTERM, true);
	kill_with(*state, SIGHUP, true);
}

/* Another process that inherited the list must not remove anything. */
static void
test_forked_copy(void **state)
{
	AUTO(own_freep) char *folder = NULL;
	struct scratch *s = NULL;
	struct err e = ERR_INIT;
	int status;
	pid_t pid;

	assert_int_equal(scratch_new(&s, &e), 0);
	assert_int_equal(scratch_folder(s, *state, &folder, &e), 0);
	if ((pid = fork()) == 0) {
		scratch_free(s);
		_exit(0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(exists(folder));
	scratch_free(s);
	assert_false(exists(folder));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(test_orderly, setup, teardown),
	    cmocka_unit_test_setup_teardown(
		test_symlink_not_followed, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_errors, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_relative, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_killed, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_interrupted, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_forked_copy, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
