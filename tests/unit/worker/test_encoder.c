#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <libdeflate.h>
#include <zstd.h>

#include "digest.h"
#include "encoder.h"
#include "encoder_version.h"
#include "encoding.h"
#include "err.h"
#include "sink.h"

struct bytes {
	uint8_t *data;
	size_t len;
};

/* Half random, half not, so that it can be compressed, but not to nothing. */
static struct bytes
sample(size_t len)
{
	struct bytes b = {malloc(len + 1), len};
	uint32_t x = 1;

	assert_non_null(b.data);
	for (size_t i = 0; i < len; i++) {
		x = x * 1664525u + 1013904223u;
		b.data[i] = (i / 64) % 2 == 0 ? (uint8_t)(x >> 24) : 'a';
	}
	return b;
}

static struct bytes
encode(struct encoder *enc, const struct bytes *in)
{
	size_t chunk = encoder_chunk(enc), at = 0;
	struct bytes out = {NULL, 0};
	struct err e = ERR_INIT;

	do {
		size_t n = in->len - at < chunk ? in->len - at : chunk;
		const void *piece;
		size_t len;

		assert_int_equal(
		    encoder_run(enc, in->data + at, n, &piece, &len, &e), 0);
		out.data = realloc(out.data, out.len + len);
		assert_non_null(out.data);
		memcpy(out.data + out.len, piece, len);
		out.len += len;
		at += n;
	} while (at < in->len);
	return out;
}

static struct bytes
gunzip(const struct bytes *in, size_t room, size_t *members)
{
	struct libdeflate_decompressor *d = libdeflate_alloc_decompressor();
	struct bytes out = {malloc(room + 1), 0};
	size_t at = 0, in_n, out_n;

	*members = 0;
	while (at < in->len) {
		assert_int_equal(libdeflate_gzip_decompress_ex(d, in->data + at,
				     in->len - at, out.data + out.len,
				     room + 1 - out.len, &in_n, &out_n),
		    LIBDEFLATE_SUCCESS);
		/* Nothing of this machine or hour: flags and mtime are 0. */
		assert_memory_equal(in->data + at, "\x1f\x8b\x08\0\0\0\0\0", 8);
		at += in_n;
		out.len += out_n;
		++*members;
	}
	libdeflate_free_decompressor(d);
	return out;
}

static struct bytes
unzstd(const struct bytes *in, size_t room, size_t *frames)
{
	struct bytes out = {malloc(room + 1), 0};
	size_t at = 0;

	*frames = 0;
	while (at < in->len) {
		size_t in_n =
		    ZSTD_findFrameCompressedSize(in->data + at, in->len - at);
		unsigned long long size =
		    ZSTD_getFrameContentSize(in->data + at, in->len - at);
		size_t out_n;

		assert_false(ZSTD_isError(in_n));
		out_n = ZSTD_decompress(out.data + out.len, room + 1 - out.len,
		    in->data + at, in_n);
		assert_false(ZSTD_isError(out_n));
		assert_true(size == out_n);
		at += in_n;
		out.len += out_n;
		++*frames;
	}
	return out;
}

static void
round_trip(struct encoder *enc, const struct encoding *encoding, size_t len)
{
	size_t chunk = encoder_chunk(enc), n, want = (len + chunk - 1) / chunk;
	struct bytes in = sample(len), coded = encode(enc, &in), out, again;
	struct encoder *fresh = NULL;
	struct err e = ERR_INIT;

	out = encoding->kind == ENCODING_GZIP ? gunzip(&coded, len, &n)
					      : unzstd(&coded, len, &n);
	assert_int_equal(n, want == 0 ? 1 : want);
	assert_int_equal(out.len, in.len);
	assert_memory_equal(out.data, in.data, in.len);
	/* What an encoder did before leaves no trace. */
	assert_int_equal(encoder_new(encoding, &fresh, &e), 0);
	again = encode(fresh, &in);
	assert_int_equal(again.len, coded.len);
	assert_memory_equal(again.data, coded.data, coded.len);
	encoder_free(fresh);
	free(in.data);
	free(out.data);
	free(coded.data);
	free(again.data);
}

