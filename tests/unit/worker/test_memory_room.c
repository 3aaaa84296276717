/* Limits of all kinds, in a tree that looks like /proc and /sys. */
#include "memory_room.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cmocka.h>

static char root[] = "/tmp/test_memory.XXXXXX";

static void
run(const char *what)
{
	char command[400];

	snprintf(command, sizeof(command), "cd %s && %s", root, what);
	assert_int_equal(system(command), 0);
}

static void
test_room(void **state)
{
	struct rlimit limit, before;

	(void)state;
	assert_true(memory_room(root) == UINT64_MAX);
	run("mkdir -p proc/self sys/fs/cgroup/a/b");
	run("printf 'MemTotal: 9000 kB\\nMemAvailable:  4096 kB\\n' "
	    ">proc/meminfo");
	assert_int_equal(memory_room(root), 4 << 20);
	run("printf '1:cpu:/x\\n0::/a/b\\n' >proc/self/cgroup");
	assert_int_equal(memory_room(root), 4 << 20);
	run("echo 3000000 >sys/fs/cgroup/a/b/memory.max");
	assert_int_equal(memory_room(root), 3000000);
	/* One that holds the group has less. */
	run("echo 2000000 >sys/fs/cgroup/a/memory.max");
	assert_int_equal(memory_room(root), 2000000);
	run("echo max >sys/fs/cgroup/a/memory.max");
	assert_int_equal(memory_room(root), 3000000);
	run("echo 1000000 >sys/fs/cgroup/memory.max");
	assert_int_equal(memory_room(root), 1000000);
	run("rm sys/fs/cgroup/memory.max sys/fs/cgroup/a/b/memory.max");
	run("printf '0::/\\n' >proc/self/cgroup");
	assert_int_equal(memory_room(root), 4 << 20);
	run("rm proc/meminfo");
	assert_int_equal(getrlimit(RLIMIT_AS, &before), 0);
	limit = before;
	limit.rlim_cur = (rlim_t)1 << 46;
	assert_int_equal(setrlimit(RLIMIT_AS, &limit), 0);
	assert_true(memory_room(root) == (uint64_t)1 << 46);
	assert_int_equal(setrlimit(RLIMIT_AS, &before), 0);
	/* This machine has some. */
	assert_true(memory_room("") > 1 << 20);
	run("rm -rf proc sys");
}

/* Of what is allowed, without what is in use; files' pages are not. */
static void
test_left(void **state)
{
	(void)state;
	assert_true(memory_left(root) == UINT64_MAX);
	assert_int_equal(memory_taken(root), 0);
	run("mkdir -p proc/self sys/fs/cgroup/a/b");
	run("echo 'MemAvailable: 4096 kB' >proc/meminfo");
	run("echo 0::/a/b >proc/self/cgroup");
	assert_int_equal(memory_left(root), 4 << 20);
	run("echo 3000000 >sys/fs/cgroup/a/b/memory.max");
	assert_int_equal(memory_left(root), 3000000);
	run("echo 2500000 >sys/fs/cgroup/a/b/memory.current");
	assert_int_equal(memory_left(root), 500000);
	run("printf 'anon 5\\ninactive_file 300000\\nactive_file 100000\\n"
	    "slab_reclaimable 50000\\n' >sys/fs/cgroup/a/b/memory.stat");
	assert_int_equal(memory_left(root), 950000);
	run("echo 2600000 >sys/fs/cgroup/a/b/memory.high");
	assert_int_equal(memory_left(root), 550000);
	run("echo 2000000 >sys/fs/cgroup/a/b/memory.high");
	assert_int_equal(memory_left(root), 0);
	run("echo max >sys/fs/cgroup/a/b/memory.high");
	/* More files than there is in use: they are of another moment. */
	run("echo inactive_file 9000000 >sys/fs/cgroup/a/b/memory.stat");
	assert_int_equal(memory_left(root), 3000000);
	run("echo 1000000 >sys/fs/cgroup/a/memory.max");
	run("echo 1200000 >sys/fs/cgroup/a/memory.current");
	assert_int_equal(memory_left(root), 0);
	run("echo '100 30 10 0 0 0 0' >proc/self/statm");
	assert_int_equal(memory_taken(root), 20 * getpagesize());
	assert_true(memory_left("") > 1 << 20);
	assert_true(memory_taken("") > 1 << 16);
	run("rm -rf proc sys");
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_room), cmocka_unit_test(test_left)};
	char command[64];
	int rc;

	if (mkdtemp(root) == NULL)
		return 1;
	rc = cmocka_run_group_tests(tests, NULL, NULL);
	snprintf(command, sizeof(command), "rm -rf %s", root);
	return system(command) != 0 ? 1 : rc;
}
