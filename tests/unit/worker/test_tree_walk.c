#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

#include "err.h"
#include "layer_spec.h"
#include "look_ahead.h"
#include "tree_walk.h"

#define PATH "/nix/store/00000000000000000000000000000000-x"

static char root[64];
static const struct layer_item item = {.path = PATH};

static int
setup(void **state)
{
	char command[200];

	(void)state;
	snprintf(root, sizeof(root), "/tmp/walk.XXXXXX");
	if (mkdtemp(root) == NULL)
		return -1;
	snprintf(command, sizeof(command), "mkdir -p %s" PATH, root);
	return system(command);
}

static int
teardown(void **state)
{
	char command[100];

	(void)state;
	snprintf(command, sizeof(command), "chmod -R u+rwx %s; rm -rf %s", root,
	    root);
	return system(command);
}

static void __attribute__((format(printf, 1, 2))) sh(const char *fmt, ...)
{
	char command[1024];
	int n = snprintf(command, sizeof(command), "cd %s" PATH " && ", root);
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(command + n, sizeof(command) - (size_t)n, fmt, ap);
	va_end(ap);
	assert_int_equal(system(command), 0);
}

static size_t
count_fds(void)
{
	DIR *dir = opendir("/proc/self/fd");
	size_t n = 0;

	while (readdir(dir) != NULL)
		n++;
	closedir(dir);
	return n;
}

/* Walks it all; -1 on failure, else the number of entries. */
static long
walk(const struct layer_item *items, size_t n, struct err *e)
{
	struct tree_walk *w = NULL;
	struct look_ahead *la = NULL;
	struct tree_entry entry;
	size_t fds = count_fds();
	long count = 0;
	int rc;

	if (tree_walk_new("/nix/store", root, items, n, true, &w, e) < 0)
		return -1;
	assert_int_equal(look_ahead_new(w, LOOK_AHEAD_FILES, &la, e), 0);
	while ((rc = look_ahead_next(la, &entry, e)) > 0) {
		assert_true((entry.fd >= 0) == (entry.type == TAR_REGULAR));
		count++;
	}
	look_ahead_free(la);
	tree_walk_free(w);
	assert_int_equal(count_fds(), fds);
	return rc < 0 ? -1 : count;
}

/* It fails by this kind and names this. */
static void
fails(enum err_kind kind, const char *name, const char *why)
{
	struct err e = ERR_INIT;

	assert_int_equal(walk(&item, 1, &e), -1);
	assert_int_equal(e.kind, kind);
	if (strstr(e.text, name) == NULL || strstr(e.text, why) == NULL)
		fail_msg("'%s' and '%s' are not in: %s", name, why, e.text);
	if (strchr(e.text, '\n') != NULL)
		fail_msg("more than one line: %s", e.text);
}

static void
test_order(void **state)
{
	static const char *const want[] = {"", "/B", "/a", "/a/b", "/a/b/z",
	    "/a/c", "/a-b", "/a.b", "/aa", "/b"};
	struct tree_walk *w = NULL;
	struct tree_entry entry;
	struct err e = ERR_INIT;
	char name[200];

	(void)state;
	sh("mkdir -p a/b && touch a.b a-b aa a/b/z a/c b B");
	assert_int_equal(
	    tree_walk_new("/nix/store", root, &item, 1, true, &w, &e), 0);
	for (size_t i = 0; i < sizeof(want) / sizeof(want[0]); i++) {
		assert_int_equal(tree_walk_next(w, &entry, &e), 1);
		snprintf(name, sizeof(name), PATH "%s", want[i]);
		assert_string_equal(entry.name, name);
		if (entry.fd >= 0)
			close(entry.fd);
	}
	assert_int_equal(tree_walk_next(w, &entry, &e), 0);
	assert_int_equal(tree_walk_next(w, &entry, &e), 0);
	tree_walk_free(w);
	tree_walk_free(NULL);
	look_ahead_free(NULL);
}

/* Deeper than there are files to open or bytes in a path; no deeper. */
static void
test_deep(void **state)
{
	struct rlimit old, few = {64, 64};
	struct err e = ERR_INIT;

	(void)state;
	sh("python3 -c 'import os\n"
	   "for i in range(4000):\n os.mkdir(\"d\"); os.chdir(\"d\")\n"
	   "open(\"f\", \"w\")'");
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &old), 0);
	few.rlim_max = old.rlim_max;
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &few), 0);
	assert_int_equal(walk(&item, 1, &e), 4002);
	sh("python3 -c 'import os\n"
	   "for i in range(4000): os.chdir(\"d\")\n"
	   "for i in range(70):\n os.mkdir(\"d\"); os.chdir(\"d\")'");
	assert_int_equal(walk(&item, 1, &e), 4072);
	sh("python3 -c 'import os\n"
	   "for i in range(4070): os.chdir(\"d\")\n"
	   "for i in range(10):\n os.mkdir(\"d\"); os.chdir(\"d\")'");
	fails(ERR_JOB, PATH, "more than 8192 bytes");
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &old), 0);
}

/* No more files are open than there may be, and all are handed out. */
static void
test_files_ahead(void **state)
{
	static const size_t may[] = {0, 1, 4, 100};
	struct look_ahead *la = NULL;
	struct tree_walk *w = NULL;
	struct tree_entry entry;
	struct err e = ERR_INIT;

	(void)state;
	sh("mkdir d && seq 1000 | sed s,^,d/, | xargs touch");
	for (size_t i = 0; i < sizeof(may) / sizeof(may[0]); i++) {
		/* The store's directory, the path's, d, the reader's file. */
		size_t most = count_fds() + 4 + may[i], n = 0;

		assert_int_equal(
		    tree_walk_new("/nix/store", root, &item, 1, true, &w, &e),
		    0);
		assert_int_equal(look_ahead_new(w, may[i], &la, &e), 0);
		for (; look_ahead_next(la, &entry, &e) > 0; n++)
			assert_true(count_fds() <= most);
		assert_int_equal(n, 1002);
		look_ahead_freep(&la);
		tree_walk_freep(&w);
	}
}

