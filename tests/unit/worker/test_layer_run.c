#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <inttypes.h>
#include <unistd.h>

#include <cmocka.h>

#include "layer_case.h"
#include "nar_hash.h"

#define ITEMS_MAX 20

static const char *python, *tests_dir;

/* A store with every trap, and what is in it. */
static char path[ITEMS_MAX][200];
static struct layer_item item[ITEMS_MAX];
static size_t n_items;

static int
setup_traps(void **state)
{
	char command[1024];
	FILE *f;

	if (case_setup(state) < 0)
		return -1;
	snprintf(command, sizeof(command), "%s %s/oracle/trap_store.py %s",
	    python, tests_dir, root);
	if ((f = popen(command, "r")) == NULL)
		return -1;
	for (n_items = 0; n_items < ITEMS_MAX; n_items++) {
		if (fgets(path[n_items], sizeof(path[0]), f) == NULL)
			break;
		path[n_items][strcspn(path[n_items], "\n")] = '\0';
		item[n_items] = (struct layer_item){.path = path[n_items]};
	}
	return pclose(f);
}

/* The oracle's digest and size of the job's layer. */
static void
compare(const struct layer_job *job, const struct layer_result *got)
{
	char paths[ITEMS_MAX * 201] = "", want[200], text[200];
	char hex[DIGEST_HEX_LEN + 1];

	for (size_t i = 0; i < job->n; i++) {
		strcat(paths, " ");
		strcat(paths, job->item[i].path);
	}
	sh(want, sizeof(want),
	    "%s %s/oracle/layer_tar.py --digest --dialect %s --store-dir %s "
	    "--store-root %s --mtime=%jd --uid %ju --gid %ju --uname '%s' "
	    "--gname '%s' %s",
	    python, tests_dir, job->spec.dialect == TAR_GNU ? "gnu" : "pax",
	    job->spec.store_dir, root, (intmax_t)job->spec.mtime,
	    (uintmax_t)job->spec.uid, (uintmax_t)job->spec.gid, job->spec.uname,
	    job->spec.gname, paths);
	digest_hex(&got->diff_id, hex);
	snprintf(text, sizeof(text), "%s %" PRIu64, hex, got->tar_size);
	assert_string_equal(text, want);
}

static void
check(struct layer_job *job)
{
	struct layer_result result, measured;
	struct err e;

	assert_int_equal(case_run(job, &result, &e), 0);
	compare(job, &result);
	assert_true(digest_equal(&result.digest, &result.diff_id));
	assert_int_equal(result.size, result.tar_size);
	job->spec.measure = true;
	assert_int_equal(case_run(job, &measured, &e), 0);
	job->spec.measure = false;
	assert_int_equal(measured.tar_size, result.tar_size);
	assert_int_equal(measured.entries, result.entries);
	assert_int_equal(measured.bytes_read, 0);
	assert_int_equal(progress.bytes, result.tar_size);
}

static void
test_oracle(void **state)
{
	struct layer_job job = case_job(item, n_items);

	(void)state;
	assert_true(n_items >= 10);
	check(&job);
	job.spec.dialect = TAR_GNU;
	check(&job);
	for (size_t i = 0; i < n_items; i++) {
		job = case_job(&item[i], 1);
		job.spec.dialect = i % 2 == 0 ? TAR_PAX : TAR_GNU;
		check(&job);
	}
	job = case_job(item, 0);
	check(&job);
}

static void
test_metadata(void **state)
{
	struct layer_job job = case_job(item + n_items - 4, 4);

	(void)state;
	job.spec.mtime = -1;
	job.spec.uid = 2097152;
	job.spec.gid = 4000000000;
	job.spec.uname = "j\xc3\xb6rg";
	job.spec.gname = "a-group-of-more-than-thirty-two-letters";
	check(&job);
	job.spec.dialect = TAR_GNU;
	check(&job);
	job.spec.dialect = TAR_PAX;
	job.spec.mtime = 8589934592;
	job.spec.uname = "raw\xff";
	check(&job);
	job.spec.mtime = 0;
	check(&job);
}

static void
test_store_dir(void **state)
{
	struct layer_item other = {.path = "/a/b/c/" BASE};
	struct layer_job job = case_job(&other, 1);

	(void)state;
	SH("mkdir -p a/b && cp -r nix/store a/b/c && chmod 755 a a/b a/b/c");
	job.spec.store_dir = "/a/b/c";
	check(&job);
	job.spec.dialect = TAR_GNU;
	check(&job);
}

