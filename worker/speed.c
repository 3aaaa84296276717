#include "speed.h"

#include <stdlib.h>
#include <string.h>

#include "digest.h"
#include "encoder.h"
#include "err.h"
#include "monotime.h"
#include "own.h"
#include "protocol.h"

/* Bytes that are tried: no more than a chunk of any encoder. */
#define TRIAL ((size_t)512 << 10)
#define PIECE 16
/* Each so often: the fastest counts, the others were disturbed. */
#define TRIALS 3
/* Layers that took less in all say nothing yet; what is older fades, us. */
#define MADE_US 100000.0
#define FADING_US 60e6

/* About as compressible as programs are: noise, and what was there before. */
static void
fill(uint8_t *data, size_t len)
{
	uint64_t z = 1;

	for (size_t i = 0; i + PIECE <= len; i += PIECE) {
		z = z * UINT64_C(6364136223846793005) + 1442695040888963407;
		if (i > 0 && z >> 62 != 0)
			memcpy(data + i, data + (z >> 20) % i / PIECE * PIECE,
			    PIECE);
		else
			memcpy(data + i, &z, sizeof(z));
	}
}

static int64_t
hash_us(const uint8_t *data, size_t len)
{
	int64_t best = INT64_MAX;

	for (int i = 0; i < TRIALS; i++) {
		int64_t start = monotime_us(), took;
		struct digest d;

		digest_of(data, len, &d);
		took = monotime_us() - start;
		if (took < best)
			best = took;
	}
	return best;
}

/* Also how many bytes come of it; -1: it cannot be tried. */
static int64_t
encode_us(const struct encoding *encoding, const uint8_t *data, size_t *len)
{
	AUTO(encoder_freep) struct encoder *enc = NULL;
	struct err none = ERR_INIT;
	int64_t best = INT64_MAX;
	size_t out_len = 0;

	if (encoder_new(encoding, &enc, &none) < 0)
		return -1;
	for (int i = 0; i < TRIALS; i++) {
		int64_t start = monotime_us(), took;
		const void *out;

		if (encoder_run(enc, data, *len, &out, &out_len, &none) < 0)
			return -1;
		took = monotime_us() - start;
		if (took < best)
			best = took;
	}
	*len = out_len;
	return best;
}

static uint64_t
by_second(double bytes, double us)
{
	double v = bytes * 1e6 / (us > 1 ? us : 1);

	return v < (double)MSG_SPEED_MAX ? (uint64_t)v : MSG_SPEED_MAX;
}

void
speed_try(struct speed *s)
{
	static const struct encoding all[] = {
	    {ENCODING_GZIP, ENCODING_GZIP_LEVEL},
	    {ENCODING_ZSTD, ENCODING_ZSTD_LEVEL}};
	uint8_t *data = calloc(1, TRIAL);
	int64_t hash;

	if (data == NULL)
		return;
	fill(data, TRIAL);
	hash = hash_us(data, TRIAL);
	s->tried[ENCODING_NONE] = by_second(TRIAL, (double)hash);
	for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
		size_t len = TRIAL;
		int64_t us = encode_us(&all[i], data, &len);
		double blob = (double)hash * (double)len / TRIAL;

		/* The tar is hashed, and the blob. */
		if (us >= 0)
			s->tried[all[i].kind] =
			    by_second(TRIAL, (double)(us + hash) + blob);
	}
	free(data);
}

void
speed_add(struct speed *s, enum encoding_kind kind, uint64_t bytes, int64_t us)
{
	struct speed_work *w = &s->made[kind];
	double took = us > 0 ? (double)us : 0;
	double fading = FADING_US / (FADING_US + took);

	w->bytes = fading * w->bytes + (double)bytes;
	w->us = fading * w->us + took;
}

uint64_t
speed_of(const struct speed *s, enum encoding_kind kind)
{
	const struct speed_work *w = &s->made[kind];

	return w->us >= MADE_US ? by_second(w->bytes, w->us) : s->tried[kind];
}
