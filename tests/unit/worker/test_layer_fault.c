#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cmocka.h>

#include "layer_case.h"

/*
 * These stand before libc's: at the reading or opening of a file whose path
 * ends in `at`, `hook` is called once (after `skip` earlier ones), or the call
 * fails with `fault`.
 */
static const char *at;
static void (*hook)(void);
static int skip_reads, fault;
static bool at_open;

/* How often files whose path holds `counted` were read. */
static const char *counted;
static size_t n_reads;

static int
hit(const char *path)
{
	size_t len = strlen(path), at_len = at != NULL ? strlen(at) : 0;
	void (*now)(void) = hook;

	if (at == NULL || len < at_len ||
	    strcmp(path + len - at_len, at) != 0 || skip_reads-- > 0)
		return 0;
	at = NULL;
	if (now != NULL)
		now();
	return fault;
}

ssize_t
read(int fd, void *data, size_t len)
{
	char link[40], path[500];
	ssize_t n;

	if ((at != NULL && !at_open) || counted != NULL) {
		snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
		if ((n = readlink(link, path, sizeof(path) - 1)) > 0) {
			path[n] = '\0';
			if (counted != NULL && strstr(path, counted) != NULL)
				n_reads++;
			if ((errno = hit(path)) != 0)
				return -1;
		}
	}
	return syscall(SYS_read, fd, data, len);
}

int
openat(int dir, const char *path, int flags, ...)
{
	unsigned mode = 0;
	va_list ap;

	va_start(ap, flags);
	if (flags & (O_CREAT | O_TMPFILE))
		mode = va_arg(ap, unsigned);
	va_end(ap);
	if (at_open && (errno = hit(path)) != 0)
		return -1;
	return (int)syscall(SYS_openat, dir, path, flags, mode);
}

static const struct layer_item item = {.path = PATH};

/* The job must fail so, name this, and leave no blob. */
static void
fails(const struct layer_job *job, enum err_kind kind, const char *name,
    const char *why)
{
	struct layer_result result;
	struct err e;

	assert_int_equal(case_run(job, &result, &e), -1);
	if (e.kind != kind)
		fail_msg("kind %d: %s", (int)e.kind, e.text);
	if (strstr(e.text, name) == NULL || strstr(e.text, why) == NULL)
		fail_msg("'%s' and '%s' are not in: %s", name, why, e.text);
	assert_int_equal(count_blobs(), 0);
}

static struct layer_job
blob_job(void)
{
	static char blobs[100];
	struct layer_job job = case_job(&item, 1);

	snprintf(blobs, sizeof(blobs), "%s/blobs", root);
	job.spec.n_outputs = 1;
	job.spec.outputs[0] =
	    (struct layer_output){LAYER_TO_BLOB, blobs, 0, LAYER_SIZE_UNKNOWN};
	return job;
}

static void
on_read(const char *name, int skip, void (*what)(void), int error)
{
	at = name;
	skip_reads = skip;
	hook = what;
	fault = error;
	at_open = false;
}

static void
shrink(void)
{
	SH("truncate -s 300000 ." PATH "/d/file");
}

static void
grow(void)
{
	SH("echo more >> ." PATH "/d/file");
}

static void
rewrite(void)
{
	SH("printf x | dd of=.%s/d/file conv=notrunc bs=1 seek=5 2> /dev/null",
	    PATH);
}

static void
replace(void)
{
	SH("cd ." PATH "/d && cp file new && mv new file");
}

