#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cmocka.h>

#include "blob_dir.h"
#include "err.h"

static char folder[64];

/*
 * These stand before libc's: a file system without O_TMPFILE, and a disk that
 * fails.
 */
static bool no_tmpfile;
static int fsync_error, fsync_calls;

int
openat(int dir, const char *path, int flags, ...)
{
	unsigned mode = 0;
	va_list ap;

	va_start(ap, flags);
	if (flags & (O_CREAT | O_TMPFILE))
		mode = va_arg(ap, unsigned);
	va_end(ap);
	if (no_tmpfile && (flags & O_TMPFILE) == O_TMPFILE) {
		errno = EOPNOTSUPP;
		return -1;
	}
	return (int)syscall(SYS_openat, dir, path, flags, mode);
}

int
fsync(int fd)
{
	fsync_calls++;
	if (fsync_error != 0) {
		errno = fsync_error;
		fsync_error = 0; /* as the kernel does: the next one succeeds */
		return -1;
	}
	return (int)syscall(SYS_fsync, fd);
}

static int
setup(void **state)
{
	(void)state;
	fsync_error = fsync_calls = 0;
	snprintf(folder, sizeof(folder), "/tmp/blob_dir.XXXXXX");
	return mkdtemp(folder) != NULL ? 0 : -1;
}

static int
teardown(void **state)
{
	char command[100];

	(void)state;
	snprintf(command, sizeof(command), "rm -rf %s", folder);
	return system(command);
}

static size_t
count(const char *path)
{
	DIR *dir = opendir(path);
	size_t n = 0;

	assert_non_null(dir);
	while (readdir(dir) != NULL)
		n++;
	closedir(dir);
	return n - 2;
}

static void
check_blob(const char *data)
{
	char path[200], hex[DIGEST_HEX_LEN + 1], got[100];
	struct digest digest;
	struct stat st;
	size_t n;
	FILE *f;

	digest_of(data, strlen(data), &digest);
	digest_hex(&digest, hex);
	snprintf(path, sizeof(path), "%s/%s", folder, hex);
	assert_non_null(f = fopen(path, "rb"));
	n = fread(got, 1, sizeof(got), f);
	fclose(f);
	assert_int_equal(n, strlen(data));
	assert_memory_equal(got, data, n);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_nlink, 1);
}

static int
put(const char *data, struct err *e)
{
	struct blob_writer *w = NULL;
	struct digest digest;
	int rc;

	if (blob_writer_new(folder, NULL, &w, e) < 0)
		return -1;
	assert_int_equal(blob_write(w, data, 1, e), 0);
	assert_int_equal(blob_write(w, data + 1, strlen(data) - 1, e), 0);
	digest_of(data, strlen(data), &digest);
	rc = blob_commit(w, &digest, e);
	blob_writer_free(w);
	return rc;
}

static void
test_commit(void **state)
{
	struct err e = ERR_INIT;

	(void)state;
	assert_int_equal(put("hello", &e), 0);
	check_blob("hello");
	assert_int_equal(put("other", &e), 0);
	assert_int_equal(count(folder), 2);
}

static void
test_no_commit(void **state)
{
	struct blob_writer *w = NULL;
	struct err e = ERR_INIT;

	(void)state;
	assert_int_equal(blob_writer_new(folder, NULL, &w, &e), 0);
	assert_int_equal(blob_write(w, "x", 1, &e), 0);
	blob_writer_free(w);
	assert_int_equal(count(folder), 0);
	blob_writer_free(NULL);
}