static void
test_round_trip(void **state)
{
	static const struct encoding encodings[] = {{ENCODING_GZIP, 1},
	    {ENCODING_GZIP, 6}, {ENCODING_GZIP, 12}, {ENCODING_ZSTD, 1},
	    {ENCODING_ZSTD, 3}, {ENCODING_ZSTD, 19}};

	(void)state;
	for (size_t i = 0; i < sizeof(encodings) / sizeof(encodings[0]); i++) {
		const struct encoding *encoding = &encodings[i];
		struct encoder *enc = NULL;
		struct err e = ERR_INIT;
		size_t chunk;

		assert_int_equal(encoder_new(encoding, &enc, &e), 0);
		chunk = encoder_chunk(enc);
		assert_int_equal(chunk,
		    encoding->kind == ENCODING_GZIP ? ENCODING_GZIP_CHUNK
						    : ENCODING_ZSTD_CHUNK);
		round_trip(enc, encoding, 0);
		round_trip(enc, encoding, 1);
		round_trip(enc, encoding, 10240);
		if (encoding->level < 10) {
			round_trip(enc, encoding, chunk - 1);
			round_trip(enc, encoding, chunk);
			round_trip(enc, encoding, chunk + 1);
			round_trip(enc, encoding, 2 * chunk + chunk / 2);
		}
		encoder_free(enc);
	}
	encoder_free(NULL);
}

/* However the tar comes in pieces, the chunks are the same. */
static void
test_pieces(void **state)
{
	const struct encoding encoding = {ENCODING_GZIP, 1};
	struct bytes in = sample(3 * ENCODING_GZIP_CHUNK + 12345);
	struct digest whole, pieces;
	uint64_t size[2];

	(void)state;
	for (int i = 0; i < 2; i++) {
		struct sink *hash = NULL, *encode_sink = NULL;
		struct err e = ERR_INIT;
		size_t step = i == 0 ? in.len : 100003;

		assert_int_equal(sink_hash_new(NULL, i == 0 ? &whole : &pieces,
				     &size[i], &hash, &e),
		    0);
		assert_int_equal(
		    sink_encode_new(hash, &encoding, NULL, &encode_sink, &e),
		    0);
		for (size_t at = 0; at < in.len; at += step)
			assert_int_equal(
			    sink_write(encode_sink, in.data + at,
				in.len - at < step ? in.len - at : step, &e),
			    0);
		assert_int_equal(sink_close(encode_sink, &e), 0);
		sink_free(encode_sink);
	}
	assert_int_equal(size[0], size[1]);
	assert_true(digest_equal(&whole, &pieces));
	free(in.data);
}

/* A whole number of chunks gets no empty member at its end. */
static void
test_no_empty_member(void **state)
{
	const struct encoding encoding = {ENCODING_ZSTD, 1};
	struct sink *hash = NULL, *encode_sink = NULL;
	struct bytes in = sample(ENCODING_ZSTD_CHUNK), coded;
	struct encoder *enc = NULL;
	struct err e = ERR_INIT;
	struct digest digest;
	uint64_t size;

	(void)state;
	assert_int_equal(encoder_new(&encoding, &enc, &e), 0);
	coded = encode(enc, &in);
	assert_int_equal(sink_hash_new(NULL, &digest, &size, &hash, &e), 0);
	assert_int_equal(
	    sink_encode_new(hash, &encoding, NULL, &encode_sink, &e), 0);
	assert_int_equal(sink_write(encode_sink, in.data, in.len, &e), 0);
	assert_int_equal(sink_close(encode_sink, &e), 0);
	assert_int_equal(size, coded.len);
	sink_free(encode_sink);
	encoder_free(enc);
	free(in.data);
	free(coded.data);
}

static void
test_versions(void **state)
{
	(void)state;
	assert_memory_equal(
	    encoder_version(ENCODING_GZIP), "libdeflate 1.", 13);
	assert_memory_equal(encoder_version(ENCODING_ZSTD), "zstd 1.", 7);
	assert_string_equal(
	    encoder_version(ENCODING_ZSTD) + 5, ZSTD_versionString());
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_round_trip),
	    cmocka_unit_test(test_pieces),
	    cmocka_unit_test(test_no_empty_member),
	    cmocka_unit_test(test_versions),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