/* Many files at once in flight, few allowed. */
static void
test_few_files(void **state)
{
	struct rlimit old, few = {20, 20};
	struct err e = ERR_INIT;
	int next = dup(0);
	long enough, short_of;

	(void)state;
	close(next);
	sh("mkdir d && seq 1000 | sed s,^,d/, | xargs touch");
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &old), 0);
	few.rlim_max = old.rlim_max;
	few.rlim_cur = (rlim_t)next + 6;
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &few), 0);
	enough = walk(&item, 1, &e);
	/* The store's directory, the store path, and d: no file. */
	few.rlim_cur = (rlim_t)next + 3;
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &few), 0);
	short_of = walk(&item, 1, &e);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &old), 0);
	assert_int_equal(enough, 1002);
	assert_int_equal(short_of, -1);
	assert_int_equal(e.kind, ERR_RETRY);
	assert_int_equal(e.sys, EMFILE);
}

/* Scouts change nothing, whenever they come and go, whatever they meet. */
static void
test_scout(void **state)
{
	static const struct layer_item items[] = {{.path = "bad"},
	    {.path = PATH},
	    {.path = "/nix/store/00000000000000000000000000000000-none"},
	    {.path = "/nix/store/../.."}};
	struct err e = ERR_INIT;

	(void)state;
	sh("mkdir -p $(seq 1500 | sed 's,..,&/,g') && touch 99/f && "
	   "mkdir %0200d && ln -s 99 link",
	    0);
	for (int at = 0; at < 2000; at += 397) {
		struct tree_walk *w = NULL;
		struct tree_entry entry;
		int n = 0;

		/* From the good one on; and, at 0, with what is around it. */
		assert_int_equal(tree_walk_new("/nix/store", root,
				     at == 0 ? items : items + 1,
				     at == 0 ? 4 : 1, true, &w, &e),
		    0);
		if (at == 0)
			tree_walk_scout(w);
		while (at > 0 && tree_walk_next(w, &entry, &e) > 0) {
			if (entry.fd >= 0)
				close(entry.fd);
			if (++n == at)
				tree_walk_scout(w);
			if (at % 2 == 0 && n == at + 5)
				break;
		}
		assert_true(n > 1500 || at % 2 == 0);
		assert_int_equal(e.kind, ERR_NONE);
		tree_walk_free(w);
	}
}

static void
test_special(void **state)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd;

	(void)state;
	sh("mkdir d && mkfifo d/pipe");
	fails(ERR_JOB, PATH "/d/pipe", "fifo");
	sh("rm d/pipe");
	snprintf(address.sun_path, sizeof(address.sun_path), "%s" PATH "/sock",
	    root);
	assert_true((fd = socket(AF_UNIX, SOCK_STREAM, 0)) >= 0);
	assert_int_equal(
	    bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	close(fd);
	fails(ERR_JOB, PATH "/sock", "socket");
	sh("rm sock");
	if (geteuid() != 0)
		return;
	sh("mknod null c 1 3");
	fails(ERR_JOB, PATH "/null", "character device");
}

static void
test_paths(void **state)
{
	static const struct layer_item items[] = {
	    {.path = "/nix/store/00000000000000000000000000000000-none"},
	    {.path = "/etc/passwd"},
	    {.path = "/nix/store/../../etc"},
	    {.path = PATH "/d"},
	    {.path = ""},
	};
	struct err e = ERR_INIT;

	(void)state;
	sh("mkdir d");
	for (size_t i = 0; i < sizeof(items) / sizeof(items[0]); i++) {
		err_clear(&e);
		assert_int_equal(walk(&items[i], 1, &e), -1);
		assert_true(e.kind == (i == 0 ? ERR_JOB : ERR_USAGE));
		assert_non_null(strstr(e.text, items[i].path));
	}
	err_clear(&e);
	assert_int_equal(walk(&item, 0, &e), 0);
}

/* Whatever a name holds, an error is one line, and not too long a one. */
static void
test_shown(void **state)
{
	char shown[TREE_SHOWN_MAX], name[5000];

	(void)state;
	tree_show("/root", "/a\nb\x1b[2J\x7f", shown);
	assert_string_equal(shown, "/root/a?b?[2J?");
	memset(name, 'n', sizeof(name) - 1);
	name[sizeof(name) - 1] = '\0';
	memcpy(name, "/start", 6);
	memcpy(name + sizeof(name) - 4, "end", 3);
	tree_show("", name, shown);
	assert_true(strlen(shown) < sizeof(shown));
	assert_memory_equal(shown, "/start", 6);
	assert_non_null(strstr(shown, "..."));
	assert_string_equal(shown + strlen(shown) - 3, "end");
	for (size_t len = TREE_SHOWN_MAX - 10; len < TREE_SHOWN_MAX + 10;
	     len++) {
		memset(name, 'n', len);
		name[len] = '\0';
		tree_show("", name, shown);
		assert_true(strlen(shown) < sizeof(shown));
		if (len < TREE_SHOWN_MAX)
			assert_int_equal(strlen(shown), len);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(test_order, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_deep, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_files_ahead, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_few_files, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_scout, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_special, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_paths, setup, teardown),
	    cmocka_unit_test(test_shown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
