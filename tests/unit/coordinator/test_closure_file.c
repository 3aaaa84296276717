#include "closure/closure_file.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "closure/closure.h"
#include "closure/closure_input.h"
#include "err.h"
#include "own.h"
#include "store_path.h"

/* What the tests read: closure/ in the folder of the tests. */
static void
in_tests(char path[static 4096], const char *folder, const char *name)
{
	const char *tests = getenv("QUARRY_TESTS");

	snprintf(path, 4096, "%s/closure/%s%s%s",
	    tests != NULL ? tests : "tests", folder, *folder ? "/" : "", name);
}

static char *
slurp(const char *path, size_t *len)
{
	FILE *f = fopen(path, "rb");
	char *s = malloc(1 << 20);

	if (f == NULL || s == NULL)
		fail_msg("%s: %s", path, strerror(errno));
	*len = fread(s, 1, (1 << 20) - 1, f);
	s[*len] = '\0';
	fclose(f);
	return s;
}

/* A closure as text, one path a line. */
static char *
dump(const struct closure *c)
{
	char hex[DIGEST_HEX_LEN + 1], *s = NULL;
	size_t len;
	FILE *f = open_memstream(&s, &len);

	assert_non_null(f);
	for (size_t i = 0; i < c->n; i++) {
		fprintf(f, "%s", c->path[i]);
		if (c->nar_hash != NULL) {
			digest_hex(&c->nar_hash[i], hex);
			fprintf(f, " %s", hex);
		}
		if (c->nar_size != NULL)
			fprintf(f, " %llu", (unsigned long long)c->nar_size[i]);
		for (size_t k = c->ref_start[i]; k < c->ref_start[i + 1]; k++)
			fprintf(f, " %u", c->ref[k]);
		fprintf(f, "\n");
	}
	fclose(f);
	return s;
}

/* Through a descriptor, in reads of chunk bytes; 0: from memory. */
static int
read_by(const char *path, size_t chunk, struct closure **c, struct err *e)
{
	AUTO(closure_input_close) struct closure_input in = {.fd = -1};
	AUTO(own_freep) char *data = NULL;
	AUTO(own_closep) int fd = -1;
	size_t len;

	if (chunk == 0) {
		data = slurp(path, &len);
		closure_input_memory(&in, data, len);
	} else {
		fd = open(path, O_RDONLY | O_CLOEXEC);
		assert_true(fd >= 0);
		assert_int_equal(closure_input_open(&in, fd, e), 0);
		in.chunk = chunk;
	}
	return closure_file_take(&in, STORE_DIR_DEFAULT, c, e);
}

static const size_t chunks[] = {0, 1, 7, CLOSURE_INPUT_WINDOW};

#define N_CHUNKS (sizeof(chunks) / sizeof(chunks[0]))

static void
assert_reads_as(const char *path, const char *want)
{
	for (size_t i = 0; i < N_CHUNKS; i++) {
		AUTO(closure_freep) struct closure *c = NULL;
		AUTO(own_freep) char *got = NULL;
		struct err e = ERR_INIT;

		if (read_by(path, chunks[i], &c, &e) < 0)
			fail_msg("%s: %s", path, e.text);
		got = dump(c);
		if (strcmp(got, want) != 0)
			fail_msg("%s by %zu:\n%s", path, chunks[i], got);
	}
}

/* Calls with every file of a folder, but not *.want; returns how many. */
static int
each_file(const char *folder, void (*call)(const char *path))
{
	char path[4096];
	struct dirent *entry;
	int n = 0;
	DIR *dir;

	in_tests(path, folder, "");
	if ((dir = opendir(path)) == NULL)
		fail_msg("%s: %s", path, strerror(errno));
	while ((entry = readdir(dir)) != NULL) {
		if (entry->d_name[0] == '.' ||
		    strstr(entry->d_name, ".want") != NULL)
			continue;
		in_tests(path, folder, entry->d_name);
		call(path);
		n++;
	}
	closedir(dir);
	return n;
}

static void
check_same(const char *path)
{
	AUTO(own_freep) char *want = NULL;
	char want_path[4096];
	size_t len;

	in_tests(want_path, "", "same.want");
	want = slurp(want_path, &len);
	assert_reads_as(path, want);
}

static void
all_shapes_are_one_closure(void **state)
{
	(void)state;
	assert_true(each_file("same", check_same) >= 17);
}

static void
check_fails(const char *path)
{
	AUTO(own_freep) char *want = NULL;
	char first[ERR_TEXT_MAX] = "", want_path[4200];
	size_t len;

	snprintf(want_path, sizeof(want_path), "%s.want", path);
	want = slurp(want_path, &len);
	want[strcspn(want, "\n")] = '\0';
	for (size_t i = 0; i < N_CHUNKS; i++) {
		AUTO(closure_freep) struct closure *c = NULL;
		struct err e = ERR_INIT;

		if (read_by(path, chunks[i], &c, &e) == 0)
			fail_msg("%s was taken", path);
		assert_int_equal(e.kind, ERR_USAGE);
		assert_null(c);
		if (strstr(e.text, want) == NULL)
			fail_msg("%s: '%s', not '%s'", path, e.text, want);
		if (strchr(e.text, '\n') != NULL ||
		    strchr(e.text, '\x1b') != NULL)
			fail_msg("%s: not one clean line", path);
		if (i == 0)
			memcpy(first, e.text, sizeof(first));
		else
			assert_string_equal(e.text, first);
	}
}

