/*
 * A list comes in parts, once; what is in the store is told, bit by bit.
 */
#include "store_answer.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "digest.h"
#include "err.h"
#include "monotime.h"
#include "protocol.h"
#include "store_path.h"

#define N 1003

static char root[64];
static uint64_t keys[N];
static struct digest list;

static void
name_of(size_t i, char out[static 64])
{
	snprintf(out, 64, "%032zu-path", i);
}

static void
put(size_t i)
{
	char name[64], path[200];

	name_of(i, name);
	snprintf(path, sizeof(path), "%s/nix/store/%s", root, name);
	assert_int_equal(mkdir(path, 0755), 0);
}

static int
setup(void **state)
{
	static uint8_t data[N * STORE_PATH_KEY_SIZE];
	char path[100], name[64];
	struct err e = ERR_INIT;

	strcpy(root, "/tmp/test_store_answer.XXXXXX");
	assert_non_null(mkdtemp(root));
	snprintf(path, sizeof(path), "%s/nix", root);
	assert_int_equal(mkdir(path, 0755), 0);
	strcat(path, "/store");
	assert_int_equal(mkdir(path, 0755), 0);
	for (size_t i = 0; i < N; i++) {
		name_of(i, name);
		keys[i] = store_path_key(name);
	}
	store_path_keys_put(keys, N, data);
	digest_of(data, sizeof(data), &list);
	return store_answer_new((struct store_answer **)state, &e);
}

static int
teardown(void **state)
{
	char command[100];

	if (!store_answer_stop(*state, 10000))
		return -1;
	snprintf(command, sizeof(command), "rm -r %s", root);
	return system(command);
}

static void
ask(struct store_answer *a, uint64_t number)
{
	const struct msg_ask m = {number, list, N, "/nix/store", root};

	store_answer_ask(a, &m);
}

/* What is said next; a moment is waited for it.  Bits: until the next call. */
static struct msg
next(struct store_answer *a)
{
	static uint8_t bits[MSG_BITS_MAX];
	int64_t until = monotime_ms() + 10000;
	struct msg m;

	while (!store_answer_next(a, &m)) {
		assert_true(monotime_ms() < until);
		monotime_wait(store_answer_fd(a), 10);
	}
	if (m.type == MSG_HAVE && m.have.n > 0) {
		memcpy(bits, m.have.bits, m.have.n);
		m.have.bits = bits;
	}
	store_answer_said(a);
	return m;
}

static void
part(struct store_answer *a, uint64_t number, uint64_t first, size_t n)
{
	const struct msg_paths m = {number, first, keys + first, n};

	store_answer_paths(a, &m);
}

static void
wants(struct store_answer *a, uint64_t number, uint64_t first)
{
	struct msg m = next(a);

	assert_int_equal(m.type, MSG_WANT);
	assert_true(m.want.ask == number && m.want.first == first);
	assert_false(store_answer_next(a, &m));
}

/* The answer: those of which there is a path, and no others. */
static void
has(struct store_answer *a, uint64_t number, size_t one, size_t other)
{
	struct msg m;
	int64_t until = monotime_ms() + 10000;

	while (!store_answer_next(a, &m)) {
		assert_true(monotime_ms() < until);
		monotime_wait(store_answer_fd(a), 10);
	}
	assert_int_equal(m.type, MSG_HAVE);
	assert_true(m.have.ask == number && m.have.sys == 0);
	assert_true(m.have.first == 0 && m.have.n == (N + 7) / 8);
	for (size_t i = 0; i < 8 * m.have.n; i++)
		assert_int_equal(
		    m.have.bits[i / 8] >> (i % 8) & 1, i == one || i == other);
	store_answer_said(a);
	assert_false(store_answer_next(a, &m));
}

static void
test_parts(void **state)
{
	struct store_answer *a = *state;

	put(7);
	put(N - 1);
	put(N + 5); /* of another closure */
	ask(a, 1);
	wants(a, 1, 0);
	part(a, 1, 0, 500);
	wants(a, 1, 500);
	/* Out of turn, of another question, too many. */
	part(a, 1, 0, 500);
	part(a, 2, 500, N - 500);
	part(a, 1, 501, N - 501);
	part(a, 1, 500, N - 500 + 1);
	part(a, 1, 500, 1);
	wants(a, 1, 501);
	/* A new connection: the parts that came are kept. */
	store_answer_forget(a);
	ask(a, 3);
	wants(a, 3, 501);
	part(a, 3, 501, N - 501);
	has(a, 3, 7, N - 1);
	/* The list is known, and the store is looked at anew. */
	put(8);
	ask(a, 4);
	ask(a, 5);
	{
		char name[64], path[200];

		name_of(7, name);
		snprintf(path, sizeof(path), "%s/nix/store/%s", root, name);
		assert_int_equal(rmdir(path), 0);
	}
	ask(a, 6);
	has(a, 6, 8, N - 1);
}

static void
test_another_list(void **state)
{
	struct store_answer *a = *state;
	struct msg m;

	ask(a, 1);
	wants(a, 1, 0);
	keys[3]++;
	part(a, 1, 0, N);
	keys[3]--;
	m = next(a);
	assert_int_equal(m.type, MSG_HAVE);
	assert_true(m.have.sys == EBADMSG && m.have.n == 0);
	/* It is not kept. */
	ask(a, 2);
	wants(a, 2, 0);
}

