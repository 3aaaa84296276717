/*
 * A NAR, once whole and once in small pieces: both must give the same entries
 * and content.  What is accepted must, when it is put together again from its
 * entries, have the same hash: then every byte of it was understood.
 */
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "digest.h"
#include "err.h"
#include "nar_hash.h"
#include "nar_reader.h"
#include "own.h"
#include "tree_walk.h"

#define PATH "/nix/store/00000000000000000000000000000000-x"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void
expect(bool ok)
{
	if (!ok)
		abort();
}

static void
check_entry(const struct tree_entry *entry)
{
	expect(strlen(entry->name) < TAR_NAME_MAX);
	expect(strncmp(entry->name, PATH, strlen(PATH)) == 0);
	expect(strstr(entry->name, "//") == NULL);
	expect(strstr(entry->name, "/../") == NULL);
	expect(entry->depth <= NAR_DEPTH_MAX && entry->fd == -1);
	expect(strlen(entry->target) <= NAR_TARGET_MAX);
}

static void
hash_entry(struct nar_hash *h, const struct tree_entry *entry)
{
	const char *base = entry->name + entry->base;

	switch (entry->type) {
	case TAR_DIRECTORY:
		nar_hash_directory(h, entry->depth, base);
		break;
	case TAR_SYMLINK:
		nar_hash_symlink(h, entry->depth, base, entry->target);
		break;
	case TAR_REGULAR:
		nar_hash_regular(
		    h, entry->depth, base, entry->mode == 0555, entry->size);
		break;
	}
}

/* 1: a whole NAR; 0: more would have to come; -1: refused. */
static int
read_nar(struct nar_reader *r, struct nar_hash *h, const uint8_t *data,
    size_t size, size_t piece)
{
	size_t at = 0, given = 0, used;
	struct tree_entry entry;
	enum nar_event event;

	nar_reader_start(r, PATH, size);
	nar_hash_start(h);
	for (;;) {
		struct err e = ERR_INIT;

		if (nar_reader_next(r, data + at, given - at, &used, &event,
			&entry, &e) < 0) {
			expect(e.kind == ERR_RETRY);
			return -1;
		}
		expect(used <= given - at);
		if (event == NAR_CONTENT)
			nar_hash_content(h, data + at, used);
		at += used;
		if (event == NAR_ENTRY) {
			check_entry(&entry);
			hash_entry(h, &entry);
		}
		if (event == NAR_END && given == size)
			return 1;
		if (event == NAR_END || event == NAR_NEED_MORE) {
			if (given == size)
				return 0;
			given += size - given < piece ? size - given : piece;
		}
	}
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	AUTO(nar_reader_freep) struct nar_reader *r = NULL;
	AUTO(nar_hash_freep) struct nar_hash *h = NULL;
	struct digest want, whole, pieces;
	struct err e = ERR_INIT;
	uint64_t n;
	int rc;

	expect(nar_reader_new(&r, &e) == 0 && nar_hash_new(&h, &e) == 0);
	rc = read_nar(r, h, data, size, size);
	if (rc == 1) {
		nar_hash_finish(h, &whole, &n);
		digest_of(data, size, &want);
		expect(digest_equal(&want, &whole) && n == size);
	}
	expect(read_nar(r, h, data, size, 1 + size % 7) == rc);
	if (rc == 1) {
		nar_hash_finish(h, &pieces, &n);
		expect(digest_equal(&want, &pieces) && n == size);
	}
	return 0;
}
