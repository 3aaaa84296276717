/* Jobs are let in by what is left, in a tree that looks like /proc and /sys. */
#include "memory_gate.h"

#include <errno.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "encode_crew.h"
#include "encoding.h"
#include "err.h"
#include "layer_inputs.h"
#include "layer_run.h"
#include "memory_room.h"

enum { MIB = 1 << 20 };

static char root[] = "/tmp/test_gate.XXXXXX";

static void
put(const char *name, const char *text)
{
	char path[200];
	FILE *f;

	snprintf(path, sizeof(path), "%s/%s", root, name);
	f = fopen(path, "w");
	assert_non_null(f);
	assert_true(fputs(text, f) >= 0);
	fclose(f);
}

/* MiB that the system has left, and that this process has. */
static void
memory(unsigned left, unsigned taken)
{
	char text[100];

	snprintf(text, sizeof(text), "MemAvailable: %u kB\n", left * 1024);
	put("proc/meminfo", text);
	snprintf(text, sizeof(text), "0 %lu 0 0 0 0 0\n",
	    (unsigned long)taken * MIB / (unsigned long)getpagesize());
	put("proc/self/statm", text);
}

static bool
enters(struct memory_gate *g, unsigned mib)
{
	struct err e = ERR_INIT;

	if (memory_gate_enter(g, (uint64_t)mib * MIB, &e) == 0)
		return true;
	assert_int_equal(e.kind, ERR_RETRY);
	assert_int_equal(e.sys, ENOMEM);
	return false;
}

static struct memory_gate *
gate(void)
{
	struct memory_gate *g;
	struct err e = ERR_INIT;

	assert_int_equal(memory_gate_new(root, &g, &e), 0);
	return g;
}

/* 32 MiB stay free. */
static void
test_lets_in(void **state)
{
	struct memory_gate *g = gate();

	(void)state;
	memory(100, 10);
	assert_true(enters(g, 20));
	assert_true(enters(g, 20));
	assert_true(enters(g, 20));
	assert_false(enters(g, 20)); /* 80 + 32 */
	assert_true(enters(g, 8));
	memory_gate_leave(g, 20 * MIB);
	assert_true(enters(g, 20));
	memory_gate_free(g);
}

/* What jobs have taken by now is counted once. */
static void
test_taken(void **state)
{
	struct memory_gate *g = gate();

	(void)state;
	memory(100, 10);
	assert_true(enters(g, 60));
	assert_false(enters(g, 20));
	memory(60, 50); /* 20 of it are still to come */
	assert_false(enters(g, 20));
	memory(72, 50);
	assert_true(enters(g, 20));
	memory(40, 300); /* it took more than it should */
	assert_true(enters(g, 0));
	memory(31, 300);
	assert_false(enters(g, 0));
	memory_gate_free(g);
}

/* One that is alone must not wait for what may never be. */
static void
test_alone(void **state)
{
	struct memory_gate *g = gate();

	(void)state;
	memory(1, 10);
	for (int i = 0; i < 3; i++) {
		assert_true(enters(g, 1000));
		assert_false(enters(g, 1));
		memory_gate_leave(g, (uint64_t)1000 * MIB);
	}
	memory_gate_free(g);
}

/* Where there is plenty, nobody looks for each job; but for more than that. */
static void
test_plenty(void **state)
{
	struct memory_gate *g = gate();

	(void)state;
	memory(32 + 800, 0);
	assert_true(enters(g, 10));
	assert_true(enters(g, 10));
	memory(0, 0);
	assert_true(enters(g, 80));
	assert_false(enters(g, 1));
	memory_gate_free(g);
}

/* Where nothing is known all may. */
static void
test_unknown(void **state)
{
	struct memory_gate *g = gate();
	char command[100];

	(void)state;
	snprintf(command, sizeof(command), "rm %s/proc/meminfo %s/proc/self/s*",
	    root, root);
	assert_int_equal(system(command), 0);
	for (int i = 0; i < 1000; i++)
		assert_true(enters(g, 1000));
	memory_gate_free(g);
}