static void
test_changes(void **state)
{
	struct layer_job job = blob_job();

	(void)state;
	SH("mkdir ." PATH "/d && head -c 1000000 /dev/urandom > ." PATH
	   "/d/file");
	for (int skip = 0; skip < 3; skip++) {
		on_read("/d/file", skip, grow, 0);
		fails(&job, ERR_JOB, PATH "/d/file", "while it was read");
		on_read("/d/file", skip, rewrite, 0);
		fails(&job, ERR_JOB, PATH "/d/file", "while it was read");
		on_read("/d/file", skip, shrink, 0);
		fails(&job, ERR_JOB, PATH "/d/file", "while it was read");
		SH("head -c 1000000 /dev/urandom > ." PATH "/d/file");
	}
	/* Its directory has another entry of that name now. */
	on_read("/d/file", 0, replace, 0);
	fails(&job, ERR_JOB, PATH "/d", "while it was read");
	on_read("/d/file", 1, NULL, EIO);
	fails(&job, ERR_RETRY, PATH "/d/file", "Input/output error");
	on_read("/d/file", 1, NULL, EINTR);
	assert_int_equal(
	    case_run(&job, &(struct layer_result){0}, &(struct err)ERR_INIT),
	    0);
}

static void
remove_late(void)
{
	SH("rm ." PATH "/d/9999");
}

static void
add_entry(void)
{
	SH("touch ." PATH "/d/new");
}

static void
link_late(void)
{
	SH("cd ." PATH "/d && rm 9999 && ln -s 1000 9999");
}

static void
pipe_late(void)
{
	SH("cd ." PATH "/d && rm 9999 && mkfifo 9999");
}

static void
dir_late(void)
{
	SH("cd ." PATH "/d && rm 9999 && mkdir 9999");
}

/* A directory was listed; then comes another to work in it. */
static void
test_directory_changes(void **state)
{
	static void (*const what[])(void) = {
	    remove_late, link_late, pipe_late, dir_late};
	struct layer_job job = blob_job();

	(void)state;
	for (size_t i = 0; i < sizeof(what) / sizeof(what[0]); i++) {
		SH("rm -rf ." PATH "/d && mkdir ." PATH "/d && cd ." PATH
		   "/d && for i in $(seq 1000 2000) 9999; do echo x > $i; "
		   "done");
		on_read("/d/1000", 0, what[i], 0);
		fails(&job, ERR_JOB, PATH "/d/9999",
		    i == 0 ? "No such file" : "changed while it was read");
	}
	on_read("/d/1000", 0, add_entry, 0);
	fails(&job, ERR_JOB, PATH "/d", "while it was read");
}

static void
test_unreadable(void **state)
{
	struct layer_job job = blob_job();

	(void)state;
	SH("mkdir ." PATH "/d && touch ." PATH "/d/secret");
	hook = NULL;
	at_open = true;
	at = "secret";
	fault = EACCES;
	fails(&job, ERR_JOB, PATH "/d/secret", "Permission denied");
	at = "d";
	fails(&job, ERR_JOB, PATH "/d", "Permission denied");
	at = "secret";
	fault = EIO;
	fails(&job, ERR_RETRY, PATH "/d/secret", "Input/output error");
	at_open = false;
}

static void
cancel(void)
{
	atomic_store(&progress.cancel, true);
}

static void
test_cancel(void **state)
{
	struct layer_job job = blob_job();
	struct layer_result result;
	struct err e;

	(void)state;
	SH("truncate -s 3000000 ." PATH "/big");
	for (int skip = 0; skip < 8; skip++) {
		on_read("/big", skip, cancel, 0);
		assert_int_equal(case_run(&job, &result, &e), -1);
		assert_int_equal(e.kind, ERR_RETRY);
		assert_int_equal(e.sys, ECANCELED);
		assert_int_equal(count_blobs(), 0);
		/* Soon: after this chunk (and headers), not at the end. */
		assert_true(progress.bytes <= (uint64_t)skip * 262144 + 10240);
		progress.cancel = false;
	}
	cancel();
	job.spec.measure = true;
	assert_int_equal(case_run(&job, &result, &e), -1);
	assert_int_equal(e.sys, ECANCELED);
	progress.cancel = false;
	assert_int_equal(case_run(&job, &result, &e), 0);
}

