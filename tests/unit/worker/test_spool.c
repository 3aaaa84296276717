/* The spool: its room, its files, and what dead workers leave. */
#include "spool.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "err.h"
#include "layer_run.h"
#include "spool_session.h"

#define MIB ((uint64_t)1 << 20)

/* Link seam: what the machine is called, and what else is in the buffer. */
static const char *called;

int
gethostname(char *out, size_t size)
{
	struct utsname u;

	assert_int_equal(uname(&u), 0);
	memset(out, 'x', size);
	snprintf(out, size, "%s", called != NULL ? called : u.nodename);
	return 0;
}

struct fixture {
	char folder[32], own[64];
};

static int
setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	strcpy(f->folder, "/tmp/test_spool.XXXXXX");
	assert_non_null(mkdtemp(f->folder));
	snprintf(f->own, sizeof(f->own), "%s/quarry-worker-%u", f->folder,
	    geteuid());
	*state = f;
	return 0;
}

static int
teardown(void **state)
{
	struct fixture *f = *state;
	char command[64];

	snprintf(command, sizeof(command), "rm -rf %s", f->folder);
	assert_int_equal(system(command), 0);
	free(f);
	return 0;
}

static struct spool *
open_spool(struct fixture *f, uint64_t keep_free)
{
	struct err e = ERR_INIT;
	struct spool *s;

	if (spool_new(f->folder, keep_free, &s, &e) < 0)
		fail_msg("%s", e.text);
	return s;
}

static int
entries(const char *folder)
{
	DIR *dir = opendir(folder);
	int n = 0;

	if (dir == NULL)
		return -1;
	while (readdir(dir) != NULL)
		n++;
	closedir(dir);
	return n - 2;
}

static bool
there(const char *folder, const char *name)
{
	char path[400];

	snprintf(path, sizeof(path), "%s/%s", folder, name);
	return access(path, F_OK) == 0;
}

static void
test_files(void **state)
{
	const struct data_id id = {7, 2}, none = {8, 1};
	struct fixture *f = *state;
	struct spool *s = open_spool(f, 0);
	struct err e = ERR_INIT;
	uint64_t size;
	struct stat st;
	char *path;
	int fd;

	assert_int_equal(stat(f->own, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0700);
	assert_int_equal(spool_take(s, &id, SPOOL_BLOB, 100, &e), 0);
	path = spool_path(s, &id, DATA_BLOB);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0600);
	fd = open(path, O_WRONLY);
	assert_int_equal(write(fd, "layer", 5), 5);
	close(fd);
	/* The same job again, and what is not whole yet or not there. */
	assert_int_equal(spool_take(s, &id, SPOOL_BLOB, 100, &e), -1);
	assert_int_equal(e.kind, ERR_RETRY);
	err_clear(&e);
	assert_int_equal(spool_open(s, &id, DATA_BLOB, &fd, &size, &e), -1);
	assert_int_equal(e.sys, ENOENT);
	err_clear(&e);
	spool_settle(s, &id);
	assert_int_equal(spool_open(s, &id, DATA_TAR, &fd, &size, &e), -1);
	err_clear(&e);
	assert_int_equal(spool_open(s, &none, DATA_BLOB, &fd, &size, &e), -1);
	assert_string_equal(e.text,
	    "the blob of job 8 attempt 1 in the spool: No such file or "
	    "directory");
	err_clear(&e);
	assert_int_equal(spool_open(s, &id, DATA_BLOB, &fd, &size, &e), 0);
	assert_int_equal(size, 5);
	close(fd);
	spool_remove(s, &none);
	spool_remove(s, &id);
	assert_int_equal(access(path, F_OK), -1);
	spool_remove(s, &id);
	/* What is left goes with the spool. */
	assert_int_equal(
	    spool_take(s, &none, SPOOL_BLOB | SPOOL_TAR, 1, &e), 0);
	assert_int_equal(entries(f->own), 1);
	spool_free(s);
	assert_int_equal(entries(f->own), 0);
	free(path);
}

