#include "root/root_layer.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "err.h"
#include "log.h"
#include "own.h"
#include "request/request.h"

#define STORE "/nix/store/"
#define A STORE "00000000000000000000000000000000-a"
#define B STORE "11111111111111111111111111111111-b"
#define C STORE "22222222222222222222222222222222-c"
#define D STORE "33333333333333333333333333333333-d"

static char *root; /* holds nix/store/... and tree/ */
static char *tree; /* root + "/tree" */
static char warnings[8192];
static char *contents[8];
static struct request_directory directories[4];
static struct request request;

static void
note_warning(void *arg, enum log_level level, const char *line)
{
	(void)level;
	(void)arg;
	strncat(warnings, line, sizeof(warnings) - strlen(warnings) - 2);
	strcat(warnings, "\n");
}

static char *
at(const char *path)
{
	char *out;

	assert_true(asprintf(&out, "%s%s", root, path) > 0);
	return out;
}

static void
folder(const char *path)
{
	AUTO(own_freep) char *full = at(path);

	for (char *slash = full + strlen(root) + 1;; slash++) {
		slash = strchrnul(slash, '/');
		if (*slash == '\0')
			break;
		*slash = '\0';
		assert_true(mkdir(full, 0755) == 0 || errno == EEXIST);
		*slash = '/';
	}
	assert_true(mkdir(full, 0755) == 0 || errno == EEXIST);
}

static void
folder_of(const char *path)
{
	AUTO(own_freep) char *parent = strdup(path);

	*strrchr(parent, '/') = '\0';
	folder(parent);
}

static void
file(const char *path, mode_t mode)
{
	AUTO(own_freep) char *full = at(path);
	int fd;

	folder_of(path);
	assert_true((fd = open(full, O_CREAT | O_EXCL, 0600)) >= 0);
	assert_int_equal(fchmod(fd, mode), 0);
	close(fd);
}

static void
link_to(const char *path, const char *target)
{
	AUTO(own_freep) char *full = at(path);

	folder_of(path);
	assert_int_equal(symlink(target, full), 0);
}

static int
setup(void **state)
{
	char name[] = "/tmp/test-root-XXXXXX";

	(void)state;
	if (mkdtemp(name) == NULL || (root = strdup(name)) == NULL)
		return -1;
	tree = at("/tree");
	warnings[0] = '\0';
	log_start("test", LOG_WARNING);
	log_divert(note_warning, NULL);
	request = (struct request){.contents = contents,
	    .store_dir = "/nix/store",
	    .uid = 7,
	    .gid = 8,
	    .directory = directories};
	return 0;
}

static int
teardown(void **state)
{
	char command[300];

	(void)state;
	log_divert(NULL, NULL);
	snprintf(command, sizeof(command), "rm -rf %s", root);
	free(root);
	free(tree);
	return system(command);
}

static void
add_contents(const char *path)
{
	contents[request.n_contents++] = (char *)path;
}

static struct root_layer *
made(void)
{
	struct root_layer *r = NULL;
	struct err e = ERR_INIT;

	if (root_layer_make(&request, root, &r, &e) < 0)
		fail_msg("%s", e.text);
	return r;
}

/* All entries, "TYPE MODE UID:GID NAME[ -> TARGET]" each on a line. */
static void
expect(const char *want)
{
	AUTO(root_layer_freep) struct root_layer *r = made();
	AUTO(own_freep) char *text = NULL;
	size_t len;
	FILE *f = open_memstream(&text, &len);

	for (size_t i = 0; i < r->n; i++) {
		const struct layer_entry *entry = &r->entry[i];
		const char *target = entry->target;

		/* Where the test's folder is changes. */
		if (strncmp(target, root, strlen(root)) == 0)
			target += strlen(root);
		fprintf(f, "%c %o %d:%d %s%s%s\n", (char)entry->type,
		    entry->mode, (int)entry->uid, (int)entry->gid, entry->name,
		    target[0] != '\0' ? " -> " : "", target);
	}
	fclose(f);
	assert_string_equal(text, want);
}

static void
refused(const char *a, const char *b)
{
	struct root_layer *r = NULL;
	struct err e = ERR_INIT;

	assert_int_equal(root_layer_make(&request, root, &r, &e), -1);
	assert_null(r);
	assert_int_equal(e.kind, ERR_USAGE);
	if (strstr(e.text, a) == NULL || strstr(e.text, b) == NULL)
		fail_msg("'%s' lacks '%s' or '%s'", e.text, a, b);
}

static void
test_nothing(void **state)
{
	(void)state;
	expect("");
}