static void
test_need(void **state)
{
	struct layer_inputs inputs = {.caches = {.n_urls = 0}};
	struct layer_job job = {.inputs = &inputs};
	uint64_t before;

	(void)state;
	assert_int_equal(memory_gate_need(&job), 6 * MIB);
	job.spec.encoding.kind = ENCODING_GZIP;
	job.spec.encoding.level = 1;
	assert_int_equal(memory_gate_need(&job), 8 * MIB);
	job.spec.encoding.level = 12;
	assert_int_equal(memory_gate_need(&job), 12 * MIB);
	job.spec.encoding.kind = ENCODING_ZSTD;
	before = 0;
	for (int level = 1; level <= 19; level++) {
		job.spec.encoding.level = level;
		assert_true(memory_gate_need(&job) >= before);
		assert_true(
		    memory_gate_need(&job) <= MEMORY_SLOT_MAX + 4 * MIB);
		before = memory_gate_need(&job);
	}
	job.spec.measure = true;
	assert_int_equal(memory_gate_need(&job), 6 * MIB);
	inputs.caches.n_urls = 1;
	assert_int_equal(memory_gate_need(&job), 22 * MIB);
}

/* What was there before the jobs, and is given back, is not wanted again. */
static void
test_given_back(void **state)
{
	struct memory_gate *g = gate();

	(void)state;
	memory(1000, 520);
	assert_true(enters(g, 79));
	memory(200, 89);
	assert_true(enters(g, 79));
	assert_false(enters(g, 79));
	memory_gate_free(g);
}

/* Helpers get what is left over, and not what a job may want next. */
static void
test_lends(void **state)
{
	const struct encoding encoding = {ENCODING_ZSTD, 19};
	uint64_t need = memory_gate_encoder(&encoding);
	struct memory_gate *g = gate();
	struct encode_crew *crew = NULL;
	struct encode_member *m;
	uint8_t *chunk = calloc(1, 1000);
	struct err e = ERR_INIT;
	const void *out;
	bool came;
	size_t len;

	(void)state;
	assert_int_equal(need, 73 * MIB);
	assert_int_equal(encode_crew_new(8, g, &crew, &e), 0);
	memory(32 + 20 + 2 * 73 - 1, 10);
	assert_true(enters(g, 20));
	encode_crew_join(crew);
	assert_null(encode_crew_start(crew, &encoding, &chunk, 1000, 9));
	memory(32 + 20 + 2 * 73, 10);
	m = encode_crew_start(crew, &encoding, &chunk, 1000, 9);
	assert_non_null(m);
	/* A job still may, a second helper may not. */
	assert_null(encode_crew_start(crew, &encoding, &chunk, 1000, 9));
	assert_true(enters(g, 73));
	memory_gate_leave(g, 73 * MIB);
	/* Idle it keeps its memory for a while, and what it has reserved. */
	for (int i = 0; i < 2; i++) {
		assert_int_equal(encode_member_wait(m, &out, &len, &e), 0);
		encode_member_back(m);
		assert_false(enters(g, 74));
		m = encode_crew_start(crew, &encoding, &chunk, 1000, 9);
		assert_non_null(m);
	}
	assert_int_equal(encode_member_wait(m, &out, &len, &e), 0);
	encode_member_back(m);
	for (int i = 0; !(came = enters(g, 74)) && i < 200; i++)
		poll(NULL, 0, 50);
	assert_true(came);
	memory_gate_leave(g, 74 * MIB);
	encode_crew_free(crew);
	memory_gate_leave(g, 20 * MIB);
	memory_gate_free(g);
	free(chunk);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_lets_in),
	    cmocka_unit_test(test_taken), cmocka_unit_test(test_alone),
	    cmocka_unit_test(test_plenty), cmocka_unit_test(test_unknown),
	    cmocka_unit_test(test_need), cmocka_unit_test(test_given_back),
	    cmocka_unit_test(test_lends)};
	char command[100];
	int rc;

	if (mkdtemp(root) == NULL)
		return 1;
	snprintf(command, sizeof(command), "mkdir -p %s/proc/self", root);
	if (system(command) != 0)
		return 1;
	rc = cmocka_run_group_tests(tests, NULL, NULL);
	snprintf(command, sizeof(command), "rm -rf %s", root);
	return system(command) != 0 ? 1 : rc;
}