/* RLIMIT_FSIZE stands for a full disk. */
static void
test_full_disk(void **state)
{
	struct rlimit old, small = {1 << 20, 1 << 20};
	struct layer_job job = blob_job();
	char file[100];

	(void)state;
	snprintf(file, sizeof(file), "%s/file", root);
	SH("truncate -s 5000000 ." PATH "/big && touch file");
	signal(SIGXFSZ, SIG_IGN);
	assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
	small.rlim_max = old.rlim_max;
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
	fails(&job, ERR_RETRY, "/blobs", "File too large");
	job.spec.outputs[1] =
	    (struct layer_output){LAYER_TO_FILE, file, 0, LAYER_SIZE_UNKNOWN};
	job.spec.n_outputs = 2;
	fails(&job, ERR_RETRY, file, "File too large");
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
}

static void
test_bad_spec(void **state)
{
	struct layer_job job = blob_job();

	(void)state;
	job.spec.dialect = (enum tar_dialect)7;
	fails(&job, ERR_JOB, "dialect", "");
	job = blob_job();
	job.spec.source = (enum layer_source)7;
	fails(&job, ERR_JOB, "kind of layer", "");
	job = blob_job();
	job.spec.store_dir = "nix";
	fails(&job, ERR_JOB, "nix", "");
	job = blob_job();
	job.spec.store_root = "/none";
	fails(&job, ERR_JOB, "/none/nix/store", "No such file");
	job = blob_job();
	job.spec.encoding.kind = ENCODING_GZIP;
	job.spec.encoding.level = 77;
	fails(&job, ERR_JOB, "gzip", "77");
	job = blob_job();
	job.spec.outputs[0].path = "/none";
	fails(&job, ERR_RETRY, "/none", "No such file");
}

/* The root layer: entries as they are given. */
static void
test_entries(void **state)
{
	char file[100], want[100], hex[DIGEST_HEX_LEN + 1];
	struct layer_entry entry[] = {{"/bin", TAR_DIRECTORY, 0555, 0, 0, ""},
	    {"/bin/x", TAR_SYMLINK, 0777, 0, 0, PATH "/bin/x"},
	    {"/etc", TAR_REGULAR, 0640, 7, 8, file},
	    {"/tmp", TAR_DIRECTORY, 01777, 1000, 3000000, ""}};
	struct layer_job job = case_job(NULL, 4);
	struct layer_result result, measured;
	struct err e;

	(void)state;
	snprintf(file, sizeof(file), "%s/file", root);
	SH("printf 'some text' > file");
	job.spec.source = LAYER_FROM_ENTRIES;
	job.spec.uid = 99; /* not used: each entry has its own */
	job.entry = entry;
	assert_int_equal(case_run(&job, &result, &e), 0);
	assert_int_equal(result.entries, 4);
	assert_int_equal(result.bytes_read, 9);
	sh(want, sizeof(want),
	    "%s -c 'import hashlib, io, tarfile\n"
	    "out = io.BytesIO()\n"
	    "t = tarfile.open(fileobj=out, mode=\"w\", "
	    "format=tarfile.PAX_FORMAT)\n"
	    "for n, k, m, u, g, l, c in [(\"/bin\", b\"5\", 0o555, 0, 0, \"\", "
	    "b\"\"), (\"/bin/x\", b\"2\", 0o777, 0, 0, \"" PATH
	    "/bin/x\", b\"\"), (\"/etc\", b\"0\", 0o640, 7, 8, \"\", "
	    "b\"some text\"), (\"/tmp\", b\"5\", 0o1777, 1000, 3000000, \"\", "
	    "b\"\")]:\n"
	    "  i = tarfile.TarInfo(n); i.type = k; i.mode = m; i.uid = u\n"
	    "  i.gid = g; i.linkname = l; i.size = len(c); i.mtime = 1\n"
	    "  i.uname = i.gname = \"root\"; t.addfile(i, io.BytesIO(c))\n"
	    "t.close(); print(hashlib.sha256(out.getvalue()).hexdigest())'",
	    getenv("PYTHON") != NULL ? getenv("PYTHON") : "python3");
	digest_hex(&result.diff_id, hex);
	assert_string_equal(hex, want);
	job.spec.measure = true;
	assert_int_equal(case_run(&job, &measured, &e), 0);
	assert_int_equal(measured.tar_size, result.tar_size);
	assert_int_equal(measured.bytes_read, 0);
	job.spec.measure = false;
	on_read("/file", 0, NULL, EIO);
	fails(&job, ERR_RETRY, file, "Input/output error");
	SH("rm file");
	fails(&job, ERR_JOB, file, "No such file");
	SH("mkdir file");
	fails(&job, ERR_JOB, file, "not a regular file");
	entry[0].name = "bin";
	fails(&job, ERR_JOB, "bin", "absolute");
}

