/* Chunks that several threads compress: the bytes are one thread's. */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "digest.h"
#include "encode_crew.h"
#include "encode_queue.h"
#include "encoding.h"
#include "err.h"

#define SIZE (6 * ENCODING_GZIP_CHUNK + 4321)

struct taken {
	struct sha256 *sha;
	struct digest digest;
	size_t n, fail_at; /* chunks; the one that is refused, from 1 */
};

static int
take(void *arg, const void *data, size_t len, struct err *e)
{
	struct taken *t = arg;

	if (++t->n == t->fail_at)
		return err_set(e, ERR_RETRY, 0, "no room");
	sha256_update(t->sha, data, len);
	return 0;
}

/* Some chunks are hard to compress, some easy: they are not done in order. */
static uint8_t *
sample(void)
{
	uint8_t *data = malloc(SIZE);
	uint32_t x = 1;

	for (size_t i = 0; i < SIZE; i++) {
		x = x * 1664525 + 1013904223;
		data[i] = i / ENCODING_GZIP_CHUNK % 3 == 0
		    ? (uint8_t)(x >> 24)
		    : (uint8_t)(i / 1000);
	}
	return data;
}

static int
run(const struct encoding *encoding, struct encode_crew *crew,
    const uint8_t *data, size_t size, struct taken *t, struct err *e)
{
	struct encode_queue *q = NULL;
	int rc = 0;

	assert_int_equal(sha256_new(&t->sha, e), 0);
	assert_int_equal(encode_queue_new(encoding, crew, take, t, &q, e), 0);
	for (size_t at = 0; at < size && rc == 0; at += 99991)
		rc = encode_queue_put(
		    q, data + at, size - at < 99991 ? size - at : 99991, e);
	if (rc == 0)
		rc = encode_queue_end(q, e);
	encode_queue_free(q);
	sha256_final(t->sha, &t->digest);
	sha256_free(t->sha);
	return rc;
}

static void
test_same_bytes(void **state)
{
	const struct encoding encoding[] = {
	    {ENCODING_GZIP, 1}, {ENCODING_ZSTD, 3}, {ENCODING_GZIP, 2}};
	const size_t size[] = {0, 1, ENCODING_GZIP_CHUNK, SIZE};
	struct encode_crew *crew[4] = {NULL};
	uint8_t *data = sample();
	struct err e = ERR_INIT;

	(void)state;
	for (size_t i = 0; i < 4; i++)
		assert_int_equal(
		    encode_crew_new(1 << i, NULL, &crew[i], &e), 0);
	for (size_t i = 0; i < 12; i++) {
		const struct encoding *by = &encoding[i % 3];
		struct taken alone = {.n = 0};

		assert_int_equal(
		    run(by, NULL, data, size[i / 3], &alone, &e), 0);
		for (size_t k = 0; k < 4; k++) {
			struct taken helped = {.n = 0};

			assert_int_equal(
			    run(by, crew[k], data, size[i / 3], &helped, &e),
			    0);
			assert_int_equal(helped.n, alone.n);
			assert_true(
			    digest_equal(&helped.digest, &alone.digest));
		}
	}
	for (size_t i = 0; i < 4; i++)
		encode_crew_free(crew[i]);
	free(data);
}

/* What layers and members keep busy is never more than there is. */
static void
test_cores(void **state)
{
	const struct encoding encoding = {ENCODING_GZIP, 1};
	struct encode_member *m[3] = {NULL};
	struct encode_crew *crew = NULL;
	uint8_t *chunk = calloc(1, 1000);
	struct err e = ERR_INIT;
	const void *out;
	size_t len;

	(void)state;
	assert_int_equal(encode_crew_new(3, NULL, &crew, &e), 0);
	encode_crew_join(crew);
	for (size_t i = 0; i < 3; i++) {
		m[i] = encode_crew_start(crew, &encoding, &chunk, 1000, 999);
		assert_int_equal(m[i] != NULL, i < 2);
		assert_non_null(chunk);
		if (m[i] != NULL)
			memset(chunk, (int)i, 1000);
	}
	assert_int_equal(encode_member_wait(m[1], &out, &len, &e), 0);
	assert_in_range(len, 1, 1000);
	encode_crew_join(crew);
	encode_member_back(m[1]);
	assert_null(encode_crew_start(crew, &encoding, &chunk, 1000, 5));
	encode_crew_leave(crew);
	m[1] = encode_crew_start(crew, &encoding, &chunk, 1000, 5);
	assert_non_null(m[1]);
	for (size_t i = 0; i < 2; i++) {
		assert_int_equal(encode_member_wait(m[i], &out, &len, &e), 0);
		encode_member_back(m[i]);
	}
	encode_crew_leave(crew);
	encode_crew_free(crew);
	free(chunk);
}

/* Whoever takes fails, wherever; nothing is left behind. */
static void
test_failures(void **state)
{
	const struct encoding encoding = {ENCODING_GZIP, 1};
	struct encode_crew *crew = NULL;
	uint8_t *data = sample();
	struct err e = ERR_INIT;

	(void)state;
	assert_int_equal(encode_crew_new(4, NULL, &crew, &e), 0);
	for (size_t at = 1; at <= 7; at++) {
		struct taken t = {.fail_at = at};

		assert_int_equal(run(&encoding, crew, data, SIZE, &t, &e), -1);
		assert_string_equal(e.text, "no room");
		assert_int_equal(t.n, at);
		err_clear(&e);
	}
	encode_crew_free(crew);
	free(data);
}

struct layer {
	pthread_t thread;
	struct encode_crew *crew;
	struct encoding encoding;
	const uint8_t *data;
	struct taken taken;
	int rc;
};

static void *
layer(void *arg)
{
	struct layer *l = arg;
	struct err e = ERR_INIT;

	encode_crew_join(l->crew);
	l->rc = run(&l->encoding, l->crew, l->data, SIZE, &l->taken, &e);
	encode_crew_leave(l->crew);
	return NULL;
}

/* Layers of several encodings share one crew. */
static void
test_shared(void **state)
{
	struct encode_crew *crew = NULL;
	struct layer l[4] = {{.rc = 0}};
	uint8_t *data = sample();
	struct err e = ERR_INIT;

	(void)state;
	assert_int_equal(encode_crew_new(6, NULL, &crew, &e), 0);
	for (size_t i = 0; i < 4; i++) {
		l[i].crew = crew;
		l[i].data = data;
		l[i].encoding = (struct encoding){
		    i % 2 == 0 ? ENCODING_GZIP : ENCODING_ZSTD, 1};
		assert_int_equal(
		    pthread_create(&l[i].thread, NULL, layer, &l[i]), 0);
	}
	for (size_t i = 0; i < 4; i++) {
		struct taken alone = {.n = 0};

		pthread_join(l[i].thread, NULL);
		assert_int_equal(l[i].rc, 0);
		assert_int_equal(
		    run(&l[i].encoding, NULL, data, SIZE, &alone, &e), 0);
		assert_true(digest_equal(&alone.digest, &l[i].taken.digest));
	}
	encode_crew_free(crew);
	free(data);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_same_bytes),
	    cmocka_unit_test(test_cores),
	    cmocka_unit_test(test_failures),
	    cmocka_unit_test(test_shared),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