static void
test_no_store(void **state)
{
	const struct msg_ask elsewhere = {1, list, N, "/nix/store", "/nowhere"};
	struct msg_ask odd = elsewhere;
	struct store_answer *a = *state;
	char deep[8000];
	struct msg m;

	store_answer_ask(a, &elsewhere);
	wants(a, 1, 0);
	part(a, 1, 0, N);
	/* A store that is not there has nothing. */
	has(a, 1, SIZE_MAX, SIZE_MAX);
	memset(deep, 'x', sizeof(deep) - 1);
	deep[0] = '/';
	deep[sizeof(deep) - 1] = '\0';
	odd.store_root = deep;
	store_answer_ask(a, &odd);
	m = next(a);
	assert_int_equal(m.type, MSG_HAVE);
	assert_int_equal(m.have.sys, ENAMETOOLONG);
}

/* More paths than an answer has room for: the bits of each part. */
static void
test_several_answers(void **state)
{
	enum { MANY = 8 * MSG_BITS_MAX + 21, LAST = MANY - 1 };
	struct store_answer *a = *state;
	uint64_t *key = calloc(MANY, sizeof(*key));
	uint8_t *data = malloc((size_t)MANY * STORE_PATH_KEY_SIZE);
	struct msg_ask m = {
	    .ask = 9, .n = MANY, .store_dir = "/nix/store", .store_root = root};
	struct msg said;
	char name[64];

	for (size_t i = 0; i < MANY; i++) {
		name_of(i, name);
		key[i] = store_path_key(name);
	}
	store_path_keys_put(key, MANY, data);
	digest_of(data, (size_t)MANY * STORE_PATH_KEY_SIZE, &m.list);
	put(2);
	put(8 * MSG_BITS_MAX);
	put(LAST);
	store_answer_ask(a, &m);
	wants(a, 9, 0);
	for (size_t i = 0; i < MANY; i += MSG_PATHS_MAX) {
		size_t n = MANY - i < MSG_PATHS_MAX ? MANY - i : MSG_PATHS_MAX;
		const struct msg_paths p = {9, i, key + i, n};

		store_answer_paths(a, &p);
		if (i + n < MANY)
			wants(a, 9, i + n);
	}
	said = next(a);
	assert_int_equal(said.type, MSG_HAVE);
	assert_true(said.have.first == 0 && said.have.n == MSG_BITS_MAX);
	assert_int_equal(said.have.bits[0], 4);
	said = next(a);
	assert_true(said.have.first == 8 * MSG_BITS_MAX && said.have.n == 3);
	assert_int_equal(said.have.bits[0], 1);
	assert_int_equal(said.have.bits[1], 0);
	assert_int_equal(said.have.bits[2], 1u << LAST % 8);
	assert_false(store_answer_next(a, &said));
	free(key);
	free(data);
}

/* Nobody asked, or not for that; and it is said once. */
static void
test_out_of_the_blue(void **state)
{
	struct store_answer *a = *state;
	struct msg m;

	part(a, 0, 0, 500);
	part(a, 1, 0, N);
	assert_false(store_answer_next(a, &m));
	store_answer_forget(a);
	store_answer_forget(a);
	put(7);
	ask(a, 1);
	wants(a, 1, 0);
	for (size_t i = 0; i < 3; i++) {
		const struct msg_paths odd[] = {
		    {1, UINT64_MAX - 100, keys, 200}, {1, 1, keys, SIZE_MAX},
		    {1, 0, keys, SIZE_MAX}};

		store_answer_paths(a, &odd[i]);
	}
	part(a, 1, 0, N);
	/* What comes while the store is looked at changes nothing. */
	part(a, 1, 0, N);
	part(a, 1, N, 1);
	has(a, 1, 7, 7);
	part(a, 1, 0, N);
	assert_false(store_answer_next(a, &m));
}

static void
ask_other(struct store_answer *a, uint64_t number)
{
	struct msg_ask m = {number, list, N, "/nix/store", root};

	memcpy(m.list.b, &number, sizeof(number));
	store_answer_ask(a, &m);
	wants(a, number, 0);
}

/* Lists that never come are forgotten, the oldest first. */
static void
test_many_lists(void **state)
{
	struct store_answer *a = *state;

	ask(a, 1);
	wants(a, 1, 0);
	part(a, 1, 0, 500);
	wants(a, 1, 500);
	for (uint64_t i = 2; i < STORE_ANSWER_LISTS / 2; i++)
		ask_other(a, i);
	ask(a, STORE_ANSWER_LISTS);
	wants(a, STORE_ANSWER_LISTS, 500);
	for (uint64_t i = 1; i <= STORE_ANSWER_LISTS; i++)
		ask_other(a, STORE_ANSWER_LISTS + i);
	ask(a, 3 * STORE_ANSWER_LISTS);
	wants(a, 3 * STORE_ANSWER_LISTS, 0);
	/* Lists of the same digest and another length are others. */
	part(a, 3 * STORE_ANSWER_LISTS, 0, 500);
	{
		const struct msg_ask m = {1, list, N + 1, "/nix/store", root};

		store_answer_ask(a, &m);
		wants(a, 1, 0);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(test_parts, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_another_list, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_no_store, setup, teardown),
	    cmocka_unit_test_setup_teardown(
		test_several_answers, setup, teardown),
	    cmocka_unit_test_setup_teardown(
		test_out_of_the_blue, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_many_lists, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
