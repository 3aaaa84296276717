/* .xz in pieces of any size, what is wrong with it, and the memory it takes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/types.h>

#include <cmocka.h>
#include <lzma.h>

#include "err.h"
#include "xz_stream.h"

enum { SIZE = 300000, ROOM = 2 * SIZE + 10000 };

static uint8_t plain[SIZE], packed[ROOM], found[ROOM];
static size_t n_packed;

static void
pack(void)
{
	uint32_t r = 1;

	for (size_t i = 0; i < SIZE; i++)
		plain[i] = (uint8_t)((r = r * 1664525 + 1013904223) >> 28);
	n_packed = 0;
	assert_int_equal(lzma_easy_buffer_encode(6, LZMA_CHECK_CRC64, NULL,
			     plain, SIZE, packed, &n_packed, sizeof(packed)),
	    LZMA_OK);
}

/* Unpacks `packed`, in such pieces; how much it was, or -1. */
static ssize_t
unpack(size_t in, size_t out, struct err *e)
{
	struct xz_stream *x = NULL;
	size_t at = 0, n = 0, used, made;
	bool ended = false;
	int rc = 0;

	assert_int_equal(xz_stream_new(&x, e), 0);
	while (rc == 0 && !ended) {
		size_t len = n_packed - at < in ? n_packed - at : in;

		assert_true(n + out <= sizeof(found));
		rc = xz_stream_run(x, packed + at, len, &used, found + n, out,
		    &made, &ended, e);
		at += rc == 0 ? used : 0;
		n += rc == 0 ? made : 0;
	}
	xz_stream_free(x);
	return rc == 0 ? (ssize_t)n : -1;
}

static void
fails(const char *why)
{
	struct err e = ERR_INIT;

	assert_int_equal(unpack(5000, 5000, &e), -1);
	assert_int_equal(e.kind, ERR_RETRY);
	assert_non_null(strstr(e.text, why));
}

static void
test_pieces(void **state)
{
	static const size_t piece[] = {1, 100, 4096, SIZE};
	struct err e = ERR_INIT;

	(void)state;
	pack();
	for (size_t i = 0; i < 16; i++) {
		assert_int_equal(unpack(piece[i / 4], piece[i % 4], &e), SIZE);
		assert_memory_equal(found, plain, SIZE);
	}
}

static void
test_two_streams(void **state)
{
	struct err e = ERR_INIT;
	size_t n;

	(void)state;
	pack();
	n = n_packed;
	assert_true(2 * n <= sizeof(packed));
	memcpy(packed + n, packed, n);
	n_packed += n;
	assert_int_equal(unpack(777, 4096, &e), 2 * SIZE);
	assert_memory_equal(found + SIZE, plain, SIZE);
}

static void
test_wrong(void **state)
{
	size_t n;

	(void)state;
	pack();
	n = n_packed;
	n_packed = n / 2;
	fails("ends too early");
	n_packed = 0;
	fails("ends too early");
	n_packed = n;
	memcpy(packed + n, "and more of it", 14);
	n_packed += 14;
	fails("damaged");
	n_packed = n;
	packed[n / 2] ^= 1;
	fails("damaged");
	packed[0] = 'x';
	fails("is not compressed with xz");
}

/* The header asks for a dictionary of 4 GiB, whatever the content is. */
static void
test_memory(void **state)
{
	uint8_t *block = packed + LZMA_STREAM_HEADER_SIZE, *filter;
	size_t len;
	uint32_t sum;

	(void)state;
	pack();
	len = lzma_block_header_size_decode(block[0]);
	/* LZMA2, and one byte of properties: the dictionary's size. */
	filter = memmem(block, len, "\x21\x01", 2);
	assert_non_null(filter);
	filter[2] = 40;
	sum = lzma_crc32(block, len - 4, 0);
	for (size_t i = 0; i < 4; i++)
		block[len - 4 + i] = (uint8_t)(sum >> 8 * i);
	fails("MiB of memory, more than 128");
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_pieces),
	    cmocka_unit_test(test_two_streams),
	    cmocka_unit_test(test_wrong),
	    cmocka_unit_test(test_memory),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