static void
test_contents(void **state)
{
	(void)state;
	file(A "/bin/sh", 0555);
	link_to(A "/bin/bash", "sh");
	file(A "/a.b", 0444);
	file(A "/a/b", 0444);
	folder(A "/empty");
	link_to(A "/lib", "/nowhere");
	file(B "/bin/awk", 0555);
	add_contents(A);
	add_contents(B);
	add_contents(A);
	/* "a/b" before "a.b": by components, not by whole names. */
	expect("5 755 7:8 /a\n"
	       "2 777 7:8 /a/b -> " A "/a/b\n"
	       "2 777 7:8 /a.b -> " A "/a.b\n"
	       "5 755 7:8 /bin\n"
	       "2 777 7:8 /bin/awk -> " B "/bin/awk\n"
	       "2 777 7:8 /bin/bash -> " A "/bin/bash\n"
	       "2 777 7:8 /bin/sh -> " A "/bin/sh\n"
	       "5 755 7:8 /empty\n"
	       "2 777 7:8 /lib -> " A "/lib\n");
	assert_string_equal(warnings, "");
}

static void
test_conflicts(void **state)
{
	(void)state;
	file(A "/bin/sh", 0555);
	file(A "/x", 0444);
	file(A "/y/in-a", 0444);
	file(B "/bin/sh", 0555);
	file(B "/x/below", 0444);
	file(B "/y", 0444);
	add_contents(A);
	add_contents(B);
	expect("5 755 7:8 /bin\n"
	       "2 777 7:8 /bin/sh -> " A "/bin/sh\n"
	       "2 777 7:8 /x -> " A "/x\n"
	       "5 755 7:8 /y\n"
	       "2 777 7:8 /y/in-a -> " A "/y/in-a\n");
	assert_non_null(strstr(
	    warnings, "/bin/sh is in " A " and in " B ": the first is used\n"));
	assert_non_null(strstr(warnings, "/x is in " A " and in " B));
	assert_non_null(strstr(warnings, "/y is in " A " and in " B));
	assert_null(strstr(warnings, "/below"));
}

static void
test_many_conflicts(void **state)
{
	char name[200];

	(void)state;
	for (int i = 0; i < 50; i++) {
		snprintf(name, sizeof(name), A "/%d", i);
		file(name, 0444);
		snprintf(name, sizeof(name), B "/%d", i);
		file(name, 0444);
	}
	add_contents(A);
	add_contents(B);
	root_layer_free(made());
	assert_non_null(strstr(warnings, "30 more files"));
}

/* A link to a folder of the store, as it is under the other root. */
static void
test_contents_link(void **state)
{
	(void)state;
	file(A "/sub/bin/sh", 0555);
	link_to(B, A "/sub");
	link_to(C, "11111111111111111111111111111111-b/../sub");
	add_contents(B);
	expect("5 755 7:8 /bin\n"
	       "2 777 7:8 /bin/sh -> " B "/bin/sh\n");
	contents[0] = (char *)C;
	expect("5 755 7:8 /bin\n"
	       "2 777 7:8 /bin/sh -> " C "/bin/sh\n");
}

static void
test_contents_bad(void **state)
{
	(void)state;
	add_contents(A);
	refused(A, "No such file");
	link_to(B, "/etc");
	contents[0] = (char *)B;
	refused(B, "'/etc', which is not in the store");
	link_to(C, "../../etc");
	contents[0] = (char *)C;
	refused(C, "not in the store");
	link_to(D, "33333333333333333333333333333333-d");
	contents[0] = (char *)D;
	refused(D, "Too many levels");
}

static void
test_contents_file(void **state)
{
	(void)state;
	file(A, 0444);
	add_contents(A);
	expect("");
	assert_non_null(strstr(warnings, A " is not a folder"));
}

static void
test_root_tree(void **state)
{
	(void)state;
	file(A "/etc/a", 0444);
	file(A "/etc/b", 0444);
	folder(A "/var");
	add_contents(A);
	file("/tree/etc/a", 04755);
	file("/tree/etc/c", 0640);
	link_to("/tree/link", "target");
	file("/tree/var", 0600); /* in the place of an empty folder */
	folder("/tree/tmp");
	{
		AUTO(own_freep) char *tmp = at("/tree/tmp");

		assert_int_equal(chmod(tmp, 01777), 0);
	}
	request.root_tree = tree;
	expect("5 755 7:8 /etc\n"
	       "0 4755 7:8 /etc/a -> /tree/etc/a\n"
	       "2 777 7:8 /etc/b -> " A "/etc/b\n"
	       "0 640 7:8 /etc/c -> /tree/etc/c\n"
	       "2 777 7:8 /link -> target\n"
	       "5 1777 7:8 /tmp\n"
	       "0 600 7:8 /var -> /tree/var\n");
	assert_string_equal(warnings, "");
}