static void
test_twice(void **state)
{
	char path[200], hex[DIGEST_HEX_LEN + 1];
	struct err e = ERR_INIT;
	struct digest digest;
	struct stat before, after;

	(void)state;
	assert_int_equal(put("hello", &e), 0);
	digest_of("hello", 5, &digest);
	digest_hex(&digest, hex);
	snprintf(path, sizeof(path), "%s/%s", folder, hex);
	assert_int_equal(stat(path, &before), 0);
	assert_int_equal(put("hello", &e), 0);
	assert_int_equal(stat(path, &after), 0);
	assert_int_equal(before.st_ino, after.st_ino);
	assert_int_equal(count(folder), 1);
	/* One that was cut short by somebody else is not taken for good. */
	assert_int_equal(truncate(path, 3), 0);
	assert_int_equal(put("hello", &e), -1);
	assert_int_equal(e.kind, ERR_RETRY);
	assert_non_null(strstr(e.text, hex));
	assert_non_null(strstr(e.text, "damaged"));
	assert_int_equal(count(folder), 1);
}

static void
test_no_folder(void **state)
{
	struct blob_writer *w = NULL;
	struct err e = ERR_INIT;
	char path[100];

	(void)state;
	snprintf(path, sizeof(path), "%s/none", folder);
	assert_int_equal(blob_writer_new(path, NULL, &w, &e), -1);
	assert_int_equal(e.kind, ERR_RETRY);
	assert_int_equal(e.sys, ENOENT);
	assert_non_null(strstr(e.text, path));
	assert_null(w);
}

static void
fill(int expected)
{
	static char data[256 << 10];
	struct blob_writer *w = NULL;
	struct err e = ERR_INIT;
	struct digest digest;
	int rc = 0;

	assert_int_equal(blob_writer_new(folder, NULL, &w, &e), 0);
	for (int i = 0; i < 64 && rc == 0; i++)
		rc = blob_write(w, data, sizeof(data), &e);
	assert_int_equal(rc, -1);
	assert_int_equal(e.kind, ERR_RETRY);
	assert_int_equal(e.sys, expected);
	assert_non_null(strstr(e.text, folder));
	err_clear(&e);
	assert_int_equal(blob_write(w, data, 1, &e), -1);
	err_clear(&e);
	digest_of(data, 1, &digest);
	assert_int_equal(blob_commit(w, &digest, &e), -1);
	blob_writer_free(w);
	assert_int_equal(count(folder), 0);
}

/* A file that failed to get to the disk is never tried again. */
static void
test_fsync(void **state)
{
	struct blob_writer *w = NULL;
	struct err e = ERR_INIT;
	struct digest digest;

	(void)state;
	assert_int_equal(blob_writer_new(folder, NULL, &w, &e), 0);
	assert_int_equal(blob_write(w, "hello", 5, &e), 0);
	digest_of("hello", 5, &digest);
	fsync_error = EIO;
	assert_int_equal(blob_commit(w, &digest, &e), -1);
	assert_int_equal(e.kind, ERR_RETRY);
	assert_int_equal(e.sys, EIO);
	err_clear(&e);
	assert_int_equal(blob_commit(w, &digest, &e), -1);
	assert_int_equal(fsync_calls, 1);
	blob_writer_free(w);
	assert_int_equal(count(folder), 0);
}

static void
test_too_large(void **state)
{
	struct rlimit old, small = {1 << 20, 1 << 20};

	(void)state;
	signal(SIGXFSZ, SIG_IGN);
	assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
	small.rlim_max = old.rlim_max;
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
	fill(EFBIG);
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
}

static void
test_full(void **state)
{
	(void)state;
	if (mount("tmpfs", folder, "tmpfs", 0, "size=1m") < 0) {
		print_message("not root: a full disk is not tested\n");
		skip();
	}
	fill(ENOSPC);
	assert_int_equal(umount(folder), 0);
}

int
main(void)
{
	int failed = 0;
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(test_commit, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_no_commit, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_twice, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_no_folder, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_fsync, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_too_large, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_full, setup, teardown),
	};

	failed = cmocka_run_group_tests(tests, NULL, NULL);
	no_tmpfile = true;
	return failed + cmocka_run_group_tests(tests, NULL, NULL);
}