static void
bad_files_are_refused(void **state)
{
	(void)state;
	assert_true(each_file("should-fail", check_fails) >= 90);
}

/* Every beginning of a good file is refused, whatever the shape. */
static void
check_cut(const char *path)
{
	AUTO(own_freep) char *data = NULL, *copy = NULL;
	size_t len, end;

	data = slurp(path, &len);
	end = len;
	while (strstr(path, ".json") != NULL && data[end - 1] != ']' &&
	    data[end - 1] != '}')
		end--;
	for (size_t n = 0; n < end; n++) {
		AUTO(closure_freep) struct closure *c = NULL;
		struct err e = ERR_INIT;

		/* Exactly as long, so that ASan sees any byte beyond. */
		copy = malloc(n + 1);
		assert_non_null(copy);
		copy = realloc(copy, n > 0 ? n : 1);
		memcpy(copy, data, n);
		if (closure_file_parse(
			"f", copy, n, STORE_DIR_DEFAULT, &c, &e) == 0)
			fail_msg("%s cut at %zu was taken", path, n);
		assert_int_equal(e.kind, ERR_USAGE);
		assert_memory_equal(e.text, "f: ", 3);
		own_freep(&copy);
	}
}

static void
cut_files_are_refused(void **state)
{
	(void)state;
	each_file("same", check_cut);
}

static void
classic_text(void **state)
{
	char path[4096];
#define S "/nix/store/"
	static const char want[] =
	    S "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa-app-1.0 1 2\n" S
	      "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb-bash-5.2+b1 2\n" S
	      "gggggggggggggggggggggggggggggggg-glibc_2.38\n" S
	      "zzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzz-z.lib=1?x 0\n";

	(void)state;
	in_tests(path, "", "classic.txt");
	assert_reads_as(path, want);
}

static void
assert_parses(const char *s, size_t n)
{
	AUTO(closure_freep) struct closure *c = NULL;
	AUTO(own_freep) char *copy = strdup(s);
	struct err e = ERR_INIT;

	if (closure_file_parse(
		"f", copy, strlen(s), STORE_DIR_DEFAULT, &c, &e) < 0)
		fail_msg("%s: %s", s, e.text);
	assert_int_equal(c->n, n);
}

static void
closures_of_none(void **state)
{
	(void)state;
	assert_parses("[]", 0);
	assert_parses(" { } ", 0);
}

static void
without_hashes(void **state)
{
	AUTO(closure_freep) struct closure *c = NULL;
	struct err e = ERR_INIT;
	char s[] = "[{\"path\":\"/nix/store/"
		   "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa-a\",\"narSize\":5,"
		   "\"references\":[]}]";

	(void)state;
	assert_int_equal(
	    closure_file_parse("f", s, strlen(s), STORE_DIR_DEFAULT, &c, &e),
	    0);
	assert_null(c->nar_hash);
	assert_int_equal(c->nar_size[0], 5);
}

static void
other_store_directory(void **state)
{
	AUTO(closure_freep) struct closure *c = NULL;
	struct err e = ERR_INIT;
	char s[] = "{\"storeDir\":\"/gnu/store\",\"info\":{"
		   "\"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa-a\":{\"narSize\":5,"
		   "\"references\":[]}}}";

	(void)state;
	assert_int_equal(
	    closure_file_parse("f", s, strlen(s), "/gnu/store", &c, &e), 0);
	assert_string_equal(
	    c->path[0], "/gnu/store/aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa-a");
}

static void
assert_unreadable(const char *name, const char *want)
{
	struct closure *c = NULL;
	struct err e = ERR_INIT;

	assert_int_equal(
	    closure_file_read(name, STORE_DIR_DEFAULT, &c, &e), -1);
	assert_int_equal(e.kind, ERR_USAGE);
	assert_string_equal(e.text, want);
}

static void
files_that_are_not(void **state)
{
	(void)state;
	assert_unreadable("/nonexistent/x.json",
	    "/nonexistent/x.json: cannot open: No such file or directory");
	assert_unreadable("/", "/: cannot read: Is a directory");
	assert_unreadable("/dev/null", "/dev/null: empty: a closure is wanted");
}

static void
standard_input(void **state)
{
	AUTO(closure_freep) struct closure *c = NULL;
	struct err e = ERR_INIT;
	char path[4096];
	int saved = dup(STDIN_FILENO), fd;

	(void)state;
	in_tests(path, "same", "registration.txt");
	fd = open(path, O_RDONLY | O_CLOEXEC);
	assert_true(fd >= 0 && dup2(fd, STDIN_FILENO) == STDIN_FILENO);
	close(fd);
	assert_int_equal(closure_file_read("-", STORE_DIR_DEFAULT, &c, &e), 0);
	assert_int_equal(c->n, 4);
	closure_freep(&c);
	/* Now at its end. */
	assert_int_equal(closure_file_read("-", STORE_DIR_DEFAULT, &c, &e), -1);
	assert_string_equal(
	    e.text, "standard input: empty: a closure is wanted");
	dup2(saved, STDIN_FILENO);
	close(saved);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(all_shapes_are_one_closure),
	    cmocka_unit_test(bad_files_are_refused),
	    cmocka_unit_test(cut_files_are_refused),
	    cmocka_unit_test(classic_text),
	    cmocka_unit_test(closures_of_none),
	    cmocka_unit_test(without_hashes),
	    cmocka_unit_test(other_store_directory),
	    cmocka_unit_test(files_that_are_not),
	    cmocka_unit_test(standard_input),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
