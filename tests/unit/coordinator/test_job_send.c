/*
 * A job's parts: all items, in order, none too large.  link_send is replaced
 * by one that looks at what would be sent.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "closure/closure.h"
#include "dispatch/dispatch.h"
#include "err.h"
#include "dispatch/job_send.h"
#include "link.h"
#include "protocol.h"

static struct {
	size_t messages, items, fail_at;
	uint64_t announced;
	char last[64];
} seen;

int
link_send(struct link *l, const struct link_peer *peer, const struct msg *m,
    struct err *e)
{
	msgpack_sbuffer buf;

	(void)l;
	(void)peer;
	if (++seen.messages == seen.fail_at)
		return err_set(e, ERR_PEER, 0, "gone");
	msgpack_sbuffer_init(&buf);
	assert_int_equal(msg_encode(m, &buf, e), 0);
	assert_true(buf.size <= MSG_SIZE_MAX);
	msgpack_sbuffer_destroy(&buf);
	if (m->type == MSG_JOB) {
		assert_int_equal(seen.messages, 1);
		seen.announced = m->job.n_items;
		assert_int_equal(m->job.job, 7);
		assert_int_equal(m->job.attempt, 2);
		return 0;
	}
	for (size_t i = 0; m->type == MSG_ITEMS && i < m->items.n; i++) {
		assert_true(strcmp(seen.last, m->items.item[i].path) < 0);
		snprintf(
		    seen.last, sizeof(seen.last), "%s", m->items.item[i].path);
		assert_true(m->items.item[i].has_hash);
		assert_int_equal(m->items.item[i].nar_size, 100 + seen.items);
		seen.items++;
	}
	if (m->type == MSG_ENTRIES)
		seen.items += m->entries.n;
	return 0;
}

enum { PATHS = 50000 };

static void
store_paths(void **state)
{
	static char text[PATHS][64];
	static const char *path[PATHS];
	static struct digest hash[PATHS];
	static uint64_t size[PATHS];
	static uint32_t index[PATHS];
	struct closure c = {
	    .n = PATHS, .path = path, .nar_hash = hash, .nar_size = size};
	struct layer_spec spec = {.source = LAYER_FROM_STORE,
	    .store_dir = "/nix/store",
	    .store_root = "",
	    .uname = "root",
	    .gname = "root",
	    .file = ""};
	struct dispatch_job job = {
	    .spec = &spec, .closure = &c, .path = index, .n = PATHS};
	struct err e = ERR_INIT;

	(void)state;
	for (uint32_t i = 0; i < PATHS; i++) {
		snprintf(
		    text[i], sizeof(text[i]), "/nix/store/%032d-x%05u", 0, i);
		path[i] = text[i];
		size[i] = 100 + i;
		index[i] = i;
	}
	memset(&seen, 0, sizeof(seen));
	assert_int_equal(job_send(NULL, NULL, &job, 7, 2, 3, &e), 0);
	assert_int_equal(seen.items, PATHS);
	assert_int_equal(seen.announced, PATHS);
	/* Millions of them must fit into a queue of 4,096 messages. */
	assert_in_range(seen.messages, 3, 1 + PATHS / 4096);

	memset(&seen, 0, sizeof(seen));
	seen.fail_at = 3;
	assert_int_equal(job_send(NULL, NULL, &job, 7, 2, 3, &e), -1);
	assert_int_equal(e.kind, ERR_PEER);
	assert_int_equal(seen.messages, 3);
}

/* Names of 4,000 bytes: the part's bytes are the limit, not its count. */
static void
long_entries(void **state)
{
	enum { ENTRIES = 600 };
	static struct layer_entry entry[ENTRIES];
	static char name[4001];
	struct layer_spec spec = {.source = LAYER_FROM_ENTRIES,
	    .store_dir = "/nix/store",
	    .store_root = "",
	    .uname = "root",
	    .gname = "root",
	    .file = ""};
	struct dispatch_job job = {.spec = &spec, .entry = entry, .n = ENTRIES};
	struct err e = ERR_INIT;

	(void)state;
	memset(name, 'a', sizeof(name) - 1);
	name[0] = '/';
	for (size_t i = 0; i < ENTRIES; i++)
		entry[i] = (struct layer_entry){.name = name,
		    .type = TAR_SYMLINK,
		    .mode = 0777,
		    .target = name};
	memset(&seen, 0, sizeof(seen));
	assert_int_equal(job_send(NULL, NULL, &job, 7, 2, 3, &e), 0);
	assert_int_equal(seen.items, ENTRIES);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(store_paths),
	    cmocka_unit_test(long_entries),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