/* Files at their places and blobs, from one read of the input. */
static void
test_outputs(void **state)
{
	static const struct encoding encodings[] = {
	    {ENCODING_NONE, 0}, {ENCODING_GZIP, 1}, {ENCODING_ZSTD, 3}};
	struct layer_job job = case_job(item, n_items);
	char blobs[100], file[100], hex[DIGEST_HEX_LEN + 1], got[200];
	struct layer_result measured, result;
	struct digest digest, diff_id;
	struct err e;

	(void)state;
	snprintf(blobs, sizeof(blobs), "%s/blobs", root);
	snprintf(file, sizeof(file), "%s/file", root);
	SH("truncate -s 1024 file");
	job.spec.measure = true;
	assert_int_equal(case_run(&job, &measured, &e), 0);
	job.spec.measure = false;
	job.spec.n_outputs = 2;
	job.spec.outputs[0] =
	    (struct layer_output){LAYER_TO_BLOB, blobs, 0, LAYER_SIZE_UNKNOWN};
	job.spec.outputs[1] =
	    (struct layer_output){LAYER_TO_FILE, file, 1024, measured.tar_size};
	for (size_t i = 0; i < 3; i++) {
		job.spec.encoding = encodings[i];
		assert_int_equal(case_run(&job, &result, &e), 0);
		digest_hex(&result.digest, hex);
		sh(got, sizeof(got), "sha256sum < blobs/%s", hex);
		assert_true(digest_from_hex(got, DIGEST_HEX_LEN, &digest));
		assert_true(digest_equal(&digest, &result.digest));
		sh(got, sizeof(got), "wc -c < blobs/%s", hex);
		assert_int_equal(strtoull(got, NULL, 10), result.size);
		sh(got, sizeof(got), "tail -c +1025 file | sha256sum");
		assert_true(digest_from_hex(got, DIGEST_HEX_LEN, &diff_id));
		assert_true(digest_equal(&diff_id, &result.diff_id));
		if (encodings[i].kind == ENCODING_GZIP)
			SH("tail -c +1025 file > tar && "
			   "gzip -dc < blobs/%s | cmp - tar",
			    hex);
		assert_int_equal(count_blobs(), i + 1);
	}
	job.spec.outputs[1].size -= 10240;
	SH("rm blobs/*");
	assert_int_equal(case_run(&job, &result, &e), -1);
	assert_int_equal(e.kind, ERR_JOB);
	assert_int_equal(count_blobs(), 0);
}

static void
test_verify(void **state)
{
	char text[200], wrong[NAR_HASH_TEXT_MAX], right[NAR_HASH_TEXT_MAX],
	    blobs[100];
	struct layer_job job = case_job(item, n_items);
	struct layer_result plain, result;
	struct err e;

	(void)state;
	snprintf(blobs, sizeof(blobs), "%s/blobs", root);
	assert_int_equal(case_run(&job, &plain, &e), 0);
	for (size_t i = 0; i < n_items; i++) {
		sh(text, sizeof(text), "%s %s/oracle/nar.py %s%s", python,
		    tests_dir, root, item[i].path);
		assert_true(
		    digest_from_hex(text, DIGEST_HEX_LEN, &item[i].nar_hash));
		item[i].nar_size = strtoull(text + DIGEST_HEX_LEN, NULL, 10);
		item[i].has_hash = true;
		/* Nix itself, where it is. */
		SH("if command -v nix-hash > /dev/null; then test \"$("
		   "nix-hash --type sha256 ./%s 2> /dev/null)\" = %.64s; fi",
		    item[i].path, text);
	}
	job.spec.verify = true;
	assert_int_equal(case_run(&job, &result, &e), 0);
	assert_memory_equal(&result, &plain, sizeof(plain));

	job.spec.n_outputs = 1;
	job.spec.outputs[0] =
	    (struct layer_output){LAYER_TO_BLOB, blobs, 0, LAYER_SIZE_UNKNOWN};
	for (size_t i = 0; i < n_items; i++) {
		nar_hash_print(&item[i].nar_hash, right);
		item[i].nar_hash.b[31] ^= 1;
		nar_hash_print(&item[i].nar_hash, wrong);
		assert_int_equal(case_run(&job, &result, &e), -1);
		assert_int_equal(e.kind, ERR_JOB);
		assert_non_null(strstr(e.text, item[i].path));
		assert_non_null(strstr(e.text, right));
		assert_non_null(strstr(e.text, wrong));
		item[i].nar_hash.b[31] ^= 1;
		item[i].nar_size++;
		assert_int_equal(case_run(&job, &result, &e), -1);
		assert_int_equal(e.kind, ERR_JOB);
		item[i].nar_size--;
	}
	assert_int_equal(count_blobs(), 0);
	job.spec.verify = false;
	item[0].nar_size++;
	assert_int_equal(case_run(&job, &result, &e), 0);
	assert_int_equal(count_blobs(), 1);
}

/* Larger than octal digits can say: measured, since hashing takes seconds. */
static void
test_sparse(void **state)
{
	struct layer_item one = {.path = PATH};
	struct layer_job job = case_job(&one, 1);
	struct layer_result result;
	uint64_t size = 8589934592, want;
	struct err e;

	(void)state;
	SH("truncate -s %" PRIu64 " ." PATH "/big", size);
	job.spec.measure = true;
	for (int gnu = 0; gnu < 2; gnu++) {
		job.spec.dialect = gnu ? TAR_GNU : TAR_PAX;
		assert_int_equal(case_run(&job, &result, &e), 0);
		/* 3 directories, the file, and its extended header. */
		want = size + (gnu ? 4 : 6) * 512 + 1024;
		want += (10240 - want % 10240) % 10240;
		assert_int_equal(result.tar_size, want);
		assert_int_equal(result.entries, 4);
	}
	if (getenv("QUARRY_LONG_TESTS") == NULL)
		return;
	job.spec.measure = false;
	check(&job);
	job.spec.dialect = TAR_PAX;
	check(&job);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_oracle),
	    cmocka_unit_test(test_metadata),
	    cmocka_unit_test(test_store_dir),
	    cmocka_unit_test(test_outputs),
	    cmocka_unit_test(test_verify),
	    cmocka_unit_test(test_sparse),
	};

	if ((python = getenv("PYTHON")) == NULL)
		python = "python3";
	if ((tests_dir = getenv("QUARRY_TESTS")) == NULL)
		return 77;
	return cmocka_run_group_tests(tests, setup_traps, case_teardown);
}
