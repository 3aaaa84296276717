#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "tar_header.h"

/* A header that is one byte longer than promised is seen by ASan. */
static uint8_t *header;

static void
put_hex(FILE *f, const void *data, size_t len, char end)
{
	const uint8_t *b = data;

	for (size_t i = 0; i < len; i++)
		fprintf(f, "%02x", b[i]);
	fputc(end, f);
}

static void
dump(FILE *f, enum tar_dialect dialect, const struct tar_entry *entry)
{
	size_t len;

	memset(header, 0xaa, TAR_HEADER_MAX);
	len = tar_header_put(dialect, entry, header);
	assert_true(len % TAR_BLOCK == 0 && len <= TAR_HEADER_MAX);
	fprintf(f, "%s %d %u %ju %ju %ju %jd ",
	    dialect == TAR_GNU ? "gnu" : "pax", entry->type, entry->mode,
	    (uintmax_t)entry->uid, (uintmax_t)entry->gid,
	    (uintmax_t)entry->size, (intmax_t)entry->mtime);
	put_hex(f, entry->name, strlen(entry->name), ' ');
	put_hex(f, entry->link, strlen(entry->link), ' ');
	put_hex(f, entry->uname, strlen(entry->uname), ' ');
	put_hex(f, entry->gname, strlen(entry->gname), ' ');
	put_hex(f, header, len, '\n');
}

static uint32_t
next_random(uint32_t *state)
{
	*state = *state * 1664525u + 1013904223u;
	return *state >> 8;
}

/* A name of len bytes, components short enough for a file system. */
static void
make_name(char *s, size_t len, unsigned flavour, uint32_t *random)
{
	static const char *const odd[] = {"\xc3\xa9", "\xe2\x82\xac",
	    "\xf0\x9f\x98\x80", "\xff", "\xe2\x82", "\xed\xa0\x80", "\xc0\xaf",
	    "\xf4\x90\x80\x80", "\n", "\\", "\x7f", "=", " "};
	size_t n = sizeof(odd) / sizeof(odd[0]), at = 0, component = 0;

	while (at < len) {
		const char *piece = odd[next_random(random) % n];
		size_t size = strlen(piece);

		if (flavour == 1 && piece[0] & 0x80)
			piece = odd[next_random(random) % 3],
			size = strlen(piece);
		if (flavour == 0 || next_random(random) % 4 != 0 ||
		    at + size > len || component + size > 200) {
			s[at] = (char)('a' + next_random(random) % 26);
			if (component > 90 && at + 1 < len) {
				s[at] = '/';
				component = 0;
			} else {
				component++;
			}
			at++;
			continue;
		}
		memcpy(s + at, piece, size);
		at += size;
		component += size;
	}
	s[at] = '\0';
}

static const size_t lengths[] = {
    1, 31, 32, 33, 99, 100, 101, 155, 255, 256, 511, 512, 513, 1000, 3900};
#define N_LENGTHS (sizeof(lengths) / sizeof(lengths[0]))

static void
dump_names(FILE *f, enum tar_dialect dialect, uint32_t *random)
{
	static const enum tar_type types[] = {
	    TAR_REGULAR, TAR_DIRECTORY, TAR_SYMLINK};
	static char name[TAR_NAME_MAX + 1], target[TAR_NAME_MAX + 1];

	for (size_t i = 0; i < N_LENGTHS * 3 * 3; i++) {
		struct tar_entry entry = {.type = types[i % 3],
		    .name = name,
		    .link = "",
		    .mode = i % 3 == 2 ? 0777 : next_random(random) & 07555,
		    .uname = "root",
		    .gname = "root",
		    .mtime = 1};

		entry.mode |= 0500;
		make_name(name, lengths[i / 9], (unsigned)(i / 3 % 3), random);
		/* No two alike: GNU tar needs them on a disk. */
		if (dialect == TAR_GNU && lengths[i / 9] < 99)
			continue;
		if (dialect == TAR_GNU)
			name[0] = (char)('0' + i % 10);
		if (entry.type == TAR_SYMLINK) {
			make_name(target,
			    lengths[next_random(random) % N_LENGTHS],
			    next_random(random) % 3, random);
			entry.link = target;
		}
		dump(f, dialect, &entry);
	}
}