/*
 * Small files are not looked at a second time, so each must be one read(2),
 * the end of the buffer notwithstanding (a header leaves room enough).
 */
static void
test_small_files(void **state)
{
	struct layer_job job = blob_job();
	struct layer_result result;
	struct err e;

	(void)state;
	SH("mkdir -p ." PATH "/d && cd ." PATH "/d && for i in $(seq 200); do "
	   "head -c 4000 /dev/zero > small-$i; done");
	counted = "/small-";
	n_reads = 0;
	assert_int_equal(case_run(&job, &result, &e), 0);
	counted = NULL;
	assert_int_equal(result.bytes_read, 200 * 4000);
	assert_int_equal(n_reads, 200);
}

/* A finished tar: byte for byte, whatever is in it. */
static void
test_file(void **state)
{
	struct layer_job job = blob_job();
	struct layer_result result;
	char file[100], want[100], hex[DIGEST_HEX_LEN + 1];
	struct err e;

	(void)state;
	snprintf(file, sizeof(file), "%s/file", root);
	job.spec.source = LAYER_FROM_FILE;
	job.spec.file = file;
	job.n = 0;
	SH("head -c 1000001 /dev/urandom > file");
	assert_int_equal(case_run(&job, &result, &e), 0);
	assert_int_equal(result.tar_size, 1000001);
	sh(want, sizeof(want), "sha256sum < file | cut -c 1-64");
	digest_hex(&result.diff_id, hex);
	assert_string_equal(hex, want);
	SH("cmp file blobs/%s && rm blobs/*", hex);
	job.spec.measure = true;
	assert_int_equal(case_run(&job, &result, &e), 0);
	assert_int_equal(result.tar_size, 1000001);
	assert_int_equal(result.bytes_read, 0);
	job.spec.measure = false;
	SH("mkdir -p ." PATH "/d && mv file ." PATH "/d/file");
	SH("ln -s ." PATH "/d/file file");
	fails(&job, ERR_JOB, file, "changed"); /* not what was looked at */
	SH("rm file && mv ." PATH
	   "/d/file file && ln -s ../../../../file ." PATH "/d/file");
	on_read("/file", 1, rewrite, 0);
	fails(&job, ERR_JOB, file, "while it was read");
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(
		test_changes, case_setup, case_teardown),
	    cmocka_unit_test_setup_teardown(
		test_directory_changes, case_setup, case_teardown),
	    cmocka_unit_test_setup_teardown(
		test_unreadable, case_setup, case_teardown),
	    cmocka_unit_test_setup_teardown(
		test_cancel, case_setup, case_teardown),
	    cmocka_unit_test_setup_teardown(
		test_full_disk, case_setup, case_teardown),
	    cmocka_unit_test_setup_teardown(
		test_bad_spec, case_setup, case_teardown),
	    cmocka_unit_test_setup_teardown(
		test_entries, case_setup, case_teardown),
	    cmocka_unit_test_setup_teardown(
		test_small_files, case_setup, case_teardown),
	    cmocka_unit_test_setup_teardown(
		test_file, case_setup, case_teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