static void
test_bad_places(void **state)
{
	struct fixture *f = *state;
	struct err e = ERR_INIT;
	struct spool *s;
	char path[80];

	snprintf(path, sizeof(path), "%s/a/b", f->folder);
	assert_int_equal(spool_new(path, 0, &s, &e), -1);
	assert_int_equal(e.kind, ERR_USAGE);
	err_clear(&e);
	/* Others may look in, or somebody else has laid a link there. */
	assert_int_equal(mkdir(f->own, 0700), 0);
	assert_int_equal(chmod(f->own, 0750), 0);
	assert_int_equal(spool_new(f->folder, 0, &s, &e), -1);
	assert_int_equal(e.kind, ERR_USAGE);
	assert_non_null(strstr(e.text, "open to others"));
	err_clear(&e);
	assert_int_equal(rmdir(f->own), 0);
	assert_int_equal(symlink("/tmp", f->own), 0);
	assert_int_equal(spool_new(f->folder, 0, &s, &e), -1);
	assert_int_equal(e.kind, ERR_USAGE);
}

/* Room that is reserved is not given twice; what is written counts once. */
static void
test_room(void **state)
{
	const struct data_id a = {1, 1}, b = {2, 1};
	struct fixture *f = *state;
	struct err e = ERR_INIT;
	struct spool *s;
	char *path;
	int fd;

	if (mount("none", f->folder, "tmpfs", 0, "size=16m") < 0) {
		print_message("no right to mount a tmpfs\n");
		skip();
	}
	s = open_spool(f, 2 * MIB);
	assert_int_equal(spool_take(s, &a, SPOOL_TAR, 15 * MIB, &e), -1);
	assert_int_equal(e.kind, ERR_RETRY);
	assert_int_equal(e.sys, ENOSPC);
	assert_non_null(strstr(e.text, " MiB free, 17 MiB are wanted"));
	err_clear(&e);
	assert_int_equal(spool_take(s, &a, SPOOL_TAR, 9 * MIB, &e), 0);
	assert_int_equal(spool_take(s, &b, SPOOL_TAR, 6 * MIB, &e), -1);
	assert_int_equal(e.sys, ENOSPC);
	err_clear(&e);
	path = spool_path(s, &a, DATA_TAR);
	fd = open(path, O_WRONLY);
	assert_int_equal(posix_fallocate(fd, 0, 8 * MIB), 0);
	close(fd);
	free(path);
	assert_int_equal(spool_take(s, &b, SPOOL_TAR, 6 * MIB, &e), -1);
	err_clear(&e);
	assert_int_equal(spool_take(s, &b, SPOOL_TAR, 5 * MIB, &e), 0);
	spool_remove(s, &b);
	/* It took less than was reserved for it. */
	spool_settle(s, &a);
	assert_int_equal(spool_take(s, &b, SPOOL_TAR, 6 * MIB, &e), 0);
	spool_free(s);
	assert_int_equal(umount(f->folder), 0);
}

static void
test_need(void **state)
{
	struct layer_item items[2] = {{"/nix/store/a", true, {{0}}, 100 * MIB},
	    {"/nix/store/b", true, {{0}}, 50 * MIB}};
	struct layer_job job = {.item = items, .n = 2};
	uint64_t tar;

	(void)state;
	assert_int_equal(spool_need(&job), 0);
	job.spec.n_outputs = 1;
	job.spec.outputs[0] = (struct layer_output){
	    LAYER_TO_SPOOL_TAR, "", 0, LAYER_SIZE_UNKNOWN};
	tar = spool_need(&job);
	assert_in_range(tar, 180 * MIB, 200 * MIB);
	job.spec.outputs[0].size = 155 * MIB;
	assert_int_equal(spool_need(&job), 155 * MIB);
	/* The blob besides, as if nothing could be compressed. */
	job.spec.n_outputs = 2;
	job.spec.outputs[1] =
	    (struct layer_output){LAYER_TO_SPOOL_BLOB, "", 0, 155 * MIB};
	assert_in_range(spool_need(&job), 310 * MIB, 312 * MIB);
	job.spec.outputs[0].size = LAYER_SIZE_UNKNOWN;
	items[0].nar_size = items[1].nar_size = INT64_MAX;
	assert_true(spool_need(&job) == INT64_MAX);
}

/* Makes a session folder as a worker of that name would have. */
static void
make_session(struct fixture *f, const char *name, bool lock)
{
	char command[800];

	mkdir(f->own, 0700);
	snprintf(command, sizeof(command),
	    "cd %s && mkdir '%s' && cd '%s' && : >7-1.tar && : >7-1.blob%s",
	    f->own, name, name, lock ? " && : >lock" : "");
	assert_int_equal(system(command), 0);
}