static void
test_root_tree_collides(void **state)
{
	AUTO(own_freep) char *fifo = at("/tree/fifo");

	(void)state;
	file(A "/etc/a", 0444);
	file("/tree/etc", 0444);
	add_contents(A);
	request.root_tree = tree;
	refused("/etc is a file in", A);
	contents[0] = (char *)B;
	file(B "/etc", 0444);
	request.n_contents = 1;
	{
		AUTO(own_freep) char *path = at("/tree/etc");

		assert_int_equal(unlink(path), 0);
	}
	folder("/tree/etc");
	refused("/etc is a folder in", B);
	request.n_contents = 0;
	assert_int_equal(mkfifo(fifo, 0600), 0);
	refused("/tree/fifo", "neither");
	request.root_tree = "/nonexistent";
	refused("/nonexistent", "No such file");
}

static void
test_directories(void **state)
{
	(void)state;
	file(A "/etc/a", 0444);
	add_contents(A);
	directories[0] = (struct request_directory){"/tmp", 01777, 0, 0};
	directories[1] = (struct request_directory){"/etc", 0700, 1, 2};
	directories[2] = (struct request_directory){"/var/lib/x", 0750, 3, 4};
	request.n_directories = 3;
	expect("5 700 1:2 /etc\n"
	       "2 777 7:8 /etc/a -> " A "/etc/a\n"
	       "5 1777 0:0 /tmp\n"
	       "5 755 7:8 /var\n"
	       "5 755 7:8 /var/lib\n"
	       "5 750 3:4 /var/lib/x\n");
	directories[0].path = "/etc/a/b";
	refused("/etc/a/b", A);
	directories[0].path = "/";
	refused("directories", "root directory");
}

static void
test_store_in_the_way(void **state)
{
	(void)state;
	link_to("/tree/nix", "elsewhere");
	request.root_tree = tree;
	refused("/nix", tree);
}

/* Names of every trap; each comes out as it is. */
static void
test_odd_names(void **state)
{
	(void)state;
	file(A "/new\nline", 0444);
	file(A "/\xff\xfe", 0444);
	file(A "/\xc3\xbc", 0444);
	file(A "/ ", 0444);
	add_contents(A);
	expect("2 777 7:8 /  -> " A "/ \n"
	       "2 777 7:8 /new\nline -> " A "/new\nline\n"
	       "2 777 7:8 /\xc3\xbc -> " A "/\xc3\xbc\n"
	       "2 777 7:8 /\xff\xfe -> " A "/\xff\xfe\n");
}

/* Deeper than PATH_MAX, which only a chain of openat calls can reach. */
static void
test_deep(void **state)
{
	AUTO(own_freep) char *top = at("/tree");
	AUTO(root_layer_freep) struct root_layer *r = NULL;
	char part[200];
	int dir, depth = 30;

	(void)state;
	folder("/tree");
	memset(part, 'd', sizeof(part) - 1);
	part[sizeof(part) - 1] = '\0';
	assert_true((dir = open(top, O_RDONLY | O_DIRECTORY)) >= 0);
	for (int i = 0; i < depth; i++) {
		int next;

		assert_int_equal(mkdirat(dir, part, 0700), 0);
		next = openat(dir, part, O_RDONLY | O_DIRECTORY);
		close(dir);
		assert_true((dir = next) >= 0);
	}
	close(dir);
	request.root_tree = tree;
	r = made();
	assert_int_equal(r->n, depth);
	assert_int_equal(strlen(r->entry[depth - 1].name), depth * 200);
}

/* 30,000 files in one folder: no loop inside a loop. */
static void
test_large(void **state)
{
	AUTO(own_freep) char *top = at(A "/many");
	AUTO(root_layer_freep) struct root_layer *r = NULL;
	struct timespec before, after;
	int dir, n = 30000;
	char name[20];

	(void)state;
	folder(A "/many");
	assert_true((dir = open(top, O_RDONLY | O_DIRECTORY)) >= 0);
	for (int i = 0; i < n; i++) {
		snprintf(name, sizeof(name), "%d", i);
		assert_int_equal(symlinkat("x", dir, name), 0);
	}
	close(dir);
	add_contents(A);
	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &before);
	r = made();
	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &after);
	assert_int_equal(r->n, n + 1);
	assert_true(after.tv_sec - before.tv_sec < 2);
	for (size_t i = 2; i < r->n; i++)
		assert_true(strcmp(r->entry[i - 1].name, r->entry[i].name) < 0);
}

int
main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {
	    TEST(test_nothing),
	    TEST(test_contents),
	    TEST(test_conflicts),
	    TEST(test_many_conflicts),
	    TEST(test_contents_link),
	    TEST(test_contents_bad),
	    TEST(test_contents_file),
	    TEST(test_root_tree),
	    TEST(test_root_tree_collides),
	    TEST(test_directories),
	    TEST(test_store_in_the_way),
	    TEST(test_odd_names),
	    TEST(test_deep),
	    TEST(test_large),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