static void
dump_numbers(FILE *f, enum tar_dialect dialect)
{
	static const uint64_t ids[] = {
	    0, 1, 1000, 2097151, 2097152, 65534, 4294967294};
	static const uint64_t sizes[] = {
	    0, 1, 511, 512, 513, 10240, 8589934591, 8589934592, 1ull << 40};
	static const int64_t times[] = {
	    0, 1, 8589934591, 8589934592, -1, -256, -8589934593, 1ll << 34};

	for (size_t i = 0; i < 9 * 8; i++) {
		struct tar_entry entry = {.type = TAR_REGULAR,
		    .name = "number",
		    .link = "",
		    .mode = 0444,
		    .uid = ids[i % 7],
		    .gid = ids[(i / 3) % 7],
		    .uname = "root",
		    .gname = "root",
		    .size = sizes[i % 9],
		    .mtime = times[i % 8]};

		dump(f, dialect, &entry);
	}
}

static void
dump_owners(FILE *f, uint32_t *random)
{
	static char uname[1001], gname[1001], name[4001];

	for (size_t i = 0; i < 300; i++) {
		struct tar_entry entry = {.type = TAR_REGULAR,
		    .name = name,
		    .link = "",
		    .mode = 0555,
		    .uname = uname,
		    .gname = gname,
		    .mtime = 1};

		make_name(name, 1 + next_random(random) % 300,
		    next_random(random) % 3, random);
		make_name(uname, next_random(random) % 60,
		    next_random(random) % 3, random);
		make_name(gname, next_random(random) % 60,
		    next_random(random) % 3, random);
		dump(f, TAR_PAX, &entry);
	}
}

/* The longest of everything stays inside TAR_HEADER_MAX. */
static void
test_longest(void **state)
{
	static char s[TAR_NAME_MAX + 1];
	struct tar_entry entry = {.type = TAR_DIRECTORY,
	    .name = s,
	    .link = s,
	    .uid = UINT64_MAX,
	    .gid = UINT64_MAX,
	    .uname = s,
	    .gname = s,
	    .size = UINT64_MAX,
	    .mtime = INT64_MIN};

	(void)state;
	memset(s, 0xff, TAR_NAME_MAX);
	assert_true(tar_header_put(TAR_PAX, &entry, header) <= TAR_HEADER_MAX);
	assert_true(tar_header_put(TAR_GNU, &entry, header) <= TAR_HEADER_MAX);
}

static void
test_padding(void **state)
{
	(void)state;
	assert_int_equal(tar_padding(0), 0);
	assert_int_equal(tar_padding(1), 511);
	assert_int_equal(tar_padding(512), 0);
	assert_int_equal(tar_padding(8589934593), 511);
	assert_int_equal(tar_end(0), 10240);
	assert_int_equal(tar_end(9216), 1024);
	assert_int_equal(tar_end(9728), 512 + 10240);
	assert_int_equal(tar_end(10240), 10240);
	for (uint64_t n = 0; n < 100 * 512; n += 512) {
		assert_int_equal((n + tar_end(n)) % TAR_RECORD, 0);
		assert_in_range(tar_end(n), 1024, 1024 + TAR_RECORD - 1);
	}
}

static void
test_oracles(void **state)
{
	char folder[] = "/tmp/tar_header.XXXXXX", path[64], command[1024];
	const char *python = getenv("PYTHON"), *tests = getenv("QUARRY_TESTS");
	uint32_t random = 1;
	FILE *f;

	(void)state;
	assert_non_null(mkdtemp(folder));
	snprintf(path, sizeof(path), "%s/dump", folder);
	assert_non_null(f = fopen(path, "w"));
	dump_names(f, TAR_PAX, &random);
	dump_numbers(f, TAR_PAX);
	dump_owners(f, &random);
	dump_names(f, TAR_GNU, &random);
	dump_numbers(f, TAR_GNU);
	assert_int_equal(fclose(f), 0);
	snprintf(command, sizeof(command),
	    "mkdir %s/files && %s %s/oracle/tar_header.py %s %s/files", folder,
	    python != NULL ? python : "python3", tests != NULL ? tests : ".",
	    path, folder);
	assert_int_equal(system(command), 0);
	snprintf(command, sizeof(command), "rm -rf %s", folder);
	assert_int_equal(system(command), 0);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_padding),
	    cmocka_unit_test(test_longest),
	    cmocka_unit_test(test_oracles),
	};
	int failed;

	if ((header = malloc(TAR_HEADER_MAX)) == NULL)
		return 1;
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	free(header);
	return failed;
}