/* This process's name with another field from the right (0: start time). */
static void
other_name(char out[SPOOL_SESSION_MAX], int field, const char *value)
{
	char *parts[4] = {NULL}, copy[SPOOL_SESSION_MAX];

	assert_true(spool_session_name(getpid(), copy));
	for (int i = 0; i < 3; i++) {
		parts[i] = strrchr(copy, '.') + 1;
		parts[i][-1] = '\0';
	}
	parts[3] = copy;
	parts[field] = (char *)value;
	snprintf(out, SPOOL_SESSION_MAX, "%s.%s.%s.%s", parts[3], parts[2],
	    parts[1], parts[0]);
}

static void
test_leftovers(void **state)
{
	static const char boot[] = "00000000-0000-4000-8000-000000000000";
	char boots[SPOOL_SESSION_MAX], reused[SPOOL_SESSION_MAX],
	    host[SPOOL_SESSION_MAX], alive[SPOOL_SESSION_MAX],
	    locked[SPOOL_SESSION_MAX], fresh[SPOOL_SESSION_MAX], path[400];
	struct fixture *f = *state;
	pid_t parent = getppid();
	struct spool *s;
	int fd;

	other_name(boots, 2, boot);	/* of an earlier boot */
	other_name(reused, 0, "12345"); /* its number is another's now */
	other_name(host, 3, "elsewhere");
	assert_true(spool_session_name(parent, alive));
	other_name(locked, 1, "4194303"); /* in another PID namespace */
	other_name(fresh, 1, "4194302");  /* that has not locked yet */
	make_session(f, boots, true);
	make_session(f, reused, true);
	make_session(f, host, true);
	make_session(f, alive, true);
	make_session(f, locked, true);
	make_session(f, fresh, false);
	make_session(f, "something else", true);
	snprintf(path, sizeof(path), "%s/%s/precious", f->own, reused);
	close(open(path, O_WRONLY | O_CREAT, 0600));
	snprintf(path, sizeof(path), "%s/%s/lock", f->own, locked);
	fd = open(path, O_RDWR);
	assert_int_equal(flock(fd, LOCK_EX), 0);
	s = open_spool(f, 0);
	assert_false(there(f->own, boots));
	assert_true(there(f->own, host));
	assert_true(there(f->own, alive));
	assert_true(there(f->own, locked));
	assert_true(there(f->own, fresh));
	assert_true(there(f->own, "something else"));
	/* What no worker makes stays, and so its folder. */
	snprintf(path, sizeof(path), "%s/%s", f->own, reused);
	assert_int_equal(entries(path), 1);
	/* This one's own, and no more: another may start beside it. */
	assert_int_equal(entries(f->own), 7);
	close(fd);
	spool_free(s);
	s = open_spool(f, 0);
	assert_false(there(f->own, locked));
	spool_free(s);
}

/* A worker that was killed: the next one removes what it left. */
static void
test_killed(void **state)
{
	const struct data_id id = {1, 1};
	struct fixture *f = *state;
	struct err e = ERR_INIT;
	struct spool *s;
	pid_t child;
	int pipes[2];
	char c;

	assert_int_equal(pipe(pipes), 0);
	if ((child = fork()) == 0) {
		s = open_spool(f, 0);
		if (spool_take(s, &id, SPOOL_TAR, 1, &e) < 0 ||
		    write(pipes[1], "", 1) != 1)
			_exit(1);
		pause();
	}
	assert_int_equal(read(pipes[0], &c, 1), 1);
	s = open_spool(f, 0);
	assert_int_equal(entries(f->own), 2);
	spool_free(s);
	kill(child, SIGKILL);
	waitpid(child, NULL, 0);
	s = open_spool(f, 0);
	assert_int_equal(entries(f->own), 1);
	spool_free(s);
	close(pipes[0]);
	close(pipes[1]);
}

/* A machine may have no name at all, or an odd one. */
static void
test_host_names(void **state)
{
	static const struct {
		const char *called, *name;
	} cases[] = {{"", "_."}, {".x", "_x."}, {"a/b", "a_b."}};
	char name[SPOOL_SESSION_MAX];

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		called = cases[i].called;
		assert_true(spool_session_name(getpid(), name));
		called = NULL;
		assert_memory_equal(name, cases[i].name, strlen(cases[i].name));
	}
}

int
main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
	    TEST(test_files),
	    TEST(test_bad_places),
	    TEST(test_room),
	    cmocka_unit_test(test_need),
	    TEST(test_leftovers),
	    TEST(test_killed),
	    cmocka_unit_test(test_host_names),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
